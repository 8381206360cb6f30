//! `unmangle probe serve` lets in whom it should and bears with everybody else, and the two ends find each other again
//! when what they talk by is broken.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use unmangle::diagnose::crafted::deaf::Deaf;
use unmangle::diagnose::crafted::filter;
use unmangle::diagnose::crafted::tapped::Tapped;
use unmangle::diagnose::probe::ends::Ends;
use unmangle::diagnose::probe::order::{Answer, End, FlowId, Order, Refusal, Spec};
use unmangle::diagnose::probe::pair::Pair;
use unmangle::lab::{Family, Role};
use unmangle::packet::{Flags, Ip, checksum};
use unmangle::sys::tap::{Going, Tap};

use site::bench::{Ended, Running};
use site::{FAMILIES, PATIENCE, Site, UNMANGLE, inside, until};

const PORT: u16 = 7531;
const FLOW_PORT: u16 = 7532;

/// A server that listens.
fn serve(site: &Site, more: &[&str]) -> Running {
    let mut command = site.lab.server().command(UNMANGLE);
    command.args(["probe", "serve"]).args(more);
    let running = Running::start(command);
    let line = running.line();
    assert!(line.starts_with("listening on TCP port 7531;"), "{line}");
    running
}

/// Ends a server, and sees that it ends in order; returns what it said.
fn stop(server: Running) -> String {
    server.signal(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    ended.stderr
}

/// `probe run` from the client's host.
fn run(site: &Site, starter: &[&str], more: &[&str]) -> Ended {
    let words = [starter, &[UNMANGLE, "probe", "run"], more].concat();
    let mut command = site.lab.client().command(words[0]);
    command.args(&words[1..]);
    Running::start(command).end()
}

/// Sees that it could not be tried, and returns the one line that says why.
fn refusal(ended: &Ended) -> &str {
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stdout, "");
    let line = ended.stderr.trim_end();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn server(family: Family) -> SocketAddr {
    (Role::Server.address(family), PORT).into()
}

fn meet(family: Family) -> Pair {
    Pair::meet(server(family)).unwrap()
}

/// On the client's host.
fn at_client<T: Send>(site: &Site, act: impl FnOnce() -> T + Send) -> T {
    inside(site.lab.client(), act)
}

fn open(flow: FlowId, port: u16) -> Order {
    Order::Open { flow, port }
}

/// Sees that a SYN comes to the server as it was sent.
fn carries_a_syn(pair: &mut Pair, flow: FlowId) {
    for end in [End::Server, End::Client] {
        let opened = pair.ask(end, open(flow, FLOW_PORT)).unwrap();
        assert_eq!(opened, Answer::Done);
    }
    let segment = Spec {
        flags: Flags::SYN.0,
        sequence: 7,
        ..Spec::default()
    };
    let send = Order::Send { flow, segment };
    let Answer::Sent(sent) = pair.ask(End::Client, send).unwrap() else {
        panic!("it was not sent");
    };
    let patience_ms = 5000;
    let wait = Order::Await { flow, patience_ms };
    let Answer::Arrived(Some(arrived)) = pair.ask(End::Server, wait).unwrap() else {
        panic!("no SYN came");
    };
    assert!(arrived.checksum_right, "{arrived:?}");
    // The TCP header alone: the gateway counts the hops.
    let tcp = |header: &[u8]| header[if header[0] >> 4 == 4 { 20 } else { 40 }..].to_vec();
    assert_eq!(tcp(&arrived.header.0), tcp(&sent.0));
}

fn nft(site: &Site, role: Role, rules: &str) {
    site.lab
        .host(role)
        .feed("nft", &["-f", "-"], rules)
        .unwrap();
}

/// The port of the client's control connection.
fn control_port(site: &Site) -> u16 {
    let listed = site
        .lab
        .client()
        .run("ss", &["-Htn", "dport", "=", ":7531"]);
    let listed = listed.unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    let [line] = lines[..] else {
        panic!("no single connection: {listed}")
    };
    let own = line.split_whitespace().nth(3).unwrap();
    own.rsplit(':').next().unwrap().parse().unwrap()
}

// === a port on which the kernel is silent ===

#[test]
fn a_deaf_port_gives_neither_answer_nor_reset_and_the_tap_sees_what_comes_to_it() {
    let Some(site) = Site::put_up() else { return };
    for family in FAMILIES {
        let [client, server] = [Role::Client, Role::Server].map(|role| role.address(family));
        let hold = |port| inside(site.lab.server(), || Deaf::hold((server, port).into()));
        let to = SocketAddr::new(server, hold(0).unwrap().port());
        let dial = || {
            at_client(&site, || {
                TcpStream::connect_timeout(&to, Duration::from_millis(300))
            })
        };
        // Without it; neighbours have to find each other first.
        until("a closed port is refused", PATIENCE, || {
            dial().unwrap_err().kind() == io::ErrorKind::ConnectionRefused
        });
        let _deaf = hold(to.port()).unwrap();
        let tap = inside(site.lab.server(), || {
            Tap::open(&filter::of(client)).unwrap()
        });
        assert_eq!(dial().unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut buffer, mut came, mut left) = (vec![0; 2000], 0, 0);
        while let Some(captured) = tap.read(&mut buffer).unwrap() {
            match captured.going {
                // Neighbours look for each other by ICMPv6.
                _ if buffer[0] >> 4 == 6 && buffer[6] != 6 => {}
                Going::In => came += 1,
                Going::Out => left += 1,
            }
        }
        assert!(came > 0 && left == 0, "{family:?}: {came} {left}");
        assert_eq!(tap.lost().unwrap(), 0);
    }
}

/// Puts the server's interface into a bridge, which gets its address and its routes.
fn bridge(site: &Site) {
    let host = site.lab.server();
    let ip = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        host.run("ip", &words).unwrap()
    };
    let own = Role::Server.address(Family::V4).to_string();
    let listed = ip(&format!("-o -4 addr show to {own}"));
    let words: Vec<&str> = listed.split_whitespace().collect();
    let [_, port, _, address, ..] = words[..] else {
        panic!("{listed}")
    };
    let routes = ip(&format!("-4 route show dev {port}"));
    ip("link add above type bridge");
    ip(&format!("link set {port} master above"));
    ip(&format!("-4 addr del {address} dev {port}"));
    ip(&format!("addr add {address} dev above"));
    ip("link set above up");
    for route in routes.lines().filter(|route| !route.contains("kernel")) {
        ip(&format!("route replace {route} dev above"));
    }
}

