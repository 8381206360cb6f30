//! `unmangle probe` between two hosts, through a firewall that nobody has told it of: what it does is named, one thing
//! at a time and in pairs, and nothing else; and what is recommended then cures the transfer.
//!
//! These tests need root, and without it are skipped except in CI.

mod probe_lab {
    pub mod table;
}
mod site;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use unmangle::lab::scenario::{self, Between};
use unmangle::lab::{Case, Family, Invalid, Joined, Lab, Path, Role, Strict};

use probe_lab::table::{Found, HABITS, Habit, agree, expected, firewall, habit, way};
use site::probed::{Probed, Serving, probe, run};
use site::{Relay, Site, UNMANGLE, possible};

/// What a run may take at most: it is promised to users, whatever the path.
const PROMISED: Duration = Duration::from_secs(60);
/// Labs at a time: a run waits more than it works.
const AT_A_TIME: usize = 3;
/// Tests take turns, so that there are no more than that.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Probes through this firewall; `None` where there can be no lab.
fn probed(firewall: Between, family: Family, more: &[&str]) -> Option<Probed> {
    let site = Site::joined_by(Joined::wire(firewall), Joined::wire(Between::default()))?;
    let _serving = Serving::start(&site.lab, &[]);
    let probed = run(probe(&site.lab, family, &[&["--json"], more].concat()));
    assert!(probed.took < PROMISED, "{probed:?}");
    Some(probed)
}

/// What was found, by name and way. What is told of each way by itself, because figures differ, is both ways.
fn found(report: &Value) -> Found {
    let findings = report["findings"].as_array().unwrap();
    let of = |finding: &Value| {
        let name = finding["behaviour"].as_str().unwrap().to_owned();
        (name, way(finding["direction"].as_str()))
    };
    let mut found: Found = findings.iter().map(of).collect();
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        let [there, back] = ["->", "<-"].map(|way| (name.clone(), way.to_owned()));
        if found.contains(&there) && found.contains(&back) {
            found.remove(&there);
            found.remove(&back);
            found.insert((name, "<>".to_owned()));
        }
    }
    found
}

/// Probes through a firewall with these habits, and says what is wrong with what was found.
fn complaint(habits: &[&Habit], family: Family) -> Option<String> {
    let probed = probed(firewall(habits), family, &[])?;
    if ![Some(0), Some(1)].contains(&probed.code) {
        return Some(format!("{:?}: {probed:?}", names(habits)));
    }
    let report = probed.json();
    let (found, expected) = (found(&report), expected(habits));
    let untried = &report["untried"];
    (found != expected || *untried != Value::Array(Vec::new())).then(|| {
        let names = names(habits);
        format!("{names:?}: found {found:?}, expected {expected:?}, untried {untried}")
    })
}

fn names(habits: &[&Habit]) -> Vec<&'static str> {
    habits.iter().map(|habit| habit.name).collect()
}

