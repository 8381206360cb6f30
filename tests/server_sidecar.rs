//! A relay on the strict host itself, in front of its service: by each of three legs to the service.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::tap::Tap;
use site::{FAMILIES, PATIENCE, Pair, Relay, Site, accept, carry, pattern, talk, until};

const MODE: &str = "server-sidecar";
const LOOPBACK: &[&str] = &["--service-leg", "loopback"];
const OWN_ADDRESS: &[&str] = &["--service-leg", "own-address"];
const TRANSPARENT: &[&str] = &[
    "--service-leg",
    "transparent",
    "--to",
    "198.51.100.2",
    "--to",
    "2001:db8:2::2",
];
const LEGS: [&[&str]; 3] = [LOOPBACK, OWN_ADDRESS, TRANSPARENT];

fn sidecar(site: &Site, more: &[&str]) -> Relay {
    Relay::sidecar(&site.lab, Role::Server, MODE, more)
}

fn accepted(relay: &Relay) -> u64 {
    relay.table()["accepted"]
}

fn own(family: Family) -> SocketAddr {
    (Role::Server.address(family), 22).into()
}

/// A service on every address of the host, as sshd is.
fn service(site: &Site, family: Family) -> TcpListener {
    let everywhere: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    site.listen_at(Role::Server, (everywhere, 22).into())
}

/// A connection from the client, through the sidecar, to the service.
fn connect(site: &Site, service: &TcpListener, family: Family) -> Pair {
    let client = site.dial(Role::Client, own(family)).unwrap();
    let server = accept(service);
    Pair { client, server }
}

/// What the service sees of a connection: its client and its own address.
fn seen(server: &TcpStream) -> [SocketAddr; 2] {
    [server.peer_addr().unwrap(), server.local_addr().unwrap()]
}

/// Both families by one leg; `see` says what the service must see.
fn serves(leg: &[&str], see: impl Fn(&Pair, Family) -> [SocketAddr; 2]) {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(&site, leg);
    for family in FAMILIES {
        let service = service(&site, family);
        let mut tap = Tap::on(&site, Role::Client);
        let pair = connect(&site, &service, family);
        talk(&pair);
        carry(&pair.client, &pair.server, &pattern(1, 3_000_000));
        carry(&pair.server, &pair.client, &pattern(2, 3_000_000));
        assert_eq!(seen(&pair.server), see(&pair, family), "{leg:?}");
        let answers = tap.openings_not_from(Role::Client.address(family));
        assert!(!answers.is_empty());
        for answer in answers {
            assert!(answer.is_plain() && answer.mss <= Some(940), "{answer:?}");
            assert_eq!(answer.from, Role::Server.address(family));
        }
        let client = pair.client.local_addr().unwrap();
        drop(pair);
        relay.ended_for(client);
    }
    assert_eq!(accepted(&relay), 2);
    relay.stop();
    assert_eq!(left_over(&site), "");
}

/// `ip rule`s and tables of the relay's that are still there.
fn left_over(site: &Site) -> String {
    let list = "for family in -4 -6; do ip -N $family rule; ip -N $family route show table 21837 2>&1; done \
                | grep 'proto 85'; nft list tables | grep unmangle; true";
    site.lab.server().feed("sh", &[], list).unwrap()
}

#[test]
fn by_the_loopback_leg_the_service_sees_the_clients_address_and_port() {
    serves(LOOPBACK, |pair, family| {
        let loopback: IpAddr = match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        [pair.client.local_addr().unwrap(), (loopback, 22).into()]
    });
}

#[test]
fn by_its_own_address_the_service_sees_that_and_the_clients_address() {
    serves(OWN_ADDRESS, |pair, family| {
        let seen = pair.server.peer_addr().unwrap();
        let client = pair.client.local_addr().unwrap();
        assert_ne!(seen.port(), client.port());
        [(client.ip(), seen.port()).into(), own(family)]
    });
}

#[test]
fn by_the_transparent_leg_the_service_sees_no_difference() {
    serves(TRANSPARENT, |pair, family| {
        [pair.client.local_addr().unwrap(), own(family)]
    });
}

#[test]
fn sessions_that_ran_before_the_start_go_on_unrelayed_and_outlive_the_relay() {
    let Some(site) = Site::put_up() else { return };
    for leg in LEGS {
        for family in FAMILIES {
            let service = service(&site, family);
            let pair = connect(&site, &service, family);
            talk(&pair);
            let relay = sidecar(&site, leg);
            talk(&pair);
            let relayed = connect(&site, &service, family);
            talk(&relayed);
            talk(&pair);
            drop(relayed);
            relay.ended(1);
            assert_eq!(accepted(&relay), 1, "{leg:?}");
            relay.stop();
            talk(&pair);
        }
    }
}

