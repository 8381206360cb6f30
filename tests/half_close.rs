//! An end that has said all it has to say can still listen.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use unmangle::sys::tcp_info::unacknowledged;

use site::{
    FAMILIES, OPENED, PATIENCE, Pair, Relay, Site, Way, carry, expect_end, pattern, read_to_end,
    until,
};

site::in_every_way!(
    a_client_that_has_half_closed_still_gets_its_answer,
    a_server_that_has_half_closed_still_gets_the_rest,
    what_was_sent_just_before_the_end_arrives_before_it,
    every_order_of_ends_and_resets_is_passed_on_and_leaves_no_leg_behind,
    a_client_that_never_reads_the_last_bytes_is_let_go_after_the_close_timeout,
    a_client_that_never_reads_does_not_cost_a_slow_server_its_last_bytes,
);

const QUESTION: usize = 100_000;
const ANSWER: usize = 10_000_000;

fn a_client_that_has_half_closed_still_gets_its_answer(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        let pair = site.connect(opened, family);
        carry(&pair.client, &pair.server, &pattern(1, QUESTION));
        pair.client.shutdown(Shutdown::Write).unwrap();
        expect_end(&pair.server);
        carry(&pair.server, &pair.client, &pattern(2, ANSWER));
        drop(pair.server);
        expect_end(&pair.client);
    }
    for session in relay.ended(2) {
        assert_eq!(session["client_to_server_bytes"], QUESTION, "{session}");
        assert_eq!(session["server_to_client_bytes"], ANSWER, "{session}");
        assert_eq!(
            (&session["closed_by"], &session["how"]),
            (&"client".into(), &"fin".into())
        );
    }
    relay.holds_no_more_than(before);
}

fn a_server_that_has_half_closed_still_gets_the_rest(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        let pair = site.connect(opened, family);
        carry(&pair.server, &pair.client, &pattern(1, QUESTION));
        pair.server.shutdown(Shutdown::Write).unwrap();
        expect_end(&pair.client);
        carry(&pair.client, &pair.server, &pattern(2, ANSWER));
        drop(pair.client);
        expect_end(&pair.server);
    }
    for session in relay.ended(2) {
        assert_eq!(session["client_to_server_bytes"], ANSWER, "{session}");
        assert_eq!(session["server_to_client_bytes"], QUESTION, "{session}");
        assert_eq!(
            (&session["closed_by"], &session["how"]),
            (&"server".into(), &"fin".into())
        );
    }
    relay.holds_no_more_than(before);
}

fn what_was_sent_just_before_the_end_arrives_before_it(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let listener = site.listen(unmangle::lab::Role::Server, FAMILIES[0]);
    for nth in 0..50 {
        let pair = site.connect_to(&listener, OPENED[0]);
        let last = pattern(nth, 1 + nth as usize * 5_000);
        std::thread::scope(|scope| {
            // Closed with everything still on its way.
            scope.spawn(|| {
                let mut client = pair.client;
                client.write_all(&last).unwrap();
            });
            assert!(read_to_end(&pair.server).unwrap() == last);
        });
    }
    relay.ended(50);
}

/// What becomes of a connection of which one end has said all it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The other one says so, too.
    BothEnd,
    /// The other one resets.
    OtherResets,
    /// The one that has half-closed resets.
    SameResets,
}

fn every_order_of_ends_and_resets_is_passed_on_and_leaves_no_leg_behind(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let mut sessions = 0;
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        for client_first in [true, false] {
            for pending in [0, 1_000, 100_000] {
                for then in [Then::BothEnd, Then::OtherResets, Then::SameResets] {
                    let pair = site.connect(opened, family);
                    let client = pair.client.local_addr().unwrap();
                    let what = format!("{opened:?} {family:?} {client_first} {pending} {then:?}");
                    part(pair, client_first, pending, then, way, &what);
                    let session = relay.ended_for(client);
                    let how = if then == Then::BothEnd { "fin" } else { "rst" };
                    assert_eq!(session["how"], how, "{what}: {session}");
                    sessions += 1;
                }
            }
        }
    }
    assert_eq!(relay.table()["session lifetime"], sessions);
    site.has_no_leg_left();
    relay.holds_no_more_than(before);
}

