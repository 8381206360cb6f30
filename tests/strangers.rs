//! `strangers = "reset"`: a gateway meets segments of sessions that another one has relayed, and resets both ends, the
//! one that is silent, too. What it or its host knows goes on.
//!
//! The other gateway is one that stood here before: it was killed, and none of its resets has left the host.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::Write;

use unmangle::lab::{Joined, Lab, OpenedFrom, Role, Strict};

use site::{
    FAMILIES, OPENED, Pair, Relay, Site, UNMANGLE, Way, accept, carry, expect_reset, possible, talk,
};

const RESET: [&str; 2] = ["--strangers", "reset"];

/// Strict hosts, and a path that does no harm.
fn strict() -> Option<Site> {
    possible().then(|| {
        let veth = || Joined::Veth { offloads: true };
        let lab = Lab::builder().unmangle(UNMANGLE).strict(Strict::Both);
        let lab = lab.firewall(veth()).long_leg(veth()).start().unwrap();
        let way = Way::splice();
        Site { lab, way }
    })
}

/// The gateway is gone, and says nothing: as if its host had lost power. What its conntrack knew is gone with it.
fn lose(site: &Site, relay: Relay) {
    let host = site.lab.relay();
    let mute = "table inet mute { chain output { type filter hook output priority 0; tcp flags & rst == rst drop; }; }";
    host.feed("nft", &["-f", "-"], mute).unwrap();
    drop(relay);
    host.run("nft", &["delete", "table", "inet", "mute"])
        .unwrap();
    host.run("conntrack", &["-F"]).unwrap();
}

/// Sees that connection tracking of neither end, and no rule of the lab, has called anything INVALID.
fn nothing_was_invalid(site: &Site) {
    let invalid = site.lab.invalid().unwrap();
    assert_eq!((invalid.client, invalid.server), (0, 0), "{invalid:?}");
}

#[test]
fn both_ends_of_a_lost_session_are_reset_whoever_speaks_and_nothing_is_invalid() {
    let Some(site) = strict() else { return };
    for family in FAMILIES {
        for opened in OPENED {
            for speaks in [OpenedFrom::Client, OpenedFrom::Server] {
                let lost = Relay::start(&site.lab, &RESET);
                let Pair { client, server } = site.connect(opened, family);
                talk(&Pair {
                    client: client.try_clone().unwrap(),
                    server: server.try_clone().unwrap(),
                });
                lose(&site, lost);
                let relay = Relay::start(&site.lab, &RESET);
                let (speaker, silent) = match speaks {
                    OpenedFrom::Client => (&client, &server),
                    OpenedFrom::Server => (&server, &client),
                };
                println!("{family:?}, opened from {opened:?}, {speaks:?} end speaks");
                (&mut &*speaker).write_all(b"who is there?").unwrap();
                expect_reset(speaker);
                expect_reset(silent);
                let told = relay.events("no session of this gateway: resetting both ends");
                assert_eq!(told.len(), 1, "{told:?}");
                assert_eq!(relay.table()["strangers"], 1);
                drop((client, server));
                drop(relay);
            }
        }
    }
    nothing_was_invalid(&site);
}

#[test]
fn an_end_that_closes_has_the_other_one_reset_which_gets_no_clean_end() {
    let Some(site) = strict() else { return };
    let lost = Relay::start(&site.lab, &RESET);
    let Pair { client, server } = site.connect(OpenedFrom::Client, FAMILIES[0]);
    carry(&client, &server, b"half of it");
    lose(&site, lost);
    let _relay = Relay::start(&site.lab, &RESET);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    expect_reset(&server);
    expect_reset(&client);
    nothing_was_invalid(&site);
}

#[test]
fn connections_that_the_host_knows_and_other_ports_go_on() {
    let Some(site) = strict() else { return };
    for family in FAMILIES {
        let before = site.connect(OpenedFrom::Client, family);
        talk(&before);
        let own = Relay::start(&site.lab, &RESET);
        let after = site.connect(OpenedFrom::Client, family);
        talk(&before);
        talk(&after);
        assert!(
            own.events("no session of this gateway: resetting both ends")
                .is_empty()
        );
        drop(own);
    }
}

#[test]
fn ports_that_are_not_intercepted_are_left_alone() {
    let Some(site) = strict() else { return };
    // Strict hosts admit these two alone.
    let to = (Role::Server.address(FAMILIES[0]), 873).into();
    let listener = site.listen_at(Role::Server, to);
    let client = site.dial(Role::Client, to).unwrap();
    let server = accept(&listener);
    let pair = Pair { client, server };
    let _relay = Relay::start(&site.lab, &RESET);
    site.lab.relay().run("conntrack", &["-F"]).unwrap();
    talk(&pair);
}

#[test]
fn without_being_told_to_a_gateway_forwards_what_it_does_not_know() {
    let Some(site) = Site::put_up() else { return };
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    let _relay = Relay::start(&site.lab, &[]);
    site.lab.relay().run("conntrack", &["-F"]).unwrap();
    talk(&pair);
}
