//! The judges of the acceptance run can say no. `make acceptance` measures; this needs no root.

#[path = "acceptance/judge.rs"]
mod judge;

use judge::{
    all_arrives, at_most_twice_clean, both_complete, faults_kill, line, splitting_is_not_enough,
    ten_times_liberal,
};
use unmangle::lab::Row;

/// A row of a 30 MB upload by scp, as the lab prints it.
fn row(scenario: &str, path: &str, outcome: &str, seconds: f64) -> Row {
    serde_json::from_value(serde_json::json!({
        "scenario": scenario, "shape": "gateway", "path": path, "tool": "scp",
        "direction": "upload", "family": 4, "opened_from": "client", "strict": "client", "run": 1,
        "bytes": 30_000_000, "seconds": seconds, "outcome": outcome, "sha256_ok": outcome == "ok",
        "conntrack_invalid": {"client": 0, "server": 0, "relay_mangled": 0, "relay_clean": 0}
    }))
    .unwrap()
}

fn said_no(judged: &judge::Judged) -> bool {
    !judged.complaints.is_empty()
}

#[test]
fn a_fault_that_does_no_harm_or_the_wrong_harm_is_a_complaint() {
    assert!(!said_no(&faults_kill(&[
        row("pix", "direct", "reset", 0.2),
        row("wscale-strip", "direct", "stall", 40.0),
    ])));
    assert!(said_no(&faults_kill(&[row("pix", "direct", "ok", 0.5)])));
    assert!(said_no(&faults_kill(&[row(
        "pix", "direct", "stall", 40.0
    )])));
}

#[test]
fn one_split_that_passes_in_pix_is_a_complaint_and_in_isn_rewrite_none() {
    let killed = row("pix", "split", "reset", 0.2);
    let passed = row("pix", "split", "ok", 0.5);
    let reported = row("isn-rewrite", "split", "ok", 0.5);
    assert!(!said_no(&splitting_is_not_enough(&[
        killed.clone(),
        reported
    ])));
    assert!(said_no(&splitting_is_not_enough(&[killed, passed])));
}

#[test]
fn a_relayed_transfer_that_fails_or_has_a_packet_invalid_is_a_complaint() {
    let good = row("pix", "relay", "ok", 0.5);
    let mut invalid = good.clone();
    invalid.conntrack_invalid.relay_clean = 1;
    let mut changed = good.clone();
    changed.sha256_ok = false;
    assert!(!said_no(&all_arrives(std::slice::from_ref(&good))));
    for bad in [
        invalid,
        changed,
        row("pix", "relay", "stall", 40.0),
        row("pix", "direct", "ok", 1.0),
    ] {
        assert!(said_no(&all_arrives(&[good.clone(), bad])));
    }
}

#[test]
fn nine_times_as_fast_is_not_ten_times() {
    let with_liberal = |seconds| {
        ["pix", "isn-rewrite"]
            .map(|scenario| {
                [
                    row(scenario, "liberal", "ok", seconds),
                    row(scenario, "relay", "ok", 1.0),
                ]
            })
            .concat()
    };
    assert!(!said_no(&ten_times_liberal(&with_liberal(10.1))));
    assert!(said_no(&ten_times_liberal(&with_liberal(9.9))));
    assert!(said_no(&ten_times_liberal(&[])));
}

#[test]
fn one_slow_run_of_isn_rewrite_is_a_complaint_though_the_median_is_good() {
    let mut rows = vec![
        row("clean", "relay", "ok", 0.5),
        row("pix", "relay", "ok", 0.6),
        row("isn-rewrite", "relay", "ok", 0.5),
        row("isn-rewrite", "relay", "ok", 0.6),
    ];
    assert!(!said_no(&at_most_twice_clean(&rows)));
    rows.push(row("isn-rewrite", "relay", "ok", 1.1));
    assert!(said_no(&at_most_twice_clean(&rows)));
    assert!(said_no(&at_most_twice_clean(&[])));
}

#[test]
fn with_a_long_leg_every_transfer_must_complete() {
    assert!(!said_no(&both_complete(&[row(
        "pix", "liberal", "ok", 90.0
    )])));
    assert!(said_no(&both_complete(&[row(
        "pix", "relay", "stall", 180.0
    )])));
}

#[test]
fn a_row_reads_as_one_line() {
    assert_eq!(
        line(&row("pix", "relay", "ok", 0.5)),
        "pix relay upload v4, opened from the client, run 1: ok 0.50 s, invalid 0, 0, 0, 0"
    );
}
