//! With `--answer after-connect` a client sees what it would see without a relay: a port that is closed, a
//! host that is dead, or a connection whose server is there.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use unmangle::lab::{Family, Invalid, OpenedFrom, Role};

use site::rules::Rules;
use site::{
    FAMILIES, OPENED, PATIENCE, Pair, Relay, Site, UNMANGLE, accept, expect_reset, inside, talk,
    until,
};

const HOLD: [&str; 2] = ["--answer", "after-connect"];

/// A relay that holds.
fn holding(site: &Site, more: &[&str]) -> Relay {
    site.relay(&[&HOLD, more].concat())
}

/// Where port 22 of a host is.
fn port_22(role: Role, family: Family) -> SocketAddr {
    (role.address(family), 22).into()
}

/// Nothing that was held is left over, and connection tracking has seen no packet that it did not expect.
fn expect_clean(site: &Site) {
    assert_eq!(site.lab.invalid().unwrap(), Invalid::default());
    let queue = "/proc/net/netfilter/nfnetlink_queue";
    let queue = site.lab.relay().run("cat", &[queue]).unwrap();
    let waiting = queue.lines().map(|line| {
        let mut words = line.split_whitespace();
        words.nth(2).unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(waiting.sum::<u64>(), 0, "{queue}");
}

/// The server's host takes no SYN, until it does.
fn deafen(site: &Site) {
    let deaf = "table inet deaf { chain input {
        type filter hook input priority 0; tcp dport 22 drop; }; }";
    site.lab.server().feed("nft", &["-f", "-"], deaf).unwrap();
}

fn undeafen(site: &Site) {
    let delete = ["delete", "table", "inet", "deaf"];
    site.lab.server().run("nft", &delete).unwrap();
}

fn counted(relay: &Relay, name: &str) -> u64 {
    relay.table()[name]
}

/// Everything that is counted of held packets, as far as it is not zero.
fn held(relay: &Relay) -> BTreeMap<String, u64> {
    let mut table = relay.table();
    table.retain(|name, count| name.starts_with("held") && *count > 0);
    table
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

/// A connection that begins now; it is there once it is writable.
fn begin(site: &Site, to: SocketAddr) -> Socket {
    inside(site.lab.client(), || {
        let socket =
            Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None).unwrap();
        let error = socket.connect(&to.into()).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::INPROGRESS.raw_os_error())
        );
        socket
    })
}

/// A client that waits for its connection in a thread of its own.
fn in_the_background(site: &Site, to: SocketAddr) -> JoinHandle<io::Result<TcpStream>> {
    let socket = begin(site, to);
    thread::spawn(move || {
        until("the client is answered", PATIENCE, || {
            socket.peer_addr().is_ok() || {
                let error = socket.take_error().unwrap();
                error.is_some_and(|error| panic!("{error}"))
            }
        });
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    })
}