#[test]
fn other_ports_and_what_this_host_opens_itself_are_left_alone() {
    let Some(site) = Site::put_up() else { return };
    for leg in LEGS {
        let relay = sidecar(&site, leg);
        for family in FAMILIES {
            let at = |role: Role, port| SocketAddr::from((role.address(family), port));
            for (from, to) in [
                (Role::Client, at(Role::Server, 23)),
                (Role::Server, at(Role::Server, 22)),
                (Role::Server, at(Role::Client, 22)),
            ] {
                let listener = site.listen_at(role_of(to), to);
                let client = site.dial(from, to).unwrap();
                let server = accept(&listener);
                talk(&Pair { client, server });
            }
        }
        assert_eq!(accepted(&relay), 0, "{leg:?}");
        relay.stop();
    }
}

fn role_of(address: SocketAddr) -> Role {
    let is = |role: &Role| {
        FAMILIES
            .map(|family| role.address(family))
            .contains(&address.ip())
    };
    [Role::Client, Role::Server].into_iter().find(is).unwrap()
}

#[test]
fn a_killed_relay_resets_its_sessions_and_new_connections_reach_the_service_unrelayed() {
    let Some(site) = Site::put_up() else { return };
    for leg in LEGS {
        let service = service(&site, Family::V4);
        let mut relay = sidecar(&site, leg);
        let pair = connect(&site, &service, Family::V4);
        talk(&pair);
        relay.signal(Signal::KILL);
        relay.exit_code();
        if leg != TRANSPARENT {
            site::expect_reset(&pair.client);
        }
        until("the table is gone", PATIENCE, || {
            let tables = site.lab.server().run("nft", &["list", "tables"]).unwrap();
            !tables.contains("table inet unmangle")
        });
        let direct = connect(&site, &service, Family::V4);
        talk(&direct);
        let client = direct.client.local_addr().unwrap();
        assert_eq!(seen(&direct.server), [client, own(Family::V4)]);
    }
}

#[test]
fn what_fails_closed_drops_what_comes_from_outside_and_nothing_else() {
    let Some(site) = Site::put_up() else { return };
    let service = service(&site, Family::V4);
    let mut relay = sidecar(&site, &["--fail", "closed"]);
    talk(&connect(&site, &service, Family::V4));
    relay.signal(Signal::KILL);
    relay.exit_code();
    let to = own(Family::V4);
    let briefly = std::time::Duration::from_millis(500);
    until("new connections are dropped", PATIENCE, || {
        site::inside(site.lab.client(), || {
            TcpStream::connect_timeout(&to, briefly)
        })
        .is_err()
    });
    site.dial(Role::Server, to).unwrap();
    let removed = site
        .lab
        .server()
        .run(site::UNMANGLE, &["rules", "--remove"])
        .unwrap();
    assert!(removed.contains("unmangle_fail_closed"), "{removed}");
    assert_eq!(left_over(&site), "");
    talk(&{
        // Whoever came before is still waiting to be accepted.
        drop(service);
        let service = site.listen(Role::Server, Family::V4);
        connect(&site, &service, Family::V4)
    });
}

#[test]
fn a_service_at_its_own_address_alone_needs_another_leg_than_loopback() {
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V4);
    let relay = sidecar(&site, LOOPBACK);
    assert!(
        relay
            .log()
            .contains("nobody listens at the loopback address, port 22")
    );
    site::expect_no_session(site.dial(Role::Client, own(Family::V4)));
    relay.stop();
    for leg in [OWN_ADDRESS, TRANSPARENT] {
        let relay = sidecar(&site, leg);
        talk(&connect(&site, &listener, Family::V4));
        relay.stop();
    }
}

#[test]
fn what_cannot_be_is_refused_in_a_line() {
    let Some(site) = Site::put_up() else { return };
    let refused =
        |more: &[&str]| Relay::launch_sidecar(&site.lab, Role::Server, &[], MODE, more).refused();
    let error = refused(&["--service-leg", "transparent"]);
    assert!(
        error.contains("give it with to, at most one for each family"),
        "{error}"
    );
    let error = refused(&["--track", "notrack"]);
    assert!(
        error.contains("a sidecar has no zones and needs conntrack"),
        "{error}"
    );
    let strict = "table inet own { chain in { type filter hook input priority 0; policy drop; \
                  tcp dport 22 iifname long0 accept; }; }";
    site.lab.server().feed("nft", &["-f", "-"], strict).unwrap();
    let error = refused(&[]);
    assert!(
        error.ends_with("add one line: nft add rule inet own in iifname lo accept"),
        "{error}"
    );
}