#[test]
fn behind_a_bridge_each_packet_is_seen_once_and_with_the_checksum_that_its_sender_left_out() {
    let Some(site) = Site::put_up() else { return };
    bridge(&site);
    let [client, server] = [Role::Client, Role::Server].map(|role| role.address(Family::V4));
    let (_deaf, to, tap, mut tapped) = inside(site.lab.server(), || {
        let deaf = Deaf::hold((server, 0).into()).unwrap();
        let to = SocketAddr::new(server, deaf.port());
        let tap = Tap::open(&filter::of(client)).unwrap();
        (deaf, to, tap, Tapped::towards(client).unwrap())
    });
    let (mut buffer, mut sights, mut unfinished) = (vec![0; 2000], 0, 0);
    let (mut seen, mut right) = (0, 0);
    until("SYNs come", PATIENCE, || {
        at_client(&site, || {
            TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err()
        });
        while let Some(captured) = tap.read(&mut buffer).unwrap() {
            let is_tcp = buffer[9] == 6 && captured.going == Going::In;
            sights += usize::from(is_tcp);
            unfinished += usize::from(is_tcp && !captured.has_checksum);
        }
        while let Some((going, packet)) = tapped.read().unwrap() {
            let ip = Ip::parse(packet).unwrap();
            if packet[9] == 6 && going == Going::In {
                seen += 1;
                right += usize::from(checksum::transport_is_right(&ip, packet) == Some(true));
            }
        }
        seen >= 2
    });
    // As a tap alone shows them.
    assert_eq!((sights, unfinished), (2 * seen, 2 * seen));
    assert_eq!(right, seen);
}

