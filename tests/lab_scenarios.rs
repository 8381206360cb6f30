//! Every fault does the harm it is made for, and its profile cures it, as relay or as rules.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::process::Command;

use unmangle::lab::{Invalid, Outcome, Row, Tool};

use site::{UNMANGLE, possible};

/// Runs the lab as a user would; the rows, or `None` where there can be no lab.
fn lab_run(arguments: &str) -> Option<Vec<Row>> {
    possible().then(|| {
        let run = Command::new(UNMANGLE)
            .args(["lab", "run", "--json"])
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{arguments}: {stderr}"))
    })
}

fn arrives(arguments: &str) {
    for row in lab_run(arguments).into_iter().flatten() {
        assert_eq!(row.outcome, Outcome::Ok, "{row:?}");
        assert_eq!(row.conntrack_invalid, Invalid::default(), "{row:?}");
    }
}

fn ends_as(expected: Outcome, arguments: &str) {
    for row in lab_run(arguments).into_iter().flatten() {
        assert_eq!(row.outcome, expected, "{row:?}");
    }
}

#[test]
fn losses_on_a_mangled_leg_kill_an_upload_and_through_the_relay_they_are_repaired() {
    ends_as(
        Outcome::Reset,
        "isn-rewrite-lossy-lan --path direct --size 10M --timeout 10s",
    );
    arrives("isn-rewrite-lossy-lan --path relay --size 3M --timeout 20s --direction both");
}

#[test]
fn a_black_hole_stalls_every_path_that_keeps_its_segments_large() {
    ends_as(
        Outcome::Stall,
        "blackhole --path direct,split --family both --size 1M --timeout 2s",
    );
    arrives("blackhole --path relay,normalise --family both --size 3M --direction both");
}

#[test]
fn overtaking_packets_kill_an_upload_without_any_loss_and_are_put_up_with_by_the_relay() {
    ends_as(
        Outcome::Reset,
        "reorder --path direct --size 10M --timeout 10s",
    );
    arrives("reorder --path relay --size 3M --direction both");
}

#[test]
fn an_asa_as_it_comes_kills_an_upload_and_the_relay_cures_it() {
    ends_as(
        Outcome::Reset,
        "asa --path direct --size 10M --timeout 10s --family both",
    );
    arrives("asa --path relay --size 3M --direction both --family both");
}

#[test]
fn a_session_that_is_idle_for_longer_than_the_firewall_remembers_hangs() {
    ends_as(
        Outcome::Stall,
        "idle-drop --path direct,normalise --idle 1s --timeout 2s --size 1k",
    );
}

#[test]
fn a_session_that_is_idle_for_longer_than_the_firewall_remembers_survives_relayed() {
    // The profile probes after 10 s; this firewall forgets after 12.
    let rows = lab_run("idle-drop --path relay --idle 24s --timeout 5s --size 1k");
    for row in rows.into_iter().flatten() {
        assert_eq!((row.outcome, row.tool), (Outcome::Ok, Tool::SshIdle));
        assert_eq!(row.conntrack_invalid, Invalid::default());
    }
}

#[test]
fn rules_without_a_relay_cure_what_is_wrong_with_syn_and_syn_ack() {
    arrives("pix isn-rewrite wscale-strip --path normalise --size 3M --direction both");
}

#[test]
fn every_tool_carries_its_file_both_ways_through_the_relay() {
    let tools = "scp,sftp,rsync-ssh,rsync-daemon";
    arrives(&format!(
        "pix --path relay --size 3M --direction both --family both --tool {tools}"
    ));
}

#[test]
fn every_tool_dies_of_the_pix_without_the_relay() {
    ends_as(
        Outcome::Reset,
        "pix --path direct --size 10M --timeout 10s --tool sftp,rsync-ssh,rsync-daemon",
    );
}
