//! A hop that takes smaller packets is learned by the leg that meets it, and by no other.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use unmangle::lab::scenario::Between;
use unmangle::lab::wire::{Direction, Oversize, OversizeAction, Protocol};
use unmangle::lab::{Joined, OpenedFrom, Role};
use unmangle::sys::tcp_info::tcp_info;

use site::{FAMILIES, OPENED, Site, carry, pattern};

/// Answers packets above this by ICMP "fragmentation needed" or "packet too big".
fn narrow(above: u16) -> Direction {
    let too_big = Oversize {
        protocol: Protocol::Any,
        above,
        action: OversizeAction::TooBig,
        probability: 1.0,
    };
    Direction {
        oversize: vec![too_big],
        ..Direction::default()
    }
}

#[test]
fn a_narrow_hop_behind_the_relay_is_learned_although_the_icmp_error_bears_the_clients_address() {
    // Both wires are narrow for what the relay sends, and for nobody else.
    let firewall = Between {
        server_to_client: narrow(1300),
        ..Between::default()
    };
    let long_leg = Between {
        client_to_server: narrow(1400),
        ..Between::default()
    };
    let Some(site) = Site::joined_by(Joined::wire(firewall), Joined::wire(long_leg)) else {
        return;
    };
    // With this profile segments are as large as the interface allows.
    let relay = site.relay(&["--profile", "isn-rewrite"]);
    for opened in OPENED {
        for family in FAMILIES {
            let pair = site.connect(opened, family);
            carry(&pair.client, &pair.server, &pattern(1, 2_000_000));
            carry(&pair.server, &pair.client, &pattern(2, 2_000_000));
            if opened == OpenedFrom::Client {
                // The relay met the hops in the middle of this session: only its own legs may know.
                // (Later it offers what it has learned, as any host does.)
                for end in [&pair.client, &pair.server] {
                    let size = tcp_info(end).unwrap().send_mss;
                    assert!(
                        size > 1400,
                        "{family:?}: an end host was held down to {size}"
                    );
                }
            }
        }
    }
    for session in relay.ended(4) {
        assert_eq!(session["how"], "fin", "{session}");
    }
    let learned = |role, family| {
        let cache = ["-o", family, "route", "show", "cache"];
        site.lab.host(role).run("ip", &cache).unwrap()
    };
    for family in ["-4", "-6"] {
        for role in [Role::Client, Role::Server] {
            assert!(
                !learned(role, family).contains("mtu"),
                "{role}: {}",
                learned(role, family)
            );
        }
        let relay = learned(Role::Relay, family);
        assert!(
            relay.contains("mtu 1300") && relay.contains("mtu 1400"),
            "{relay}"
        );
    }
}
