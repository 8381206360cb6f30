//! What `unmangle lab` refuses, what it prints when nobody reads, and how signals end it.
//!
//! Most of these tests need root, and without it are skipped except in CI.

mod site;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use unmangle::lab::Row;

use site::{PATIENCE, UNMANGLE, possible};

const QUICK: &str = "run clean --path direct --size 1k";

fn lab(arguments: &str) -> Command {
    let mut command = Command::new(UNMANGLE);
    command.arg("lab").args(arguments.split_whitespace());
    command
}

fn stderr(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

/// With a stdout whose reader has gone.
fn unread(arguments: &str) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    lab(arguments).stdout(writer).output().unwrap()
}

/// With a stdout that takes nothing any more.
fn full(arguments: &str) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    lab(arguments).stdout(full).output().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    if !possible() {
        return;
    }
    for arguments in ["list", QUICK, "run clean --path direct --size 1k --json"] {
        let ended = unread(arguments);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert_eq!(stderr(&ended), "", "{arguments}");
    }
}

#[test]
fn a_stdout_that_is_full_is_one_line_and_a_failure() {
    if !possible() {
        return;
    }
    for arguments in ["list", QUICK, "shell clean"] {
        let ended = full(arguments);
        assert_eq!(ended.status.code(), Some(1), "{arguments}");
        let stderr = stderr(&ended);
        assert!(stderr.contains("No space left"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_payload_without_room_is_refused_in_one_line() {
    if !possible() {
        return;
    }
    for size in ["18446744073709551615", "9999999999k"] {
        let ended = lab(&format!("run clean --size {size}")).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{size}");
        let stderr = stderr(&ended);
        assert!(stderr.contains("is too large"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn times_that_would_prove_nothing_are_refused() {
    for time in ["--timeout 0s", "--long-rtt 11s", "--idle 0s", "--idle 2h"] {
        let ended = lab(&format!("run pix --path direct {time}"))
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2), "{time}");
        assert!(stderr(&ended).contains("it must be from"), "{time}");
    }
}

#[test]
fn what_is_named_twice_is_run_once() {
    if !possible() {
        return;
    }
    let run = "run clean clean --path relay,relay --size 1k --json";
    let ended = lab(run).output().unwrap();
    let rows: Vec<Row> = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
}

#[test]
fn ctrl_c_ends_a_run_with_the_code_of_the_signal_and_a_second_one_does_not_wait() {
    if !possible() {
        return;
    }
    let start = || {
        let mut command = lab("run clean --path direct --tool ssh-idle --idle 1h --size 1k");
        let run = command.stderr(Stdio::piped()).spawn().unwrap();
        // It stands, and the tool is silent.
        std::thread::sleep(Duration::from_secs(2));
        run
    };
    let mut once = start();
    signal(&once, Signal::INT);
    assert_eq!(exit_code(&mut once), Some(130));

    let mut often = start();
    while often.try_wait().unwrap().is_none() {
        signal(&often, Signal::INT);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(exit_code(&mut often), Some(130));
    let said = std::io::read_to_string(often.stderr.take().unwrap()).unwrap();
    assert!(said.contains("ended at once"), "{said}");
    assert!(lab("list").output().unwrap().status.success());
}

#[test]
fn a_shell_on_a_terminal_is_ended_by_sigterm_and_not_by_ctrl_c() {
    if !possible() {
        return;
    }
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let terminal: File = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut shell = lab("shell clean")
        .env("SHELL", "/bin/sh")
        .stdin(terminal.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let here = |line: std::io::Result<String>| line.unwrap().contains("leave it to take");
    assert!(lines.any(here));
    signal(&shell, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(shell.try_wait().unwrap().is_none(), "Ctrl-C ended it");
    signal(&shell, Signal::TERM);
    assert_eq!(exit_code(&mut shell), Some(0));
}
