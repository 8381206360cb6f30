//! The model of connection tracking and the kernel agree, packet for packet.
//!
//! In every scenario of the lab, on every host that tracks the connection itself, the model judges the capture
//! of that host; the kernel has said by NFLOG which packets it called INVALID, and why. What only one
//! of them calls INVALID fails the test, and so does another reason or another number.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use unmangle::diagnose::tracking::{Bound, By, Invalid, Segment, Settings, Table, Verdict};
use unmangle::packet::capture::Capture;
use unmangle::packet::link::{Carried, Travel};

use site::tracked::running;
use site::{UNMANGLE, possible};

/// How often a transfer is made before tcpdump's losses are a failure.
const RUNS: usize = 3;
/// No capture of a host has fewer packets of TCP: the least is a handshake, and a black hole.
const LEAST: usize = 5;

/// A packet, as one of a host's three captures has it.
#[derive(Debug, Clone)]
struct Captured {
    at: Duration,
    segment: Segment,
    travel: Option<Travel>,
    /// What it was logged with.
    prefix: String,
    identification: u16,
}

/// What makes a packet itself and none that is like it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

/// What two that should agree have said.
#[derive(Debug, Default)]
struct Comparison {
    packets: usize,
    /// INVALID by the model, and how many of them because of a SACK block.
    invalid: usize,
    by_sack: usize,
    /// Of how many packets both said the same in words.
    explained: usize,
    /// Of how many of these the words fit once a packet of the host's own that was captured just after is counted in.
    overtaken: usize,
    differences: Vec<String>,
}

// === the captures ===

/// Every TCP packet of a capture.
fn packets(file: &Path) -> Vec<Captured> {
    let opened = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut capture = Capture::open(BufReader::new(opened)).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = capture.next_packet().unwrap() {
        let frame = packet.link.open(packet.bytes);
        let Carried::Ip(ip) = frame.carried else {
            continue;
        };
        let original = packet.original_length - frame.heading;
        let Ok(segment) = Segment::parse(ip, original) else {
            continue;
        };
        let prefix = frame.logged.map_or(&b""[..], |logged| logged.prefix);
        packets.push(Captured {
            at: packet.at,
            segment,
            travel: frame.travel,
            prefix: String::from_utf8_lossy(prefix)
                .trim_end_matches(['\0', ' '])
                .to_owned(),
            identification: match ip[0] >> 4 {
                4 => u16::from_be_bytes([ip[4], ip[5]]),
                _ => 0,
            },
        });
    }
    packets
}

/// Whether a tcpdump says that it has lost packets, or was ended by too many at a time: then its capture proves
/// nothing.
fn lost(report: &Path, host: &str) -> bool {
    ["", ".invalid", ".reasons"].iter().any(|what| {
        let log = report.join(format!("{host}{what}.tcpdump.log"));
        let said = fs::read_to_string(&log).unwrap();
        let dropped = said
            .lines()
            .find_map(|line| line.strip_suffix(" packets dropped by kernel"));
        dropped != Some("0") || said.contains("pcap_loop")
    })
}

// === impl Captured ===

impl Captured {
    fn name(&self) -> Name {
        let Segment {
            source,
            destination,
            sequence,
            acknowledgement,
            window,
            flags,
            payload,
            options,
            ..
        } = self.segment;
        Name(format!(
            "{source} > {destination} id {} seq {sequence} ack {acknowledgement} win {window} flags {:#x} payload {payload} sack {:?}",
            self.identification, flags.0, options.sack
        ))
    }

    /// A host tracks what it is sent when it comes in, and what it sends itself when that goes out.
    fn is_tracked(&self, own: &[&str]) -> bool {
        let source = self.segment.source.ip().to_string();
        self.travel != Some(Travel::Outgoing) || own.contains(&source.as_str())
    }
}

// === what both say ===

/// The addresses of a host.
fn own(host: &str) -> &'static [&'static str] {
    match host {
        "client" => &["192.0.2.2", "2001:db8:1::2"],
        "relay" => &[
            "192.0.2.1",
            "2001:db8:1::1",
            "198.51.100.1",
            "2001:db8:2::1",
        ],
        "server" => &["198.51.100.2", "2001:db8:2::2"],
        other => panic!("{other}"),
    }
}

/// How many packets of its own a host can have tracked and not yet handed to who captures: two bursts of 64 KiB, each
/// of which conntrack sees as one packet, and who captures on an interface without offloads as 45.
const UNDER_WAY: usize = 90;

