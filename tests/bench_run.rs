//! `unmangle bench run` against `unmangle bench serve` and plain servers on loopback: every load is carried out, and
//! what is reported fits together.

mod site;

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use site::UNMANGLE;
use site::bench::{Ended, Running, Serve, bench, number, part, parts, run};
use site::faulty::{discard, echo, server};

/// Long enough for some intervals; with no warm-up the first request is measured, however long it takes.
const SHORT: &str = "--duration 300ms --warmup 0s --verify";

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// What must be true of every report without errors: its figures fit each other.
fn expect_sound(report: &Value, connections: u64) {
    assert_eq!(number(report, "/load/connections"), connections);
    for path in report["paths"].as_array().unwrap() {
        let windows = path["windows"].as_array().unwrap();
        let covered: f64 = windows
            .iter()
            .map(|window| window["to"].as_f64().unwrap() - window["from"].as_f64().unwrap())
            .sum();
        assert!((path["elapsed_s"].as_f64().unwrap() - covered).abs() < 1e-3);
        for part in path["parts"].as_array().unwrap() {
            expect_sound_part(part, report, path["elapsed_s"].as_f64().unwrap());
        }
    }
}

fn expect_sound_part(part: &Value, report: &Value, elapsed: f64) {
    let operations = number(part, "/operations");
    for (bytes, size) in [("/bytes_up", "request"), ("/bytes_down", "response")] {
        let size = report["load"][size].as_u64().unwrap();
        if part["mode"] != "stream" {
            assert_eq!(number(part, bytes), operations * size, "{part}");
        }
        let series = part["series"].as_array().unwrap().iter();
        let sum: u64 = series.map(|point| number(point, bytes)).sum();
        assert_eq!(number(part, bytes), sum, "{part}");
    }
    let a_second = part["operations_per_s"].as_f64().unwrap();
    assert!((a_second * elapsed - operations as f64).abs() < 1e-3);
    let order = ["min", "p50", "p90", "p99", "p999", "max"];
    let times = order.map(|name| number(part, &format!("/latency/{name}_ns")));
    assert!(times.is_sorted(), "{part}");
    let connect = order.map(|name| number(part, &format!("/connect/{name}_ns")));
    assert!(connect.is_sorted() && connect[0] > 0, "{part}");
}

/// A load on both loopbacks, each with its report.
fn on_both(words: &str, connections: u64) -> Vec<Value> {
    let serve = Serve::on(&LOOPBACKS, "");
    let reports: Vec<Value> = serve
        .addresses
        .iter()
        .map(|to| {
            let words = format!("--to {to} {SHORT} --connections {connections} {words}");
            let report = run(&words).faultless();
            expect_sound(&report, connections);
            assert_eq!(report["paths"][0]["to"], to.to_string());
            report
        })
        .collect();
    assert_eq!(serve.stop(), "");
    reports
}

#[test]
fn streams_carry_bytes_the_way_they_were_asked_to() {
    for (direction, up, down) in [
        ("upload", true, false),
        ("download", false, true),
        ("both", true, true),
    ] {
        for connections in [1, 3] {
            let words = format!("--mode stream --direction {direction}");
            for report in on_both(&words, connections) {
                let part = part(&report);
                assert_eq!(number(part, "/bytes_up") > 1 << 16, up, "{part}");
                assert_eq!(number(part, "/bytes_down") > 1 << 16, down, "{part}");
                assert_eq!(number(part, "/connect/count"), connections);
                assert_eq!(number(part, "/latency/count"), 0);
            }
        }
    }
}

#[test]
fn requests_over_connections_that_stay_are_answered_and_timed() {
    for connections in [1, 5] {
        for report in on_both("--mode rr --request 100 --response 3k", connections) {
            let part = part(&report);
            let operations = number(part, "/operations");
            assert!(operations > 0);
            // Of each connection one may have been asked before the time and answered within it, or asked
            // within it and answered after.
            let timed = number(part, "/latency/count");
            assert!(timed.abs_diff(operations) <= connections, "{part}");
            assert_eq!(number(part, "/connect/count"), connections);
            assert!(number(part, "/rtt/count") > 0);
        }
    }
}

