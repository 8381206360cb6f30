//! A reset on one leg is a reset on the other: never a clean end, and never late.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::Write;
use std::net::TcpStream;

use unmangle::lab::{Family, OpenedFrom};

use unmangle::sys::tcp_info::unacknowledged;

use site::{
    OPENED, PATIENCE, Pair, Site, Way, expect_reset, pattern, reset, talk, until,
    write_until_stalled,
};

site::in_every_way!(
    a_reset_by_either_end_reaches_the_other,
    a_sender_that_resets_is_noticed_while_its_reader_does_not_read,
    a_reader_that_resets_is_noticed_by_a_sender_that_it_has_stalled,
    a_reset_after_a_half_close_is_passed_on,
);
/// A foreign engine loses what it holds when a leg breaks.
mod of_our_own {
    use super::*;

    site::in_ways!(splice, forward: (
        what_was_accepted_before_a_reset_reaches_a_peer_that_still_reads,
        a_peer_that_reads_gets_what_was_sent_before_the_other_was_found_to_be_gone,
    ));
}

/// More than a stalled path holds.
const TOO_MUCH: usize = 8_000_000;

fn a_reset_by_either_end_reaches_the_other(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for opened in OPENED {
        for family in site::FAMILIES {
            let Pair { client, server } = alive(&site, opened, family);
            let address = client.local_addr().unwrap();
            reset(client);
            expect_reset(&server);
            let session = relay.ended_for(address);
            assert_eq!(
                (&session["closed_by"], &session["how"]),
                (&"client".into(), &"rst".into())
            );

            let Pair { client, server } = alive(&site, opened, family);
            reset(server);
            expect_reset(&client);
            let session = relay.ended_for(client.local_addr().unwrap());
            assert_eq!(
                (&session["closed_by"], &session["how"]),
                (&"server".into(), &"rst".into())
            );
        }
    }
    relay.holds_no_more_than(before);
}

fn a_sender_that_resets_is_noticed_while_its_reader_does_not_read(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for opened in OPENED {
        let Pair { client, server } = alive(&site, opened, Family::V4);
        stall(&client);
        reset(client);
        site::until_reset(&server);

        let Pair { client, server } = alive(&site, opened, Family::V6);
        stall(&server);
        reset(server);
        site::until_reset(&client);
    }
    relay.ended(4);
    relay.holds_no_more_than(before);
}

fn a_reader_that_resets_is_noticed_by_a_sender_that_it_has_stalled(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let Pair { client, server } = alive(&site, OpenedFrom::Client, Family::V4);
    stall(&client);
    reset(server);
    site::until_reset(&client);

    let Pair { client, server } = alive(&site, OpenedFrom::Client, Family::V4);
    stall(&server);
    reset(client);
    site::until_reset(&server);
    relay.ended(2);
    relay.holds_no_more_than(before);
}

fn a_reset_after_a_half_close_is_passed_on(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let Pair { client, server } = alive(&site, OpenedFrom::Client, Family::V4);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    site::expect_end(&server);
    reset(server);
    expect_reset(&client);

    let Pair { client, server } = alive(&site, OpenedFrom::Client, Family::V4);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    site::expect_end(&server);
    // The one that has half-closed goes away altogether: its FIN is behind it.
    reset(client);
    site::until_reset(&server);
    relay.ended(2);
}

fn what_was_accepted_before_a_reset_reaches_a_peer_that_still_reads(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let bytes = pattern(7, 3_000_000);
    for (opened, family) in OPENED.into_iter().zip(site::FAMILIES) {
        for by_client in [true, false] {
            let Pair { client, server } = alive(&site, opened, family);
            let address = client.local_addr().unwrap();
            let (from, to) = if by_client {
                (client, server)
            } else {
                (server, client)
            };
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| site::read_slowly_until_reset(&to));
                (&from).write_all(&bytes).unwrap();
                // The relay answers for them; nobody has read them all.
                until("the relay has taken the bytes", PATIENCE, || {
                    unacknowledged(&from).unwrap() == 0
                });
                reset(from);
                assert!(reading.join().unwrap() == bytes, "{opened:?} {by_client}");
            });
            let session = relay.ended_for(address);
            let by = if by_client { "client" } else { "server" };
            assert_eq!(
                (&session["closed_by"], &session["how"]),
                (&by.into(), &"rst".into())
            );
        }
    }
    site.has_no_leg_left();
    relay.holds_no_more_than(before);
}

fn a_peer_that_reads_gets_what_was_sent_before_the_other_was_found_to_be_gone(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    // What fits into the window of a client that does not read yet.
    let answer = pattern(8, 40_000);
    for opened in OPENED {
        let Pair { client, server } = alive(&site, opened, Family::V4);
        // It answers and leaves; what the client goes on to say is answered by a reset.
        (&server).write_all(&answer).unwrap();
        drop(server);
        let mut client = &client;
        let gone = until_error(|| client.write_all(&pattern(9, 100_000)));
        assert!(gone, "{opened:?}");
        assert!(site::read_to_end(client).unwrap() == answer, "{opened:?}");
    }
    relay.ended(2);
    site.has_no_leg_left();
}

/// Whether it fails in the end.
fn until_error(mut act: impl FnMut() -> std::io::Result<()>) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if act().is_err() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

/// Writes until the path takes no more.
fn stall(from: &TcpStream) {
    let taken = write_until_stalled(from, &pattern(1, TOO_MUCH));
    assert!(taken < TOO_MUCH, "the path took everything");
}

fn alive(site: &Site, opened: OpenedFrom, family: Family) -> Pair {
    let pair = site.connect(opened, family);
    talk(&pair);
    pair
}