/// What a host sends is tracked first and captured then, what it is sent the other way round; and a router has the two
/// directions on two processors at once. So while a packet comes in, some of the other direction that were captured after it
/// can have been tracked before: the bound may be as it is with each of them.
fn with_what_was_tracked_before<'a>(
    invalid: Invalid,
    packet: &'a Captured,
    next: &'a [Captured],
) -> impl Iterator<Item = Invalid> + 'a {
    let answers = |next: &&Captured| {
        packet.travel != Some(Travel::Outgoing)
            && next.segment.source == packet.segment.destination
            && next.segment.destination == packet.segment.source
    };
    next.iter()
        .filter(answers)
        .take(UNDER_WAY)
        .filter_map(move |next| {
            let mut moved = invalid;
            let measured = moved.measured.as_mut()?;
            if invalid.bound != Bound::AckOverSeen {
                return None;
            }
            measured.allowed = next.segment.sequence.wrapping_add(next.segment.payload);
            moved.moment.receiver.end = measured.allowed;
            Some(moved)
        })
}

/// What the model says of a host's capture, and what the kernel has said there.
fn compare(report: &Path, host: &str, settings: Settings) -> Comparison {
    let kernel = settings.kernel;
    let mut comparison = Comparison::default();
    // How many the kernel has of each, less those that the model has.
    let mut balance: BTreeMap<Name, i64> = BTreeMap::new();
    for packet in packets(&report.join(format!("{host}.invalid.pcap"))) {
        *balance.entry(packet.name()).or_default() += 1;
    }
    let mut reasons: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for packet in packets(&report.join(format!("{host}.reasons.pcap"))) {
        reasons
            .entry(packet.name())
            .or_default()
            .push(packet.prefix);
    }

    let mut table = Table::new(settings);
    let mut tracked = packets(&report.join(format!("{host}.pcap")));
    tracked.retain(|packet| packet.is_tracked(own(host)));
    for (place, packet) in tracked.iter().enumerate() {
        comparison.packets += 1;
        let seen = table.see(packet.at, &packet.segment);
        let name = packet.name();
        let mut alike = Vec::new();
        let said = match seen.verdict {
            Verdict::Invalid(invalid) => {
                comparison.invalid += 1;
                let by = invalid.measured.map(|measured| measured.by);
                comparison.by_sack += usize::from(matches!(by, Some(By::Sack(_))));
                *balance.entry(name.clone()).or_default() -= 1;
                alike = with_what_was_tracked_before(invalid, packet, &tracked[place + 1..])
                    .filter_map(|invalid| invalid.logged(kernel))
                    .map(|said| format!("nf_ct_proto_6: {said}"))
                    .collect();
                invalid.logged(kernel)
            }
            Verdict::Ignored(ignored) => Some(ignored.logged(kernel)),
            Verdict::New(_) | Verdict::Tracked { .. } => None,
        };
        let Some(said) = said else { continue };
        let said = format!("nf_ct_proto_6: {said}");
        let Some(of_kernel) = reasons.get_mut(&name) else {
            comparison.differences.push(format!(
                "{host}: the kernel logs nothing, the model {said:?}: {name:?} at {:?}",
                packet.at
            ));
            continue;
        };
        let of_both = of_kernel.iter().position(|text| *text == said);
        let overtaken = || of_kernel.iter().position(|text| alike.contains(text));
        if let Some(place) = of_both {
            of_kernel.remove(place);
            comparison.explained += 1;
        } else if let Some(place) = overtaken() {
            of_kernel.remove(place);
            comparison.overtaken += 1;
        } else {
            comparison.differences.push(format!(
                "{host}: the kernel logs {of_kernel:?}, the model {said:?}: {name:?} at {:?}: {:?}",
                packet.at, seen
            ));
        }
    }
    for (name, more) in balance.into_iter().filter(|(_, more)| *more != 0) {
        let who = if more > 0 {
            "only the kernel"
        } else {
            "only the model"
        };
        comparison
            .differences
            .push(format!("{host}: {who} says INVALID ({more}): {name:?}"));
    }
    for (name, texts) in reasons {
        for text in texts {
            comparison
                .differences
                .push(format!("{host}: the model does not say {text:?}: {name:?}"));
        }
    }
    comparison
}

