//! A destination that cannot be reached is the client's to know at once, and the log's to explain.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use unmangle::lab::{Family, Role};

use site::{FAMILIES, PATIENCE, Relay, Site, Way, until};

site::in_every_way!(
    a_refused_dial_resets_the_client_and_says_why,
    a_dial_without_an_answer_is_given_up_in_time,
    a_client_that_gives_up_while_the_server_is_dialled_is_not_waited_for,
);

/// A client's connection is accepted before the server is dialled: the failure follows as a reset.
fn expect_refusal(connected: std::io::Result<TcpStream>) {
    let error = connected.and_then(|mut stream| stream.read(&mut [0]));
    let kind = error.expect_err("a reset").kind();
    let resets = [ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused];
    assert!(resets.contains(&kind), "{kind:?}");
}

fn failures(relay: &Relay, count: usize) -> Vec<Value> {
    let find = || relay.events("session failed");
    until("the failure is logged", PATIENCE, || find().len() >= count);
    find()
}

fn a_refused_dial_resets_the_client_and_says_why(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for family in FAMILIES {
        // Nobody listens.
        expect_refusal(site.dial(Role::Client, site.door(Role::Client, family)));
    }
    for failure in failures(&relay, 2) {
        let error = failure["error"].as_str().unwrap();
        assert!(error.contains("refused"), "{failure}");
        assert!(error.contains(":22 for "), "{failure}");
    }
    assert_eq!(relay.table()["dial_failures"], 2);
    relay.holds_no_more_than(before);
}

#[test]
fn an_unreachable_destination_resets_the_client_and_says_why() {
    let Some(site) = Site::put_up() else { return };
    // Routed, and answered by ICMP from the server's host.
    let server = site.lab.server();
    server
        .run("ip", &["route", "add", "unreachable", "198.51.100.128/25"])
        .unwrap();
    server.set(&[("net/ipv4/ip_forward", "1")]).unwrap();
    let route = ["route", "add", "198.51.100.128/25", "via", "198.51.100.2"];
    site.lab.relay().run("ip", &route).unwrap();
    let relay = site.relay(&[]);
    let begun = Instant::now();
    expect_refusal(site.dial(Role::Client, "198.51.100.129:22".parse().unwrap()));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let failure = failures(&relay, 1).remove(0);
    assert!(
        failure["error"].as_str().unwrap().contains("route to host"),
        "{failure}"
    );
    assert_eq!(relay.table()["dial_failures"], 1);
}

fn a_dial_without_an_answer_is_given_up_in_time(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let drop_opening = "table inet deaf { chain input {
        type filter hook input priority 0; tcp dport 22 drop; }; }";
    site.lab
        .server()
        .feed("nft", &["-f", "-"], drop_opening)
        .unwrap();
    let relay = site.relay(&["--connect-timeout", "1s"]);
    let to = site.door(Role::Client, Family::V4);
    let begun = Instant::now();
    expect_refusal(site.dial(Role::Client, to));
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_millis(900),
        "given up after {waited:?}"
    );
    let failure = failures(&relay, 1).remove(0);
    assert!(
        failure["error"]
            .as_str()
            .unwrap()
            .contains("no answer within 1s"),
        "{failure}"
    );
    assert_eq!(relay.table()["dial_failures"], 1);
}

fn a_client_that_gives_up_while_the_server_is_dialled_is_not_waited_for(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let drop_opening = "table inet deaf { chain input {
        type filter hook input priority 0; tcp dport 22 drop; }; }";
    site.lab
        .server()
        .feed("nft", &["-f", "-"], drop_opening)
        .unwrap();
    let relay = site.relay(&["--connect-timeout", "10m"]);
    let before = relay.descriptors();
    let to = site.door(Role::Client, Family::V4);
    let client = site.dial(Role::Client, to).unwrap();
    until("it is dialled", PATIENCE, || {
        relay.descriptors().sockets == before.sockets + 2
    });
    site::reset(client);
    let failure = failures(&relay, 1).remove(0);
    assert!(
        failure["error"].as_str().unwrap().contains("gave up"),
        "{failure}"
    );
    relay.holds_no_more_than(before);
}