#[test]
fn requests_over_connections_of_their_own_are_answered_and_timed() {
    for connections in [1, 5] {
        for report in on_both("--mode crr", connections) {
            let part = part(&report);
            let operations = number(part, "/operations");
            assert!(operations > 0);
            assert!(number(part, "/connect/count") >= operations, "{part}");
            assert!(number(part, "/latency/count").abs_diff(operations) <= connections);
            // The making of the connection is part of the latency.
            assert!(number(part, "/latency/min_ns") > number(part, "/connect/min_ns"));
        }
    }
}

#[test]
fn connections_that_were_idle_are_asked_once_each() {
    for report in on_both("--mode idle", 40) {
        for count in ["/operations", "/latency/count", "/connect/count"] {
            assert_eq!(number(part(&report), count), 40, "{count}");
        }
    }
}

#[test]
fn a_mix_has_a_part_for_each_kind_of_connection() {
    for report in on_both("--mode mix", 16) {
        let parts = parts(&report);
        let modes: Vec<&str> = parts.iter().map(|p| p["mode"].as_str().unwrap()).collect();
        assert_eq!(modes, ["stream", "rr", "crr", "idle"]);
        assert!(number(parts[0], "/bytes_up") > 0);
        assert!(number(parts[1], "/operations") > 0 && number(parts[2], "/operations") > 0);
        assert_eq!(number(parts[3], "/operations"), 2);
        for (part, connections) in [(0, 2), (1, 10), (3, 2)] {
            assert_eq!(number(parts[part], "/connect/count"), connections);
        }
    }
}

#[test]
fn requests_larger_than_any_buffer_are_answered() {
    for report in on_both("--mode rr --request 20M --response 20M --grace 30s", 2) {
        assert!(number(part(&report), "/latency/count") > 0);
    }
}

#[test]
fn several_clients_load_one_server_at_once() {
    let serve = Serve::start_one("");
    let to = serve.address();
    let clients: Vec<Running> = ["stream --direction both", "rr", "crr", "idle"]
        .iter()
        .map(|mode| {
            let words = format!("run --json --to {to} {SHORT} --connections 4 --mode {mode}");
            Running::start(bench(&words))
        })
        .collect();
    for client in clients {
        expect_sound(&client.end().faultless(), 4);
    }
    assert_eq!(serve.stop(), "");
}

// === open and closed loop ===

const STALL: Duration = Duration::from_millis(200);

/// p99 and longest latency, in nanoseconds, at a server that stands still for [`STALL`] in every second.
fn at_a_server_that_stalls(words: &str, pace: &str) -> (u64, u64) {
    let serve = Serve::start_one("--stall 200ms/1s");
    let words = format!("--to {} --mode rr --duration 2s {words}", serve.address());
    let report = run(&words).faultless();
    assert_eq!(report["load"]["loop"], pace);
    let at = |name| number(part(&report), name);
    assert!(at("/operations") >= 300, "{report}");
    (at("/latency/p99_ns"), at("/latency/max_ns"))
}

#[test]
fn an_open_loop_shows_a_stall_of_the_server() {
    let (p99, max) = at_a_server_that_stalls("--rate 200 --connections 4", "open");
    // A tenth of the requests and more is due while the server stands still.
    assert!(u128::from(p99) > STALL.as_nanos() / 2, "{p99}");
    assert!(u128::from(max) > STALL.as_nanos() * 3 / 4, "{max}");
}

