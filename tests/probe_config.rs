//! What `unmangle probe run` recommends, as a file that `unmangle run` and `unmangle normalise` take, and its schema.

mod checked_in;

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use unmangle::diagnose::probe::evidence::{
    Carrier, Cliff, EndMtu, Evidence, Exchange, Harm, IdleSeen, Outcome, Path, Purpose, SizesSeen,
    Step, What,
};
use unmangle::diagnose::probe::order::{Arrival, Header};
use unmangle::diagnose::probe::remedy::{Deployment, Place, config};
use unmangle::diagnose::probe::{Kind, Report, judge, render};
use unmangle::metrics::{Direction, PerDirection};
use unmangle::packet::Flags;
use unmangle::packet::craft::{Carried, Segment};

const CLIENT: &str = "10.0.0.1";
const SERVER: &str = "10.1.0.2";

/// A path on which nothing was seen yet.
fn path() -> Evidence {
    let (client, server): (IpAddr, IpAddr) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    Evidence {
        path: Path {
            client,
            server,
            server_own: server,
            client_seen: client,
            port: 7532,
            round_trip: Duration::from_millis(2),
            broken: 0,
            mtu: EndMtu {
                client: 1500,
                server: 1500,
            },
        },
        exchanges: Vec::new(),
        fragmented: PerDirection::default(),
        trains: PerDirection::default(),
        sizes: Vec::new(),
        idle: None,
        ports: Vec::new(),
        untried: Vec::new(),
    }
}

fn header(segment: &Segment) -> Header {
    Header(segment.build())
}

/// A step of which this came.
fn step(what: What, direction: Direction, flags: Flags, sent: &[u8], came: &[u8]) -> Step {
    let (mut source, mut destination) = (
        (CLIENT.parse::<IpAddr>().unwrap(), 40_000).into(),
        (SERVER.parse::<IpAddr>().unwrap(), 7532).into(),
    );
    if direction == Direction::ServerToClient {
        std::mem::swap(&mut source, &mut destination);
    }
    let segment = |options: &[u8], rewritten: u32| {
        let forth = direction == Direction::ClientToServer;
        Segment {
            source,
            destination,
            carried: Carried::default(),
            sequence: 1000 + if forth { rewritten } else { 0 },
            acknowledgement: match flags.has(Flags::ACK) {
                true => 5000u32.wrapping_sub(if forth { 0 } else { rewritten }),
                false => 0,
            },
            flags,
            window: 1000,
            urgent: 0,
            options: options.to_vec(),
            payload: Vec::new(),
        }
    };
    let arrived = segment(came, 4711);
    Step {
        what,
        direction,
        sent: header(&segment(sent, 0)),
        arrived: vec![Arrival {
            header: header(&arrived),
            length: arrived.build().len() as u16,
            checksum_right: true,
            payload_right: true,
        }],
        attempts: 1,
        instead: Vec::new(),
    }
}

/// Numbers of the client are rewritten, and SACK is not; window scale is lost from the answer, if that is wanted.
fn mangled(scale: bool) -> Evidence {
    let syn = [2, 4, 5, 180, 4, 2, 3, 3, 7, 1];
    let bare = [2, 4, 5, 180, 4, 2, 1, 1, 1, 1];
    let answer: &[u8] = if scale { &syn } else { &bare };
    let sack = [1, 1, 5, 10, 0, 0, 9, 0, 0, 0, 9, 99];
    let (forth, back) = (Direction::ClientToServer, Direction::ServerToClient);
    let mut evidence = path();
    evidence.exchanges.push(Exchange {
        purpose: Purpose::Plain,
        steps: vec![
            step(What::Syn, forth, Flags::SYN, &syn, &syn),
            step(What::SynAck, back, Flags::SYN | Flags::ACK, &syn, answer),
            step(What::Sack, back, Flags::ACK, &sack, &sack),
        ],
        reset_by_host: Vec::new(),
        refused: None,
    });
    evidence
}

fn with_cliff(mut evidence: Evidence, passes: u16) -> Evidence {
    evidence.sizes.push(SizesSeen {
        carrier: Carrier::Tcp,
        direction: Direction::ServerToClient,
        largest: 1500,
        outcome: Outcome::Cliff(Cliff {
            passes,
            harmed: passes + 1,
            harm: Harm::Lost {
                share: 0.3,
                background: 0.0,
            },
            told: None,
        }),
        packets: 900,
    });
    evidence
}

fn forgetting(mut evidence: Evidence, seconds: u64) -> Evidence {
    evidence.idle = Some(IdleSeen {
        survived: Duration::from_secs(seconds),
        forgotten: Some(Duration::from_secs(seconds + 1)),
    });
    evidence
}

fn here(place: Place) -> Deployment {
    Deployment {
        place,
        mangled_side: "eth0".parse().unwrap(),
        ports: "22,873".parse().unwrap(),
    }
}

