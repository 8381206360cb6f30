//! The log of histograms: what an independent reader finds in it is what the relay has recorded, all of it and once,
//! however often the file changes; and a file that cannot be written ends nothing.

#[path = "python/intervals.rs"]
mod intervals;
mod python;
mod site;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::process::Signal;
use tempfile::TempDir;

use intervals::{PERCENTILES, Read};
use site::here::Here;
use site::relay::row;
use site::{PATIENCE, UNMANGLE, carry, pattern, talk, until};

/// Reads a log by PyPI's `hdrhistogram`.
fn read(log: &Path) -> Vec<Read> {
    intervals::read(&[log.as_os_str()])
}

/// The same of several, each tag with all that they have of it.
fn read_together(logs: &[PathBuf]) -> Vec<Read> {
    let mut words = vec![OsStr::new("--sum")];
    words.extend(logs.iter().map(|log| log.as_os_str()));
    intervals::read(&words)
}

/// A directory for a log.
struct Logged(TempDir);

impl Logged {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("relay.hlog")
    }

    /// A relay that writes an interval a second.
    fn by(&self, more: &[&str]) -> Here {
        let path = self.path();
        let own = [
            "--hdr-log",
            path.to_str().unwrap(),
            "--hdr-log-interval",
            "1s",
        ];
        Here::with(&[&own, more].concat())
    }

    /// Every file, from the oldest to the one that was written last.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // The one without an ending.
        files.rotate_left(1);
        files
    }

    /// How often each tag was recorded, in all files.
    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for interval in self.files().iter().flat_map(|file| read(file)) {
            *counts.entry(interval.tag).or_default() += interval.count;
        }
        counts
    }

    fn lines(&self) -> usize {
        let files = self.files();
        // One may be put aside meanwhile.
        let text = files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok());
        text.map(|text| text.matches("Tag=").count()).sum()
    }
}

/// As many sessions, each with a few bytes both ways; they are over when this returns.
fn sessions(here: &Here, number: usize) {
    let before = here.relay.events("session ended").len();
    for _ in 0..number {
        talk(&here.connect(7));
    }
    here.relay.ended(before + number);
}

/// Bytes of the nth session, from the client and from the server: each is told apart from all others.
fn sizes(nth: usize) -> [usize; 2] {
    [10_000 * nth, 300 * nth]
}

/// Sessions of these numbers; they are over when this returns.
fn sized(here: &Here, numbers: RangeInclusive<usize>) {
    let last = *numbers.end();
    for nth in numbers {
        let pair = here.connect(7);
        let [up, down] = sizes(nth);
        carry(&pair.client, &pair.server, &pattern(1, up));
        carry(&pair.server, &pair.client, &pattern(2, down));
    }
    here.relay.ended(last);
}

#[test]
fn an_independent_reader_finds_every_session_once_whatever_becomes_of_the_file() {
    let logged = Logged::new();
    let here = logged.by(&[]);
    let (mut opened, mut lines) = (0, 0);
    for renewed in [true, true, false] {
        for _ in 0..2 {
            sized(&here, opened + 1..=opened + 3);
            opened += 3;
            until("an interval is written", PATIENCE, || {
                logged.lines() > lines
            });
            lines = logged.lines();
        }
        if renewed {
            let files = logged.files().len();
            here.relay.signal(Signal::HUP);
            until("the file is put aside", PATIENCE, || {
                logged.files().len() > files
            });
        }
    }
    // These are in the interval that the end cuts short.
    sized(&here, opened + 1..=opened + 2);
    opened += 2;
    let log = here.relay.stop();

    let files = logged.files();
    assert_eq!(files.len(), 3);
    let found = read_together(&files);
    expect_what_the_relay_has_measured(&found, &log, opened);
    expect_the_sizes_that_were_sent(&found, opened);
    expect_intervals_that_do_not_overlap(&logged);
    for file in files {
        expect_the_percentiles_of_our_own_library(&file);
    }
}