#[test]
fn a_host_can_have_sidecars_of_both_kinds() {
    let Some(site) = Site::put_up() else { return };
    let file = site.lab.directory().join("both.toml");
    let common = "intercept = 22\nmangled-side = \"long0\"\nprofile = \"cisco-pix\"\n";
    let text = format!(
        "[[listener]]\nmode = \"server-sidecar\"\nservice-leg = \"own-address\"\n{common}\
         [[listener]]\nmode = \"client-sidecar\"\n{common}"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = site.lab.server().command(site::UNMANGLE);
    command
        .args(["run", "--log-format", "json", "--config"])
        .arg(&file);
    let log = site.lab.directory().join("both.log");
    let mut relay = unmangle::lab::Process::start("relay", &mut command, &log).unwrap();
    relay.ready("\"relaying\"", PATIENCE).unwrap();
    for opened in [OpenedFrom::Client, OpenedFrom::Server] {
        for family in FAMILIES {
            talk(&site.connect(opened, family));
        }
    }
    until("four sessions end", PATIENCE, || {
        relay.log().matches("session ended").count() == 4
    });
}

#[test]
fn in_the_drain_running_sessions_go_on_and_new_connections_reach_the_service_unrelayed() {
    let Some(site) = Site::put_up() else { return };
    for leg in LEGS {
        let service = service(&site, Family::V4);
        let mut relay = sidecar(&site, leg);
        let running = connect(&site, &service, Family::V4);
        talk(&running);
        relay.signal(Signal::TERM);
        until("nothing is taken any more", PATIENCE, || {
            relay.log().contains("new connections are no longer taken")
        });
        let direct = connect(&site, &service, Family::V4);
        let client = direct.client.local_addr().unwrap();
        assert_eq!(seen(&direct.server), [client, own(Family::V4)], "{leg:?}");
        talk(&running);
        drop(running);
        assert_eq!(relay.exit_code(), Some(0), "{leg:?} {}", relay.log());
        talk(&direct);
    }
}

#[test]
fn strict_reverse_path_checks_are_no_hindrance() {
    let Some(site) = Site::put_up() else { return };
    let strict =
        ["all", "default", "lo", "long0"].map(|device| format!("net/ipv4/conf/{device}/rp_filter"));
    let settings = strict.each_ref().map(|path| (path.as_str(), "1"));
    site.lab.server().set(&settings).unwrap();
    for leg in LEGS {
        let service = service(&site, Family::V4);
        let relay = sidecar(&site, leg);
        talk(&connect(&site, &service, Family::V4));
        relay.ended(1);
        relay.stop();
    }
}

#[test]
fn a_rule_that_somebody_removes_is_put_back() {
    let Some(site) = Site::put_up() else { return };
    let _relay = sidecar(&site, LOOPBACK);
    for family in ["-4", "-6"] {
        let server = site.lab.server();
        let delete = [family, "rule", "del", "pref", "21069"];
        server.run("ip", &delete).unwrap();
        until("it is back", PATIENCE, || {
            let rules = server.run("ip", &[family, "rule"]).unwrap();
            rules.contains("21069:")
        });
    }
    let service = service(&site, Family::V4);
    talk(&connect(&site, &service, Family::V4));
}

#[test]
fn sessions_go_on_when_the_table_was_lost_and_is_back() {
    let Some(site) = Site::put_up() else { return };
    for leg in LEGS {
        for family in FAMILIES {
            let relay = sidecar(&site, leg);
            let service = service(&site, family);
            let pair = connect(&site, &service, family);
            talk(&pair);
            let owner = relay.rule_owner().expect("nft runs");
            let pid = rustix::process::Pid::from_raw(owner as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            until("the table is back", PATIENCE, || {
                relay.rule_owner().is_some_and(|now| now != owner)
                    && site
                        .lab
                        .server()
                        .run("nft", &["list", "chain", "inet", "unmangle", "open"])
                        .is_ok()
            });
            talk(&pair);
            let client = pair.client.local_addr().unwrap();
            drop(pair);
            relay.ended_for(client);
            talk(&connect(&site, &service, family));
            relay.stop();
        }
    }
}
