//! A relay that is killed looks like a broken path, never like the end of a file, and leaves a path that
//! is what it was before.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use unmangle::lab::{Family, OpenedFrom};

use site::rules::Rules;
use site::{
    FAMILIES, OPENED, Pair, Relay, Site, Way, expect_end, expect_reset, pattern, talk, until,
};

site::in_every_way!(
    a_relay_killed_in_mid_transfer_resets_both_ends,
    sessions_that_idle_or_are_half_closed_are_reset_when_the_relay_is_killed,
);

/// Measured: well under a second; the bound is for a machine that is busy with other things.
const TABLE_GONE: Duration = Duration::from_secs(5);

/// Sends for as long as somebody takes it; returns why nobody does any more.
fn stream(mut to: &TcpStream) -> ErrorKind {
    let bytes = pattern(1, 1 << 20);
    loop {
        if let Err(error) = to.write_all(&bytes) {
            return error.kind();
        }
    }
}

fn a_relay_killed_in_mid_transfer_resets_both_ends(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    for family in FAMILIES {
        let relay = site.relay(&[]);
        let uploads = site.connect(OpenedFrom::Client, family);
        let downloads = site.connect(OpenedFrom::Server, family);
        let gone = std::thread::scope(|scope| {
            let senders = [&uploads.client, &downloads.server];
            let senders = senders.map(|sender| scope.spawn(move || stream(sender)));
            for mut receiver in [&uploads.server, &downloads.client] {
                receiver.read_exact(&mut vec![0; 10 << 20]).unwrap();
            }
            relay.signal(Signal::KILL);
            // In forward mode there was none.
            let gone = until("the table is gone", TABLE_GONE, || !site.has_table());
            expect_reset(&uploads.server);
            expect_reset(&downloads.client);
            for sender in senders {
                assert_eq!(sender.join().unwrap(), ErrorKind::ConnectionReset);
            }
            gone
        });
        println!("the table was gone {gone:?} after SIGKILL");
    }
}

fn sessions_that_idle_or_are_half_closed_are_reset_when_the_relay_is_killed(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let idle = site.connect(OpenedFrom::Client, Family::V4);
    talk(&idle);
    let asked = site.connect(OpenedFrom::Client, Family::V6);
    talk(&asked);
    asked.client.shutdown(Shutdown::Write).unwrap();
    expect_end(&asked.server);
    relay.signal(Signal::KILL);
    expect_reset(&idle.client);
    expect_reset(&idle.server);
    // It waits for its answer, and must not take silence for an empty one.
    expect_reset(&asked.client);
}

#[test]
fn connections_flow_unrelayed_after_a_kill_and_the_next_start_finds_what_was_left() {
    let Some(site) = Site::put_up() else { return };
    let rules_at_first = Rules::of(&site);
    let mut killed = site.relay(&[]);
    killed.signal(Signal::KILL);
    until("it ends", TABLE_GONE, || killed.has_ended());
    until("the table is gone", TABLE_GONE, || !site.has_table());
    for opened in OPENED {
        for family in FAMILIES {
            let Pair { client, server } = site.connect(opened, family);
            talk(&Pair { client, server });
        }
    }
    assert_eq!(site.own_ip_rules(), [1, 1], "an ip rule has no owner");

    let next = site.relay(&[]);
    assert_eq!(site.own_ip_rules(), [1, 1], "it was replaced");
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    next.ended(2);
    next.stop();
    assert_eq!(site.own_ip_rules(), [0, 0]);
    assert_eq!(Rules::of(&site), rules_at_first);
}

#[test]
fn sessions_survive_the_death_of_the_process_that_owns_the_rules() {
    let Some(site) = Site::put_up() else { return };
    let mut relay = site.relay(&[]);
    let before = relay.descriptors();
    let pairs: Vec<_> = OPENED
        .into_iter()
        .zip(FAMILIES)
        .map(|(opened, family)| site.connect(opened, family))
        .collect();
    pairs.iter().for_each(talk);
    for _ in 0..2 {
        let owner = relay.rule_owner().expect("nft runs");
        let pid = rustix::process::Pid::from_raw(owner as i32).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        until("the rules are in place again", TABLE_GONE, || {
            relay.rule_owner().is_some_and(|now| now != owner) && site.is_intercepting()
        });
        pairs.iter().for_each(talk);
    }
    assert!(!relay.has_ended());
    assert_eq!(site.own_ip_rules(), [1, 1]);
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    assert_eq!(relay.table()["accepted"], 3, "new ones are taken again");
    drop(pairs);
    relay.ended(3);
    relay.holds_no_more_than(before);
    relay.stop();
}

/// Signals the process that owns the rules.
fn signal_owner(relay: &Relay, signal: Signal) -> u32 {
    let owner = relay.rule_owner().expect("nft runs");
    let pid = rustix::process::Pid::from_raw(owner as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
    owner
}

#[test]
fn a_rule_or_route_that_somebody_removes_is_put_back_and_told() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    let losses = [
        ("ip -4 rule del pref 21069", "ip -4 rule"),
        ("ip -6 rule del pref 21069", "ip -6 rule"),
        ("ip -4 route flush table 21837", "ip -4 route"),
        ("ip link set lo down; ip link set lo up", "ip -6 route"),
    ];
    let in_place = || relay.events("it is in place again").len();
    for (number, (loss, name)) in losses.into_iter().enumerate() {
        assert_eq!(in_place(), number);
        site.lab.relay().run("sh", &["-c", loss]).unwrap();
        until(loss, TABLE_GONE, || in_place() > number);
        for family in FAMILIES {
            talk(&site.connect(OpenedFrom::Client, family));
        }
        let told = format!("somebody removed {name}: putting it in place again");
        assert!(relay.log().contains(&told), "{}", relay.log());
    }
    relay.ended(2 * losses.len());
    relay.stop();
    assert_eq!(site.own_ip_rules(), [0, 0]);
}

#[test]
fn a_session_that_drains_survives_the_death_of_the_process_that_owns_the_rules() {
    let Some(site) = Site::put_up() else { return };
    let mut relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    relay.signal(Signal::TERM);
    until("it drains", TABLE_GONE, || {
        !relay
            .events("new connections are no longer taken")
            .is_empty()
    });
    signal_owner(&relay, Signal::KILL);
    until("the rules are in place again", TABLE_GONE, || {
        !relay.events("it is in place again").is_empty()
    });
    assert!(site.has_table() && !site.is_intercepting());
    talk(&pair);
    drop(pair);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    assert!(!site.has_table());
}

#[test]
fn a_relay_whose_rules_owner_hangs_ends_all_the_same() {
    let Some(site) = Site::put_up() else { return };
    let rules_at_first = Rules::of(&site);
    let relay = site.relay(&[]);
    signal_owner(&relay, Signal::STOP);
    let log = relay.stop();
    assert!(log.contains("nft did not answer within"), "{log}");
    assert_eq!(Rules::of(&site), rules_at_first);
}