// === two ends ===

#[test]
fn the_ends_meet_and_what_one_crafts_comes_to_the_other() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    at_client(&site, || {
        for family in FAMILIES {
            let mut pair = meet(family);
            let path = pair.path();
            assert_eq!(path.client, Role::Client.address(family));
            assert_eq!(path.client_seen, path.client);
            assert_eq!(path.server, Role::Server.address(family));
            assert_eq!(path.server_own, path.server);
            assert_eq!((path.mtu.client, path.mtu.server), (1500, 1500));
            assert_eq!((path.port, path.broken), (FLOW_PORT, 0));
            carries_a_syn(&mut pair, FlowId(1));
            let closed = open(FlowId(2), 9);
            let refused = pair.ask(End::Server, closed).unwrap();
            assert!(
                matches!(refused, Answer::Refused(Refusal::Port(_))),
                "{refused:?}"
            );
            pair.part();
        }
    });
    let said = stop(serving);
    assert_eq!(said.matches("its client is done").count(), 2, "{said}");
}

#[test]
fn a_services_port_is_left_to_it() {
    let Some(site) = Site::put_up() else { return };
    let _service = site.listen(Role::Server, Family::V4);
    let _serving = serve(&site, &[]);
    at_client(&site, || {
        let mut pair = meet(Family::V4);
        let answer = pair.ask(End::Server, open(FlowId(1), 22)).unwrap();
        assert_eq!(answer, Answer::Refused(Refusal::PortInUse));
        let answer = pair.ask(End::Server, open(FlowId(2), 80)).unwrap();
        assert_eq!(answer, Answer::Done);
    });
}

/// Breaks the control connection in this way in the midst, and sees that the session goes on.
fn survives(verdict: &str) {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    at_client(&site, || {
        let mut pair = meet(Family::V4);
        carries_a_syn(&mut pair, FlowId(1));
        let rules = format!(
            "table inet breaks {{ chain output {{ type filter hook output priority 0; tcp sport {} {verdict}; }}; }}",
            control_port(&site)
        );
        nft(&site, Role::Client, &rules);
        carries_a_syn(&mut pair, FlowId(2));
        assert_eq!(pair.path().broken, 1);
        pair.part();
    });
    let said = stop(serving);
    assert_eq!(said.matches("a probe begins").count(), 1, "{said}");
    assert_eq!(said.matches("is there again").count(), 1, "{said}");
    assert_eq!(said.matches("its client is done").count(), 1, "{said}");
}

#[test]
fn a_control_connection_that_is_reset_is_made_anew_and_no_order_is_lost() {
    survives("reject with tcp reset");
}

#[test]
fn a_control_connection_that_is_swallowed_is_made_anew_and_no_order_is_lost() {
    survives("drop");
}

#[test]
fn a_second_probe_of_the_same_client_is_told_to_wait_and_may_come_afterwards() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    let to = Role::Server.address(Family::V4).to_string();
    let pair = at_client(&site, || meet(Family::V4));
    let second = run(&site, &[], &[&to]);
    let own = Role::Client.address(Family::V4);
    let line = refusal(&second);
    assert!(
        line.contains(&format!("a probe from {own} is running there already")),
        "{line}"
    );
    // Without a word, as one that was killed.
    drop(pair);
    at_client(&site, || {
        until("there is room again", PATIENCE, || {
            Pair::meet(server(Family::V4)).is_ok()
        })
    });
    stop(serving);
}