#[test]
fn a_closed_loop_hides_the_stall_from_all_but_the_longest() {
    let (p99, max) = at_a_server_that_stalls("", "closed");
    assert!(u128::from(p99) < STALL.as_nanos() / 2, "{p99}");
    assert!(u128::from(max) > STALL.as_nanos() * 3 / 4, "{max}");
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    for mode in ["rr", "crr"] {
        let serve = Serve::start_one("");
        let to = serve.address();
        let words = format!("--to {to} --mode {mode} --rate 400 --connections 4 --duration 500ms");
        let report = run(&words).faultless();
        assert_eq!(report["load"]["rate"], 400.0);
        // Whatever was due in the time, be it answered in it or after it.
        assert_eq!(number(part(&report), "/latency/count"), 200);
        assert!(number(part(&report), "/operations") <= 204);
    }
}

// === two paths ===

/// Both paths were measured in turn, and the difference is that of what was reported.
fn expect_turns(report: &Value, turns: usize) {
    let paths = report["paths"].as_array().unwrap();
    let names: Vec<&str> = paths.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["direct", "via"]);
    let mut windows: Vec<(f64, f64, &str)> = Vec::new();
    for path in paths {
        for window in path["windows"].as_array().unwrap() {
            let [from, to] = ["from", "to"].map(|end| window[end].as_f64().unwrap());
            windows.push((from, to, path["name"].as_str().unwrap()));
        }
    }
    windows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let order: Vec<&str> = windows.iter().map(|(.., name)| *name).collect();
    assert_eq!(order, ["direct", "via"].repeat(turns));
    assert!(windows.windows(2).all(|two| two[0].1 <= two[1].0));
    let throughput = |part: &Value| match part["mode"].as_str() {
        Some("stream") => {
            let [up, down] = ["bits_per_s_up", "bits_per_s_down"].map(|way| part[way].as_f64());
            up.unwrap() + down.unwrap()
        }
        _ => part["operations_per_s"].as_f64().unwrap(),
    };
    let differences = report["difference"]["parts"].as_array().unwrap();
    assert_eq!(
        differences.len(),
        paths[0]["parts"].as_array().unwrap().len()
    );
    for (nth, difference) in differences.iter().enumerate() {
        let [first, second] = [0, 1].map(|path| &paths[path]["parts"][nth]);
        assert_eq!(difference["mode"], first["mode"]);
        let ratio = throughput(second) / throughput(first);
        assert!((difference["throughput_ratio"].as_f64().unwrap() - ratio).abs() < 1e-6);
        let is_timed = [first, second].map(|part| number(part, "/latency/count") > 0) == [true; 2];
        for name in ["p50", "p90", "p99", "p999", "max"] {
            if !is_timed {
                assert!(difference[format!("added_{name}_ns")].is_null());
                continue;
            }
            let [first, second] =
                [first, second].map(|part| number(part, &format!("/latency/{name}_ns")) as i64);
            assert_eq!(difference[format!("added_{name}_ns")], second - first);
        }
    }
}

#[test]
fn two_paths_take_turns_and_are_compared() {
    let serve = Serve::on(&["127.0.0.1:0", "127.0.0.1:0"], "");
    let [to, via] = [serve.addresses[0], serve.addresses[1]];
    for (mode, turns) in [
        ("stream", 2),
        ("rr", 3),
        ("crr", 2),
        ("mix --connections 8", 2),
    ] {
        let words = format!("--to {to} --via {via} --turns {turns} --duration 400ms --verify");
        let report = run(&format!("{words} --mode {mode}")).faultless();
        expect_turns(&report, turns);
    }
}

