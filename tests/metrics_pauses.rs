//! What the relay says that it added is what it added: pauses that are made in it, between read and write, are
//! found in its figures.
//!
//! The relay knows nothing of this. `tests/pauses.c` is preloaded into it and waits before every fiftieth message of
//! one direction; it keeps a record of how long it really waited, which on a machine that has other things to
//! do is longer than it was told to. What the relay reports is compared with that record.

mod site;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use site::Here;
use site::relay::{Row, row};
use tempfile::TempDir;

const MESSAGES: usize = 2_000;
/// One in so many waits: 2 %, so that the 99th percentile is the middle one of those that did.
const EVERY: usize = 50;
const LENGTH: usize = 64;
/// How far the relay may be from the truth.
const WITHIN: f64 = 0.05;
/// How often a machine may be too busy.
const ATTEMPTS: usize = 3;

/// The directions, each with its row in the table of times and what its messages begin with.
const DIRECTIONS: [(&str, u8); 2] = [
    ("added client_to_server", b'>'),
    ("added server_to_client", b'<'),
];

/// What the relay said of both directions, and what was done to the one that was paused.
#[derive(Debug)]
struct Observed {
    paused: Row,
    other: Row,
    stalled: [usize; 2],
    /// The 99th percentile of the pauses, in seconds; most messages had none.
    made: f64,
}

#[test]
fn a_pause_of_a_millisecond_is_found_in_the_added_latency_of_its_direction() {
    expect_found(Duration::from_millis(1));
}

#[test]
fn a_pause_of_five_milliseconds_is_found_in_the_added_latency_of_its_direction() {
    expect_found(Duration::from_millis(5));
}

#[test]
fn a_pause_of_fifty_milliseconds_is_found_in_the_added_latency_of_its_direction() {
    expect_found(Duration::from_millis(50));
}

fn expect_found(pause: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let shim = compile(&directory);
    for (paused, (name, _)) in DIRECTIONS.into_iter().enumerate() {
        let mut seen = Vec::new();
        for _ in 0..ATTEMPTS {
            let observed = observe(&shim, paused, pause);
            println!("{pause:?} in {name}: {observed:?}");
            // Every message is one record, whatever else the machine does.
            assert_eq!(observed.paused.count, MESSAGES);
            assert_eq!(observed.other.count, MESSAGES);
            assert_eq!(observed.stalled, [0, 0], "nobody's window was shut");
            assert!(observed.made >= pause.as_secs_f64());
            seen.push(observed);
            if seen.last().unwrap().fits() {
                break;
            }
        }
        assert!(seen.last().unwrap().fits(), "{pause:?}: {seen:?}");
    }
}

/// A load of one message at a time through a relay that is paused.
fn observe(shim: &Path, paused: usize, pause: Duration) -> Observed {
    let record = shim.with_file_name("record");
    let _ = std::fs::remove_file(&record);
    let starter: Vec<String> = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", shim.display()),
        format!("PAUSE_FILE={}", record.display()),
        format!("PAUSE_NANOS={}", pause.as_nanos()),
        format!("PAUSE_EVERY={EVERY}"),
        format!("PAUSE_LENGTH={LENGTH}"),
        format!("PAUSE_FIRST={}", DIRECTIONS[paused].1),
    ]
    .into();
    let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
    let mut here = Here::started_by(&starter, &["--workers", "1"]);
    let pair = here.connect(1);
    for stream in [&pair.client, &pair.server] {
        stream.set_nodelay(true).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..MESSAGES {
                receive(&pair.server, b'>');
                say(&pair.server, b'<');
            }
        });
        for _ in 0..MESSAGES {
            say(&pair.client, b'>');
            receive(&pair.client, b'<');
        }
    });
    drop(pair);
    here.relay.ended(1);
    // The table that is printed at the end, and the record that is written after it.
    here.relay.signal(Signal::TERM);
    assert_eq!(here.relay.exit_code(), Some(0), "{}", here.relay.log());
    let log = here.relay.log();
    let mut waited: Vec<f64> = std::fs::read_to_string(&record)
        .unwrap()
        .lines()
        .map(|nanos| nanos.parse::<f64>().unwrap() / 1e9)
        .collect();
    assert_eq!(waited.len(), MESSAGES, "each message is one send");
    waited.sort_by(f64::total_cmp);
    Observed {
        paused: row(&log, DIRECTIONS[paused].0),
        other: row(&log, DIRECTIONS[1 - paused].0),
        stalled: ["stall client_to_server", "stall server_to_client"]
            .map(|name| row(&log, name).count),
        made: waited[MESSAGES * 99 / 100 - 1],
    }
}

fn say(mut to: &TcpStream, first: u8) {
    let mut message = [0; LENGTH];
    message[0] = first;
    to.write_all(&message).unwrap();
}

fn receive(mut from: &TcpStream, first: u8) {
    let mut message = [0; LENGTH];
    from.read_exact(&mut message).unwrap();
    assert_eq!(message[0], first);
}

/// Rust itself links with `cc`, so it is there.
fn compile(directory: &TempDir) -> std::path::PathBuf {
    let shim = directory.path().join("pauses.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pauses.c");
    let compiled = Command::new("cc")
        .args([
            "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ])
        .args([&shim, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    shim
}

// === impl Observed ===

impl Observed {
    /// Whether the pauses are where they were made, as long as they were, and nowhere else.
    fn fits(&self) -> bool {
        let [median, most, p99] = [0, 1, 2].map(|at| self.paused.times[at]);
        (p99 / self.made - 1.0).abs() <= WITHIN
            && median.max(most) < self.made / 2.0
            && self.other.times[2] < self.made / 2.0
    }
}

#[test]
fn a_row_is_read_in_whatever_units_it_is_told() {
    let log = " added client_to_server   2000  6.10 us  12.0 us  1.03 ms  5 s  61.2 s \n";
    assert_eq!(
        row(log, "added client_to_server"),
        Row {
            count: 2000,
            times: vec![6.1 * 1e-6, 12.0 * 1e-6, 1.03 * 1e-3, 5.0, 61.2],
        }
    );
}