/// How many rules of iptables hold packets: none where nftables can do it.
fn queue_rules(site: &Site) -> usize {
    let list = "for each in iptables ip6tables; do $each -t raw -S PREROUTING; done | grep -c unmangle || true";
    let count = site.lab.relay().feed("sh", &[], list).unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn a_closed_port_looks_closed_at_once() {
    let Some(site) = Site::put_up() else { return };
    let relay = holding(&site, &[]);
    let before = relay.descriptors();
    for opened in OPENED {
        for family in FAMILIES {
            let to = port_22(opened.listener(), family);
            let error = site.dial(opened.opener(), to).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
        }
    }
    // None of them had to repeat its SYN.
    assert_eq!(held(&relay), counts([("held", 4), ("held_refused", 4)]));
    assert_eq!(counted(&relay, "accepted"), 0);
    for failure in relay.events("session failed") {
        assert_eq!(failure["answer"], "reset", "{failure}");
        assert!(
            failure["error"].as_str().unwrap().contains("refused"),
            "{failure}"
        );
    }
    relay.holds_no_more_than(before);
    expect_clean(&site);
}

#[test]
fn a_dead_host_is_unreachable_for_the_client_too() {
    let Some(site) = Site::put_up() else { return };
    let relay = holding(&site, &[]);
    for dead in ["198.51.100.99:22", "[2001:db8:2::99]:22"] {
        let error = site.dial(Role::Client, dead.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{dead}: {error}");
    }
    // A SYN that is repeated just as the answer to the first one leaves is held anew, and answered likewise.
    until("every SYN is answered", PATIENCE, || {
        let counted = held(&relay);
        counted["held"] >= 2 && counted["held"] == counted["held_unreachable"]
    });
    expect_clean(&site);
}

#[test]
fn a_silent_host_is_unreachable_once_the_dial_is_given_up() {
    let Some(site) = Site::put_up() else { return };
    deafen(&site);
    let relay = holding(&site, &["--connect-timeout", "1500ms"]);
    for family in FAMILIES {
        let to = port_22(Role::Server, family);
        let error = site.dial(Role::Client, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{to}: {error}");
    }
    let failures = relay.events("session failed");
    assert_eq!(failures.len(), 2);
    for failure in failures {
        assert!(
            failure["error"]
                .as_str()
                .unwrap()
                .contains("no answer within 1.5s"),
            "{failure}"
        );
    }
    let counted = held(&relay);
    assert_eq!(
        (counted["held"], counted["held_unreachable"]),
        (2, 2),
        "{counted:?}"
    );
    expect_clean(&site);
}

#[test]
fn what_a_router_says_of_the_network_reaches_the_client() {
    let Some(site) = Site::put_up() else { return };
    let reject = "table inet far { chain input {
        type filter hook input priority 0; tcp dport 22 reject with icmpx type no-route; }; }";
    site.lab.server().feed("nft", &["-f", "-"], reject).unwrap();
    let relay = holding(&site, &[]);
    for family in FAMILIES {
        let to = port_22(Role::Server, family);
        let error = site.dial(Role::Client, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{to}: {error}");
    }
    // On one machine ICMP can be back before connect() has returned; the kernel heeds it at the next SYN
    // then, and the client repeats its own meanwhile.
    let mut counted = held(&relay);
    counted.remove("held_repeats");
    assert_eq!(counted, counts([("held", 2), ("held_unreachable", 2)]));
    expect_clean(&site);
}

#[test]
fn a_client_that_is_refused_tries_the_next_address() {
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V6);
    let relay = holding(&site, &[]);
    let addresses = FAMILIES.map(|family| port_22(Role::Server, family));
    let client = inside(site.lab.client(), || TcpStream::connect(&addresses[..])).unwrap();
    assert_eq!(client.peer_addr().unwrap(), addresses[1]);
    let server = accept(&listener);
    talk(&Pair { client, server });
    assert_eq!(
        held(&relay),
        counts([("held", 2), ("held_refused", 1), ("held_released", 1)])
    );
}

#[test]
fn what_the_server_accepts_is_relayed_and_nothing_is_invalid() {
    let Some(site) = Site::put_up() else { return };
    let rules_at_first = Rules::of(&site);
    let relay = holding(&site, &[]);
    let before = relay.descriptors();
    for opened in OPENED {
        for family in FAMILIES {
            let Pair { client, server } = site.connect(opened, family);
            assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
            talk(&Pair { client, server });
        }
    }
    relay.ended(4);
    assert_eq!(held(&relay), counts([("held", 4), ("held_released", 4)]));
    assert_eq!(counted(&relay, "accepted"), 4);
    relay.holds_no_more_than(before);
    expect_clean(&site);
    relay.stop();
    assert_eq!(Rules::of(&site), rules_at_first);
}

#[test]
fn a_session_tells_what_its_client_asked_for_beside_what_was_negotiated() {
    let Some(site) = Site::put_up() else { return };
    let relay = holding(&site, &[]);
    // Behind the firewall nothing may be agreed on that it would spoil.
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    let client = pair.client.local_addr().unwrap();
    drop(pair);
    let session = relay.ended_for(client);
    let told = |key: &str| session[key].as_str().unwrap().to_owned();
    let offer = told("client_offer");
    assert!(
        offer.starts_with("mss 1460, wscale ") && offer.ends_with(", sack, timestamps"),
        "{session}"
    );
    let agreed = told("downstream_agreed");
    assert!(
        !agreed.contains("wscale") && !agreed.contains("sack"),
        "{session}"
    );
    let mss = agreed.strip_prefix("mss ").unwrap();
    let mss: u16 = mss.split(',').next().unwrap().parse().unwrap();
    assert!(mss <= 940, "{session}");
}

#[test]
fn a_syn_that_is_sent_again_makes_no_second_dial() {
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V4);
    deafen(&site);
    let relay = holding(&site, &[]);
    let client = in_the_background(&site, listener.local_addr().unwrap());
    until("the client sends its SYN again", PATIENCE, || {
        counted(&relay, "held_repeats") > 0
    });
    undeafen(&site);
    let client = client.join().unwrap().unwrap();
    let server = accept(&listener);
    talk(&Pair { client, server });
    assert_eq!(counted(&relay, "held"), 1);
    assert_eq!(counted(&relay, "held_released"), 1);
    assert_eq!(counted(&relay, "accepted"), 1);
    expect_clean(&site);
}

