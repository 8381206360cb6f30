//! The judges of the acceptance run can say no. `make acceptance` measures; this needs no root.

#[path = "acceptance/judge.rs"]
mod judge;

use judge::{
    all_arrives, at_most_twice_clean, both_complete, every_tool_arrives, fault_and_cure,
    faults_kill, line, rules_cure, silence_is_survived, splitting_fails, splitting_is_not_enough,
    ten_times_liberal, three_times_normalise, twenty_arrive,
};
use unmangle::lab::{Family, FlowDirection, Row, Tool, scenario};

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

/// The same both ways and in both families.
fn every_way(row: &Row) -> Vec<Row> {
    let mut rows = Vec::new();
    for direction in [FlowDirection::Upload, FlowDirection::Download] {
        for family in [Family::V4, Family::V6] {
            rows.push(Row {
                direction,
                family,
                ..row.clone()
            });
        }
    }
    rows
}

/// Complaints come with each of these in the place of a row, and with a row that is missing.
fn says_no_to_each(judge: fn(&[Row]) -> judge::Judged, good: &[Row], bad: &[Row]) {
    assert_eq!(judge(good).complaints, Vec::<String>::new());
    for bad in bad {
        let mut rows = good.to_vec();
        let place = rows
            .iter()
            .position(|row| row.scenario == bad.scenario && row.path == bad.path)
            .unwrap();
        rows[place] = bad.clone();
        assert!(said_no(&judge(&rows)), "{}", line(bad));
    }
    for missing in 0..good.len() {
        let mut rows = good.to_vec();
        let row = rows.remove(missing);
        assert!(said_no(&judge(&rows)), "without {}", line(&row));
    }
    assert!(said_no(&judge(&[])));
}

/// The same with a packet INVALID.
fn with_invalid(mut row: Row) -> Row {
    row.conntrack_invalid.relay_mangled = 1;
    row
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
fn every_scenario_must_arrive_by_every_tool_every_way() {
    let tools = [Tool::Scp, Tool::Sftp, Tool::RsyncSsh, Tool::RsyncDaemon];
    let mut good = Vec::new();
    for scenario in scenario::all() {
        for tool in tools {
            let row = row(scenario.name, "relay", "ok", 0.5);
            good.extend(every_way(&Row { tool, ..row }));
        }
    }
    assert_eq!(good.len(), 9 * 4 * 4);
    let bad = [
        row("reorder", "relay", "stall", 120.0),
        with_invalid(row("asa", "relay", "ok", 0.5)),
    ];
    says_no_to_each(every_tool_arrives, &good, &bad);
}

#[test]
fn a_silent_session_that_survives_without_the_relay_or_is_lost_with_it_is_a_complaint() {
    let silent = |path, outcome| Row {
        tool: Tool::SshIdle,
        ..row("idle-drop", path, outcome, 40.0)
    };
    let mut good = vec![silent("direct", "stall")];
    good.extend(every_way(&silent("relay", "ok")));
    let bad = [
        silent("direct", "ok"),
        silent("relay", "reset"),
        with_invalid(silent("relay", "ok")),
        // Who is busy is not forgotten.
        row("idle-drop", "relay", "ok", 0.5),
    ];
    says_no_to_each(silence_is_survived, &good, &bad);
}

#[test]
fn one_split_that_arrives_in_a_stress_case_is_a_complaint() {
    let good = [
        row("isn-rewrite-lossy-lan", "split", "reset", 0.3),
        row("blackhole", "split", "stall", 15.0),
    ];
    // ssh's own patience with a banner that does not come.
    let gave_up = row("blackhole", "split", "error", 10.0);
    assert!(!said_no(&splitting_fails(&[good[0].clone(), gave_up])));
    let bad = [
        row("isn-rewrite-lossy-lan", "split", "ok", 9.0),
        row("isn-rewrite-lossy-lan", "split", "error", 10.0),
        row("blackhole", "split", "error", 0.1),
    ];
    says_no_to_each(splitting_fails, &good, &bad);
}

#[test]
fn of_twenty_runs_none_may_fail_or_be_left_out_however_slow_they_are() {
    let good = vec![row("isn-rewrite-lossy-lan", "relay", "ok", 24.0); 20];
    let bad = [
        row("isn-rewrite-lossy-lan", "relay", "stall", 120.0),
        with_invalid(row("isn-rewrite-lossy-lan", "relay", "ok", 1.0)),
    ];
    says_no_to_each(twenty_arrive, &good, &bad);
}

#[test]
fn a_little_less_than_three_times_normalise_is_a_complaint() {
    let with_normalise = |seconds| {
        [
            row("pix", "normalise", "ok", seconds),
            row("pix", "relay", "ok", 1.0),
        ]
    };
    let bad = [
        row("pix", "normalise", "ok", 2.9),
        row("pix", "normalise", "reset", 9.0),
        row("pix", "relay", "ok", 1.1),
    ];
    says_no_to_each(three_times_normalise, &with_normalise(3.1), &bad);
}

#[test]
fn rules_must_cure_what_rules_can_cure_and_the_rest_is_reported() {
    let cured = [
        "isn-rewrite",
        "pix",
        "wscale-strip",
        "isn-rewrite-lossy-lan",
        "blackhole",
        "reorder",
        "asa",
    ];
    let good: Vec<Row> = cured
        .iter()
        .flat_map(|scenario| every_way(&row(scenario, "normalise", "ok", 0.9)))
        .collect();
    let bad = [
        row("blackhole", "normalise", "stall", 120.0),
        with_invalid(row("reorder", "normalise", "ok", 0.9)),
    ];
    says_no_to_each(rules_cure, &good, &bad);
    let lost = row("idle-drop", "normalise", "stall", 50.0);
    let judged = rules_cure(&[good, vec![lost]].concat());
    assert!(!said_no(&judged));
    assert!(
        judged
            .reported
            .iter()
            .any(|line| line.contains("not required: idle-drop"))
    );
}

#[test]
fn an_ordinary_user_must_see_the_fault_the_cure_and_that_clean_is_clean() {
    let good = [
        row("clean", "direct", "ok", 0.1),
        row("clean", "relay", "ok", 0.1),
        row("pix", "direct", "reset", 0.2),
        row("pix", "relay", "ok", 0.1),
    ];
    let bad = [
        row("clean", "direct", "reset", 0.1),
        row("pix", "direct", "ok", 0.9),
        with_invalid(row("pix", "relay", "ok", 0.1)),
    ];
    says_no_to_each(fault_and_cure, &good, &bad);
}

#[test]
fn a_row_reads_as_one_line() {
    assert_eq!(
        line(&row("pix", "relay", "ok", 0.5)),
        "pix relay scp upload v4, opened from the client, run 1: ok 0.50 s, invalid 0, 0, 0, 0"
    );
}
