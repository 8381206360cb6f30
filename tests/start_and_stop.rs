//! The relay comes and goes without harm to what runs through the box.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{
    FAMILIES, OPENED, PATIENCE, Pair, Relay, Site, Way, carry, expect_reset, pattern, talk, until,
};

site::in_every_way!(
    a_relayed_session_goes_on_after_sigterm_until_it_ends_and_new_ones_are_not_relayed,
    what_still_runs_when_the_drain_is_over_is_reset,
    a_second_signal_ends_the_drain_at_once,
    last_bytes_that_a_slow_reader_has_not_taken_yet_are_delivered_before_the_end,
    a_dial_that_hangs_does_not_hold_up_the_end,
);

/// Tells the relay to stop, and waits until it takes no new connection.
fn begin_drain(site: &Site, relay: &Relay, signal: Signal) {
    relay.signal(signal);
    until("nothing new is taken", PATIENCE, || !site.takes_new_ones());
}

#[test]
fn sessions_that_run_unrelayed_outlive_the_start_and_the_stop_of_a_relay() {
    let Some(site) = Site::put_up() else { return };
    let pairs = || OPENED.into_iter().zip(FAMILIES);
    let open = |(opened, family)| site.connect(opened, family);
    let (busy, idle): (Vec<Pair>, Vec<Pair>) =
        (pairs().map(open).collect(), pairs().map(open).collect());
    busy.iter().chain(&idle).for_each(talk);

    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = pattern(1, 200_000);
            while !over.load(Ordering::Relaxed) {
                for pair in &busy {
                    carry(&pair.client, &pair.server, &bytes);
                    carry(&pair.server, &pair.client, &bytes);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let several_rounds = || {
            let begun = rounds.load(Ordering::Relaxed);
            until("data flows", PATIENCE, || {
                rounds.load(Ordering::Relaxed) > begun + 3
            });
        };
        several_rounds();
        for _ in 0..3 {
            let relay = site.relay(&[]);
            several_rounds();
            talk(&site.connect(OpenedFrom::Client, Family::V4));
            assert_eq!(relay.ended(1).len(), 1, "only the new one was relayed");
            relay.stop();
            several_rounds();
        }
        over.store(true, Ordering::Relaxed);
    });
    busy.iter().chain(&idle).for_each(talk);
}

fn a_relayed_session_goes_on_after_sigterm_until_it_ends_and_new_ones_are_not_relayed(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    for signal in [Signal::TERM, Signal::INT] {
        let mut relay = site.relay(&[]);
        let listener = site.listen(OpenedFrom::Client.listener(), Family::V4);
        let old = site.connect_to(&listener, OpenedFrom::Client);
        talk(&old);
        begin_drain(&site, &relay, signal);
        carry(&old.client, &old.server, &pattern(1, 3_000_000));

        let new = match way {
            Way::Gateway(_) => Some(site.connect_to(&listener, OpenedFrom::Client)),
            // There is nowhere else where it could pass.
            Way::Forward => {
                let door = site.door(Role::Client, Family::V4);
                let error = site.dial(Role::Client, door).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                None
            }
        };
        new.iter().for_each(talk);
        carry(&old.server, &old.client, &pattern(2, 3_000_000));
        assert!(!relay.has_ended());
        drop(old);
        assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
        assert_eq!(
            relay.events("session ended").len(),
            1,
            "the new one was not relayed"
        );
        assert_eq!(relay.events("drained").len(), 1);
        assert!(!site.has_table());
        // It ran beside the relay, and does not need it.
        new.iter().for_each(talk);
    }
}

fn what_still_runs_when_the_drain_is_over_is_reset(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let mut relay = site.relay(&["--drain", "500ms"]);
    let pair = site.connect(OpenedFrom::Client, Family::V6);
    talk(&pair);
    relay.signal(Signal::TERM);
    expect_reset(&pair.client);
    expect_reset(&pair.server);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    let session = &relay.events("session ended")[0];
    assert_eq!(
        (&session["closed_by"], &session["how"]),
        (&"relay".into(), &"drain".into())
    );
    assert!(!site.has_table());
}

fn a_second_signal_ends_the_drain_at_once(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let mut relay = site.relay(&["--drain", "10m"]);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    begin_drain(&site, &relay, Signal::TERM);
    talk(&pair);
    let begun = Instant::now();
    relay.signal(Signal::TERM);
    expect_reset(&pair.client);
    expect_reset(&pair.server);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

fn last_bytes_that_a_slow_reader_has_not_taken_yet_are_delivered_before_the_end(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    // The relay's kernel takes the whole answer, the client's does not.
    let small = [("net/ipv4/tcp_rmem", "4096 16384 65536")];
    site.lab.client().set(&small).unwrap();
    let large = [("net/ipv4/tcp_wmem", "4096 4194304 4194304")];
    site.lab.relay().set(&large).unwrap();
    let mut relay = site.relay(&[]);
    let Pair { client, server } = site.connect(OpenedFrom::Client, Family::V4);
    let peer = server.peer_addr().unwrap().ip().to_string();
    client.shutdown(Shutdown::Write).unwrap();
    let answer = pattern(1, 1_000_000);
    (&server).write_all(&answer).unwrap();
    drop(server);
    // The session is as good as over: both ends have been read.
    until("the relay has read the answer", PATIENCE, || {
        let queued = ["-Htn", "state", "all", "sport", "= :22", "dst", &peer];
        let queues = site.lab.server().run("ss", &queued).unwrap();
        !queues.contains("ESTAB")
            && !queues.contains("CLOSE-WAIT")
            && !queues.contains("FIN-WAIT-1")
    });
    relay.signal(Signal::TERM);
    until("nothing new is taken", PATIENCE, || !site.takes_new_ones());
    let mut received = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        // A slow reader: everything takes most of a second.
        std::thread::sleep(Duration::from_millis(10));
        match (&client).read(&mut buffer).expect("the rest") {
            0 => break,
            read => received.extend_from_slice(&buffer[..read]),
        }
    }
    assert!(received == answer, "{} bytes", received.len());
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
}

fn a_dial_that_hangs_does_not_hold_up_the_end(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let drop_opening = "table inet deaf { chain input {
        type filter hook input priority 0; tcp dport 22 drop; }; }";
    site.lab
        .server()
        .feed("nft", &["-f", "-"], drop_opening)
        .unwrap();
    let mut relay = site.relay(&["--connect-timeout", "10m", "--drain", "500ms"]);
    let before = relay.descriptors();
    let to = site.door(Role::Client, Family::V4);
    let client = site.dial(Role::Client, to).unwrap();
    until("it is dialled", PATIENCE, || {
        relay.descriptors().sockets == before.sockets + 2
    });
    let begun = Instant::now();
    relay.signal(Signal::TERM);
    expect_reset(&client);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}
