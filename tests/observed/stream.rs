//! What becomes of bytes and ends: resets, half-closes, urgent bytes, acknowledgements, ports used again.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};

use socket2::SockRef;
use unmangle::lab::{Family, Role};
use unmangle::sys::tcp_info::{tcp_info, unacknowledged};

use super::super::site::{
    self, PATIENCE, Pair, accept, carry, expect_end, pattern, read_until_reset, talk, until,
    write_until_stalled,
};
use super::cell::{By, Cell};
use super::stage::Stage;

/// A connection that lives: the end that does something, and the other.
fn ends(stage: &Stage, family: Family, by: By) -> [TcpStream; 2] {
    let pair = stage.connect(family);
    talk(&pair);
    let Pair { client, server } = pair;
    match by {
        By::Client => [client, server],
        By::Server => [server, client],
    }
}

/// How many bytes of payload the peer's side has acknowledged.
fn acknowledged(sender: &TcpStream) -> u64 {
    const SYN: u64 = 1;
    tcp_info(sender).unwrap().acknowledged - SYN
}

/// What is read of what was sent before a reset, by comparison with what was acknowledged until then.
fn read_before_reset(read: &[u8], sent: &[u8], acknowledged: u64) -> Cell {
    assert!(sent.starts_with(read), "the bytes that arrived differ");
    if read.len() as u64 >= acknowledged {
        Cell::AllAcknowledged
    } else {
        Cell::WhatHadArrived
    }
}

pub fn reset_while_the_other_reads(stage: &Stage) -> Cell {
    let bytes = pattern(7, 1_000_000);
    Cell::of_ends("reset, read", |family, by| {
        let [from, to] = ends(stage, family, by);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| site::read_slowly_until_reset(&to));
            (&from).write_all(&bytes).unwrap();
            until("the bytes are acknowledged", PATIENCE, || {
                unacknowledged(&from).unwrap() == 0
            });
            site::reset(from);
            let read = reading.join().unwrap();
            read_before_reset(&read, &bytes, bytes.len() as u64)
        })
    })
}

pub fn reset_while_the_other_does_not_read(stage: &Stage) -> Cell {
    // More than a narrow path holds.
    let bytes = pattern(8, 8_000_000);
    Cell::of_ends("reset, not read", |family, by| {
        let [from, to] = ends(stage, family, by);
        let before = acknowledged(&from);
        let taken = write_until_stalled(&from, &bytes);
        assert!(taken < bytes.len(), "the path took everything");
        let acknowledged = acknowledged(&from) - before;
        assert!(acknowledged > 0);
        site::reset(from);
        until("the reset arrives", PATIENCE, || {
            tcp_info(&to).unwrap().closed
        });
        read_before_reset(&read_until_reset(&to), &bytes, acknowledged)
    })
}

pub fn half_close(stage: &Stage) -> Cell {
    Cell::of_ends("half-close", |family, by| {
        let [first, other] = ends(stage, family, by);
        first.shutdown(Shutdown::Write).unwrap();
        expect_end(&other);
        carry(&other, &first, &pattern(1, 100_000));
        if tcp_info(&first).unwrap().peer_ended {
            return Cell::BothAtOnce;
        }
        drop(other);
        expect_end(&first);
        Cell::AsSent
    })
}

pub fn urgent_byte(stage: &Stage) -> Cell {
    Cell::of_ends("urgent byte", |family, by| {
        let [mut from, to] = ends(stage, family, by);
        from.write_all(b"before").unwrap();
        SockRef::from(&from).send_out_of_band(b"!").unwrap();
        from.write_all(b"after").unwrap();
        from.shutdown(Shutdown::Write).unwrap();
        match &site::read_to_end(&to).unwrap()[..] {
            b"beforeafter" => Cell::OutOfLine,
            b"before!after" => Cell::InLine,
            other => panic!("{:?}", String::from_utf8_lossy(other)),
        }
    })
}

/// Who acknowledges what the client sends: while the service's host takes nothing, only somebody else can.
pub fn acknowledgement(stage: &Stage) -> Cell {
    /// After so many nobody else will.
    const VAIN: u32 = 3;
    Cell::of_families("acknowledgement", |family| {
        let [mut client, _server] = ends(stage, family, By::Client);
        let _deaf = stage.service_filter("drop");
        client.write_all(b"is this received?").unwrap();
        let mut from = None;
        until("it is acknowledged or sent again", PATIENCE, || {
            if unacknowledged(&client).unwrap() == 0 {
                from = Some(Cell::FromTheRelay);
            } else if tcp_info(&client).unwrap().retransmits >= VAIN {
                from = Some(Cell::FromTheServer);
            }
            from.is_some()
        });
        from.unwrap()
    })
}

/// One port of the client's, again and again, without a pause. Who closes first has TIME_WAIT; it must not be
/// the client, whose own host would refuse.
pub fn port_used_again(stage: &Stage) -> Cell {
    Cell::of_families("port used again", |family| {
        let listener = stage.listen(family);
        let port = match family {
            Family::V4 => 40_004,
            Family::V6 => 40_006,
        };
        for round in 0..10 {
            let to = stage.target(family);
            // The client's own kernel may still wait for the last acknowledgement of the connection before.
            let mut dialled = Err(ErrorKind::AddrNotAvailable.into());
            until("the client's kernel gives the port", PATIENCE, || {
                dialled = stage.site.dial_from(Role::Client, port, to);
                let error = dialled.as_ref().err().map(io::Error::kind);
                error != Some(ErrorKind::AddrNotAvailable)
            });
            let client = match dialled {
                Ok(client) => client,
                Err(error) => {
                    println!("{family:?}, round {round}: {error}");
                    return Cell::Fails;
                }
            };
            let server = accept(&listener);
            let pair = Pair { client, server };
            talk(&pair);
            let Pair { client, server } = pair;
            if round % 2 == 0 {
                drop(server);
                expect_end(&client);
            } else {
                site::reset(client);
                site::expect_reset(&server);
            }
        }
        Cell::Works
    })
}
