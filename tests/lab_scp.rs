//! The main job, as a user sees it: `unmangle lab run` carries files by a real scp that fails without
//! the relay and arrives with it, with not one packet INVALID.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::process::Command;

use serde_json::Value;
use unmangle::lab::{Outcome, Path, Row};

use site::{UNMANGLE, possible};

const BYTES: u64 = 5_000_000;

/// Runs the lab as a user would, and returns its rows.
fn lab_run(arguments: &[&str]) -> Vec<Row> {
    let run = Command::new(UNMANGLE)
        .args(["lab", "run", "--json", "--size", "5M", "--timeout", "15s"])
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{arguments:?}: {stderr}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn expect_relayed(row: &Row) {
    assert_eq!(row.outcome, Outcome::Ok, "{row:?}");
    assert!(row.sha256_ok && row.bytes == BYTES, "{row:?}");
    let invalid = row.conntrack_invalid;
    let counts = [
        invalid.client,
        invalid.server,
        invalid.relay_mangled,
        invalid.relay_clean,
    ];
    assert_eq!(counts, [0; 4], "{row:?}");
}

#[test]
fn an_upload_that_a_strict_client_resets_arrives_by_the_relay() {
    if !possible() {
        return;
    }
    let rows = lab_run(&[
        "pix",
        "isn-rewrite",
        "--path",
        "direct,relay",
        "--family",
        "both",
    ]);
    assert_eq!(rows.len(), 8);
    for row in rows {
        match row.path {
            Path::Relay => expect_relayed(&row),
            _ => assert_eq!(row.outcome, Outcome::Reset, "{row:?}"),
        }
    }
}

#[test]
fn splitting_alone_does_not_save_an_upload_through_the_pix() {
    if !possible() {
        return;
    }
    for row in lab_run(&["pix", "--path", "split", "--runs", "2"]) {
        let failed = [Outcome::Reset, Outcome::Stall].contains(&row.outcome);
        assert!(failed, "{row:?}");
    }
}

#[test]
fn what_is_opened_from_the_server_is_relayed_both_ways() {
    if !possible() {
        return;
    }
    let rows = lab_run(&[
        "pix",
        "isn-rewrite",
        "--path",
        "relay",
        "--direction",
        "both",
        "--family",
        "both",
        "--opened-from",
        "server",
    ]);
    assert_eq!(rows.len(), 8);
    rows.iter().for_each(expect_relayed);
}

#[test]
fn a_row_has_every_field_that_is_promised() {
    if !possible() {
        return;
    }
    let rows = lab_run(&["clean", "--path", "relay"]);
    let row = serde_json::to_value(&rows[0]).unwrap();
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&row).join(" "),
        "bytes conntrack_invalid direction family opened_from outcome path run scenario seconds \
         sha256_ok shape strict tool"
    );
    let invalid = keys(&row["conntrack_invalid"]).join(" ");
    assert_eq!(invalid, "client relay_clean relay_mangled server");
}
