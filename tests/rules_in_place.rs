//! Nothing but what was named is taken, and other people's rules keep their meaning.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use unmangle::config::Fail;
use unmangle::lab::{Family, OpenedFrom, Role};
use unmangle::rules::{Change, InPlace, Lock};

use site::rules::{Rules, plan};
use site::{FAMILIES, OPENED, PATIENCE, Pair, Relay, Site, accept, inside, talk};

/// Connects, talks, closes; whether the relay had a hand in it.
fn is_relayed(site: &Site, relay: &Relay, from: Role, listener: &TcpListener) -> bool {
    let before = relay.table()["accepted"];
    let to = listener.local_addr().unwrap();
    let pair = Pair {
        client: site.dial(from, to).unwrap(),
        server: accept(listener),
    };
    talk(&pair);
    relay.table()["accepted"] > before
}

#[test]
fn the_gateways_own_service_on_an_intercepted_port_stays_reachable_from_both_sides() {
    let Some(site) = Site::put_up() else { return };
    site.load("add rule inet um_lab input tcp dport 22 accept");
    let relay = site.relay(&[]);
    for interface in Role::Relay.interfaces() {
        for own in [IpAddr::from(interface.v4), interface.v6.into()] {
            let service = site.listen_at(Role::Relay, (own, 22).into());
            for from in [Role::Client, Role::Server] {
                assert!(
                    !is_relayed(&site, &relay, from, &service),
                    "{from} to {own}"
                );
            }
        }
    }
    // And what passes is taken all the same.
    let listener = site.listen(Role::Server, Family::V4);
    assert!(is_relayed(&site, &relay, Role::Client, &listener));
}

#[test]
fn only_named_ports_are_taken() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--intercept", "22,873"]);
    for family in FAMILIES {
        for (port, expected) in [(22, true), (873, true), (23, false), (2222, false)] {
            let address: SocketAddr = (Role::Server.address(family), port).into();
            let listener = site.listen_at(Role::Server, address);
            let relayed = is_relayed(&site, &relay, Role::Client, &listener);
            assert_eq!(relayed, expected, "{address}");
        }
    }
}

#[test]
fn only_named_sources_are_taken() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--from", "192.0.2.0/25", "--from", "2001:db8:2::2"]);
    for (opened, family, expected) in [
        (OpenedFrom::Client, Family::V4, true),
        (OpenedFrom::Client, Family::V6, false),
        (OpenedFrom::Server, Family::V4, false),
        (OpenedFrom::Server, Family::V6, true),
    ] {
        let listener = site.listen(opened.listener(), family);
        let relayed = is_relayed(&site, &relay, opened.opener(), &listener);
        assert_eq!(relayed, expected, "{opened:?} {family:?}");
    }
}

#[test]
fn only_named_destinations_are_taken() {
    let Some(site) = Site::put_up() else { return };
    // None of IPv6 is named.
    let relay = site.relay(&["--to", "198.51.100.0/24"]);
    for (opened, family, expected) in [
        (OpenedFrom::Client, Family::V4, true),
        (OpenedFrom::Client, Family::V6, false),
        (OpenedFrom::Server, Family::V4, false),
        (OpenedFrom::Server, Family::V6, false),
    ] {
        let listener = site.listen(opened.listener(), family);
        let relayed = is_relayed(&site, &relay, opened.opener(), &listener);
        assert_eq!(relayed, expected, "{opened:?} {family:?}");
    }
}

#[test]
fn what_stays_on_the_clean_side_is_left_alone() {
    let Some(site) = Site::put_up() else { return };
    let lan = Lan::attach(&site);
    let relay = site.relay(&[]);
    let listener = lan.listen();
    assert!(!is_relayed(&site, &relay, Role::Server, &listener));
    // The same host is served when the mangled side is involved.
    assert!(is_relayed(&site, &relay, Role::Client, &listener));
}

