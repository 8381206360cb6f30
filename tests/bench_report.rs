//! The report of `unmangle bench`: what its schema promises, and what `unmangle bench merge` makes of it.

mod checked_in;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use unmangle::bench::failure::{Failure, Kind};
use unmangle::bench::plot::plot;
use unmangle::bench::report::{
    Difference, FORMAT, LoadTold, Loop, Part, PathReport, Point, Report, Window,
};
use unmangle::bench::tally::{Interval, Tallies, Tally};
use unmangle::bench::work::{Direction, Mode, Payload, Peer};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const SCHEMA: &str = "docs/bench-report.schema.json";
const BEGUN: f64 = 1_700_000_000.0;

// === reports to test with ===

/// One second of a load, in which every request took about `micros`.
fn second(mode: Mode, number: u64, micros: u64) -> Tally {
    let mut tally = Tally::default();
    match mode {
        Mode::Stream => {
            tally.up = 125_000_000 + number * 1_000_000;
        }
        _ => {
            for n in 0..1000_u64 {
                // A long tail: one in a hundred takes ten times as long.
                let slow = if n % 100 == 0 { 10 } else { 1 };
                let time = micros * slow + n / 10 + number;
                tally.latency.record(Duration::from_micros(time));
                tally.operations += 1;
                tally.up += 64;
                tally.down += 64;
            }
        }
    }
    tally.connect.record(Duration::from_micros(80));
    tally.rtt.record(Duration::from_micros(40));
    tally
        .failures
        .count(Failure::new(Kind::TimedOut, "timed out"));
    tally
}

/// What a path did in five seconds from `from`.
fn path(name: &str, mode: Mode, from: f64, micros: u64) -> PathReport {
    let mut whole = Tallies::of(mode);
    let kinds: Vec<Mode> = whole.iter().map(|(kind, _)| kind).collect();
    let mut series = vec![Vec::new(); kinds.len()];
    for number in 0..5 {
        for (kind, points) in kinds.iter().zip(&mut series) {
            let tally = second(*kind, number, micros);
            let interval = Interval {
                from: Duration::from_secs(number),
                length: Duration::from_secs(1),
                tallies: Tallies::of(mode),
            };
            points.push(Point::new(from, &interval, &tally));
            whole.mode(*kind).add(&tally);
        }
    }
    let parts = whole.iter().zip(series).map(|((kind, tally), series)| {
        let mut part = Part::new(kind, tally, 5.0);
        part.series = series;
        part
    });
    PathReport {
        name: name.to_owned(),
        to: "192.0.2.1:7000".to_owned(),
        windows: vec![Window {
            from,
            to: from + 5.0,
        }],
        elapsed_s: 5.0,
        common_s: 5.0,
        generator_cpu_s: 0.75,
        parts: parts.collect(),
    }
}

fn report(mode: Mode, pace: Loop, paths: Vec<PathReport>) -> Report {
    let difference = match paths.as_slice() {
        [first, second] => Some(Difference::between(first, second)),
        _ => None,
    };
    Report {
        format: FORMAT,
        load: LoadTold {
            mode,
            pace,
            rate: (pace == Loop::Open).then_some(1000.0),
            connections: 8,
            clients: 1,
            request: 64,
            response: 64,
            direction: Direction::Upload,
            peer: Peer::Serve,
            payload: Payload::Verified,
        },
        paths,
        difference,
    }
}

fn one_path(mode: Mode, from: f64, micros: u64) -> Report {
    let pace = match mode {
        Mode::Stream => Loop::Closed,
        _ => Loop::Open,
    };
    report(mode, pace, vec![path("direct", mode, from, micros)])
}

/// Both paths at the same time, as no run has them, but with lines that are not interrupted.
fn two_paths(mode: Mode) -> Report {
    let paths = vec![
        path("direct", mode, BEGUN, 50),
        path("via", mode, BEGUN, 75),
    ];
    report(mode, Loop::Closed, paths)
}

fn every_kind() -> Vec<Report> {
    let modes = [Mode::Stream, Mode::Rr, Mode::Crr, Mode::Idle, Mode::Mix];
    let one = modes.map(|mode| one_path(mode, BEGUN, 50));
    let two = modes.map(two_paths);
    one.into_iter().chain(two).collect()
}

// === the schema ===

fn schema() -> Value {
    serde_json::to_value(Report::schema()).unwrap()
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_the_report() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    checked_in::is_current(SCHEMA, &text, "bench_report");
}

