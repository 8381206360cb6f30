//! `unmangle explain --other-side`: whatever the lab's firewall can do to packets is named, and nothing else.
//! The firewall is the lab's own, between two hosts of `world`.

mod captures;
#[path = "explain_two_sides/relay.rs"]
mod relay;
mod site;
#[path = "explain_two_sides/world.rs"]
mod world;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use unmangle::lab::wire::{
    Direction, Isn, Oversize, OversizeAction, Protocol, Stop, WindowScale, WireSpec,
};

use captures::pcap;
use world::{AHEAD, World};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

/// What is told of the path through a firewall.
fn told(spec: &WireSpec) -> Value {
    let path = compared(World::new(spec).run(), &["--json"]);
    let report: Value = serde_json::from_str(&path).unwrap_or_else(|_| panic!("{path}"));
    assert_eq!(
        report["path"]["flows"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );
    report["path"]["flows"][0].clone()
}

/// What the command says of what a client and a server captured.
fn compared([client, server]: [Vec<(Duration, Vec<u8>)>; 2], arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, packets: &[_]| {
        let file = directory.path().join(name);
        std::fs::write(&file, pcap(101, 128, packets)).unwrap();
        file
    };
    let [client, server] = [write("client.pcap", &client), write("server.pcap", &server)];
    explained(&client, &server, arguments)
}

fn explained(client: &Path, server: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(UNMANGLE);
    command.arg("explain").args(arguments);
    command.arg("--other-side").args([server, client]);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout.clone()).unwrap_or_else(|_| panic!("{output:?}"))
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