#[test]
fn a_server_whose_client_never_completes_its_connection_is_let_go() {
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V4);
    let relay = holding(&site, &[]);
    // The client sees no answer.
    let blind = "table inet blind { chain input {
        type filter hook prerouting priority -400; tcp sport 22 drop; }; }";
    site.lab.client().feed("nft", &["-f", "-"], blind).unwrap();
    let _client = begin(&site, listener.local_addr().unwrap());
    expect_reset(&accept(&listener));
    assert_eq!(counted(&relay, "held_stale"), 1);
    assert_eq!(counted(&relay, "accepted"), 0);
    assert!(
        counted(&relay, "held_repeats") > 0,
        "its SYN is let through again"
    );
    assert_eq!(counted(&relay, "held"), 1, "and makes no second dial");
}

#[test]
fn a_flood_holds_no_more_than_the_bound_and_the_rest_is_answered_at_once() {
    const MOST: usize = 16;
    const ALL: usize = 200;
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V4);
    deafen(&site);
    let relay = holding(&site, &["--held-max", "16"]);
    let to = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..ALL).map(|_| begin(&site, to)).collect();
    let accepted = || {
        clients
            .iter()
            .filter(|client| client.peer_addr().is_ok())
            .count()
    };
    until("all that are not held are accepted", PATIENCE, || {
        accepted() == ALL - MOST
    });
    assert_eq!(counted(&relay, "held"), MOST as u64);
    assert_eq!(counted(&relay, "held_fell_back"), (ALL - MOST) as u64);
    assert_eq!(accepted(), ALL - MOST, "the others wait for the server");
    undeafen(&site);
    let servers: Vec<_> = (0..ALL).map(|_| accept(&listener)).collect();
    until("all are accepted", PATIENCE, || accepted() == ALL);
    for client in clients {
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = TcpStream::from(client);
        let own = client.local_addr().unwrap();
        let server = servers
            .iter()
            .find(|server| server.peer_addr().unwrap() == own);
        let server = server.expect("its own server").try_clone().unwrap();
        talk(&Pair { client, server });
    }
    // And the next one is held again.
    drop(servers);
    talk(&site.connect_to(&listener, OpenedFrom::Client));
    assert_eq!(counted(&relay, "held"), MOST as u64 + 1);
    expect_clean(&site);
}

#[test]
fn a_killed_relay_holds_nothing_back_and_the_next_start_finds_what_it_left() {
    let Some(site) = Site::put_up() else { return };
    let rules_at_first = Rules::of(&site);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    deafen(&site);
    let mut relay = holding(&site, &[]);
    let held_rules = queue_rules(&site);
    let client = in_the_background(&site, to);
    until("it is held", PATIENCE, || counted(&relay, "held") == 1);
    relay.signal(Signal::KILL);
    until("it ends", PATIENCE, || relay.has_ended());
    until("the table is gone", PATIENCE, || !site.has_table());
    undeafen(&site);
    let client = client.join().unwrap().unwrap();
    let server = accept(&listener);
    talk(&Pair { client, server });
    talk(&site.connect_to(&listener, OpenedFrom::Client));
    assert_eq!(queue_rules(&site), held_rules, "nobody owns them");

    // One that holds nothing removes them at its start.
    let next = site.relay(&[]);
    assert_eq!(queue_rules(&site), 0);
    talk(&site.connect_to(&listener, OpenedFrom::Client));
    next.ended(1);
    next.stop();
    assert_eq!(Rules::of(&site), rules_at_first);
}

#[test]
fn what_a_killed_relay_left_can_be_removed_without_starting_one() {
    let Some(site) = Site::put_up() else { return };
    let rules_at_first = Rules::of(&site);
    let mut relay = holding(&site, &[]);
    let held_rules = queue_rules(&site);
    relay.signal(Signal::KILL);
    until("it ends", PATIENCE, || relay.has_ended());
    until("the table is gone", PATIENCE, || !site.has_table());
    let told = site
        .lab
        .relay()
        .run(UNMANGLE, &["rules", "--remove"])
        .unwrap();
    let removed = told
        .lines()
        .filter(|line| line.contains("--queue-bypass"))
        .count();
    assert_eq!(removed, held_rules, "{told}");
    assert_eq!(Rules::of(&site), rules_at_first);
}