/// As its table at the end tells it, which was never in a file.
fn expect_what_the_relay_has_measured(found: &[Read], log: &str, sessions: usize) {
    for (tag, name) in [
        ("connect", "connect"),
        ("setup", "setup"),
        ("session_duration", "session lifetime"),
        (
            "first_byte|direction=client_to_server",
            "first byte client_to_server",
        ),
        (
            "first_byte|direction=server_to_client",
            "first byte server_to_client",
        ),
        (
            "added_latency|direction=client_to_server",
            "added client_to_server",
        ),
        (
            "added_latency|direction=server_to_client",
            "added server_to_client",
        ),
        ("rtt|leg=downstream", "rtt downstream"),
        ("rtt|leg=upstream", "rtt upstream"),
    ] {
        let told = row(log, name);
        let found = of_tag(found, tag);
        assert_eq!(found.count as usize, told.count, "{tag}");
        assert!(told.count >= sessions, "{tag}: {told:?}");
        for (nth, told) in told.times.iter().enumerate() {
            let found = found.percentiles[nth + 1] as f64 * 1e-6;
            // The table has three digits.
            assert!(
                (found / told - 1.0).abs() < 0.006,
                "{tag}, {} %: {found} is read, {told} was measured",
                PERCENTILES[nth + 1]
            );
        }
    }
}

/// What is found of a tag, told without its listener.
fn of_tag<'a>(found: &'a [Read], tag: &str) -> &'a Read {
    let (name, rest) = tag.split_at(tag.find('|').unwrap_or(tag.len()));
    let tag = format!("{name}|listener=listener_1{rest}");
    let mut found = found.iter().filter(|one| one.tag == tag);
    found.next().unwrap_or_else(|| panic!("{tag} is not there"))
}

fn expect_the_sizes_that_were_sent(found: &[Read], sessions: usize) {
    for (nth, direction) in ["client_to_server", "server_to_client"].iter().enumerate() {
        let found = of_tag(found, &format!("session_size|direction={direction}"));
        assert_eq!(found.count as usize, sessions, "{direction}");
        for (percent, found) in PERCENTILES.iter().zip(found.percentiles) {
            // The least session that so many are no larger than.
            let rank = (percent / 100.0 * sessions as f64).ceil().max(1.0) as usize;
            let sent = sizes(rank)[nth] as f64;
            // Sizes have two digits.
            assert!(
                (found as f64 / sent - 1.0).abs() <= 0.01,
                "{direction}, {percent} %: {found} is read, {sent} was sent"
            );
        }
    }
}

/// Line by line, which the table cannot tell.
fn expect_the_percentiles_of_our_own_library(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Tag="));
    let found = read(file);
    assert_eq!(found.len(), lines.clone().count());
    for (line, found) in lines.zip(found) {
        let bytes = STANDARD.decode(line.rsplit(',').next().unwrap()).unwrap();
        let decoded: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .unwrap();
        assert_eq!(decoded.len(), found.count, "{line}");
        let lowest = decoded.lowest_equivalent(decoded.min());
        assert_eq!(lowest, found.percentiles[0], "{line}");
        for (percent, found) in PERCENTILES.iter().zip(found.percentiles).skip(1) {
            // As other HdrHistogram libraries do it: what rounding adds to the rank is taken off again.
            let ours = decoded.value_at_quantile((percent / 100.0).next_down());
            assert_eq!(ours, found, "{percent} %: {line}");
        }
    }
}

/// Across all files; times are told to a millisecond.
fn expect_intervals_that_do_not_overlap(logged: &Logged) {
    let mut last = BTreeMap::new();
    for interval in logged.files().iter().flat_map(|file| read(file)) {
        let end = last.insert(interval.tag.clone(), interval.to);
        let begins_after = end.is_none_or(|end| interval.from >= end - 2.0);
        assert!(
            begins_after && interval.to > interval.from,
            "{interval:?} after {end:?}"
        );
    }
}

#[test]
fn a_file_that_was_moved_away_is_left_alone_and_a_new_one_begun_on_sighup() {
    let logged = Logged::new();
    let here = logged.by(&[]);
    sessions(&here, 1);
    until("an interval is written", PATIENCE, || logged.lines() > 0);
    let moved = logged.0.path().join("relay.hlog.1");
    fs::rename(logged.path(), &moved).unwrap();
    here.relay.signal(Signal::HUP);
    until("a new one is there", PATIENCE, || logged.path().exists());
    sessions(&here, 1);
    here.relay.stop();
    assert_eq!(logged.files(), [moved, logged.path()]);
    assert_eq!(logged.counts()["connect|listener=listener_1"], 2);
}

