use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::bench::failure::Kind;
use crate::bench::report::LoadTold;
use crate::bench::work::{Direction, Load, Mode, Pace, Payload, Peer};

fn load(mode: Mode, pace: Pace) -> Load {
    let one = |n| NonZeroU32::new(n).unwrap();
    Load {
        mode,
        pace,
        connections: one(8),
        threads: one(1),
        duration: Duration::from_secs(10),
        warmup: Duration::ZERO,
        interval: Duration::from_secs(1),
        request: one(64),
        response: one(64),
        direction: Direction::Upload,
        peer: Peer::Serve,
        payload: Payload::Discarded,
        connect_timeout: Duration::from_secs(5),
        grace: Duration::from_secs(1),
    }
}

fn path(name: &str, tally: &Tally, from: f64, to: f64) -> PathReport {
    PathReport {
        name: name.to_owned(),
        to: "192.0.2.1:7000".to_owned(),
        windows: vec![Window { from, to }],
        elapsed_s: to - from,
        common_s: to - from,
        generator_cpu_s: 1.5,
        parts: vec![Part::new(Mode::Rr, tally, to - from)],
    }
}

fn source(name: &str, paths: Vec<PathReport>) -> Source {
    Source {
        name: name.to_owned(),
        report: Report {
            format: 1,
            load: (&load(Mode::Rr, Pace::PerSecond(1000.0))).into(),
            paths,
            difference: None,
        },
    }
}

fn together(sources: &[Source]) -> Result<Report, MergeError> {
    merge(sources, Apart::Refused).map(|merged| merged.report)
}

fn tally(micros: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for micros in micros {
        tally.latency.record(Duration::from_micros(micros));
        tally.operations += 1;
        tally.up += 64;
    }
    tally.retransmits = 3;
    tally
        .failures
        .count_times(Failure::new(Kind::Reset, "reset"), 2);
    tally
}

#[test]
fn merging_two_clients_gives_the_percentiles_of_one_recorder_fed_with_both() {
    let one = tally((1..=5000).map(|n| n * 3));
    let two = tally((1..=777).map(|n| n * n));
    let mut both = one.clone();
    both.add(&two);
    let merged = together(&[
        source("a", vec![path("direct", &one, 0.0, 10.0)]),
        source("b", vec![path("direct", &two, 5.0, 15.0)]),
    ])
    .unwrap();

    let part = &merged.paths[0].parts[0];
    assert_eq!(part.latency, Times::of(&both.latency));
    assert_eq!(part.latency.count, 5777);
    assert_eq!(part.operations, 5777);
    assert_eq!(part.bytes_up, 5777 * 64);
    assert_eq!(part.retransmits, 6);
    assert_eq!(part.errors[&Kind::Reset], 4);
    // Both measured from 0 to 15, five seconds of it together.
    assert!((merged.paths[0].elapsed_s - 15.0).abs() < 1e-9);
    assert!((merged.paths[0].common_s - 5.0).abs() < 1e-9);
    assert!((part.operations_per_s - 5777.0 / 15.0).abs() < 1e-6);
    assert!((merged.paths[0].generator_cpu_s - 3.0).abs() < 1e-9);
    assert_eq!(merged.load.connections, 16);
    assert_eq!(merged.load.clients, 2);
    assert_eq!(merged.load.rate, Some(2000.0));
    assert_eq!(merged.paths[0].to, "192.0.2.1:7000");
}

#[test]
fn the_difference_is_that_of_the_merged_paths() {
    let client = |name: &str, fast: u64, slow: u64| {
        let direct = tally((0..1000).map(|_| fast));
        let via = tally((0..500).map(|_| slow));
        source(
            name,
            vec![
                path("direct", &direct, 0.0, 1.0),
                path("via", &via, 1.0, 2.0),
            ],
        )
    };
    let merged = together(&[client("a", 100, 150), client("b", 100, 250)]).unwrap();
    let difference = &merged.difference.unwrap().parts[0];
    assert_eq!(difference.throughput_ratio, Some(0.5));
    assert!((difference.added_p50_ns.unwrap() - 50_000).abs() < 500);
    assert!((difference.added_max_ns.unwrap() - 150_000).abs() < 500);
}

#[test]
fn reports_of_different_loads_do_not_fit_and_the_error_says_in_what() {
    let one = source("a.json", vec![path("direct", &tally(1..9), 0.0, 1.0)]);
    let mut two = source("b.json", vec![path("direct", &tally(1..8), 0.0, 1.0)]);
    let complaint = |two: &Source| {
        together(&[one.clone(), two.clone()])
            .unwrap_err()
            .to_string()
    };
    two.report.load.mode = Mode::Crr;
    assert_eq!(
        complaint(&two),
        "b.json does not fit a.json: load.mode is \"crr\" there, not \"rr\""
    );
    two.report.load = (&load(Mode::Rr, Pace::AsAnswered)).into();
    assert!(complaint(&two).contains("load.loop is \"closed\" there, not \"open\""));
    two.report.load = LoadTold {
        request: 65,
        ..one.report.load.clone()
    };
    assert!(complaint(&two).contains("load.request is 65 there, not 64"));
    two.report.load = one.report.load.clone();
    two.report.paths.push(path("via", &tally(1..8), 0.0, 1.0));
    assert!(complaint(&two).contains("[\"direct\",\"via\"] there, not [\"direct\"]"));
}

