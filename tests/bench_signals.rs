//! A signal ends `unmangle bench run` with its report, and the report says how long was measured.

mod site;

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use site::bench::{Ended, Running, Serve, bench, bench_after, number, part, parts};
use site::faulty::{greet_only, keep_silent, server};
use site::{PATIENCE, until};

/// A load without end that has been measured for an interval at least.
struct Endless {
    running: Running,
    _directory: tempfile::TempDir,
}

impl Endless {
    fn start(to: SocketAddr, mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let words = format!("run --json --to {to} --mode {mode} --log info");
        let times = "--duration 1h --warmup 0s --interval 100ms";
        let to_log = format!("exec 2>{}", log.display());
        let running = Running::start(bench_after(&to_log, &format!("{words} {times}")));
        until("an interval is told", PATIENCE, || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains(": direct: ")
        });
        Self {
            running,
            _directory: directory,
        }
    }

    fn end_by(self, signal: Signal) -> Ended {
        self.running.signal(signal);
        self.running.end()
    }
}

#[test]
fn a_signal_ends_a_load_with_the_report_of_what_was_measured() {
    let serve = Serve::start_one("");
    for (mode, signal, code) in [
        ("stream --direction both", Signal::INT, 130),
        ("stream --direction download", Signal::TERM, 143),
        ("rr", Signal::INT, 130),
        ("rr --rate 500", Signal::TERM, 143),
        ("crr", Signal::INT, 130),
        ("idle", Signal::TERM, 143),
        ("mix", Signal::HUP, 129),
    ] {
        let ended = Endless::start(serve.address(), mode).end_by(signal);
        assert_eq!(ended.code(), Some(code), "{mode}: {ended:?}");
        let report = ended.report();
        let done = |part: &&Value| {
            ["/operations", "/bytes_up", "/bytes_down"]
                .iter()
                .any(|name| number(part, name) > 0)
        };
        assert!(parts(&report).iter().any(done), "{mode}: {report}");
        // The last interval is as long as it was.
        let elapsed = report["paths"][0]["elapsed_s"].as_f64().unwrap();
        for part in parts(&report) {
            let series = part["series"].as_array().unwrap().iter();
            let lengths: f64 = series.map(|p| p["length_s"].as_f64().unwrap()).sum();
            assert!((lengths - elapsed).abs() < 1e-3, "{mode}: {report}");
        }
    }
    assert_eq!(serve.stop(), "");
}

#[test]
fn what_is_waited_for_after_an_interrupt_is_not_measured() {
    // Its request is never answered, and given another 200 ms.
    let load = Endless::start(server(greet_only), "rr");
    let ended = load.end_by(Signal::INT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(ended.code(), Some(130), "{ended:?}");
    let report = ended.report();
    assert_eq!(number(part(&report), "/errors/unanswered"), 1);
    let measured_until = report["paths"][0]["windows"][0]["to"].as_f64().unwrap();
    assert!(now.as_secs_f64() - measured_until > 0.19, "{report}");
}

#[test]
fn an_interrupt_ends_a_load_that_is_not_yet_connected() {
    let to = server(keep_silent);
    let words = format!("run --json --to {to} --mode rr --connect-timeout 1h");
    let running = Running::start(bench(&words));
    until_signals_are_watched(&running);
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code(), Some(130), "{ended:?}");
}

/// An interrupt before that ends the process as one of any program.
fn until_signals_are_watched(running: &Running) {
    let status = format!("/proc/{}/status", running.id());
    until("SIGINT is caught", PATIENCE, || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & 1 << (Signal::INT.as_raw() - 1) != 0)
    });
}