// === clients that are none ===

#[test]
fn what_is_no_client_is_told_so_and_harms_nobody() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    let dial = || site.dial(Role::Relay, server(Family::V4)).unwrap();
    let answer = |bytes: &[u8]| {
        let mut stream = dial();
        // The server may have had enough before the end.
        let _ = stream.write_all(bytes);
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        String::from_utf8(told).unwrap()
    };
    // Those who say nothing at all, and one that says half of it.
    let silent: Vec<TcpStream> = (0..2).map(|_| dial()).collect();
    let mut half = dial();
    half.write_all(b"{\"hello\":").unwrap();
    at_client(&site, || {
        let mut pair = meet(Family::V4);
        carries_a_syn(&mut pair, FlowId(1));
        let told = answer(b"GET / HTTP/1.1\r\n\r\n");
        assert!(told.contains("garbage"), "{told}");
        answer(&[b'x'; 1 << 20]);
        let told = answer(b"\"here\"\n");
        assert!(told.contains("no hello"), "{told}");
        let told = answer(b"{\"hello\":{\"unmangle_probe\":99,\"session\":1,\"again\":false}}\n");
        assert_eq!(told, "{\"refused\":{\"version\":1}}\n");
        let told = answer(b"{\"hello\":{\"unmangle_probe\":1,\"session\":1,\"again\":true}}\n");
        assert_eq!(told, "{\"refused\":\"ended\"}\n");
        carries_a_syn(&mut pair, FlowId(2));
        pair.part();
    });
    drop((silent, half));
    stop(serving);
}

#[test]
fn a_client_that_talks_nonsense_in_the_midst_ends_its_own_session_alone() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    at_client(&site, || {
        let mut pair = meet(Family::V4);
        let mut other = site.dial(Role::Relay, server(Family::V4)).unwrap();
        other
            .write_all(b"{\"hello\":{\"unmangle_probe\":1,\"session\":5,\"again\":false}}\n")
            .unwrap();
        other
            .write_all(b"{\"ask\":{\"n\":1,\"order\":\"dance\"}}\n")
            .unwrap();
        let mut told = String::new();
        other.read_to_string(&mut told).unwrap();
        assert!(
            told.contains("welcome") && told.contains("garbage"),
            "{told}"
        );
        carries_a_syn(&mut pair, FlowId(1));
    });
    stop(serving);
}

#[test]
fn silent_connections_of_one_host_shut_out_that_host_alone_and_are_told_so() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    let dial = || site.dial(Role::Relay, server(Family::V4)).unwrap();
    let mut silent: Vec<TcpStream> = (0..5).map(|_| dial()).collect();
    let mut told = String::new();
    silent[4].read_to_string(&mut told).unwrap();
    assert!(told.contains("try again"), "{told}");
    at_client(&site, || carries_a_syn(&mut meet(Family::V4), FlowId(1)));
    stop(serving);
}

#[test]
fn the_number_of_anothers_session_gives_nobody_more_room_and_takes_nothing_from_it() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &["--max-sessions", "1"]);
    let hello = |role| {
        let mut stream = site.dial(role, server(Family::V4)).unwrap();
        stream
            .write_all(b"{\"hello\":{\"unmangle_probe\":1,\"session\":5,\"again\":false}}\n")
            .unwrap();
        let mut told = [0; 2000];
        let length = stream.read(&mut told).unwrap();
        (
            stream,
            String::from_utf8_lossy(&told[..length]).into_owned(),
        )
    };
    let (_first, told) = hello(Role::Client);
    assert!(told.contains("welcome"), "{told}");
    for _ in 0..2 {
        let (_, told) = hello(Role::Relay);
        assert_eq!(told, "{\"refused\":{\"busy\":1}}\n");
        let (_, told) = hello(Role::Client);
        assert!(told.contains("garbage"), "{told}");
    }
    stop(serving);
}