#[test]
fn a_histogram_that_is_broken_is_named_with_its_file() {
    let good = source("a.json", vec![path("via", &tally(1..9), 0.0, 1.0)]);
    let mut bad = source("b.json", vec![path("via", &tally(1..8), 0.0, 1.0)]);
    bad.report.paths[0].parts[0].latency.histogram.truncate(20);
    let error = together(&[good.clone(), bad.clone()]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("b.json: via, rr, latency: not a histogram"),
        "{text}"
    );

    let other = Times::of(&tally(1..4).latency).histogram;
    bad.report.paths[0].parts[0].latency.histogram = other;
    let text = together(&[good.clone(), bad.clone()])
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("holds 3 times, the report says 7"), "{text}");

    let mut vast = good.clone();
    vast.report.paths[0].parts[0].operations = u64::MAX;
    let text = together(&[good, vast]).unwrap_err().to_string();
    assert!(
        text.contains("no run counts to 18446744073709551615"),
        "{text}"
    );
}

#[test]
fn a_report_is_not_counted_twice() {
    let one = source("a.json", vec![path("direct", &tally(1..9), 0.0, 1.0)]);
    let again = Source {
        name: "copy.json".to_owned(),
        ..one.clone()
    };
    let error = together(&[one, again]).unwrap_err();
    assert!(matches!(error, MergeError::Twice { .. }), "{error}");
    assert!(matches!(together(&[]), Err(MergeError::Nothing)));
}

/// A client that measured in these windows, as `--via` makes several.
fn client(name: &str, windows: &[(f64, f64)]) -> Source {
    let micros = name.len() as u64;
    let mut one = source(name, vec![path("direct", &tally(1..9 + micros), 0.0, 0.0)]);
    let path = &mut one.report.paths[0];
    path.windows = windows
        .iter()
        .map(|(from, to)| Window {
            from: *from,
            to: *to,
        })
        .collect();
    path.elapsed_s = Window::covered(&path.windows);
    path.common_s = path.elapsed_s;
    one
}

#[test]
fn clients_that_measured_at_one_time_for_a_while_only_are_told_of() {
    for (windows, common_s, is_little) in [
        (vec![(0.0, 10.0)], 10.0, false),
        (vec![(5.0, 15.0)], 5.0, false),
        (vec![(5.1, 15.1)], 4.9, true),
        // The shorter of the two is the measure.
        (vec![(3.0, 4.0)], 1.0, false),
        (vec![(8.0, 9.0), (9.5, 13.5)], 1.5, true),
    ] {
        let clients = [client("a", &[(0.0, 10.0)]), client("bb", &windows)];
        let merged = merge(&clients, Apart::Refused).unwrap();
        let overlap = &merged.overlaps[0];
        assert!((overlap.common_s - common_s).abs() < 1e-9, "{overlap:?}");
        assert_eq!(overlap.is_little(), is_little, "{overlap:?}");
        assert_eq!(merged.report.paths[0].common_s, overlap.common_s);
    }
}

#[test]
fn clients_that_measured_at_no_time_together_are_merged_on_request_only() {
    let [a, b] = [client("a", &[(0.0, 10.0)]), client("bb", &[(10.0, 20.0)])];
    let all = client("ccc", &[(0.0, 20.0)]);
    // Each two have some time in common, all three have none.
    let error = merge(&[all.clone(), a.clone(), b.clone()], Apart::Refused).unwrap_err();
    assert!(matches!(&error, MergeError::Apart(path) if path == "direct"));
    let merged = merge(&[a, b], Apart::Merged).unwrap();
    assert!(merged.overlaps[0].is_little());
    assert!((merged.report.paths[0].elapsed_s - 20.0).abs() < 1e-9);
    // What was merged so stays so.
    let apart = Source {
        name: "ab".to_owned(),
        report: merged.report,
    };
    assert!(merge(&[apart.clone(), all], Apart::Refused).is_err());
    assert!(merge(&[apart], Apart::Refused).unwrap().overlaps[0].is_little());
}

#[test]
fn a_client_that_measured_nothing_is_apart_from_nobody() {
    let clients = [client("a", &[(0.0, 10.0)]), client("bb", &[])];
    let merged = merge(&clients, Apart::Refused).unwrap();
    assert!(!merged.overlaps[0].is_little());
    assert!((merged.report.paths[0].common_s - 10.0).abs() < 1e-9);
}

#[test]
fn points_of_the_same_interval_are_added_and_others_are_kept() {
    let point = |at: f64, length_s: f64, operations, p99_ns| Point {
        at,
        length_s,
        operations,
        bytes_up: 1,
        bytes_down: 0,
        p99_ns,
    };
    let merged = merge_series(vec![
        point(10.0, 1.0, 5, 100),
        point(11.0, 1.0, 6, 100),
        point(11.0002, 0.5, 1, 10),
        point(11.0004, 1.0, 7, 300),
        point(10.3, 1.0, 8, 100),
    ]);
    let told: Vec<(f64, u64, u64)> = merged
        .iter()
        .map(|point| (point.length_s, point.operations, point.p99_ns))
        .collect();
    assert_eq!(
        told,
        [(1.0, 5, 100), (1.0, 8, 100), (1.0, 13, 300), (0.5, 1, 10)]
    );
}