#[test]
fn a_flow_that_forward_drops_is_not_taken_unless_somebody_says_so() {
    let Some(site) = Site::put_up() else { return };
    site.load("table inet hostfw { chain forward { type filter hook forward priority 0; policy drop; }; }");
    let before = Rules::of(&site);
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    assert!(refusal.contains("inet hostfw forward"), "{refusal}");
    assert!(refusal.contains("--override-forward"), "{refusal}");
    assert_eq!(Rules::of(&site), before);

    let relay = site.relay(&["--override-forward"]);
    assert!(
        relay.log().contains("inet hostfw forward"),
        "{}",
        relay.log()
    );
    for opened in OPENED {
        talk(&site.connect(opened, Family::V4));
    }
    relay.ended(2);
}

#[test]
fn a_rule_that_drops_by_port_in_forward_is_named() {
    let Some(site) = Site::put_up() else { return };
    site.load(
        "table inet hostfw { chain forward { type filter hook forward priority 0; \
         iifname \"long0\" tcp dport 22 counter drop; }; }",
    );
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    assert!(
        refusal.contains("FORWARD") && refusal.contains("tcp dport 22"),
        "{refusal}"
    );
    assert!(refusal.contains("from long0 to fw0"), "{refusal}");
}

#[test]
fn what_forward_lets_pass_is_taken_beside_a_policy_that_drops() {
    let Some(site) = Site::put_up() else { return };
    site.load(
        "table inet hostfw { chain forward { type filter hook forward priority 0; policy drop; \
         ct state established,related accept; ip saddr 192.0.2.0/25 tcp dport 22 accept; }; }",
    );
    let relay = site.relay(&["--from", "192.0.2.0/25"]);
    let listener = site.listen(Role::Server, Family::V4);
    assert!(is_relayed(&site, &relay, Role::Client, &listener));
}

#[test]
fn an_input_that_drops_is_answered_with_the_one_line_that_lets_the_relay_work() {
    let Some(site) = Site::put_up() else { return };
    site.load(
        "table inet hostfw { chain input { type filter hook input priority 0; policy drop; \
         iifname \"lo\" accept; ct state established,related accept; \
         meta l4proto { icmp, ipv6-icmp } accept; }; }",
    );
    let before = Rules::of(&site);
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    assert!(refusal.contains("inet hostfw input"), "{refusal}");
    assert_eq!(Rules::of(&site), before);

    let (_, line) = refusal.split_once("add one line: ").unwrap();
    site.lab.relay().run("sh", &["-c", line]).unwrap();
    let relay = site.relay(&[]);
    for opened in OPENED {
        for family in FAMILIES {
            talk(&site.connect(opened, family));
        }
    }
    relay.ended(4);
}

#[test]
fn an_input_that_ends_in_a_reject_is_answered_with_a_line_that_comes_before_it() {
    let Some(site) = Site::put_up() else { return };
    site.load(
        "table inet hostfw { chain input { type filter hook input priority 0; \
         iifname \"lo\" accept; ct state established,related accept; \
         meta l4proto { icmp, ipv6-icmp } accept; reject; }; }",
    );
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    let (_, line) = refusal.split_once("add one line: ").unwrap();
    site.lab.relay().run("sh", &["-c", line]).unwrap();
    let relay = site.relay(&[]);
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    relay.ended(2);
}

#[test]
fn a_destination_that_is_translated_is_refused_and_the_rule_is_named() {
    let Some(site) = Site::put_up() else { return };
    site.load(
        "table ip portmap { chain pre { type nat hook prerouting priority dstnat; \
         iifname \"fw0\" tcp dport 22 dnat to 198.51.100.9; }; }",
    );
    let before = Rules::of(&site);
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    assert!(
        refusal.contains("DNAT") && refusal.contains("portmap"),
        "{refusal}"
    );
    assert_eq!(Rules::of(&site), before);
    // Another port may be translated as it likes.
    let relay = site.relay(&["--intercept", "873"]);
    relay.stop();
}