#[test]
fn who_floods_the_server_does_not_keep_it_from_its_end() {
    let Some(site) = Site::put_up() else { return };
    let serving = serve(&site, &[]);
    let mut stream = site.dial(Role::Relay, server(Family::V4)).unwrap();
    stream
        .write_all(b"{\"hello\":{\"unmangle_probe\":1,\"session\":5,\"again\":false}}\n")
        .unwrap();
    assert!(stream.read(&mut [0; 2000]).unwrap() > 0);
    std::thread::scope(|scope| {
        let flood = b"\"here\"\n".repeat(1000);
        scope.spawn(move || while stream.write_all(&flood).is_ok() {});
        stop(serving);
    });
}

#[test]
fn who_is_not_allowed_is_told_so() {
    let Some(site) = Site::put_up() else { return };
    let client = Role::Client.address(Family::V6).to_string();
    let serving = serve(&site, &["--allow", &client]);
    let v4 = Role::Server.address(Family::V4).to_string();
    let ended = run(&site, &[], &[&v4]);
    let own = Role::Client.address(Family::V4);
    let line = refusal(&ended);
    assert!(
        line.contains(&format!("does not let {own} in: add it to its --allow")),
        "{line}"
    );
    at_client(&site, || carries_a_syn(&mut meet(Family::V6), FlowId(1)));
    assert!(stop(serving).contains("turned away"));
}

// === what cannot be tried ===

#[test]
fn without_the_privilege_each_side_says_what_it_needs() {
    let Some(site) = Site::put_up() else { return };
    const LESS: [&str; 3] = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"];
    let to = Role::Server.address(Family::V4).to_string();
    let line = refusal(&run(&site, &LESS, &[&to])).to_owned();
    assert!(
        line.contains("this host") && line.contains("CAP_NET_RAW"),
        "{line}"
    );
    let mut command = site.lab.server().command(LESS[0]);
    command.args(&LESS[1..]).args([UNMANGLE, "probe", "serve"]);
    let ended = Running::start(command).end();
    let line = refusal(&ended);
    assert!(line.contains("CAP_NET_RAW"), "{line}");
}

#[test]
fn where_nothing_listens_or_nothing_comes_through_it_is_said_what_to_do() {
    let Some(site) = Site::put_up() else { return };
    let to = Role::Server.address(Family::V4).to_string();
    let line = refusal(&run(&site, &[], &[&to])).to_owned();
    assert!(
        line.contains(&format!(
            "nothing listens on {to}:7531, or a firewall refuses it: run `unmangle probe serve` there"
        )),
        "{line}"
    );
    let _serving = serve(&site, &[]);
    site.cut(Role::Server);
    let line = refusal(&run(&site, &[], &[&to])).to_owned();
    assert!(
        line.contains(&format!("no answer from {to}:7531"))
            && line.contains("let TCP ports 7531 and 7532"),
        "{line}"
    );
    let line = refusal(&run(&site, &[], &["no-such-host.invalid"])).to_owned();
    assert!(line.contains("no-such-host.invalid"), "{line}");
    let line = refusal(&run(&site, &[], &["-6", &to])).to_owned();
    assert!(line.contains("no address of that family"), "{line}");
}

#[test]
fn what_answers_in_the_servers_place_is_not_taken_for_it() {
    let Some(site) = Site::put_up() else { return };
    let address = server(Family::V4);
    let listener = site.listen_at(Role::Server, address);
    let to = address.ip().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let ended = run(&site, &[], &[&to]);
        let line = refusal(&ended);
        assert!(line.contains("is no `unmangle probe serve`"), "{line}");
    });
}

#[test]
fn a_port_that_a_service_has_is_named() {
    let Some(site) = Site::put_up() else { return };
    let _service = site.listen(Role::Server, Family::V4);
    for [option, port] in [["--port", "22"], ["--flow-port", "22"]] {
        let mut command = site.lab.server().command(UNMANGLE);
        command.args(["probe", "serve", option, port]);
        let ended = Running::start(command).end();
        let line = refusal(&ended);
        assert!(line.contains("TCP port 22 is taken"), "{line}");
    }
}