/// Does this with all of them, a few at a time; every complaint is told.
fn with_all<T: Sync>(all: &[T], complaint: impl Fn(&T) -> Option<String> + Sync) {
    let _turn = turn();
    let next = Mutex::new(all.iter());
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(one) = next.lock().unwrap().next() else {
                        break;
                    };
                    complaints.lock().unwrap().extend(complaint(one));
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn each_thing_that_a_firewall_does_is_named_and_nothing_else() {
    with_all(HABITS, |habit| complaint(&[habit], Family::V4));
}

#[test]
#[ignore = "make acceptance: two minutes"]
fn two_things_at_once_are_both_named() {
    let pairs = [
        ["isn", "scale-half"],
        ["isn", "pix-sizes"],
        ["isn", "mss"],
        ["isn-and-sack", "timestamps-gone"],
        ["no-sack-permitted", "black-hole"],
        ["scale-gone", "urgent"],
        ["mss", "loss"],
        ["unknown-stripped", "ecn-refused"],
        ["dscp", "path-mtu"],
        ["window", "timestamps-shifted"],
        ["reordering", "isn"],
        ["corruption", "ecn-bleached"],
    ]
    .map(|pair| pair.map(habit));
    assert!(pairs.iter().all(|[one, other]| agree(one, other)));
    with_all(&pairs, |pair| complaint(pair, Family::V4));
}

#[test]
fn over_ipv6_the_same_is_named() {
    let some = [
        "isn",
        "scale-half",
        "pix-sizes",
        "path-mtu",
        "dscp",
        "unknown-stripped",
    ]
    .map(habit);
    with_all(&some, |habit| complaint(&[habit], Family::V6));
}

#[test]
fn on_a_clean_path_nothing_is_found() {
    let families = [Family::V4, Family::V6];
    with_all(&families, |family| complaint(&[], *family));
}

#[test]
#[ignore = "make acceptance: minutes"]
fn on_a_clean_path_nothing_is_found_in_twenty_runs() {
    with_all(&[Family::V4; 20], |family| complaint(&[], *family));
}

#[test]
#[ignore = "make acceptance: an hour's part"]
fn every_fourth_pair_is_named() {
    let pairs: Vec<[&Habit; 2]> = HABITS
        .iter()
        .enumerate()
        .flat_map(|(nth, one)| HABITS[nth + 1..].iter().map(move |other| [one, other]))
        .filter(|[one, other]| agree(one, other))
        .step_by(4)
        .collect();
    with_all(&pairs, |pair| complaint(pair, Family::V4));
}

#[test]
fn a_silent_flow_that_is_forgotten_is_found_and_about_when() {
    let _turn = turn();
    let mut forgetful = Between::default();
    for way in [
        &mut forgetful.client_to_server,
        &mut forgetful.server_to_client,
    ] {
        way.forget_idle_after = Some(Duration::from_millis(2500));
    }
    let Some(probed) = probed(forgetful, Family::V4, &["--idle-up-to", "10s"]) else {
        return;
    };
    let report = probed.json();
    let expected = Found::from([("idle-forgotten".to_owned(), String::new())]);
    assert_eq!(found(&report), expected, "{report:#}");
    assert_eq!(report["recommended"]["kind"], "relay", "{report:#}");
}

/// One transfer by scp through this scenario, from the client to the server.
fn case(scenario: &str) -> Case {
    Case {
        path: Path::Direct,
        ..Case::relayed(scenario::find(scenario).unwrap())
    }
}

/// A strict lab of this scenario.
fn strict(scenario: &str, sshd: bool) -> Lab {
    let scenario = scenario::find(scenario).unwrap();
    let lab = Lab::builder()
        .firewall(Joined::wire(scenario.firewall))
        .long_leg(Joined::wire(scenario.long_leg))
        .strict(Strict::Both)
        .unmangle(UNMANGLE);
    let lab = match sshd {
        true => lab.sshd_on(Role::Server).payload(5_000_000),
        false => lab,
    };
    lab.start().unwrap()
}

/// Probes through this scenario, has a configuration written, and runs it in a lab of the same scenario: the file
/// arrives, and nothing is INVALID.
fn is_cured_by_what_is_recommended(scenario: &str) {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("unmangle.toml");
    let file = file.to_str().unwrap();
    {
        // Strict hosts let in nothing but ssh and rsync.
        let lab = strict(scenario, false);
        let _serving = Serving::start(&lab, &["--port", "873", "--flow-port", "22"]);
        let more = ["--port", "873", "--write-config", file];
        let probed = run(probe(&lab, Family::V4, &more));
        assert_eq!(probed.code, Some(1), "{scenario}: {probed:?}");
        assert!(probed.took < PROMISED, "{scenario}: {probed:?}");
    }
    let lab = strict(scenario, true);
    let _relay = Relay::start_on(&lab, Role::Client, &["--config", file]);
    lab.reset_counts().unwrap();
    let said = std::fs::read_to_string(file).unwrap();
    let scp = lab.errand(&case(scenario)).output().unwrap();
    assert!(scp.status.success(), "{scenario}: {scp:?}\n{said}");
    let sent = std::fs::read(&lab.payload().unwrap().path).unwrap();
    assert!(std::fs::read(lab.received()).unwrap() == sent, "{scenario}");
    assert_eq!(
        lab.invalid().unwrap(),
        Invalid::default(),
        "{scenario}: {said}"
    );
}

#[test]
fn what_is_recommended_cures_the_scenarios_that_it_was_found_in() {
    let _turn = turn();
    let scenarios = ["pix", "isn-rewrite", "wscale-strip", "blackhole", "asa"];
    thread::scope(|scope| {
        for scenario in scenarios {
            scope.spawn(move || is_cured_by_what_is_recommended(scenario));
        }
    });
}