#[test]
fn every_kind_of_report_fits_the_schema_and_is_read_back_as_it_was() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for report in every_kind() {
        let written = serde_json::to_value(&report).unwrap();
        let complaint = validator.validate(&written).err().map(|e| e.to_string());
        assert_eq!(complaint, None, "{:?}", report.load);
        assert_eq!(Report::parse(&written.to_string()).unwrap(), report);
    }
}

#[test]
fn a_field_that_is_missing_or_unknown_is_refused_by_schema_and_reader() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let refused = |broken: &Value, what: &str| {
        assert!(!validator.is_valid(broken), "the schema takes {what}");
        let read = Report::parse(&broken.to_string());
        assert!(read.is_err(), "the reader takes {what}");
    };
    let whole = serde_json::to_value(two_paths(Mode::Rr)).unwrap();
    let mut objects = Vec::new();
    find_objects(&whole, String::new(), &mut objects);
    assert!(objects.len() > 20, "{objects:?}");
    let mut removed = 0;
    for at in &objects {
        let mut surplus = whole.clone();
        surplus.pointer_mut(at).unwrap()["surplus"] = json!(1);
        refused(&surplus, &format!("{at}/surplus"));
        if at.ends_with("/errors") {
            // A map: what did not happen is not in it.
            continue;
        }
        for key in whole.pointer(at).unwrap().as_object().unwrap().keys() {
            let mut lacking = whole.clone();
            let object = lacking.pointer_mut(at).unwrap().as_object_mut().unwrap();
            object.remove(key);
            refused(&lacking, &format!("{at} without {key}"));
            removed += 1;
        }
    }
    assert!(removed > 100, "{removed}");
}

/// JSON pointers to all objects within.
fn find_objects(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                find_objects(field, format!("{at}/{key}"), found);
            }
            found.push(at);
        }
        Value::Array(elements) => {
            for (n, element) in elements.iter().enumerate() {
                find_objects(element, format!("{at}/{n}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_report_of_another_format_is_refused_by_its_number() {
    let mut later = serde_json::to_value(one_path(Mode::Rr, BEGUN, 50)).unwrap();
    later["format"] = json!(FORMAT + 1);
    later["news"] = json!("a field of the future");
    let error = Report::parse(&later.to_string()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "a report of format {}; this version of unmangle reads format {FORMAT}",
            FORMAT + 1
        )
    );
}

// === the plot ===

/// How many lines each chart has: they are twice as thick as anything else that is drawn.
fn lines(svg: &str) -> usize {
    let document = roxmltree::Document::parse(svg).unwrap();
    document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "polyline")))
        .filter(|node| node.attribute("stroke-width") == Some("2"))
        .count()
}

fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    document
        .descendants()
        .filter(|node| node.is_text())
        .map(|node| node.text().unwrap_or_default().trim().to_owned())
        .collect()
}

#[test]
fn a_plot_has_a_line_for_each_path_in_each_chart() {
    for (mode, one) in [(Mode::Rr, 2), (Mode::Stream, 1), (Mode::Crr, 2)] {
        let svg = plot(&one_path(mode, BEGUN, 50)).unwrap();
        assert_eq!(lines(&svg), one, "{mode}");
        let svg = plot(&two_paths(mode)).unwrap();
        assert_eq!(lines(&svg), 2 * one, "{mode}");
        for name in ["direct", "via", "seconds since the start"] {
            assert!(texts(&svg).iter().any(|text| text == name), "{name}");
        }
    }
    // Latencies of rr, crr and idle, requests of all three, and the stream.
    assert_eq!(lines(&plot(&two_paths(Mode::Mix)).unwrap()), 2 * 5);
}

#[test]
fn a_stream_has_its_throughput_plotted_and_no_latency() {
    let texts = texts(&plot(&two_paths(Mode::Stream)).unwrap());
    assert!(texts.iter().any(|text| text == "Gbit/s"), "{texts:?}");
    assert!(
        !texts.iter().any(|text| text.contains("latency")),
        "{texts:?}"
    );
}

#[test]
fn a_report_of_nothing_is_not_plotted() {
    let mut report = one_path(Mode::Rr, BEGUN, 50);
    report.paths[0].parts[0] = Part::new(Mode::Rr, &Tally::default(), 5.0);
    let error = plot(&report).unwrap_err().to_string();
    assert!(error.starts_with("there is nothing to plot"), "{error}");
}

// === the command ===

fn write(directory: &Path, name: &str, report: &Report) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, serde_json::to_string(report).unwrap()).unwrap();
    file
}

