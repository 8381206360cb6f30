//! What must not be touched is not: what is signed end to end (TCP-MD5, TCP-AO), ports and networks that
//! were not named, and what is no TCP.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, Socket, Type};
use unmangle::lab::{Family, Host, OpenedFrom, Process, Role};

use site::tap::{Seen, Tap};
use site::{FAMILIES, PATIENCE, Relay, Site, UNMANGLE, inside, talk, until};

/// Where a relay, or rules without one, can stand.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Gateway,
    ServerSidecar,
    ClientSidecar,
    Normalise,
}

const SHAPES: [Shape; 4] = [
    Shape::Gateway,
    Shape::ServerSidecar,
    Shape::ClientSidecar,
    Shape::Normalise,
];

/// Kept running.
enum Running {
    Relay(Relay),
    Rules { _process: Process },
}

fn start(site: &Site, shape: Shape, more: &[&str]) -> Running {
    match shape {
        Shape::Gateway => Running::Relay(Relay::start(&site.lab, more)),
        Shape::ServerSidecar => {
            // The services of these tests listen at one address.
            let leg = ["--service-leg", "own-address"];
            let more = [&leg, more].concat();
            Running::Relay(Relay::sidecar(
                &site.lab,
                Role::Server,
                "server-sidecar",
                &more,
            ))
        }
        Shape::ClientSidecar => Running::Relay(Relay::sidecar(
            &site.lab,
            Role::Client,
            "client-sidecar",
            more,
        )),
        Shape::Normalise => {
            let mut command = site.lab.relay().command(UNMANGLE);
            command.args([
                "normalise",
                "--mangled-side",
                "fw0",
                "--profile",
                "cisco-pix",
            ]);
            command.args(more);
            let log = site.lab.directory().join("normalise.log");
            let mut process = Process::start("normalise", &mut command, &log).unwrap();
            process.ready("normalising", PATIENCE).unwrap();
            Running::Rules { _process: process }
        }
    }
}

// === signed by the kernel ===

/// Serves one connection on port 22 whose segments are signed, and says back what it hears.
const SERVE: &str = "
import socket, struct, sys
def sign(s, family, peer):
    name = socket.inet_pton(family, peer)
    head = struct.pack('<HH', family, 0) + (name if family == socket.AF_INET else b'\\0' * 4 + name)
    s.setsockopt(6, 14, struct.pack('128sBBHi80s', head, 0, 0, 6, 0, b'secret'))
own, peer = sys.argv[1:3]
family = socket.AF_INET6 if ':' in own else socket.AF_INET
s = socket.socket(family)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
";

/// Both ends of a connection of two programs that sign with one key. What comes back is what was said.
fn signed_exchange(site: &Site, family: Family) -> String {
    let [client, server] =
        [Role::Client, Role::Server].map(|role| role.address(family).to_string());
    let serve = format!(
        "{SERVE}sign(s, family, peer); s.bind((own, 22)); s.listen(); print('listening', flush=True)
c, _ = s.accept(); c.sendall(c.recv(100)); c.recv(100)
"
    );
    let dial = format!(
        "{SERVE}sign(s, family, peer); s.settimeout(8); s.connect((peer, 22)); s.sendall(b'are you there?')
print(s.recv(100).decode())
"
    );
    let python = |host: &Host, script: &str, own: &str, peer: &str| {
        let mut command = host.command("python3");
        command.args(["-c", script, own, peer]);
        command
    };
    let log = site.lab.directory().join("signed.log");
    let mut serving = python(site.lab.server(), &serve, &server, &client);
    let mut service = Process::start("signed", &mut serving, &log).unwrap();
    service.ready("listening", PATIENCE).unwrap();
    let dialled = python(site.lab.client(), &dial, &client, &server)
        .output()
        .unwrap();
    String::from_utf8_lossy(&dialled.stdout).trim().to_owned()
        + String::from_utf8_lossy(&dialled.stderr)
            .lines()
            .last()
            .unwrap_or_default()
}

