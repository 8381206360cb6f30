//! The lab itself: hosts that reach each other, stand side by side, and leave nothing behind.
//!
//! These tests need root, and without it are skipped except in CI.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use unmangle::lab::{self, Joined, Lab, Role, Strict};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

/// Whether labs can be put up here; in CI they must.
fn possible() -> bool {
    match lab::require() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

fn veth() -> Joined {
    Joined::Veth { offloads: true }
}

fn wired_by_veth() -> Lab {
    let lab = Lab::builder().firewall(veth()).long_leg(veth());
    lab.start().unwrap()
}

fn namespaces_of(id: &str) -> usize {
    let prefix = format!("um-{id}-");
    let entries = std::fs::read_dir("/run/netns").unwrap();
    entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .count()
}

#[test]
fn hosts_reach_each_other_through_the_relay_host_in_both_families() {
    if !possible() {
        return;
    }
    let lab = wired_by_veth();
    for address in ["198.51.100.2", "2001:db8:2::2"] {
        lab.client()
            .run("ping", &["-c", "1", "-W", "2", address])
            .unwrap();
    }
    for address in ["192.0.2.2", "2001:db8:1::2"] {
        lab.server()
            .run("ping", &["-c", "1", "-W", "2", address])
            .unwrap();
    }
}

#[test]
fn a_lab_has_the_mtu_it_is_told_and_1500_bytes_otherwise() {
    if !possible() {
        return;
    }
    // What `ping -s` fills a packet of IPv4 and of IPv6 with, beside the headers.
    let fills = |lab: &Lab, mtu: u32| {
        for (address, headers) in [("198.51.100.2", 28), ("2001:db8:2::2", 48)] {
            for (size, passes) in [(mtu - headers, true), (mtu - headers + 1, false)] {
                let size = &size.to_string();
                let unfragmented = ["-M", "do", "-c", "1", "-W", "2", "-s", size, address];
                let answered = lab.client().run("ping", &unfragmented);
                assert_eq!(
                    answered.is_ok(),
                    passes,
                    "{size} to {address}: {answered:?}"
                );
            }
        }
    };
    let jumbo = Lab::builder().unmangle(UNMANGLE).mtu(9000);
    fills(&jumbo.start().unwrap(), 9000);
    let jumbo = Lab::builder().firewall(veth()).long_leg(veth()).mtu(9000);
    fills(&jumbo.start().unwrap(), 9000);
    fills(&Lab::builder().unmangle(UNMANGLE).start().unwrap(), 1500);
}

#[test]
fn two_labs_stand_side_by_side_and_one_that_goes_leaves_the_other_alone() {
    if !possible() {
        return;
    }
    let (one, two) = (wired_by_veth(), wired_by_veth());
    let gone = one.id().to_owned();
    drop(one);
    assert_eq!((namespaces_of(&gone), namespaces_of(two.id())), (0, 3));
    two.client()
        .run("ping", &["-c", "1", "-W", "2", "198.51.100.2"])
        .unwrap();
}

#[test]
fn a_strict_host_resets_what_it_did_not_ask_for() {
    if !possible() {
        return;
    }
    let lab = Lab::builder()
        .firewall(veth())
        .long_leg(veth())
        .strict(Strict::Server);
    let lab = lab.start().unwrap();
    let connect = "exec 3<>/dev/tcp/198.51.100.2/80";
    let error = lab.client().run("bash", &["-c", connect]).unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(lab.counts(Role::Client).unwrap().resets > 0);
}

#[test]
fn a_lab_killed_by_sigkill_is_swept_away_by_the_next_command() {
    if !possible() {
        return;
    }
    let (mut shell, id) = shell_in("clean");
    assert_eq!(namespaces_of(&id), 3);
    shell.kill().unwrap();
    shell.wait().unwrap();
    let list = Command::new(UNMANGLE)
        .args(["lab", "list"])
        .output()
        .unwrap();
    assert!(list.status.success());
    assert_eq!(namespaces_of(&id), 0);
    assert!(!std::path::Path::new("/run/unmangle-lab").join(&id).exists());
}

#[test]
fn a_lab_that_is_interrupted_takes_itself_down() {
    if !possible() {
        return;
    }
    let (mut shell, id) = shell_in("clean");
    let pid = rustix::process::Pid::from_child(&shell);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(shell.wait().unwrap().success());
    assert_eq!(namespaces_of(&id), 0);
}

#[test]
fn an_unknown_scenario_is_refused_by_name() {
    let run = Command::new(UNMANGLE)
        .args(["lab", "run", "pixie"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(
        stderr.contains("unknown scenario \"pixie\": known are clean"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1);
}

/// Starts `unmangle lab shell` and returns it with the lab's name once the lab stands.
fn shell_in(scenario: &str) -> (Child, String) {
    let mut shell = Command::new(UNMANGLE)
        .args(["lab", "shell", scenario])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let id = line
        .split_whitespace()
        .nth(2)
        .unwrap_or_else(|| panic!("{line:?}"))
        .to_owned();
    (shell, id)
}