fn merge(files: &[&Path], options: &[&str]) -> Output {
    Command::new(UNMANGLE)
        .args(["bench", "merge"])
        .args(files)
        .args(options)
        .output()
        .unwrap()
}

#[test]
fn two_clients_files_become_one_report_as_table_json_and_plot() {
    let directory = tempfile::tempdir().unwrap();
    let one = write(directory.path(), "a.json", &one_path(Mode::Rr, BEGUN, 50));
    let two = write(
        directory.path(),
        "b.json",
        &one_path(Mode::Rr, BEGUN + 0.4, 500),
    );
    let table = merge(&[&one, &two], &[]);
    expect_errors_told(&table);
    let text = String::from_utf8(table.stdout).unwrap();
    for part in [
        "16 connections at a time from 2 clients",
        "Open loop, 2000 requests a second",
        "for 4.6 s of it by all clients at once",
        "timed out 10",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }

    let svg = directory.path().join("plot.svg");
    let told = merge(&[&one, &two], &["--json", "--plot", svg.to_str().unwrap()]);
    expect_errors_told(&told);
    let merged = Report::parse(&String::from_utf8(told.stdout).unwrap()).unwrap();
    assert_eq!(merged.load.clients, 2);
    let mut both = Tally::default();
    for number in 0..5 {
        both.add(&second(Mode::Rr, number, 50));
        both.add(&second(Mode::Rr, number, 500));
    }
    let part = &merged.paths[0].parts[0];
    assert_eq!(
        part.latency.p99_ns as u128,
        both.latency.percentile(99.0).as_nanos()
    );
    assert_eq!(
        part.latency.decode().unwrap().histogram(),
        both.latency.histogram()
    );
    assert!((part.operations_per_s - 10_000.0 / 5.4).abs() < 1e-3);
    assert_eq!(part.series.len(), 10);
    assert_eq!(lines(&fs::read_to_string(svg).unwrap()), 2);
}

/// As in a run: what went wrong makes the exit code 1, and the report is printed all the same.
fn expect_errors_told(ended: &Output) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(stderr, "unmangle: direct: errors: timed out 10\n");
}

#[test]
fn clients_that_hardly_measured_together_are_told_of_and_those_that_did_not_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let client = |name: &str, from: f64| {
        let mut report = one_path(Mode::Rr, from, 50);
        report.paths[0].parts[0].errors.clear();
        write(directory.path(), name, &report)
    };
    let [one, most, little, none] = [
        client("a.json", BEGUN),
        client("b.json", BEGUN + 1.0),
        client("c.json", BEGUN + 4.0),
        client("d.json", BEGUN + 60.0),
    ];
    let said = |ended: &Output| String::from_utf8_lossy(&ended.stderr).into_owned();
    let ended = merge(&[&one, &most], &[]);
    assert_eq!((ended.status.code(), &*said(&ended)), (Some(0), ""));
    let ended = merge(&[&one, &little], &["--json"]);
    let warning = "unmangle: direct: all clients measured together for 1.0 s only, each for 5.0 s or more: \
                   what is told a second was not reached at one time\n";
    assert_eq!((ended.status.code(), &*said(&ended)), (Some(0), warning));
    let ended = merge(&[&one, &none], &[]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stdout.is_empty());
    assert!(said(&ended).contains("--apart merges them all the same"));
    let ended = merge(&[&one, &none], &["--apart", "--json"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(said(&ended).contains("together for 0.0 s only"));
    let report = Report::parse(&String::from_utf8(ended.stdout).unwrap()).unwrap();
    assert_eq!(report.paths[0].common_s, 0.0);
}

#[test]
fn what_cannot_be_merged_is_one_clear_line_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let rr = write(directory.path(), "rr.json", &one_path(Mode::Rr, BEGUN, 50));
    let crr = write(
        directory.path(),
        "crr.json",
        &one_path(Mode::Crr, BEGUN, 50),
    );
    let text = directory.path().join("notes.txt");
    fs::write(&text, "not a report\n").unwrap();
    let absent = directory.path().join("absent.json");
    for (files, complaint) in [
        (vec![&*rr, &*crr], "load.mode is \"crr\" there, not \"rr\""),
        (vec![&*rr, &*rr], "it would be counted twice"),
        (vec![&*rr, &*text], "notes.txt: not a report of"),
        (vec![&*absent], "absent.json: No such file"),
    ] {
        let ended = merge(&files, &[]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(stderr.contains(complaint), "{complaint} in {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(ended.stdout.is_empty());
    }
}