/// Whether there is a python, and a kernel that signs.
fn can_sign() -> bool {
    let probe = format!("{SERVE}sign(s, family, peer)");
    Command::new("python3")
        .args(["-c", &probe, "127.0.0.1", "127.0.0.1"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_connection_with_tcp_md5_is_left_to_its_ends() {
    let Some(site) = Site::put_up() else { return };
    if !can_sign() {
        println!("skipped: no python3, or a kernel without TCP_MD5SIG");
        return;
    }
    for shape in SHAPES {
        let running = start(&site, shape, &[]);
        for family in FAMILIES {
            assert_eq!(
                signed_exchange(&site, family),
                "are you there?",
                "{shape:?} {family:?}"
            );
        }
        if let Running::Relay(relay) = running {
            assert_eq!(relay.table()["accepted"], 0, "{shape:?}");
            // It does take the others.
            let pair = site.connect(OpenedFrom::Client, Family::V4);
            talk(&pair);
            drop(pair);
            relay.ended(1);
        }
    }
}

// === an option that says so ===

/// No-operation, no-operation, and an option of this kind.
fn option(kind: u8, length: u8) -> Vec<u8> {
    let mut option = vec![1, 1, kind, length];
    option.resize(2 + usize::from(length), 0x5a);
    option
}

/// Sends an opening packet to port 22 of the server that offers SACK and has this option.
fn send_syn(site: &Site, family: Family, port: u16, more: &[u8]) {
    let [from, to] = [Role::Client, Role::Server].map(|role| role.address(family));
    let mut options = vec![2, 4, 0x05, 0xb4, 4, 2, 1, 1];
    options.extend(more);
    let packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => unreachable!("one family at a time"),
    };
    let mut bytes = Vec::new();
    let segment = packet
        .tcp(port, 22, 1, 64_000)
        .syn()
        .options_raw(&options)
        .unwrap();
    segment.write(&mut bytes, &[]).unwrap();
    let destination = SocketAddr::new(to, 0);
    inside(site.lab.client(), || {
        let raw = Protocol::from(255);
        let socket = Socket::new(Domain::for_address(destination), Type::RAW, Some(raw)).unwrap();
        socket.send_to(&bytes, &destination.into()).unwrap();
    });
}

/// The first opening packet that arrives at the server, if one does while another that is not touched does.
fn arrival(site: &Site, family: Family, port: u16, more: &[u8]) -> Option<Seen> {
    let mut tap = Tap::on(site, Role::Server);
    send_syn(site, family, port, more);
    let client = Role::Client.address(family);
    // Overtaking is not possible: what is sent to another port afterwards arrives after it.
    let mut seen = Vec::new();
    let other = SocketAddr::from((Role::Server.address(family), 23));
    let listener = site.listen_at(Role::Server, other);
    drop(site.dial(Role::Client, other).unwrap());
    drop(site::accept(&listener));
    until("the other connection is seen", PATIENCE, || {
        seen.extend(
            tap.openings()
                .into_iter()
                .filter(|seen| seen.from == client),
        );
        !seen.is_empty()
    });
    seen.extend(
        tap.openings()
            .into_iter()
            .filter(|seen| seen.from == client),
    );
    seen.into_iter().find(|seen| seen.source_port == port)
}

#[test]
fn an_opening_packet_that_says_it_is_signed_arrives_as_it_was_sent() {
    let Some(site) = Site::put_up() else { return };
    let mut port = 50_000;
    for shape in [Shape::Gateway, Shape::ClientSidecar, Shape::Normalise] {
        let _running = start(&site, shape, &[]);
        for family in FAMILIES {
            for (kind, length) in [(19, 18), (29, 16)] {
                port += 1;
                let seen = arrival(&site, family, port, &option(kind, length));
                let seen = seen.unwrap_or_else(|| panic!("{shape:?} {family:?}: {kind} was taken"));
                assert!(
                    seen.sack_permitted && seen.mss == Some(1460),
                    "{shape:?} {seen:?}"
                );
            }
            // One that does not say so is taken, or stripped.
            port += 1;
            let seen = arrival(&site, family, port, &[]);
            match shape {
                Shape::Normalise => assert!(!seen.unwrap().sack_permitted),
                _ => assert_eq!(seen, None, "{shape:?}"),
            }
        }
    }
}

// === other ports, other networks, other protocols ===

#[test]
fn ports_and_networks_that_are_not_named_keep_every_option() {
    let Some(site) = Site::put_up() else { return };
    for shape in SHAPES {
        let elsewhere = match shape {
            // Its own addresses.
            Shape::ServerSidecar => ["--from", "203.0.113.0/24", "--from", "2001:db8:99::/48"],
            _ => ["--to", "203.0.113.0/24", "--to", "2001:db8:99::/48"],
        };
        for (more, port) in [(&["--intercept", "22"][..], 23), (&elsewhere[..], 22)] {
            let running = start(&site, shape, more);
            for family in FAMILIES {
                let to = SocketAddr::from((Role::Server.address(family), port));
                let (mut there, mut back) =
                    (Tap::on(&site, Role::Server), Tap::on(&site, Role::Client));
                let listener = site.listen_at(Role::Server, to);
                let client = site.dial(Role::Client, to).unwrap();
                let server = site::accept(&listener);
                talk(&site::Pair { client, server });
                let mut seen = there.openings_not_from(to.ip());
                seen.extend(back.openings_not_from(Role::Client.address(family)));
                assert!(seen.len() >= 2, "{shape:?} {seen:?}");
                for seen in seen {
                    assert!(
                        seen.sack_permitted && seen.window_scale,
                        "{shape:?} {seen:?}"
                    );
                }
            }
            if let Running::Relay(relay) = running {
                assert_eq!(relay.table()["accepted"], 0, "{shape:?} {more:?}");
            }
        }
    }
}

#[test]
fn ping_and_udp_pass_as_ever_and_uncured() {
    let Some(site) = Site::put_up() else { return };
    for shape in SHAPES {
        let _running = start(&site, shape, &[]);
        for family in FAMILIES {
            let server = Role::Server.address(family);
            site.lab
                .client()
                .run("ping", &["-c1", "-W5", &server.to_string()])
                .unwrap();
            let at = SocketAddr::new(server, 22);
            let bind = |address: SocketAddr| UdpSocket::bind(address).unwrap();
            let there = inside(site.lab.server(), || bind(at));
            let here = inside(site.lab.client(), || {
                bind((Role::Client.address(family), 0).into())
            });
            there.set_read_timeout(Some(PATIENCE)).unwrap();
            here.send_to(b"datagram", at).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = there.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"datagram"[..], here.local_addr().unwrap())
            );
        }
    }
}
