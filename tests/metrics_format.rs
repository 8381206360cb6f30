//! Metrics are what others can read: Prometheus's own checker finds nothing, and an independent parser of each format
//! finds in them what was told.

mod python;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;
use unmangle::metrics::exposition::{Format, render};
use unmangle::metrics::{BaseUnit, Bounds, Definition, Family, Kind, Sample, Times, Value};

static CONNECT: Definition = Definition {
    name: "unmangle_connect_seconds",
    help: "How long the dial to the server took",
    kind: Kind::Histogram,
    unit: BaseUnit::Seconds,
    labels: &["listener"],
};
static SIZE: Definition = Definition {
    name: "unmangle_session_size_bytes",
    help: "Bytes of a session",
    kind: Kind::Histogram,
    unit: BaseUnit::Bytes,
    labels: &[],
};
static PASSED: Definition = Definition {
    name: "unmangle_passed_bytes",
    help: "Bytes \"passed on\", by \\ and\nacross lines",
    kind: Kind::Counter,
    unit: BaseUnit::Bytes,
    labels: &["listener", "direction"],
};
static WAITED: Definition = Definition {
    name: "unmangle_waited_seconds",
    help: "Time spent",
    kind: Kind::Counter,
    unit: BaseUnit::Seconds,
    labels: &[],
};
static ACTIVE: Definition = Definition {
    name: "unmangle_sessions_active",
    help: "Sessions that are being relayed now",
    kind: Kind::Gauge,
    unit: BaseUnit::None,
    labels: &["listener"],
};

/// Names that whoever writes the file may think of.
const NAMES: [&str; 4] = [
    "ssh",
    "listener 1",
    "a \"b\" \\ {c=\"d\",e} # \n\\n",
    "größe → 🦀",
];

fn sample(labels: &[&str], value: Value) -> Sample {
    Sample {
        labels: labels.iter().map(|label| label.to_string()).collect(),
        value,
    }
}

fn families() -> Vec<Family> {
    let mut times = Times::default();
    for nth in 1..5000_u64 {
        times.record(Duration::from_micros(nth * nth * 7));
    }
    let mut sizes = Histogram::new_with_bounds(1, 1 << 40, 2).unwrap();
    sizes.record_n(5_000_000_000, 3).unwrap();
    let none = Times::default();
    let connect = |times: &Times, sum| {
        Value::Distribution(Bounds::TIMES.distribution(times.histogram(), sum))
    };
    let per_listener = |definition, value: fn(usize) -> Value| Family {
        definition,
        samples: NAMES
            .iter()
            .enumerate()
            .map(|(nth, name)| sample(&[name], value(nth)))
            .collect(),
    };
    vec![
        per_listener(&ACTIVE, |nth| Value::Level(nth as f64)),
        Family {
            definition: &PASSED,
            samples: NAMES
                .iter()
                .map(|name| sample(&[name, "up"], Value::Count(1 << 53)))
                .collect(),
        },
        Family::single(&WAITED, Value::Amount(0.000_000_125)),
        Family {
            definition: &CONNECT,
            samples: vec![
                sample(&["ssh"], connect(&times, 291_637.512_5)),
                sample(&["idle"], connect(&none, 0.0)),
            ],
        },
        Family::single(
            &SIZE,
            Value::Distribution(Bounds::SIZES.distribution(&sizes, 15e9)),
        ),
    ]
}

/// What `tests/read_metrics.py` prints of a sample.
#[derive(Debug, Deserialize)]
struct Read {
    family: String,
    kind: String,
    unit: String,
    help: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

impl Read {
    fn number(&self) -> f64 {
        self.value.parse().unwrap()
    }
}

/// Reads metrics by PyPI's `prometheus_client`.
fn read(format: Format, text: &str) -> Vec<Read> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metrics");
    fs::write(&file, text).unwrap();
    let format = match format {
        Format::Prometheus => "prometheus",
        Format::OpenMetrics => "openmetrics",
    };
    python::lines("read_metrics.py", &[format.as_ref(), file.as_os_str()])
}

