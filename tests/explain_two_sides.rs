//! `unmangle explain --other-side`: whatever the lab's firewall can do to packets is named, and nothing else.
//! The firewall is the lab's own, between two hosts that are a few lines here.

mod captures;
mod site;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use unmangle::lab::wire::{
    Delivery, Direction, Heading, Isn, Mangler, Oversize, OversizeAction, Protocol, Stop,
    WindowScale, WireSpec,
};
use unmangle::packet::{Flags, Ip, Options, Tcp, TcpOption};

use captures::{Segment, offer, pcap, stamped};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const SEGMENTS: u32 = 400;
/// The server behind its capture never gets this one, so that it sends SACK blocks.
const MISSED: u32 = 100;
/// Before this one the client is silent.
const AFTER_SILENCE: u32 = 300;
const SILENCE: Duration = Duration::from_secs(30);
const CLIENT_ISN: u32 = 4_294_900_000;
const SERVER_ISN: u32 = 77_000;
/// By so much the server's clock is ahead.
const AHEAD: Duration = Duration::from_millis(1_500);

/// Two hosts, what each of them captures, and the firewall between them.
struct World {
    mangler: Mangler,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    counted: u64,
    captured: [Vec<(Duration, Vec<u8>)>; 2],
    /// What the server has of the client's bytes, by its own numbers.
    ranges: BTreeMap<u32, u32>,
    server: Host,
    client: Host,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(u32),
    Arrives(bool, Vec<u8>),
}

#[derive(Default)]
struct Host {
    next: u32,
    acknowledges: u32,
    sack_permitted: bool,
    stamp: u32,
    identification: u16,
}

impl World {
    fn new(spec: &WireSpec) -> Self {
        let mut world = Self {
            mangler: Mangler::new(spec),
            events: BinaryHeap::new(),
            counted: 0,
            captured: [Vec::new(), Vec::new()],
            ranges: BTreeMap::new(),
            server: Host {
                next: SERVER_ISN,
                ..Host::default()
            },
            client: Host {
                next: CLIENT_ISN,
                ..Host::default()
            },
        };
        let mut at = Duration::from_secs(1);
        for n in 0..SEGMENTS {
            at += Duration::from_millis(2);
            if n == AFTER_SILENCE {
                at += SILENCE;
            }
            world.push(at, Event::Send(n));
        }
        world
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.counted += 1;
        self.events.push(Reverse((at, self.counted, event)));
    }

