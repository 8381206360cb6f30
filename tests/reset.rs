//! A reset on one leg is a reset on the other: never a clean end, and never late.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

use unmangle::lab::{Family, OpenedFrom};

use site::{
    OPENED, Pair, Site, Way, expect_reset, pattern, reset, talk, until, write_until_stalled,
};

site::in_every_way!(
    a_reset_by_either_end_reaches_the_other,
    a_sender_that_resets_is_noticed_while_its_reader_does_not_read,
    a_reader_that_resets_is_noticed_by_a_sender_that_it_has_stalled,
    a_reset_after_a_half_close_is_passed_on,
);

/// More than a stalled path holds.
const TOO_MUCH: usize = 8_000_000;
/// A reset that waits for a retransmission or a probe takes longer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Waits for a reset without reading a byte, as somebody would who does not read.
fn until_reset(stream: &TcpStream) {
    until("the reset arrives", AT_ONCE, || {
        let error: Option<io::Error> = stream.take_error().unwrap();
        // The kernel calls a reset after the peer's FIN a broken pipe.
        let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        error.is_some_and(|error| reset.contains(&error.kind()))
    });
}

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
        until_reset(&server);

        let Pair { client, server } = alive(&site, opened, Family::V6);
        stall(&server);
        reset(server);
        until_reset(&client);
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
    until_reset(&client);

    let Pair { client, server } = alive(&site, OpenedFrom::Client, Family::V4);
    stall(&server);
    reset(client);
    until_reset(&server);
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
    until_reset(&server);
    relay.ended(2);
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