fn has(sample: &Read, labels: &[(&str, &str)]) -> bool {
    let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    sample.labels == labels.collect()
}

fn expect_what_was_told(format: Format) {
    let samples = read(format, &render(format, &families()));
    let each_kind = [4, 4, 1, 2 * 27, 21];
    assert_eq!(samples.len(), each_kind.iter().sum::<usize>());
    for name in NAMES {
        let found = |family: &str, labels: &[(&str, &str)]| {
            let mut found = samples
                .iter()
                .filter(|sample| sample.name == family && has(sample, labels));
            let number = found.next().map(Read::number);
            assert!(
                found.next().is_none(),
                "{family} of {name:?} stands there once"
            );
            number
        };
        let nth = NAMES.iter().position(|other| *other == name).unwrap();
        let active = found("unmangle_sessions_active", &[("listener", name)]);
        assert_eq!(active, Some(nth as f64), "{name:?}");
        let labels = [("listener", name), ("direction", "up")];
        let passed = found("unmangle_passed_bytes_total", &labels);
        assert_eq!(passed, Some((1_u64 << 53) as f64), "{name:?}");
    }
    let of = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap();
    assert_eq!(of("unmangle_waited_seconds_total").number(), 1.25e-7);
    assert_eq!(of("unmangle_passed_bytes_total").help, PASSED.help);
    assert_eq!(of("unmangle_connect_seconds_bucket").kind, "histogram");
    expect_the_buckets_told(&samples);
}

fn expect_the_buckets_told(samples: &[Read]) {
    let families = families();
    let told = families.iter().flat_map(|family| &family.samples);
    let distributions = told.filter_map(|sample| match &sample.value {
        Value::Distribution(distribution) => Some((&sample.labels, distribution)),
        _ => None,
    });
    for (labels, distribution) in distributions {
        let name = match labels.as_slice() {
            [] => "unmangle_session_size_bytes",
            _ => "unmangle_connect_seconds",
        };
        let own: Vec<&Read> = samples
            .iter()
            .filter(|sample| sample.family == name)
            .filter(|sample| sample.labels.get("listener") == labels.first())
            .collect();
        let buckets: Vec<(f64, f64)> = own
            .iter()
            .filter(|sample| sample.name.ends_with("_bucket"))
            .map(|sample| (sample.labels["le"].parse().unwrap(), sample.number()))
            .collect();
        let all = (f64::INFINITY, distribution.count);
        let expected = distribution.buckets.iter().copied().chain([all]);
        let expected: Vec<_> = expected.map(|(le, count)| (le, count as f64)).collect();
        assert_eq!(buckets, expected, "{name} {labels:?}");
        let ending = |ending: &str| own.iter().find(|sample| sample.name.ends_with(ending));
        assert_eq!(ending("_sum").unwrap().number(), distribution.sum);
        assert_eq!(
            ending("_count").unwrap().number(),
            distribution.count as f64
        );
    }
}

#[test]
fn an_independent_parser_of_prometheus_s_format_finds_what_was_told() {
    expect_what_was_told(Format::Prometheus);
}

#[test]
fn an_independent_parser_of_openmetrics_finds_what_was_told() {
    expect_what_was_told(Format::OpenMetrics);
    let samples = read(
        Format::OpenMetrics,
        &render(Format::OpenMetrics, &families()),
    );
    for sample in &samples {
        let unit = match sample.family.as_str() {
            "unmangle_passed_bytes" | "unmangle_session_size_bytes" => "bytes",
            "unmangle_waited_seconds" | "unmangle_connect_seconds" => "seconds",
            "unmangle_sessions_active" => "",
            other => panic!("{other} is nobody's"),
        };
        assert_eq!(sample.unit, unit, "{}", sample.family);
    }
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metrics");
    fs::write(&file, render(Format::Prometheus, &families())).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(File::open(file).unwrap()))
        .output()
        .expect("promtool is there: deploy/install-packages.sh metrics installs it");
    let told = [checked.stdout, checked.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(checked.status.success() && told.is_empty(), "{told}");
}