    fn run(mut self) -> [Vec<(Duration, Vec<u8>)>; 2] {
        let syn = Segment {
            flags: "S",
            options: offer(1, 0),
            ..Segment::default()
        };
        self.send(Duration::from_millis(1), syn);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            match event {
                Event::Send(n) => self.data(at, n),
                Event::Arrives(at_server, packet) => self.arrives(at, at_server, packet),
            }
        }
        self.captured
    }

    fn data(&mut self, at: Duration, n: u32) {
        let options = stamped(self.client.stamp, 5, &[]);
        // Some of them are small.
        let payload = if n.is_multiple_of(4) { 200 } else { 1_400 };
        let segment = Segment {
            flags: "PA",
            payload,
            options,
            ..Segment::default()
        };
        self.send(at, segment);
    }

    /// Fills in what the host knows, captures it, and gives it to the wire.
    fn send(&mut self, at: Duration, mut segment: Segment) {
        let host = match segment.from_server {
            true => &mut self.server,
            false => &mut self.client,
        };
        segment.sequence = host.next;
        segment.acknowledgement = if segment.flags == "S" {
            0
        } else {
            host.acknowledges
        };
        host.identification += 1;
        host.stamp += 1;
        segment.identification = host.identification;
        host.next = host
            .next
            .wrapping_add(segment.payload as u32 + u32::from(segment.flags.contains('S')));
        let packet = segment.build();
        self.capture(at, segment.from_server, &packet);
        let heading = if segment.from_server {
            Heading::BToA
        } else {
            Heading::AToB
        };
        let mut out = Vec::new();
        self.mangler.carry(heading, at, packet, &mut out);
        for Delivery {
            due,
            heading,
            packet,
        } in out
        {
            let due = due.max(at) + Duration::from_micros(500);
            self.push(due, Event::Arrives(heading == Heading::AToB, packet));
        }
    }

    fn capture(&mut self, at: Duration, at_server: bool, packet: &[u8]) {
        let at = at + if at_server { AHEAD } else { Duration::ZERO };
        self.captured[usize::from(at_server)]
            .push((at + Duration::from_secs(1_000), packet.to_vec()));
    }

    fn arrives(&mut self, at: Duration, at_server: bool, packet: Vec<u8>) {
        self.capture(at, at_server, &packet);
        let ip = Ip::parse(&packet).unwrap();
        let Ok(tcp) = Tcp::parse(&packet[ip.payload..ip.end]) else {
            return;
        };
        if !ip.has_tcp_header() {
            return;
        }
        let end = tcp.sequence().wrapping_add(tcp.payload().len() as u32);
        if tcp.flags().has(Flags::SYN) {
            let host = if at_server {
                &mut self.server
            } else {
                &mut self.client
            };
            host.acknowledges = end.wrapping_add(1);
            host.sack_permitted =
                Options::new(tcp.header()).any(|option| option == TcpOption::SackPermitted);
            let at = at + Duration::from_micros(10);
            match at_server {
                true => self.send(
                    at,
                    Segment {
                        from_server: true,
                        flags: "SA",
                        options: offer(5, 1),
                        ..Segment::default()
                    },
                ),
                false => self.send(
                    at,
                    Segment {
                        options: stamped(2, 5, &[]),
                        ..Segment::default()
                    },
                ),
            }
            return;
        }
        match at_server {
            true if !tcp.payload().is_empty() => self.answer(at, tcp.sequence(), end),
            false if !tcp.payload().is_empty() => self.client.acknowledges = end,
            _ => {}
        }
    }

    /// The server has got data: it says what it has, and sometimes more.
    fn answer(&mut self, at: Duration, begin: u32, end: u32) {
        let missed = self.server.acknowledges;
        let count = self.counted_data();
        if count != MISSED && end.wrapping_sub(missed) < 1 << 31 {
            self.ranges
                .insert(begin.wrapping_sub(missed), end.wrapping_sub(missed));
        }
        // From the front as far as there is no gap.
        let mut reached = 0;
        while let Some(end) = self.ranges.remove(&reached) {
            reached = end;
        }
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        let ranges: BTreeMap<u32, u32> = self
            .ranges
            .iter()
            .map(|(begin, end)| (begin.wrapping_sub(reached), end.wrapping_sub(reached)))
            .collect();
        self.server.acknowledges = missed.wrapping_add(reached);
        for (begin, end) in &ranges {
            let at = |offset: u32| self.server.acknowledges.wrapping_add(offset);
            match blocks.last_mut() {
                Some(last) if last.1 == at(*begin) => last.1 = at(*end),
                _ => blocks.push((at(*begin), at(*end))),
            }
        }
        self.ranges = ranges;
        if !self.server.sack_permitted {
            blocks.clear();
        }
        let payload = if count.is_multiple_of(20) { 100 } else { 0 };
        let options = stamped(self.server.stamp, 9, &blocks);
        let segment = Segment {
            from_server: true,
            options,
            payload,
            ..Segment::default()
        };
        self.send(at + Duration::from_micros(10), segment);
    }

    /// Data segments that have come to the server.
    fn counted_data(&self) -> u32 {
        let data = self.captured[1]
            .iter()
            .filter(|(_, packet)| packet.len() > 200);
        data.count() as u32
    }
}