#[test]
fn the_file_of_a_former_relay_is_put_aside() {
    let logged = Logged::new();
    for _ in 0..2 {
        let here = logged.by(&[]);
        sessions(&here, 1);
        here.relay.stop();
    }
    assert_eq!(logged.files().len(), 2);
    assert_eq!(logged.counts()["connect|listener=listener_1"], 2);
}

#[test]
fn a_directory_that_vanishes_is_told_once_and_the_relay_goes_on() {
    let logged = Logged::new();
    let here = logged.by(&[]);
    fs::remove_dir_all(logged.0.path()).unwrap();
    sessions(&here, 1);
    let told = |text: &str| {
        let log = here.relay.log();
        log.lines().filter(|line| line.contains(text)).count()
    };
    until("it is told", PATIENCE, || told("cannot be written") > 0);
    fs::create_dir(logged.0.path()).unwrap();
    // There has to be something to write.
    sessions(&here, 1);
    until("it is written again", PATIENCE, || {
        told("is written again") > 0
    });
    sessions(&here, 1);
    assert_eq!(told("cannot be written"), 1);
    here.relay.stop();
    // What was recorded meanwhile is lost.
    assert_eq!(logged.counts()["connect|listener=listener_1"], 2);
}

#[test]
fn a_full_disk_is_told_once_and_the_relay_goes_on() {
    if !site::possible() {
        return;
    }
    let logged = Logged::new();
    let mount = format!(
        "mount -t tmpfs -o size=64k none {} && exec \"$@\"",
        logged.0.path().display()
    );
    let path = logged.path();
    let here = Here::started_by(
        &["unshare", "--mount", "sh", "-c", &mount, "sh"],
        &[
            "--hdr-log",
            path.to_str().unwrap(),
            "--hdr-log-interval",
            "1s",
        ],
    );
    // Its own mount, seen from outside.
    let seen = PathBuf::from(format!("/proc/{}/root{}", here.relay.id(), path.display()));
    let told = |text: &str| {
        let log = here.relay.log();
        log.lines().filter(|line| line.contains(text)).count()
    };
    sessions(&here, 1);
    until("an interval is written", PATIENCE, || {
        fs::read_to_string(&seen).unwrap().contains("Tag=")
    });
    let other = seen.with_file_name("other");
    let full = fs::write(&other, vec![7; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    until("it is told", PATIENCE, || {
        // What is left of the last page may be enough for a line or two.
        sessions(&here, 1);
        told("cannot be written") > 0
    });
    fs::remove_file(&other).unwrap();
    until("it is written again", PATIENCE, || {
        sessions(&here, 1);
        told("is written again") > 0
    });
    assert_eq!(told("cannot be written"), 1);
    // Every line is whole.
    let copy = logged.0.path().join("copy");
    fs::copy(&seen, &copy).unwrap();
    here.relay.stop();
    let lines = fs::read_to_string(&copy).unwrap().matches("Tag=").count();
    assert_eq!(read(&copy).len(), lines);
}

#[test]
fn a_log_that_a_relay_writes_is_left_to_it_by_another_and_by_one_that_cannot_start() {
    let logged = Logged::new();
    let here = logged.by(&[]);
    sessions(&here, 1);
    until("an interval is written", PATIENCE, || logged.lines() > 0);
    let path = logged.path();
    let other = |listen: &str| {
        let ended = Command::new(UNMANGLE)
            .args([
                "run",
                "--to",
                "127.0.0.1:9",
                "--admin",
                "off",
                "--listen",
                listen,
            ])
            .arg("--hdr-log")
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2));
        String::from_utf8(ended.stderr).unwrap()
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = other(&address);
    assert!(told.contains("cannot listen"), "{told}");
    let told = other("127.0.0.1:0");
    assert!(told.contains("another process writes to it"), "{told}");
    assert_eq!(logged.files(), std::slice::from_ref(&path));
    let before = logged.lines();
    sessions(&here, 1);
    until("the relay writes where it wrote", PATIENCE, || {
        logged.lines() > before
    });
    assert_eq!(logged.files(), [path]);
}
