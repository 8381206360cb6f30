//! Rules alone take from SYN and SYN-ACK what the firewall gets wrong, on both ways across the mangled
//! side, and leave everything else as it is.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{SocketAddr, TcpListener};

use rustix::process::{Pid, Signal, kill_process};
use unmangle::config::{Networks, Strip};
use unmangle::lab::{Family, OpenedFrom, Process, Role};
use unmangle::packet::tcp::Flags;
use unmangle::rules::nft::Ownership;
use unmangle::rules::normalise::{self, Normalising};

use site::rules::Rules;
use site::tap::Tap;
use site::{FAMILIES, OPENED, PATIENCE, Pair, Site, UNMANGLE, accept, talk, until};

/// `unmangle normalise` on the relay host.
struct Normaliser {
    process: Process,
}

impl Normaliser {
    fn launch(site: &Site, more: &[&str]) -> Self {
        let mut command = site.lab.relay().command(UNMANGLE);
        command.arg("normalise");
        for (flag, value) in [("--mangled-side", "fw0"), ("--profile", "cisco-pix")] {
            if !more.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let number = rand::random::<u32>();
        let log = site
            .lab
            .directory()
            .join(format!("normalise-{number:08x}.log"));
        let process = Process::start("normalise", command.args(more), &log).unwrap();
        Self { process }
    }

    fn start(site: &Site, more: &[&str]) -> Self {
        let mut normaliser = Self::launch(site, more);
        normaliser.process.ready("normalising", PATIENCE).unwrap();
        normaliser
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        self.process.signal(signal);
        let status = self.process.wait(PATIENCE).unwrap();
        status.expect("it ends").code()
    }

    fn refusal(site: &Site, more: &[&str]) -> String {
        let mut refused = Self::launch(site, more);
        let status = refused.process.wait(PATIENCE).unwrap();
        let log = refused.process.log();
        assert_eq!(status.expect("it ends").code(), Some(2), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        log
    }

    fn owner(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().next()?.parse().ok()
    }
}

fn has_table(site: &Site) -> bool {
    let tables = site.lab.relay().run("nft", &["list", "tables"]).unwrap();
    tables.contains("unmangle_normalise")
}

/// Opens a connection and says what the other end offered, as it arrived at each: whether it was plain.
fn offers(site: &Site, from: Role, listener: &TcpListener, at: Role) -> [bool; 2] {
    let (mut at_client, mut at_server) = (Tap::on(site, from), Tap::on(site, at));
    let to = listener.local_addr().unwrap();
    let pair = Pair {
        client: site.dial(from, to).unwrap(),
        server: accept(listener),
    };
    talk(&pair);
    let own = pair.client.local_addr().unwrap().ip();
    let arrived = |tap: &mut Tap, own| {
        let seen = tap.openings_not_from(own);
        assert!(!seen.is_empty());
        let is_small = |mss: Option<u16>| mss.is_some_and(|mss| mss <= 940);
        seen.iter()
            .all(|seen| seen.is_plain() && is_small(seen.mss))
    };
    [
        arrived(&mut at_client, own),
        arrived(&mut at_server, to.ip()),
    ]
}

#[test]
fn what_is_forwarded_is_stripped_on_both_sides_whoever_opens_it() {
    let Some(site) = Site::put_up() else { return };
    let normaliser = Normaliser::start(&site, &[]);
    assert_eq!(site.own_ip_rules(), [0, 0], "it needs no route");
    for opened in OPENED {
        for family in FAMILIES {
            let listener = site.listen(opened.listener(), family);
            let plain = offers(&site, opened.opener(), &listener, opened.listener());
            assert_eq!(plain, [true, true], "{opened:?} {family:?}");
        }
    }
    assert_eq!(normaliser.stop(Signal::TERM), Some(0));
    let listener = site.listen(Role::Server, Family::V4);
    assert_eq!(
        offers(&site, Role::Client, &listener, Role::Server),
        [false, false]
    );
}

#[test]
fn the_hosts_own_connections_on_the_mangled_side_are_stripped_and_those_beyond_it_are_not() {
    let Some(site) = Site::put_up() else { return };
    site.load("add rule inet um_lab input tcp dport 22 accept");
    let _normaliser = Normaliser::start(&site, &[]);
    for interface in Role::Relay.interfaces() {
        let mangled = interface.device == "fw0";
        let neighbour = if mangled { Role::Client } else { Role::Server };
        for (own, family) in [
            (interface.v4.into(), Family::V4),
            (interface.v6.into(), Family::V6),
        ] {
            let service = site.listen_at(Role::Relay, SocketAddr::new(own, 22));
            let mut tap = Tap::on(&site, neighbour);
            let pair = Pair {
                client: site.dial(neighbour, service.local_addr().unwrap()).unwrap(),
                server: accept(&service),
            };
            talk(&pair);
            let answer = tap.openings_not_from(neighbour.address(family));
            assert_eq!(
                answer.iter().all(|seen| seen.is_plain()),
                mangled,
                "{answer:?}"
            );

            let listener = site.listen(neighbour, family);
            let plain = offers(&site, Role::Relay, &listener, neighbour);
            // What arrives at the relay host is tapped before it is stripped.
            assert_eq!(plain[1], mangled, "{own}");
        }
    }
}

#[test]
fn only_named_ports_sources_and_destinations_are_stripped() {
    let Some(site) = Site::put_up() else { return };
    let normaliser = Normaliser::start(&site, &["--intercept", "22,873"]);
    for (port, plain) in [(22, true), (873, true), (23, false)] {
        let listener = site.listen_at(
            Role::Server,
            (Role::Server.address(Family::V6), port).into(),
        );
        let seen = offers(&site, Role::Client, &listener, Role::Server);
        assert_eq!(seen, [plain, plain], "{port}");
    }
    normaliser.stop(Signal::TERM);
    let _normaliser = Normaliser::start(&site, &["--from", "192.0.2.0/25", "--to", "198.51.100.2"]);
    for opened in OPENED {
        for family in FAMILIES {
            let listener = site.listen(opened.listener(), family);
            let plain = (opened, family) == (OpenedFrom::Client, Family::V4);
            let seen = offers(&site, opened.opener(), &listener, opened.listener());
            assert_eq!(seen, [plain, plain], "{opened:?} {family:?}");
        }
    }
}

#[test]
fn timestamps_and_the_offer_of_ecn_are_taken_away_and_checksums_stay_right() {
    let Some(site) = Site::put_up() else { return };
    for host in Role::ALL.map(|role| site.lab.host(role)) {
        host.set(&[("net/ipv4/tcp_ecn", "1")]).unwrap();
        // Or a checksum is left to a device that is none.
        for interface in host.role().interfaces() {
            host.run("ethtool", &["-K", interface.device, "tx", "off"])
                .unwrap();
        }
    }
    let look = |opened: OpenedFrom, family| {
        let mut taps =
            [opened.opener(), opened.listener()].map(|role| (Tap::on(&site, role), role));
        talk(&site.connect(opened, family));
        let seen = taps
            .each_mut()
            .map(|(tap, role)| tap.openings_not_from(role.address(family)));
        let seen = seen.concat();
        assert_eq!(seen.len(), 2, "{seen:?}");
        for seen in &seen {
            assert!(seen.checksum_is_right, "{seen:?}");
        }
        seen
    };
    // Without the rules both are offered and accepted.
    for seen in look(OpenedFrom::Client, Family::V4) {
        assert!(seen.timestamps && seen.flags.0 & 0x40 != 0, "{seen:?}");
    }
    let plan = Normalising {
        mangled_side: "fw0".parse().unwrap(),
        ports: None,
        from: Networks::default(),
        to: Networks::default(),
        strip: Strip {
            timestamps: true,
            ecn: true,
            ..Strip::default()
        },
        mss: None,
    };
    site.load(&normalise::table(&plan, Ownership::Nobody));
    for opened in OPENED {
        for family in FAMILIES {
            for seen in look(opened, family) {
                assert!(
                    !seen.timestamps && seen.sack_permitted && seen.window_scale,
                    "{seen:?}"
                );
                assert_eq!(seen.flags.0 & !(Flags::SYN.0 | Flags::ACK.0), 0, "{seen:?}");
                assert_eq!(seen.reserved, 0, "{seen:?}");
            }
        }
    }
}

#[test]
fn nothing_is_left_however_it_ends() {
    let Some(site) = Site::put_up() else { return };
    let before = Rules::of(&site);
    for (signal, code) in [
        (Signal::TERM, Some(0)),
        (Signal::INT, Some(0)),
        (Signal::KILL, None),
    ] {
        let normaliser = Normaliser::start(&site, &[]);
        assert_eq!(normaliser.stop(signal), code, "{signal:?}");
        until("the table is gone", PATIENCE, || !has_table(&site));
        assert_eq!(Rules::of(&site), before, "{signal:?}");
    }
}

#[test]
fn rules_whose_owner_dies_are_put_in_place_again() {
    let Some(site) = Site::put_up() else { return };
    let normaliser = Normaliser::start(&site, &[]);
    let owner = normaliser.owner().expect("nft runs");
    kill_process(Pid::from_raw(owner as i32).unwrap(), Signal::KILL).unwrap();
    until("the rules are in place again", PATIENCE, || {
        normaliser.owner().is_some_and(|now| now != owner) && has_table(&site)
    });
    let listener = site.listen(Role::Server, Family::V4);
    assert_eq!(
        offers(&site, Role::Client, &listener, Role::Server),
        [true, true]
    );
    assert_eq!(normaliser.stop(Signal::TERM), Some(0));
}

#[test]
fn what_rules_alone_cannot_do_is_refused_by_name_and_nothing_is_changed() {
    let Some(site) = Site::put_up() else { return };
    let before = Rules::of(&site);
    let cases: [(&[&str], &str); 5] = [
        (&["--profile", "idle-drop"], "sets keepalive on a socket"),
        (&["--profile", "clean"], "there is nothing to do"),
        (&["--profile", "pixie"], "no profile is called"),
        (&["--mangled-side", "eth9"], "no interface \"eth9\""),
        (&["--intercept", "0"], "--intercept"),
    ];
    for (arguments, words) in cases {
        let refusal = Normaliser::refusal(&site, arguments);
        assert!(refusal.contains(words), "{words:?} is not in: {refusal}");
    }
    assert_eq!(Rules::of(&site), before);
    let _first = Normaliser::start(&site, &[]);
    let refusal = Normaliser::refusal(&site, &[]);
    assert!(refusal.contains("another unmangle normalise"), "{refusal}");
}

#[test]
fn of_two_that_start_at_once_one_is_refused_and_the_other_normalises() {
    let Some(site) = Site::put_up() else { return };
    for _ in 0..4 {
        let two = [(); 2].map(|()| Normaliser::launch(&site, &[]));
        let mut winners = Vec::new();
        for mut one in two {
            let mut code = None;
            until("it normalises or ends", PATIENCE, || {
                code = one.process.ended().unwrap();
                code.is_some() || one.process.log().contains("normalising")
            });
            match code {
                Some(status) => assert_eq!(status.code(), Some(2), "{}", one.process.log()),
                None => winners.push(one),
            }
        }
        assert_eq!(winners.len(), 1);
        assert!(has_table(&site));
        assert_eq!(winners.pop().unwrap().stop(Signal::TERM), Some(0));
        assert!(!has_table(&site));
    }
}

#[test]
fn a_relay_beside_it_works_as_it_does_alone() {
    let Some(site) = Site::put_up() else { return };
    let _normaliser = Normaliser::start(&site, &[]);
    let relay = site.relay(&[]);
    for opened in OPENED {
        for family in FAMILIES {
            talk(&site.connect(opened, family));
        }
    }
    relay.ended(4);
    relay.stop();
    assert!(has_table(&site));
}