/// What is told of the path through a firewall.
fn told(spec: &WireSpec) -> Value {
    let [client, server] = World::new(spec).run();
    let directory = tempfile::tempdir().unwrap();
    let files = [("client.pcap", client), ("server.pcap", server)].map(|(name, packets)| {
        let file = directory.path().join(name);
        std::fs::write(&file, pcap(101, 128, &packets)).unwrap();
        file
    });
    let output = Command::new(UNMANGLE)
        .args(["explain", "--json", "--other-side"])
        .args([&files[1], &files[0]])
        .output()
        .unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(
        report["path"]["flows"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );
    report["path"]["flows"][0].clone()
}

/// The fields that are named, `>` those of packets from the opener, `<` those to it.
fn named(told: &Value) -> Vec<String> {
    let changes = told["changes"].as_array().unwrap();
    let mut named: Vec<String> = changes
        .iter()
        .map(|change| {
            let way = if change["from_opener"] == true {
                '>'
            } else {
                '<'
            };
            format!("{way}{}", change["field"].as_str().unwrap())
        })
        .collect();
    named.sort();
    named.dedup();
    named
}

fn wire(a_to_b: Direction, b_to_a: Direction) -> WireSpec {
    let mut spec = WireSpec {
        seed: 7,
        a_to_b,
        b_to_a,
        ..WireSpec::default()
    };
    spec.a.mtu = 1_500;
    spec.b.mtu = 1_500;
    spec
}

fn isn(translate_sack: bool) -> Direction {
    Direction {
        isn: Some(Isn { translate_sack }),
        ..Direction::default()
    }
}

fn large(action: OversizeAction, probability: f64) -> Direction {
    let oversize = Oversize {
        protocol: Protocol::Any,
        above: 1_020,
        action,
        probability,
    };
    Direction {
        oversize: vec![oversize],
        ..Direction::default()
    }
}

#[test]
fn a_path_that_changes_nothing_is_said_to_change_nothing() {
    let told = told(&wire(Direction::default(), Direction::default()));
    assert_eq!(named(&told), [""; 0], "{told:#}");
    assert_eq!(told["nearer_to_opener"], "first");
    let ahead = told["clock_ahead_s"].as_f64().unwrap();
    assert!((ahead - AHEAD.as_secs_f64()).abs() < 0.001, "{ahead}");
    assert_eq!(told["cure"], Value::Null);
}

#[test]
fn each_field_that_the_firewall_rewrites_is_named_and_no_other() {
    let plain = Direction::default;
    let option = |direction: Direction| wire(direction.clone(), direction);
    let cases: Vec<(&str, WireSpec, &[&str])> = vec![
        (
            "ISN of the client",
            wire(isn(false), plain()),
            &["<acknowledgement", "<sack_not_translated", ">sequence"],
        ),
        (
            "ISN of the client, SACK translated",
            wire(isn(true), plain()),
            &["<acknowledgement", ">sequence"],
        ),
        (
            "ISN of both",
            option(isn(false)),
            &[
                "<acknowledgement",
                "<sack_not_translated",
                "<sequence",
                ">acknowledgement",
                ">sequence",
            ],
        ),
        (
            "window scale",
            option(Direction {
                window_scale: WindowScale::Strip,
                ..plain()
            }),
            &["<window_scale", ">window_scale"],
        ),
        (
            "window scale of the SYN-ACK",
            option(Direction {
                window_scale: WindowScale::StripFromSynAck,
                ..plain()
            }),
            &["<window_scale"],
        ),
        (
            "window scale overwritten",
            wire(
                Direction {
                    window_scale: WindowScale::Set(2),
                    ..plain()
                },
                plain(),
            ),
            &[">window_scale"],
        ),
        (
            "MSS",
            option(Direction {
                mss: Some(1_380),
                ..plain()
            }),
            &["<mss", ">mss"],
        ),
        (
            "SACK-permitted",
            option(Direction {
                strip_sack_permitted: true,
                ..plain()
            }),
            &["<sack_permitted", ">sack_permitted"],
        ),
        (
            "timestamps",
            wire(
                Direction {
                    timestamp_offset: Some(1_000),
                    ..plain()
                },
                plain(),
            ),
            &[">timestamps"],
        ),
    ];
    for (name, spec, expected) in cases {
        let told = told(&spec);
        assert_eq!(named(&told), expected, "{name}: {told:#}");
        for change in told["changes"].as_array().unwrap() {
            assert!(
                change["example"]["arrived"].as_u64().is_some(),
                "{name}: {change:#}"
            );
        }
    }
}

#[test]
fn what_becomes_of_packets_is_named_too() {
    let plain = Direction::default;
    let forgetful = Direction {
        forget_idle_after: Some(Duration::from_secs(20)),
        ..plain()
    };
    let stop = Stop {
        after_packets: 100,
        lasts: Duration::from_millis(100),
    };
    let cases: Vec<(&str, WireSpec, &[&str])> = vec![
        (
            "loss",
            wire(
                Direction {
                    loss: 0.05,
                    ..plain()
                },
                plain(),
            ),
            &[">loss"],
        ),
        (
            "large ones lost",
            wire(large(OversizeAction::Drop, 1.0), plain()),
            &[">loss", ">size_limit"],
        ),
        (
            "large ones refused",
            wire(large(OversizeAction::TooBig, 1.0), plain()),
            &[">loss", ">size_limit"],
        ),
        (
            "some large ones lost",
            wire(large(OversizeAction::Drop, 0.2), plain()),
            &[">loss", ">size_limit"],
        ),
        (
            "large ones cut",
            wire(large(OversizeAction::Truncate, 1.0), plain()),
            &[">length"],
        ),
        (
            "some large ones late",
            wire(
                large(OversizeAction::Delay(Duration::from_millis(50)), 0.05),
                plain(),
            ),
            &[">delay", ">order"],
        ),
        (
            "others first",
            wire(
                Direction {
                    reorder: 0.1,
                    reorder_by: Duration::from_millis(20),
                    ..plain()
                },
                plain(),
            ),
            &[">delay", ">order"],
        ),
        (
            "twice",
            wire(
                Direction {
                    duplicate: 0.1,
                    ..plain()
                },
                plain(),
            ),
            &[">added"],
        ),
        (
            "a byte",
            wire(
                Direction {
                    corrupt: 0.3,
                    ..plain()
                },
                plain(),
            ),
            &[">data"],
        ),
        (
            "forgotten",
            wire(forgetful.clone(), forgetful),
            &[">loss", ">silence"],
        ),
        (
            "dead for a while",
            wire(
                Direction {
                    stops: Some(stop),
                    ..plain()
                },
                plain(),
            ),
            &[">loss", ">silence"],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, spec, expected) in cases {
        let told = told(&spec);
        if named(&told) != expected {
            let changes = told["changes"].as_array().unwrap();
            let what: Vec<_> = changes.iter().map(|change| &change["what"]).collect();
            wrong.push(format!("{name}: {:?} {what:?}", named(&told)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_profile_is_the_one_for_what_was_found() {
    let both = |direction: Direction| wire(direction.clone(), direction);
    let pix = Direction {
        isn: isn(false).isn,
        ..large(OversizeAction::Drop, 0.2)
    };
    let asa = Direction {
        mss: Some(1_380),
        ..isn(false)
    };
    let stripped = Direction {
        window_scale: WindowScale::StripFromSynAck,
        ..Direction::default()
    };
    let forgetful = Direction {
        forget_idle_after: Some(Duration::from_secs(20)),
        ..Direction::default()
    };
    for (profile, spec) in [
        ("isn-rewrite", both(isn(false))),
        ("cisco-pix", both(pix)),
        ("asa", both(asa)),
        ("wscale-strip", both(stripped)),
        ("blackhole", both(large(OversizeAction::Drop, 1.0))),
        ("idle-drop", both(forgetful)),
    ] {
        let told = told(&spec);
        assert_eq!(told["cure"]["profile"], profile, "{told:#}");
    }
}

/// Real hosts behind the emulated firewall. Needs root, and is skipped without it except in CI.
#[test]
fn captures_of_the_lab_name_what_its_firewall_rewrites_and_agree_with_the_kernel() {
    if !site::possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let ran = Command::new(UNMANGLE)
        .args([
            "lab",
            "run",
            "isn-rewrite",
            "--path",
            "direct",
            "--size",
            "8M",
            "--json",
            "--report",
        ])
        .arg(&report)
        .output()
        .unwrap();
    let rows: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let kept = report.join("001-isn-rewrite-direct-scp-upload-ipv4-run1");
    let output = Command::new(UNMANGLE)
        .args(["explain", "--json"])
        .arg(kept.join("client.pcap"))
        .arg("--other-side")
        .arg(kept.join("server.pcap"))
        .output()
        .unwrap();
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(
        told["invalid"], rows[0]["conntrack_invalid"]["client"],
        "{told:#}"
    );
    let flow = &told["path"]["flows"][0];
    let named = named(flow);
    for field in [
        ">sequence",
        "<sequence",
        ">acknowledgement",
        "<acknowledgement",
        "<sack_not_translated",
    ] {
        assert!(
            named.iter().any(|name| name == field),
            "{field} is not in {named:?}"
        );
    }
    assert_eq!(flow["cure"]["profile"], "isn-rewrite");
}
