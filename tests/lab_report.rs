//! What a run leaves for whoever wants to look closer, and what it says of repetitions.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use unmangle::lab::Row;

use site::{UNMANGLE, possible};

fn run(arguments: &[&str], report: &Path) -> Output {
    Command::new(UNMANGLE)
        .args(["lab", "run", "--size", "1M", "--report"])
        .arg(report)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_report_holds_every_row_with_its_logs_and_a_capture_of_every_host() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let ended = run(&["clean", "--path", "direct,relay", "--json"], &report);
    assert!(ended.status.success(), "{ended:?}");

    let rows: Vec<Row> = serde_json::from_slice(&ended.stdout).unwrap();
    let kept = fs::read(report.join("rows.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<Row>>(&kept).unwrap(), rows);
    let relayed = report.join("002-clean-relay-scp-upload-ipv4-run1");
    let read = |name: &str| fs::read_to_string(relayed.join(name)).unwrap();
    assert!(read("relay.log").contains("session ended"));
    assert!(read("sshd.log").contains("from 192.0.2.2 port "));
    assert!(read("wires.json").contains("delivered"));
    for host in ["client", "relay", "server"] {
        let capture = fs::read(relayed.join(format!("{host}.pcap"))).unwrap();
        // 1 MB is more than 600 packets of 128 bytes; the magic number is in this machine's order.
        assert!(capture.len() > 80_000, "{host}: {}", capture.len());
        assert_eq!(capture[..4], 0xa1b2_c3d4_u32.to_ne_bytes(), "{host}");
    }
}

#[test]
fn a_directory_that_holds_something_is_refused_before_anything_is_done() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "").unwrap();
    let ended = run(&["clean"], directory.path());
    assert_eq!(ended.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("is no empty directory"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn repetitions_are_summed_up_in_a_line() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ended = run(
        &["clean", "--path", "direct", "--runs", "3"],
        directory.path(),
    );
    let stdout = String::from_utf8_lossy(&ended.stdout);
    assert!(stdout.contains("| 3 ok "), "{stdout}");
    assert!(stdout.contains("median s"), "{stdout}");
}
