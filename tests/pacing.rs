//! Which legs are paced on a host whose congestion control paces.
//!
//! These tests need root, and a kernel that has BBR; without root they are skipped except in CI.

mod site;

use std::time::Duration;

use unmangle::lab::scenario::Between;
use unmangle::lab::{Family, Joined, Role, wire};

use site::{PATIENCE, Pair, Relay, Site, Way, carry, pattern, until};

/// Where clients come to.
const DOOR: &str = "192.0.2.1:2222";
/// More than short messages, and than the bytes between two looks.
const BULK: usize = 4 << 20;

/// A site whose relay host sends by BBR unless a socket says otherwise; nothing on a kernel that has none.
fn put_up() -> Option<Site> {
    put_up_with(Joined::Veth { offloads: true })
}

/// The same, with a long leg of one's own choice.
fn put_up_with(long_leg: Joined) -> Option<Site> {
    let site = Site::joined_by(Joined::Veth { offloads: true }, long_leg)?;
    let site = Site {
        way: Way::Forward,
        ..site
    };
    site.open_the_door();
    let has = site
        .lab
        .relay()
        .set(&[("net/ipv4/tcp_congestion_control", "bbr")]);
    if let Err(error) = has {
        eprintln!("skipped: this kernel has no BBR: {error}");
        return None;
    }
    Some(site)
}

/// A session from the client through the door that has carried bulk one way.
fn bulk(site: &Site) -> Pair {
    let listener = site.listen(Role::Server, Family::V4);
    let client = site.dial(Role::Client, DOOR.parse().unwrap()).unwrap();
    let pair = Pair {
        client,
        server: site::accept(&listener),
    };
    carry(&pair.server, &pair.client, &pattern(1, BULK));
    pair
}

/// What carries a session from the client through the door, bulk one way, in the kernel's words: the client's leg.
fn downstream(site: &Site, arguments: &[&str]) -> String {
    let arguments = [&["--listen", DOOR, "--to", "198.51.100.2:22"], arguments].concat();
    let _relay = Relay::start(&site.lab, &arguments);
    let _pair = bulk(site);
    let filter = ["-Htni", "sport", "=", ":2222"];
    let sockets = || site.lab.relay().run("ss", &filter).unwrap();
    until("the session is there", PATIENCE, || {
        sockets().contains("cwnd:")
    });
    sockets()
}

#[test]
fn a_short_leg_is_not_paced_and_is_by_another_engine_that_would_not_look() {
    let Some(site) = put_up() else { return };
    let told = downstream(&site, &[]);
    assert!(told.contains(" reno ") && !told.contains("bbr"), "{told}");
    for engine in ["tokio-splice", "copy"] {
        let told = downstream(&site, &["--engine", engine]);
        assert!(told.contains(" bbr "), "{engine}: {told}");
    }
}

/// What the upstream leg of a session is sent by once it has carried bulk to the server, in the kernel's words.
fn upstream_after_bulk(site: &Site) -> String {
    let listener = site.listen(Role::Server, Family::V4);
    let client = site.dial(Role::Client, DOOR.parse().unwrap()).unwrap();
    let server = site::accept(&listener);
    carry(&client, &server, &pattern(1, BULK));
    let filter = ["-Htni", "dport", "=", ":22"];
    site.lab.relay().run("ss", &filter).unwrap()
}

#[test]
fn a_leg_goes_over_to_the_hosts_congestion_control_once_its_way_turns_out_to_be_long() {
    let slow = wire::Direction {
        delay: Duration::from_millis(2),
        ..wire::Direction::default()
    };
    let Some(site) = put_up_with(Joined::wire(Between::both(slow))) else {
        return;
    };
    let _relay = Relay::start(&site.lab, &["--listen", DOOR, "--to", "198.51.100.2:22"]);
    let told = upstream_after_bulk(&site);
    assert!(told.contains(" bbr ") && !told.contains("reno"), "{told}");
}

#[test]
fn a_leg_goes_over_to_the_hosts_congestion_control_once_its_way_turns_out_to_lose() {
    let losing = wire::Direction {
        loss: 0.02,
        ..wire::Direction::default()
    };
    let Some(site) = put_up_with(Joined::wire(Between::both(losing))) else {
        return;
    };
    let _relay = Relay::start(&site.lab, &["--listen", DOOR, "--to", "198.51.100.2:22"]);
    let told = upstream_after_bulk(&site);
    assert!(told.contains(" bbr ") && !told.contains("reno"), "{told}");
}

#[test]
fn a_profile_leaves_its_leg_to_the_host() {
    let Some(site) = put_up() else { return };
    let file = site.lab.directory().join("settings.toml");
    let text = format!(
        "[[listener]]\nlisten = \"{DOOR}\"\nto = \"198.51.100.2:22\"\nprofile = \"paced\"\nmangled-leg = \"downstream\"\n\
         [profile.paced]\ncongestion-control = \"host\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let _relay = Relay::start(&site.lab, &["--config", file.to_str().unwrap()]);
    let _pair = bulk(&site);
    let of = |filter: &str| {
        let filter: Vec<&str> = ["-Htni"].into_iter().chain(filter.split(' ')).collect();
        site.lab.relay().run("ss", &filter).unwrap()
    };
    let (downstream, upstream) = (of("sport = :2222"), of("dport = :22"));
    assert!(downstream.contains(" bbr "), "{downstream}");
    assert!(upstream.contains(" reno "), "{upstream}");
}