/// What was found, with what is to be recommended for it: by what, which profile, which keys.
fn cases() -> Vec<(Evidence, Kind, &'static str, &'static [&'static str])> {
    let slow = |mut evidence: Evidence| {
        evidence.path.round_trip = Duration::from_millis(40);
        evidence
    };
    vec![
        (
            mangled(true),
            Kind::Normalise,
            "isn-rewrite",
            &["sack = false"],
        ),
        (
            with_cliff(mangled(false), 1020),
            Kind::Normalise,
            "cisco-pix",
            &["sack = false", "window-scale = false", "mss = 960"],
        ),
        (
            with_cliff(path(), 1020),
            Kind::Normalise,
            "blackhole",
            &["mss = 960"],
        ),
        (
            with_cliff(path(), 1300),
            Kind::Normalise,
            "probed",
            &["mss = 1240"],
        ),
        (
            slow(mangled(false)),
            Kind::Relay,
            "probed",
            &["sack = false", "window-scale = false"],
        ),
        (
            forgetting(path(), 30),
            Kind::Relay,
            "idle-drop",
            &["keepalive = \"15s\""],
        ),
        (
            with_cliff(forgetting(mangled(true), 300), 500),
            Kind::Relay,
            "probed",
            &["sack = false", "mss = 440", "keepalive = \"60s\""],
        ),
    ]
}

#[test]
fn the_profile_is_a_preset_where_one_fits_and_has_each_key_that_is_needed_otherwise() {
    for (evidence, kind, profile, keys) in cases() {
        let report = judge(&evidence);
        let recommended = &report.recommended;
        assert_eq!(recommended.kind, kind, "{recommended:#?}");
        assert_eq!(
            recommended.profile.as_deref(),
            Some(profile),
            "{recommended:#?}"
        );
        let said: Vec<String> = recommended
            .keys
            .iter()
            .map(|key| format!("{} = {}", key.name, key.value))
            .collect();
        assert_eq!(said, keys);
        assert!(!recommended.commands.is_empty());
        assert!(
            report.verdict.contains(&recommended.why),
            "{}",
            report.verdict
        );
    }
}

fn unmangle(arguments: &[&str], text: &str) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("u.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args(arguments)
        .args(["--config", "u.toml"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        said(output.stdout),
        said(output.stderr),
    )
}

#[test]
fn the_file_is_taken_wherever_it_is_for_and_says_what_was_seen() {
    for (evidence, _, profile, keys) in cases() {
        let report = judge(&evidence);
        for place in [Place::ClientSidecar, Place::ServerSidecar, Place::Gateway] {
            let text = config(&report, &here(place)).unwrap();
            let (code, stdout, stderr) = unmangle(&["run", "--check"], &text);
            assert_eq!(code, Some(0), "{stderr}\n{text}");
            assert!(
                stdout.contains(&format!("profile = \"{profile}\"")),
                "{stdout}"
            );
            assert!(
                stdout.contains(&format!("mode = \"{}\"", place.name())),
                "{stdout}"
            );
            for key in keys {
                assert!(text.contains(key), "{key} is not in: {text}");
            }
            for key in &report.recommended.keys {
                let first = key.seen.split(' ').take(4).collect::<Vec<_>>().join(" ");
                assert!(text.contains(&first), "{first} is not in: {text}");
            }
        }
    }
}

#[test]
fn where_there_is_nothing_to_cure_nothing_is_written() {
    let report = judge(&path());
    assert_eq!(report.recommended.kind, Kind::Nothing);
    assert!(config(&report, &here(Place::default())).is_err());
}

#[test]
fn a_file_that_normalise_cannot_take_is_refused_in_one_line_that_names_the_place() {
    let listener = "[[listener]]\nmangled-side = \"eth0\"\n";
    for (text, words) in [
        (
            listener.to_owned(),
            "u.toml:2: listener 1: profile is missing",
        ),
        (
            "[[listener]]\nprofile = \"asa\"\n".to_owned(),
            "mangled-side is missing",
        ),
        (
            format!("{listener}profile = \"pixie\"\n"),
            "no profile is called \"pixie\"",
        ),
        (
            format!("{listener}profle = \"asa\"\n"),
            "u.toml:3: listener 1: profle: there is no such key",
        ),
        (
            format!("{listener}profile = \"p\"\n[profile.p]\nsack = 3\n"),
            "profile.p: sack",
        ),
        (
            format!("{listener}profile = \"idle-drop\"\n"),
            "u.toml:3: listener 1: profile: ",
        ),
        (
            format!("{listener}profile = \"asa\"\n[[listener]]\nprofile = \"asa\"\n"),
            "the file has 2 listeners",
        ),
        (
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nto = \"a:1\"\n".to_owned(),
            "there is nothing to make rules for",
        ),
        ("[[listener]\n".to_owned(), "u.toml:1"),
    ] {
        let (code, stdout, stderr) = unmangle(&["normalise"], &text);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stdout.is_empty());
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(words), "{words:?} is not in: {stderr}");
    }
    let flags = ["normalise", "--profile", "pixie"];
    let text = format!("{listener}profile = \"asa\"\n");
    let (code, _, stderr) = unmangle(&flags, &text);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("--profile: no profile is called"),
        "flags win: {stderr}"
    );
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_what_is_printed() {
    let current = format!(
        "{}\n",
        serde_json::to_string_pretty(&Report::schema()).unwrap()
    );
    checked_in::is_current("docs/probe.schema.json", &current, "probe_config");
    let schema: Value = serde_json::from_str(&current).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (evidence, ..) in cases() {
        let json = serde_json::to_value(judge(&evidence)).unwrap();
        assert!(validator.is_valid(&json), "{json:#}");
        assert_eq!(json["format"], 1);
    }
}

#[test]
fn people_are_told_what_programs_are_told() {
    for (evidence, ..) in cases() {
        let report = judge(&evidence);
        let text = render(&report, false);
        assert!(!text.contains('\x1b'));
        for finding in &report.findings {
            assert!(text.contains(finding.behaviour.name()), "{text}");
        }
        for command in &report.recommended.commands {
            assert!(text.contains(command.as_str()), "{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
        let plain = render(&report, true)
            .replace("\x1b[31m", "")
            .replace("\x1b[33m", "");
        assert_eq!(plain.replace("\x1b[0m", ""), text);
    }
}