/// One connection, from its first end to its last.
fn part(pair: Pair, client_first: bool, pending: usize, then: Then, way: Way, what: &str) {
    site::talk(&pair);
    let Pair { client, server } = pair;
    let (first, other) = if client_first {
        (client, server)
    } else {
        (server, client)
    };
    first.shutdown(Shutdown::Write).unwrap();
    expect_end(&other);
    let bytes = pattern(pending as u64, pending);
    (&other).write_all(&bytes).unwrap();
    until("the relay has taken the bytes", PATIENCE, || {
        unacknowledged(&other).unwrap() == 0
    });
    match then {
        Then::BothEnd => {
            drop(other);
            assert!(read_to_end(&first).unwrap() == bytes, "{what}");
        }
        Then::OtherResets => {
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| site::read_until_reset(&first));
                site::reset(other);
                let read = reading.join().unwrap();
                // A foreign engine loses what it holds when a leg breaks.
                let lost = if way.is_foreign() {
                    bytes.len() - read.len()
                } else {
                    0
                };
                assert!(read == bytes[..bytes.len() - lost], "{what}");
            });
        }
        Then::SameResets => {
            site::reset(first);
            site::until_reset(&other);
        }
    }
}

fn a_client_that_never_reads_the_last_bytes_is_let_go_after_the_close_timeout(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&["--close-timeout", "1s"]);
    let before = relay.descriptors();
    // So little that the relay's own socket holds what the client's does not; and so much that the relay has
    // not even read the server's end, which a foreign engine does not notice.
    for too_much in [false, true]
        .into_iter()
        .take(if way.is_foreign() { 1 } else { 2 })
    {
        let Pair { client, server } = site.connect(OPENED[0], FAMILIES[0]);
        let address = client.local_addr().unwrap();
        if too_much {
            site::fill_until(&server, || relay_has_unread_bytes(&site));
        } else {
            (&server).write_all(&pattern(1, 24_000)).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        expect_end(&server);
        drop(server);
        is_given_up(&relay, &client, address);
    }
    site.has_no_leg_left();
    relay.holds_no_more_than(before);
}

fn a_client_that_never_reads_does_not_cost_a_slow_server_its_last_bytes(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&["--close-timeout", "2s"]);
    let Pair { client, server } = site.connect(OPENED[0], FAMILIES[0]);
    let address = client.local_addr().unwrap();
    let question = pattern(2, 60_000);
    (&server).write_all(&pattern(1, 24_000)).unwrap();
    (&client).write_all(&question).unwrap();
    for end in [&client, &server] {
        end.shutdown(Shutdown::Write).unwrap();
    }
    // So slowly that the client is given up long before the last byte.
    let mut received = Vec::new();
    let mut piece = [0; 500];
    while received.len() < question.len() {
        std::thread::sleep(Duration::from_millis(25));
        let read = (&server).read(&mut piece);
        let read = read.unwrap_or_else(|error| panic!("{error} after {} bytes", received.len()));
        assert!(read > 0, "{} bytes, then the end", received.len());
        received.extend_from_slice(&piece[..read]);
    }
    assert!(received == question);
    is_given_up(&relay, &client, address);
}

/// The client of this address took nothing for too long, and both ends and the log are told.
fn is_given_up(relay: &Relay, client: &TcpStream, address: SocketAddr) {
    let session = relay.ended_for(address);
    assert_eq!(
        (&session["closed_by"], &session["how"]),
        (&"client".into(), &"timeout".into()),
        "{session}"
    );
    site::until_reset(client);
}

/// Whether the relay's socket towards the server holds what it does not read.
fn relay_has_unread_bytes(site: &Site) -> bool {
    let legs = site
        .lab
        .relay()
        .run("ss", &["-Htn", "dport = :22"])
        .unwrap();
    let unread = |leg: &str| leg.split_whitespace().nth(1) != Some("0");
    legs.lines().any(unread)
}