/// Makes a transfer and has its captures judged, again if tcpdump has lost packets; by host.
fn judged(arguments: &str) -> Option<BTreeMap<String, Comparison>> {
    if !possible() {
        return None;
    }
    for _ in 0..RUNS {
        let directory = tempfile::tempdir().unwrap();
        let report = directory.path().join("report");
        let run = Command::new(UNMANGLE)
            .args(["lab", "run", "--json", "--timeout", "8s", "--report"])
            .arg(&report)
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        let row = fs::read_dir(&report)
            .unwrap_or_else(|error| panic!("{arguments}: {error}: {stderr}"))
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap_or_else(|| panic!("{arguments}: {stderr}"));
        let liberal = arguments.contains("liberal");
        // On the relay host a relay has zones of its own, of which its captures say nothing.
        let relayed = ["relay", "split"]
            .iter()
            .any(|path| arguments.contains(&format!("--path {path}")));
        let hosts: &[&str] = match relayed {
            true => &["client", "server"],
            false => &["client", "relay", "server"],
        };
        if hosts.iter().any(|host| lost(&row, host)) {
            println!("{arguments}: tcpdump has lost packets, once more");
            continue;
        }
        let judge = |host: &&str| {
            let settings = Settings {
                be_liberal: liberal,
                ..running()
            };
            ((*host).to_owned(), compare(&row, host, settings))
        };
        let judged: BTreeMap<String, Comparison> = hosts.iter().map(judge).collect();
        if judged.values().any(|each| !each.differences.is_empty()) {
            println!("{arguments}: kept in {}", directory.keep().display());
        }
        return Some(judged);
    }
    panic!("{arguments}: tcpdump lost packets {RUNS} times");
}

/// Model and kernel agree on every packet of every host; what they said, by host.
fn agree(arguments: &str) -> Option<BTreeMap<String, Comparison>> {
    let judged = judged(arguments)?;
    for (host, comparison) in &judged {
        let Comparison {
            packets,
            invalid,
            by_sack,
            explained,
            overtaken,
            differences,
        } = comparison;
        println!(
            "{arguments}: {host}: {packets} packets, {invalid} INVALID, {by_sack} by SACK, {explained} explained, {overtaken} overtaken"
        );
        let first = &differences[..differences.len().min(10)];
        assert!(
            differences.is_empty(),
            "{arguments}: {host}: {} of {packets}: {first:#?}",
            differences.len()
        );
        assert!(*packets >= LEAST, "{arguments}: {host}: {packets}");
    }
    Some(judged)
}

/// They agree, and the client had INVALID packets.
fn agree_that_the_client_is_harmed(arguments: &str) -> Option<Comparison> {
    let client = agree(arguments)?.remove("client").unwrap();
    assert!(client.invalid > 0, "{arguments}: {client:?}");
    Some(client)
}

#[test]
fn a_sack_of_numbers_never_seen_is_found_where_sequence_numbers_are_rewritten() {
    for arguments in [
        "isn-rewrite --path direct --size 6M",
        "isn-rewrite --path direct --size 6M --family 6",
        "pix --path direct --size 3M",
    ] {
        if let Some(client) = agree_that_the_client_is_harmed(arguments) {
            assert!(client.by_sack > 0, "{arguments}: {client:?}");
        }
    }
}

#[test]
fn every_packet_is_judged_alike_where_nothing_is_wrong() {
    let Some(judged) = agree("clean --path direct --size 30M --direction download") else {
        return;
    };
    for (host, comparison) in judged {
        assert_eq!(comparison.invalid, 0, "{host}: {comparison:?}");
    }
}

#[test]
fn every_packet_is_judged_alike_without_a_window_scale_and_when_packets_overtake_each_other() {
    agree("wscale-strip --path direct --size 6M");
    agree("wscale-strip --path direct --size 6M --direction download");
    agree("reorder --path direct --size 6M");
    agree("asa --path direct --size 3M");
}

#[test]
fn every_packet_is_judged_alike_behind_a_firewall_that_loses_some_or_forgets_all() {
    agree("isn-rewrite-lossy-lan --path direct --size 6M");
    agree("isn-rewrite-lossy-lan --path direct --size 6M --direction download");
    agree("blackhole --path direct --size 1M");
    agree("idle-drop --path direct");
}

#[test]
fn every_packet_is_judged_alike_on_the_other_paths() {
    agree("isn-rewrite --path liberal --size 3M");
    agree("isn-rewrite --path split --size 3M");
    agree("isn-rewrite --path relay --size 3M");
    agree("isn-rewrite --path normalise --size 3M");
}
