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
    run_with("1M", arguments, report)
}

/// So much is carried: a small file may get by without losing a packet.
fn run_with(size: &str, arguments: &[&str], report: &Path) -> Output {
    Command::new(UNMANGLE)
        .args(["lab", "run", "--size", size, "--report"])
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

/// What the entries of a capture by NFLOG were told with, by tcpdump's own reading of the file, and its words for them.
fn told(file: &Path) -> (usize, Vec<u8>) {
    let read = Command::new("tcpdump")
        .args(["-n", "-r"])
        .arg(file)
        .output();
    let read = read.unwrap();
    assert!(read.status.success(), "{read:?}");
    let lines = String::from_utf8(read.stdout).unwrap();
    (lines.lines().count(), fs::read(file).unwrap())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|each| each == text.as_bytes())
}

#[test]
fn every_packet_that_conntrack_rejects_is_kept_with_the_kernels_own_words() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let asked = ["isn-rewrite", "--path", "direct,relay", "--json"];
    let ended = run_with("8M", &asked, &report);
    assert!(ended.status.success(), "{ended:?}");
    let rows: Vec<Row> = serde_json::from_slice(&ended.stdout).unwrap();
    for (row, number) in rows.iter().zip(["001", "002"]) {
        let path = if number == "001" { "direct" } else { "relay" };
        let name = format!("{number}-isn-rewrite-{path}-scp-upload-ipv4-run1");
        let invalid = row.conntrack_invalid;
        for (host, counted) in [
            ("client", invalid.client),
            ("server", invalid.server),
            ("relay", invalid.relay_mangled + invalid.relay_clean),
        ] {
            let file = |what: &str| report.join(&name).join(format!("{host}.{what}.pcap"));
            let (kept, bytes) = told(&file("invalid"));
            // What is INVALID after the count is kept as well.
            let counted = usize::try_from(counted).unwrap();
            assert!(kept >= counted, "{path}, {host}: {kept} of {counted}");
            assert_eq!(holds(&bytes, "INVALID "), kept > 0, "{path}, {host}");
            let (_, bytes) = told(&file("reasons"));
            assert_eq!(holds(&bytes, "nf_ct_proto_6: "), kept > 0, "{path}, {host}");
        }
    }
    assert!(rows[0].conntrack_invalid.client > 0, "{rows:?}");
    assert_eq!(rows[1].conntrack_invalid.sum(), 0, "{rows:?}");
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
