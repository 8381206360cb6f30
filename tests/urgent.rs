//! Urgent data (RFC 9293, 3.8.5): no byte is lost, each arrives in its place in the stream, and that it was
//! urgent is not passed on.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::TcpStream;

use socket2::SockRef;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{FAMILIES, OPENED, Pair, Site, Way, pattern};

site::in_every_way!(
    an_urgent_byte_arrives_in_its_place_in_the_stream,
    an_urgent_byte_that_is_the_last_for_now_is_not_held_back,
    bulk_with_urgent_bytes_in_it_arrives_whole,
    an_urgent_byte_that_ends_a_bulk_is_not_held_back,
);

/// Sends bytes of which the last is urgent.
fn send_urgently(to: &TcpStream, bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        sent += SockRef::from(to).send_out_of_band(&bytes[sent..]).unwrap();
    }
}

#[test]
fn without_a_relay_an_urgent_byte_is_out_of_line() {
    let Some(site) = Site::put_up() else { return };
    let Pair { client, server } = site.connect(OpenedFrom::Client, Family::V4);
    (&client).write_all(b"before").unwrap();
    send_urgently(&client, b"!");
    (&client).write_all(b"after").unwrap();
    drop(client);
    assert_eq!(site::read_to_end(&server).unwrap(), b"beforeafter");
}

fn an_urgent_byte_arrives_in_its_place_in_the_stream(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        for by_client in [true, false] {
            let Pair { client, server } = site.connect(opened, family);
            let (from, to) = if by_client {
                (&client, &server)
            } else {
                (&server, &client)
            };
            (&mut &*from).write_all(b"before").unwrap();
            send_urgently(from, b"!");
            (&mut &*from).write_all(b"after").unwrap();
            from.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(site::read_to_end(to).unwrap(), b"before!after");
        }
    }
    relay.ended(4);
}

fn an_urgent_byte_that_is_the_last_for_now_is_not_held_back(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, Family::V6);
    for _ in 0..200 {
        // As telnet interrupts: what was said before, and the mark behind it, in one segment.
        send_urgently(&pair.client, b"\xff\xf4\xff\xf2");
        let mut heard = [0; 4];
        (&pair.server).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"\xff\xf4\xff\xf2");
    }
    drop(pair);
    relay.ended(1);
}

fn bulk_with_urgent_bytes_in_it_arrives_whole(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let bytes = pattern(1, 8_000_000);
    for opened in OPENED {
        let Pair { client, server } = site.connect(opened, Family::V4);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in bytes.chunks(300_000) {
                    send_urgently(&client, piece);
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
            });
            assert!(site::read_to_end(&server).unwrap() == bytes);
        });
    }
    relay.ended(2);
}

fn an_urgent_byte_that_ends_a_bulk_is_not_held_back(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let listener = site.listen(Role::Server, Family::V4);
    let pair = site.connect_to(&listener, OpenedFrom::Client);
    for nth in 0..20 {
        let bytes = pattern(nth, 1_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| send_urgently(&pair.client, &bytes));
            let mut received = Vec::new();
            let mut whole = (&pair.server).take(bytes.len() as u64);
            let read = whole.read_to_end(&mut received);
            assert!(read.is_ok(), "after {} bytes: {read:?}", received.len());
            assert!(received == bytes);
        });
        // It is answered only when it is whole.
        site::carry(&pair.server, &pair.client, b"I have all of it");
    }
    drop(pair);
    relay.ended(1);
}