// === the whole of it ===

#[test]
fn on_a_clean_path_nothing_is_found_and_nothing_needs_to_be_undone() {
    let Some(site) = Site::put_up() else { return };
    let _service = site.listen(Role::Server, Family::V4);
    let serving = serve(&site, &[]);
    for family in FAMILIES {
        let to = Role::Server.address(family).to_string();
        let ended = run(&site, &[], &["--json", &to]);
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        let report = ended.report();
        assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
        assert_eq!(report["untried"], serde_json::json!([]), "{report:#}");
        assert_eq!(report["recommended"]["kind"], "nothing", "{report:#}");
    }
    stop(serving);
}

#[test]
fn where_the_control_connection_alone_comes_through_the_port_that_is_missing_is_named() {
    let Some(site) = Site::put_up() else { return };
    let _serving = serve(&site, &[]);
    let rules = "table inet strict { chain forward { type filter hook forward priority 0; tcp dport 7532 drop; }; }";
    nft(&site, Role::Relay, rules);
    let to = Role::Server.address(Family::V4).to_string();
    let ended = run(&site, &[], &[&to]);
    let line = refusal(&ended);
    assert!(
        line.contains("came to its port 7532: let TCP port 7532 through"),
        "{line}"
    );
}

#[test]
fn a_port_that_is_reset_and_answers_that_do_not_come_back_are_told_apart() {
    let Some(site) = Site::put_up() else { return };
    let _serving = serve(&site, &[]);
    let to = Role::Server.address(Family::V4).to_string();
    for (role, chain, rule, expected) in [
        (
            Role::Relay,
            "forward",
            "tcp dport 7532 reject with tcp reset",
            format!("TCP port 7532 of {to} is refused by a reset from {to}"),
        ),
        (
            Role::Relay,
            "forward",
            "tcp sport 7532 drop",
            "no answer from port 7532 comes back".to_owned(),
        ),
        (
            Role::Server,
            "output",
            "tcp sport 7532 drop",
            format!("{to} cannot send from TCP port 7532: its own rules (OUTPUT)"),
        ),
    ] {
        let rules = format!(
            "table inet strict {{ chain it {{ type filter hook {chain} priority 0; {rule}; }}; }}"
        );
        nft(&site, role, &rules);
        let ended = run(&site, &[], &[&to]);
        let line = refusal(&ended);
        assert!(line.contains(&expected), "{line}");
        nft(&site, role, "delete table inet strict");
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_tried() {
    let Some(site) = Site::put_up() else { return };
    let to = Role::Server.address(Family::V4).to_string();
    let ended = run(&site, &[], &[&to, "--write-config", "/no/such/folder/file"]);
    let line = refusal(&ended);
    assert!(
        line.contains("/no/such/folder/file cannot be written"),
        "{line}"
    );
    let words = [
        &to,
        "--write-config",
        "/dev/null",
        "--mangled-side",
        "none9",
    ];
    let ended = run(&site, &[], &words);
    let line = refusal(&ended);
    assert!(
        line.contains("--mangled-side none9: this host has no such interface"),
        "{line}"
    );
}

#[test]
fn rules_of_this_host_that_keep_segments_from_leaving_are_named_as_such() {
    let Some(site) = Site::put_up() else { return };
    let _serving = serve(&site, &[]);
    let rules = "table inet strict { chain output { type filter hook output priority 0; tcp dport 7532 drop; }; }";
    nft(&site, Role::Client, rules);
    let to = Role::Server.address(Family::V4).to_string();
    let ended = run(&site, &[], &[&to]);
    let line = refusal(&ended);
    assert!(line.contains("own rules"), "{line}");
}