#[test]
fn a_relay_is_measured_beside_the_direct_path() {
    let serve = Serve::start_one("");
    let to = serve.address();
    let mut relay = Command::new(UNMANGLE);
    relay.args(["run", "--listen", "127.0.0.1:0", "--to", &to.to_string()]);
    relay.args(["--log-format", "json"]);
    // Its log is on stderr; here it is read as stdout is.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 2>&1", "sh"]);
    shell.arg(relay.get_program()).args(relay.get_args());
    let relay = Running::start(shell);
    let via = std::iter::repeat_with(|| relay.line())
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .find(|event| event["message"] == "relaying")
        .unwrap();
    let via = via["way"]
        .as_str()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    for mode in [
        "stream",
        "rr --connections 3",
        "crr",
        "idle --connections 3",
    ] {
        let words = format!("--to {to} --via {via} {SHORT} --mode {mode}");
        expect_turns(&run(&words).faultless(), 2);
    }
    relay.signal(Signal::TERM);
    assert_eq!(relay.end().code(), Some(0));
}

// === bare servers ===

#[test]
fn a_plain_echo_server_is_loaded_with_requests() {
    let to = server(echo);
    for mode in [
        "rr",
        "crr",
        "rr --rate 500",
        "idle",
        "rr --request 30M --response 30M",
    ] {
        for connections in [1, 3] {
            let words = format!("--to {to} --bare {SHORT} --connections {connections}");
            let ended = run(&format!("{words} --grace 30s --mode {mode}"));
            let report = ended.faultless();
            assert_eq!(report["load"]["peer"], "bare");
            assert!(
                number(part(&report), "/latency/count") > 0,
                "{mode}: {report}"
            );
        }
    }
}

#[test]
fn a_plain_server_that_discards_takes_a_stream() {
    let to = server(discard);
    for connections in [1, 3] {
        let words = format!("--to {to} --bare {SHORT} --connections {connections} --mode stream");
        let report = run(&words).faultless();
        assert!(number(part(&report), "/bytes_up") > 1 << 16);
    }
}

// === what it leaves ===

/// Somebody who reads one line and leaves, or nothing at all.
fn before_a_reader_that_leaves(pipe: &str, words: &str) -> Ended {
    let mut shell = Command::new("bash");
    shell.args([
        "-c",
        &format!("\"$@\" {pipe}; exit ${{PIPESTATUS[0]}}"),
        "sh",
    ]);
    shell
        .arg(UNMANGLE)
        .arg("bench")
        .args(words.split_whitespace());
    shell.stdin(Stdio::null());
    Running::start(shell).end()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let serve = Serve::start_one("");
    let to = serve.address();
    for (pipe, words, code) in [
        (
            "| head -1",
            format!("run --json --to {to} --mode rr --duration 200ms"),
            0,
        ),
        (
            "| true",
            format!("run --json --to {to} --mode rr --duration 200ms"),
            0,
        ),
        (
            "2>&1 | true",
            "run --json --to 127.0.0.1:1 --mode rr".to_owned(),
            1,
        ),
    ] {
        let ended = before_a_reader_that_leaves(pipe, &words);
        assert_eq!(ended.code(), Some(code), "{pipe}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
}

#[test]
fn a_run_is_drawn_and_its_intervals_are_logged() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("load.svg");
    let log = directory.path().join("load.hlog");
    let serve = Serve::start_one("");
    let files = format!("--plot {} --hdr-log {}", plot.display(), log.display());
    let words = "--mode rr --duration 500ms --interval 100ms";
    let ended = run(&format!("--to {} {words} {files}", serve.address()));
    let report = ended.faultless();
    let svg = std::fs::read_to_string(&plot).unwrap();
    let drawn = roxmltree::Document::parse(&svg).unwrap();
    let lines = drawn
        .descendants()
        .filter(|node| node.has_tag_name("polyline"));
    assert!(lines.count() >= 2, "latency and throughput");

    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let text = std::fs::read(&log).unwrap();
    let logged: u64 = IntervalLogIterator::new(&text)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval.encoded_histogram().to_owned()),
            _ => None,
        })
        .map(|histogram| {
            unmangle::metrics::FineTimes::decode(&histogram)
                .unwrap()
                .count()
        })
        .sum();
    assert_eq!(logged, number(part(&report), "/latency/count"));
}
