//! Every shape of a relay cures every scenario, with nothing INVALID; and what is left of a cure without any
//! privilege.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::process::Command;
use std::thread;

use unmangle::lab::{Invalid, Outcome, Row, Shape, Tool};

use site::{UNMANGLE, possible};

/// Every scenario but the one that takes its time.
const SCENARIOS: &str =
    "clean isn-rewrite pix wscale-strip isn-rewrite-lossy-lan blackhole reorder asa";

/// Runs the lab as a user would; the rows, or none where there can be no lab.
fn lab_run(arguments: &str) -> Vec<Row> {
    if !possible() {
        return Vec::new();
    }
    let run = Command::new(UNMANGLE)
        .args(["lab", "run", "--json", "--timeout", "20s"])
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{arguments}: {stderr}");
    let rows: Vec<Row> = serde_json::from_slice(&run.stdout).unwrap();
    assert!(!rows.is_empty(), "{arguments}");
    rows
}

fn cures(shape: &str, arguments: &str) {
    for row in lab_run(&format!("{arguments} --size 2M --shape {shape}")) {
        assert_eq!(row.outcome, Outcome::Ok, "{row:?}");
        assert_eq!(row.conntrack_invalid, Invalid::default(), "{row:?}");
    }
}

/// Every scenario in both families; the story's own in every direction, opened from either side. These
/// wait more than they work, so they run at one time.
fn cures_every_scenario(shape: &str) {
    let scenarios = |family| format!("{SCENARIOS} --family {family}");
    let ways = |opened_from| {
        format!("pix wscale-strip --direction both --family both --opened-from {opened_from}")
    };
    let runs = [
        scenarios("4"),
        scenarios("6"),
        ways("client"),
        ways("server"),
        "pix --family both --tool rsync-daemon,sftp".to_owned(),
    ];
    thread::scope(|scope| {
        for run in &runs {
            scope.spawn(move || cures(shape, run));
        }
    });
}

#[test]
fn a_server_sidecar_cures_every_scenario() {
    cures_every_scenario("server-sidecar");
}

#[test]
fn a_server_sidecar_by_its_own_address_cures_every_scenario() {
    cures_every_scenario("server-sidecar-own-address");
}

#[test]
fn a_transparent_server_sidecar_cures_every_scenario() {
    cures_every_scenario("server-sidecar-transparent");
}

#[test]
fn a_client_sidecar_cures_every_scenario() {
    cures_every_scenario("client-sidecar");
}

#[test]
fn a_forward_relay_with_rules_beside_it_cures_every_scenario() {
    cures_every_scenario("forward");
}

#[test]
fn a_gateway_cures_every_scenario() {
    cures("gateway", &format!("{SCENARIOS} --family both"));
}

#[test]
fn a_session_that_is_silent_survives_in_every_shape() {
    // The profile probes after 10 s; this firewall forgets after 12. They are silent at one time.
    let shapes = [
        "gateway --path relay",
        "server-sidecar",
        "server-sidecar-own-address",
        "server-sidecar-transparent",
        "client-sidecar",
        "forward",
        "forward-unprivileged",
    ];
    let silent = |shape| lab_run(&format!("idle-drop --size 1k --idle 24s --shape {shape}"));
    let rows: Vec<Row> = thread::scope(|scope| {
        let runs = shapes.map(|shape| scope.spawn(move || silent(shape)));
        runs.into_iter()
            .flat_map(|run| run.join().unwrap())
            .collect()
    });
    for row in rows {
        assert_eq!(
            (row.outcome, row.tool),
            (Outcome::Ok, Tool::SshIdle),
            "{row:?}"
        );
        assert_eq!(row.conntrack_invalid, Invalid::default(), "{row:?}");
    }
}

#[test]
fn without_privilege_segments_are_kept_small_and_nothing_else_is_cured() {
    cures(
        "forward-unprivileged",
        "clean blackhole --family both --direction both",
    );
    // SACK stays, and what the firewall does to it; the lab tells it and does not complain.
    let rows = lab_run("isn-rewrite-lossy-lan --size 10M --shape forward-unprivileged");
    for row in rows {
        assert_eq!(row.outcome, Outcome::Reset, "{row:?}");
    }
}

#[test]
fn whoever_names_a_shape_gets_the_relay_in_that_shape_and_whoever_does_not_the_story() {
    let shapes: Vec<Shape> = lab_run("clean --size 2M --shape forward,gateway")
        .into_iter()
        .map(|row| row.shape)
        .collect();
    if possible() {
        assert_eq!(shapes, [Shape::Forward, Shape::Gateway]);
    }
}
