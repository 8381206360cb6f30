//! A relay between the captures: one connection on this side, another one on that side, and the same bytes in both.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::captures::{CLIENT, SERVER, Segment, offer};
use super::{UNMANGLE, compared, explained, named, site};

/// One of the two connections that a relay makes of one.
struct Leg {
    isn: [u32; 2],
    options: fn(u32, u32) -> Vec<u8>,
    size: u32,
    begins: Duration,
    /// How long an answer takes.
    answers: Duration,
}

/// The same bytes, in segments of its own.
fn leg(leg: &Leg, bytes: u32) -> Vec<(Duration, Vec<u8>)> {
    let mut captured = Vec::new();
    let mut at = Duration::from_secs(1_000) + leg.begins;
    let [client, server] = leg.isn;
    let mut put = |after: Duration, segment: Segment| {
        at += after;
        captured.push((at, segment.build()));
    };
    let from_client = Segment {
        flags: "S",
        sequence: client,
        options: (leg.options)(1, 0),
        ..Segment::default()
    };
    put(Duration::ZERO, from_client.clone());
    let from_server = Segment {
        from_server: true,
        flags: "SA",
        sequence: server,
        acknowledgement: client.wrapping_add(1),
        options: (leg.options)(1, 1),
        ..Segment::default()
    };
    put(leg.answers, from_server.clone());
    let mut begin = 0;
    while begin < bytes {
        let payload = leg.size.min(bytes - begin);
        let data = Segment {
            flags: "PA",
            sequence: client.wrapping_add(1 + begin),
            acknowledgement: server.wrapping_add(1),
            payload: payload as usize,
            identification: (leg.size + begin / leg.size) as u16,
            options: Vec::new(),
            ..from_client.clone()
        };
        put(Duration::from_micros(20), data);
        begin += payload;
        let acknowledges = Segment {
            flags: "A",
            sequence: server.wrapping_add(1),
            acknowledgement: client.wrapping_add(1 + begin),
            options: Vec::new(),
            ..from_server.clone()
        };
        put(leg.answers, acknowledges);
    }
    captured
}

#[test]
fn a_connection_that_a_relay_ends_and_begins_anew_is_not_compared() {
    let near = |size| Leg {
        isn: [5_000, 4_294_967_000],
        options: offer,
        size,
        begins: Duration::from_millis(1),
        answers: Duration::from_micros(200),
    };
    let far = |size, options| Leg {
        isn: [912_000, 33],
        options,
        size,
        begins: Duration::from_millis(3),
        answers: Duration::from_micros(50),
    };
    let plain: fn(u32, u32) -> Vec<u8> = |_, _| vec![2, 4, 5, 180];
    for (here, there, options) in [
        (928, 1_448, plain),
        (1_448, 928, plain),
        (1_000, 1_448, offer),
        (1_448, 9_000, plain),
        (20_000, 1_448, plain),
    ] {
        let sides = || {
            [
                leg(&near(here), 200_000),
                leg(&far(there, options), 200_000),
            ]
        };
        let text = compared(sides(), &["--json"]);
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let flow = &report["path"]["flows"][0];
        let case = format!("{here} {there}: {flow:#}");
        assert_eq!(flow["begun_anew"], true, "{case}");
        assert_eq!(named(flow), [""; 0], "{case}");
        for unknown in ["cure", "travelled", "clock_ahead_s", "nearer_to_opener"] {
            assert_eq!(flow[unknown], Value::Null, "{case}");
        }
        let text = compared(sides(), &[]);
        let (_, path) = text.split_once("in both captures").unwrap();
        assert_eq!(
            path.trim(),
            "ended and begun anew between the two, by a relay or proxy: fields are not compared"
        );
    }
}

#[test]
fn data_that_is_joined_is_not_said_to_be_cut_and_a_ttl_that_rises_is_no_router() {
    let sides = |joined: bool| {
        let mut all = leg(
            &Leg {
                isn: [5_000, 7_000],
                options: offer,
                size: 700,
                begins: Duration::from_millis(1),
                answers: Duration::from_micros(200),
            },
            28_000,
        );
        if joined {
            // The tenth and what comes after it in one.
            let data = Segment {
                flags: "PA",
                sequence: 5_001 + 9 * 700,
                acknowledgement: 7_001,
                payload: 1_400,
                identification: 709,
                ..Segment::default()
            };
            all[20].1 = data.build();
            all.remove(22);
            for (_, packet) in &mut all {
                if packet[12..16] == CLIENT.0 && packet[16..20] == SERVER.0 {
                    packet[8] += 4;
                }
            }
        }
        all
    };
    let text = compared([sides(false), sides(true)], &[]);
    assert!(
        text.contains("data is joined: 700 bytes become 1400"),
        "{text}"
    );
    assert!(!text.contains("data is cut"), "{text}");
    assert!(
        text.contains("TTL is higher by 4, which no router does"),
        "{text}"
    );
}

/// Real hosts and the real relay between them. Needs root, and is skipped without it except in CI.
#[test]
fn captures_of_the_lab_around_its_relay_are_not_compared() {
    if !site::possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let ran = Command::new(UNMANGLE)
        .args(["lab", "run", "pix", "--path", "relay", "--size", "1M"])
        .arg("--report")
        .arg(&report)
        .output()
        .unwrap();
    let kept = report.join("001-pix-relay-scp-upload-ipv4-run1");
    let sides = ["client.pcap", "server.pcap"].map(|name| kept.join(name));
    assert!(sides[0].exists(), "{ran:?}");
    for [here, there] in [[&sides[0], &sides[1]], [&sides[1], &sides[0]]] {
        let text = explained(here, there, &["--json"]);
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let flow = &told["path"]["flows"][0];
        assert_eq!(flow["begun_anew"], true, "{flow:#}");
        assert_eq!(named(flow), [""; 0], "{flow:#}");
        assert_eq!(flow["cure"], Value::Null);
    }
}