#[test]
fn nobody_can_flush_the_relays_rules_from_under_it() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    let host = site.lab.relay();
    assert!(
        host.run("nft", &["delete", "table", "inet", "unmangle"])
            .is_err()
    );
    assert!(
        host.run("nft", &["flush", "chain", "inet", "unmangle", "open"])
            .is_err()
    );
    let listener = site.listen(Role::Server, Family::V4);
    assert!(is_relayed(&site, &relay, Role::Client, &listener));
}

/// A fourth host, on a second clean interface of the relay host.
struct Lan {
    namespace: String,
}

impl Lan {
    const ADDRESS: &str = "203.0.113.2";

    fn attach(site: &Site) -> Self {
        // By its name it is the lab's, and goes with it.
        let namespace = format!("um-{}-lan", site.lab.id());
        let add = Command::new("ip")
            .args(["netns", "add", &namespace])
            .status();
        assert!(add.unwrap().success());
        let relay = site.lab.relay();
        let peer = [
            "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns",
        ];
        relay
            .run("ip", &[&peer[..], &[&namespace]].concat())
            .unwrap();
        let set_up = |address: &str| {
            format!("address add {address}/24 dev lan0\nlink set lan0 up\nlink set lo up\n")
        };
        relay
            .feed("ip", &["-batch", "-"], &set_up("203.0.113.1"))
            .unwrap();
        let batch = set_up(Self::ADDRESS) + "route add default via 203.0.113.1\n";
        let script = format!(
            "printf '{}' | ip -n {namespace} -batch -",
            batch.replace('\n', "\\n")
        );
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
        Self { namespace }
    }

    fn listen(&self) -> TcpListener {
        let bind = || TcpListener::bind((Self::ADDRESS, 22)).unwrap();
        site::inside_namespace(&self.namespace, bind)
    }
}

#[test]
fn both_ends_of_an_unrelayed_connection_see_each_other_as_they_are() {
    let Some(site) = Site::put_up() else { return };
    let _relay = site.relay(&["--intercept", "873"]);
    let pair: Pair = site.connect(OpenedFrom::Client, Family::V4);
    let seen = |stream: &TcpStream| stream.peer_addr().unwrap();
    assert_eq!(seen(&pair.server), pair.client.local_addr().unwrap());
    assert_eq!(site.zones(&pair.client), [0], "it has no zone of its own");
}

#[test]
fn what_somebody_else_puts_back_is_told_as_restored_too() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    let plan = plan();
    let keep_while_a_rule_goes_and_comes = async || {
        let lock = Lock::relay().unwrap();
        let mut rules = InPlace::own(plan, Fail::Open, lock).await.unwrap();
        let shown = host.run("ip", &["-N", "-4", "rule", "show"]).unwrap();
        let ours = shown.lines().find(|line| line.contains("proto 85"));
        let (priority, rule) = ours.unwrap().split_once(":\tfrom all ").unwrap();
        let rule: Vec<&str> = ["-4", "rule", "add", "pref", priority]
            .into_iter()
            .chain(rule.split_whitespace())
            .collect();
        host.run("ip", &["-4", "rule", "del", "pref", priority])
            .unwrap();
        let (tell, mut told) = unbounded_channel();
        let tell = |change| tell.send(change).unwrap();
        // As if a signal came: it is given up as soon as the loss is told.
        let first = tokio::select! {
            first = told.recv() => first.unwrap(),
            never = rules.keep(tell) => match never {},
        };
        assert!(matches!(first, Change::Lost { .. }), "{first:?}");
        host.run("ip", &rule).unwrap();
        let second = tokio::select! {
            second = timeout(PATIENCE, told.recv()) => second.expect("it is told").unwrap(),
            never = rules.keep(tell) => match never {},
        };
        assert_eq!(second, Change::Restored);
        rules.remove().await;
    };
    inside(host, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .unwrap()
            .block_on(keep_while_a_rule_goes_and_comes());
    });
}
