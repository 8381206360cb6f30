//! A session that has bytes to deliver and moves none is named in the log and counted, with the side that is stuck
//! and why; it goes on, unless a reset is asked for.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};

use serde_json::Value;
use socket2::SockRef;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{
    OPENED, PATIENCE, Pair, Relay, Site, Way, pattern, talk, until, until_reset,
    write_until_stalled,
};

site::in_every_way!(
    a_reader_that_does_not_read_is_named_with_its_side_and_goes_on_when_it_reads,
    a_wire_that_is_cut_is_named_with_its_side_and_the_session_goes_on_when_it_is_mended,
    a_little_that_only_the_kernel_holds_is_no_less_stuck,
    a_stuck_session_is_reset_where_that_is_asked_for,
    sessions_with_nothing_to_deliver_are_not_stuck,
    a_reader_that_takes_a_little_now_and_then_is_not_stuck,
);

const MANY: usize = 4 << 20;
const SOON: [&str; 2] = ["--stall-after", "400ms"];

/// Waits for the next line of a session of this client that is stuck, or moves again.
fn line(relay: &Relay, message: &str, pair: &Pair) -> Value {
    let client = pair.client.local_addr().unwrap().to_string();
    let find = || {
        let mut lines = relay.events(message).into_iter();
        lines.find(|line| line["client"] == client)
    };
    until(message, PATIENCE, || find().is_some());
    find().unwrap()
}

/// The relay's own counts of stalls, without those that are 0.
fn stalls(relay: &Relay) -> Vec<(String, u64)> {
    let table = relay.table().into_iter();
    table
        // Not the times, `stall client_to_server`.
        .filter(|(name, count)| name.starts_with("stall") && !name.contains(' ') && *count > 0)
        .collect()
}

fn counted(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// Both ends of a session, sender first, for a receiver who is the server or the client.
fn ends(pair: &Pair, to_server: bool) -> (&std::net::TcpStream, &std::net::TcpStream) {
    match to_server {
        true => (&pair.client, &pair.server),
        false => (&pair.server, &pair.client),
    }
}

fn direction(to_server: bool) -> (&'static str, &'static str) {
    match to_server {
        true => ("client_to_server", "server"),
        false => ("server_to_client", "client"),
    }
}

fn a_reader_that_does_not_read_is_named_with_its_side_and_goes_on_when_it_reads(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&SOON);
    let bytes = pattern(1, MANY);
    for (opened, to_server) in OPENED.into_iter().zip([true, false]) {
        let pair = site.connect(opened, Family::V4);
        talk(&pair);
        let (from, to) = ends(&pair, to_server);
        let (name, side) = direction(to_server);
        let sent = write_until_stalled(from, &bytes);
        assert!(sent < MANY, "nothing stalled");
        let stuck = line(&relay, "session is stuck", &pair);
        assert_eq!(stuck["level"], "WARN", "{stuck}");
        assert_eq!(stuck["target"], "unmangle::session", "{stuck}");
        assert_eq!(stuck["direction"], name, "{stuck}");
        assert_eq!(stuck["side"], side, "{stuck}");
        assert_eq!(stuck["why"], "peer window shut", "{stuck}");
        assert!(stuck["waiting_bytes"].as_u64().unwrap() > 1000, "{stuck}");
        assert!(stuck["still_ms"].as_u64().unwrap() >= 400, "{stuck}");

        let mut received = vec![0; sent];
        (&mut &*to).read_exact(&mut received).unwrap();
        assert!(received == bytes[..sent]);
        let moves = line(&relay, "session moves again", &pair);
        assert_eq!(moves["direction"], name, "{moves}");
        assert!(moves["still_ms"].as_u64().unwrap() >= 400, "{moves}");
        talk(&pair);
    }
    relay.ended(2);
    let expected = [
        ("stalls_over", 2),
        ("stalls_window_client", 1),
        ("stalls_window_server", 1),
    ];
    assert_eq!(stalls(&relay), counted(&expected));
}

fn a_wire_that_is_cut_is_named_with_its_side_and_the_session_goes_on_when_it_is_mended(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&SOON);
    for to_server in [true, false] {
        let pair = site.connect(OpenedFrom::Client, Family::V4);
        talk(&pair);
        let (mut from, to) = ends(&pair, to_server);
        let deaf = if to_server {
            Role::Server
        } else {
            Role::Client
        };
        site.cut(deaf);
        let bytes = pattern(2, 100_000);
        from.write_all(&bytes).unwrap();
        let stuck = line(&relay, "session is stuck", &pair);
        let (name, side) = direction(to_server);
        assert_eq!(stuck["direction"], name, "{stuck}");
        assert_eq!(stuck["side"], side, "{stuck}");
        assert_eq!(stuck["why"], "unacknowledged", "{stuck}");
        assert!(stuck["in_flight_segments"].as_u64().unwrap() > 0, "{stuck}");
        site.mend(deaf);
        let mut received = vec![0; bytes.len()];
        (&mut &*to).read_exact(&mut received).unwrap();
        assert!(received == bytes);
        line(&relay, "session moves again", &pair);
        drop(pair);
        relay.ended(1 + usize::from(!to_server));
    }
    let expected = [
        ("stalls_over", 2),
        ("stalls_unacked_client", 1),
        ("stalls_unacked_server", 1),
    ];
    assert_eq!(stalls(&relay), counted(&expected));
}