#[test]
fn a_rule_of_the_queue_that_somebody_removes_is_put_back() {
    let Some(site) = Site::put_up() else { return };
    let relay = holding(&site, &[]);
    let rules = queue_rules(&site);
    if rules == 0 {
        println!("nothing to remove: nftables holds here, in a table that nobody else can change");
        return;
    }
    site.lab
        .relay()
        .run("iptables", &["-t", "raw", "-F"])
        .unwrap();
    until("it is put back", PATIENCE, || {
        !relay.events("it is in place again").is_empty()
    });
    assert_eq!(queue_rules(&site), rules);
    let error = site
        .dial(Role::Client, port_22(Role::Server, Family::V4))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_is_held_when_the_relay_ends_flows_unrelayed() {
    let Some(site) = Site::put_up() else { return };
    let listener = site.listen(Role::Server, Family::V4);
    deafen(&site);
    let mut relay = holding(&site, &[]);
    let client = in_the_background(&site, listener.local_addr().unwrap());
    until("it is held", PATIENCE, || counted(&relay, "held") == 1);
    relay.signal(Signal::TERM);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    undeafen(&site);
    let client = client.join().unwrap().unwrap();
    let server = accept(&listener);
    talk(&Pair { client, server });
}

#[test]
fn a_server_that_speaks_first_and_ends_is_heard_to_the_end() {
    let Some(site) = Site::put_up() else { return };
    let relay = holding(&site, &[]);
    let Pair {
        mut client,
        mut server,
    } = site.connect(OpenedFrom::Client, Family::V6);
    io::Write::write_all(&mut server, b"hello").unwrap();
    drop(server);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"hello");
    drop(client);
    assert_eq!(relay.ended(1)[0]["how"], "fin");
}

#[test]
fn a_queue_that_another_program_has_is_refused_by_its_number() {
    let Some(site) = Site::put_up() else { return };
    let first = holding(
        &site,
        &[
            "--rules",
            "none",
            "--mangled-port",
            "4001",
            "--clean-port",
            "4002",
        ],
    );
    let refusal = Relay::refusal(&site.lab, &[], &HOLD);
    assert!(
        refusal.contains("packet queue 21837 cannot be had"),
        "{refusal}"
    );
    assert!(!site.has_table());
    first.stop();
}

/// What `unmangle` says with these words, and its exit code.
fn said(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(UNMANGLE).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

const GATEWAY: [&str; 6] = [
    "--intercept",
    "22",
    "--mangled-side",
    "eth1",
    "--profile",
    "cisco-pix",
];

#[test]
fn forward_mode_cannot_hold_and_says_so() {
    let forward = [
        "run",
        "--check",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "192.0.2.1:22",
    ];
    let (code, text) = said(&[&forward[..], &HOLD].concat());
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("--answer: after-connect holds packets that pass through"),
        "{text}"
    );
}

#[test]
fn the_printed_plan_holds_and_answers() {
    let (code, text) = said(&[&["rules"], &GATEWAY[..], &HOLD].concat());
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "meta mark set meta mark | 0x0a000000",
        "queue flags bypass to 21837",
        "reject with tcp reset",
        "reject with icmpx type host-unreachable",
        "#   ip6tables -t raw -A PREROUTING -p tcp -m mark --mark 0x8000000/0x8000000",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (_, at_once) = said(&[&["rules"], &GATEWAY[..]].concat());
    for part in ["queue", "reject", "0x0a000000"] {
        assert!(!at_once.contains(part), "{part} in {at_once}");
    }
}

#[test]
fn the_printed_plan_of_iptables_holds_and_answers() {
    let Some(site) = Site::put_up() else { return };
    let gateway = GATEWAY.map(|word| if word == "eth1" { "fw0" } else { word });
    let host = site.lab.relay();
    for format in ["iptables", "ip6tables"] {
        let (_, text) = said(&[&["rules", "--format", format], &gateway[..], &HOLD].concat());
        host.feed(&format!("{format}-restore"), &["--noflush"], &text)
            .unwrap();
        let (head, _) = text.split_once("# Taken away:").unwrap();
        let routes: Vec<_> = head
            .lines()
            .filter_map(|line| line.strip_prefix("#   ip -"))
            .collect();
        assert_eq!(routes.len(), 2, "{text}");
        for words in routes {
            host.run("sh", &["-c", &format!("ip -{words}")]).unwrap();
        }
    }
    let relay = holding(&site, &["--rules", "none"]);
    for family in FAMILIES {
        let error = site
            .dial(Role::Client, port_22(Role::Server, family))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        talk(&site.connect(OpenedFrom::Client, family));
    }
    assert_eq!(
        held(&relay),
        counts([("held", 4), ("held_refused", 2), ("held_released", 2)])
    );
    assert_eq!(counted(&relay, "accepted"), 2);
}