fn a_little_that_only_the_kernel_holds_is_no_less_stuck(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&SOON);
    let pair = site.connect(OpenedFrom::Client, Family::V6);
    talk(&pair);
    site.cut(Role::Server);
    (&pair.client).write_all(b"ten bytes.").unwrap();
    let stuck = line(&relay, "session is stuck", &pair);
    assert_eq!(stuck["waiting_bytes"], 10, "{stuck}");
    assert_eq!(stuck["why"], "unacknowledged", "{stuck}");
    site.mend(Role::Server);
    line(&relay, "session moves again", &pair);
}

fn a_stuck_session_is_reset_where_that_is_asked_for(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    // Whoever writes has to notice first that nothing is taken any more.
    let relay = site.relay(&["--stall-after", "1500ms", "--stall-action", "reset"]);
    let before = relay.descriptors();
    let lively = site.connect(OpenedFrom::Server, Family::V4);
    let Pair { client, server } = site.connect(OpenedFrom::Client, Family::V4);
    let address = client.local_addr().unwrap();
    write_until_stalled(&client, &pattern(3, MANY));
    let ended = relay.ended_for(address);
    until_reset(&client);
    until_reset(&server);
    assert_eq!(
        (&ended["closed_by"], &ended["how"]),
        (&"relay".into(), &"stall".into()),
        "{ended}"
    );
    talk(&lively);
    drop((client, server, lively));
    relay.ended(2);
    let expected = [("stall_resets", 1), ("stalls_window_server", 1)];
    assert_eq!(stalls(&relay), counted(&expected));
    relay.holds_no_more_than(before);
}

fn sessions_with_nothing_to_deliver_are_not_stuck(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&SOON);
    let idle: Vec<_> = OPENED.map(|opened| site.connect(opened, Family::V6)).into();
    let half_closed = site.connect(OpenedFrom::Client, Family::V4);
    idle.iter().for_each(talk);
    half_closed
        .client
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    site::expect_end(&half_closed.server);
    // Two that are stuck one after the other: the silent ones were looked at for as long as both.
    for _ in 0..2 {
        let pair = site.connect(OpenedFrom::Client, Family::V4);
        write_until_stalled(&pair.client, &pattern(4, MANY));
        line(&relay, "session is stuck", &pair);
        site::reset(pair.client);
        drop(pair.server);
    }
    assert_eq!(relay.events("session is stuck").len(), 2);
    assert_eq!(stalls(&relay), counted(&[("stalls_window_server", 2)]));
    idle.iter().for_each(talk);
}

fn a_reader_that_takes_a_little_now_and_then_is_not_stuck(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&["--stall-after", "2s"]);
    let slow = site.connect(OpenedFrom::Client, Family::V4);
    let stuck = site.connect(OpenedFrom::Server, Family::V4);
    let bytes = pattern(5, MANY);
    for pair in [&slow, &stuck] {
        assert!(
            write_until_stalled(&pair.client, &bytes) < MANY,
            "nothing stalled"
        );
    }
    // As long as it takes the other one to be named, and once more: so much is let in by its window each time.
    let mut piece = vec![0; 24_000];
    let mut round = 0;
    let named = || relay.events("session is stuck").len();
    while named() == 0 || round < 20 {
        (&slow.server).read_exact(&mut piece).unwrap();
        write_until_stalled(&slow.client, &bytes);
        round += 1;
    }
    let server = stuck.client.local_addr().unwrap().to_string();
    assert_eq!(relay.events("session is stuck")[0]["client"], server);
    assert_eq!(named(), 1);
}

#[test]
fn nobody_is_told_where_stalls_are_not_watched_for() {
    let Some(site) = Site::put_up() else { return };
    site.hold_little();
    let listener = |name: &str, opened: OpenedFrom, more: &str| {
        let to = opened.listener().address(Family::V4);
        format!(
            "[[listener]]\nname = \"{name}\"\nintercept = 22\nto = \"{to}\"\nmangled-side = \"fw0\"\n\
             profile = \"clean\"\n{more}"
        )
    };
    let file = site.lab.directory().join("stall.toml");
    let text = format!(
        "stall-after = \"400ms\"\n{}\n{}",
        listener("watched", OpenedFrom::Client, ""),
        listener("unwatched", OpenedFrom::Server, "stall-after = \"off\"\n"),
    );
    std::fs::write(&file, text).unwrap();
    let relay = Relay::start(&site.lab, &["--config", file.to_str().unwrap()]);
    let unwatched = site.connect(OpenedFrom::Server, Family::V4);
    write_until_stalled(&unwatched.client, &pattern(6, MANY));
    let watched = site.connect(OpenedFrom::Client, Family::V4);
    write_until_stalled(&watched.client, &pattern(6, MANY));
    let stuck = line(&relay, "session is stuck", &watched);
    assert_eq!(stuck["listener"], "watched", "{stuck}");
    assert_eq!(relay.events("session is stuck").len(), 1);
}

#[test]
fn bytes_that_an_engine_leaves_lying_are_the_relays_own_stall() {
    let Some(mut site) = Site::put_up() else {
        return;
    };
    site.way = Way::Forward;
    // Without rules that clear the mark, this engine waits before an urgent byte.
    let relay = site.relay(&[&SOON[..], &["--engine", "tokio-splice"]].concat());
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    let sent = SockRef::from(&pair.client).send_out_of_band(b"!").unwrap();
    assert_eq!(sent, 1);
    let stuck = line(&relay, "session is stuck", &pair);
    assert_eq!(stuck["side"], "relay", "{stuck}");
    assert_eq!(stuck["why"], "pipe", "{stuck}");
    assert_eq!(stuck["direction"], "client_to_server", "{stuck}");
    assert_eq!(stuck["waiting_bytes"], 1, "{stuck}");
    assert_eq!(stalls(&relay), counted(&[("stalls_pipe", 1)]));
}
