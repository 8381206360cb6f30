//! What the relay tells of itself is what others read: `promtool` finds nothing to complain of, and a Prometheus that
//! scrapes a relay under load has its figures, in its own arithmetic.
//!
//! Prometheus and promtool are of the package `prometheus` (`deploy/install-packages.sh metrics`). Prometheus asks
//! for OpenMetrics, promtool is given Prometheus' text format, so both are read by their maker.

mod site;

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use site::bench::{Running, Serve, bench, number, part};
use site::prometheus::Prometheus;
use site::series::Figures;
use site::web::get;
use site::{PATIENCE, Relay, until};

/// What the relay itself adds.
const ADDED: &str = "unmangle_added_latency_seconds";

#[test]
fn promtool_has_nothing_to_say_of_a_relay_that_has_done_nothing_nor_of_one_that_has() {
    let serve = Serve::start_one("");
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::in_front_of(serve.address(), directory.path());
    let admin = relay.admin();
    expect_clean(&get(admin, "/metrics"));
    for mode in ["rr", "crr", "stream --direction both"] {
        let to = relay.listens_at();
        site::bench::run(&format!(
            "--to {to} --duration 300ms --connections 4 --mode {mode}"
        ))
        .faultless();
    }
    // And one that was refused: nobody is where the server was.
    serve.stop();
    let refused = site::bench::run(&format!(
        "--to {} --mode rr --duration 100ms",
        relay.listens_at()
    ));
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let loaded = get(admin, "/metrics");
    expect_clean(&loaded);
    let figures = Figures::read(&loaded);
    for direction in ["client_to_server", "server_to_client"] {
        let labels = [("direction", direction)];
        assert!(figures.expect(&format!("{ADDED}_count"), &labels) > 0.0);
    }
    assert!(figures.expect("unmangle_dial_failures_total", &[]) > 0.0);
}

#[test]
fn a_prometheus_that_scrapes_a_relay_under_load_has_its_figures() {
    const RATE: f64 = 400.0;
    const BYTES: f64 = 64.0;
    let serve = Serve::start_one("");
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::in_front_of(serve.address(), directory.path());
    let admin = relay.admin();
    let prometheus = Prometheus::start(directory.path(), admin);
    until("the first scrape", PATIENCE, || {
        prometheus.one("up") == Some(1.0)
    });

    let words = format!(
        "--to {} --mode rr --connections 4 --rate {RATE}",
        relay.listens_at()
    );
    let load = Running::start(bench(&format!(
        "run --json {words} --duration 12s --warmup 0s"
    )));
    until("the sessions are seen", PATIENCE, || {
        prometheus.one("sum(unmangle_sessions_active)") == Some(4.0)
    });
    // Bytes and messages go by at the rate at which they are sent, in both directions.
    for direction in ["client_to_server", "server_to_client"] {
        let bytes =
            format!("sum(rate(unmangle_passed_bytes_total{{direction={direction:?}}}[4s]))");
        let messages = format!("sum(rate({ADDED}_count{{direction={direction:?}}}[4s]))");
        for (query, expected) in [(bytes, RATE * BYTES), (messages, RATE)] {
            until(&format!("{query} is {expected}"), PATIENCE, || {
                prometheus
                    .one(&query)
                    .is_some_and(|rate| (rate / expected - 1.0).abs() < 0.1)
            });
        }
    }
    let report = load.end().faultless();
    assert!(number(part(&report), "/operations") > 4000);
    relay.ended(4);

    // At rest it has what the relay says, series by series.
    let mut differing = Vec::new();
    until("Prometheus has what the relay says", PATIENCE, || {
        let told = settled(&Figures::read(&get(admin, "/metrics")));
        assert!(told.0.len() > 100, "{told:?}");
        let held = settled(&prometheus.figures());
        differing = told
            .0
            .iter()
            .filter(|(key, value)| held.0.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect();
        differing.extend(held.0.into_keys().filter(|key| !told.0.contains_key(key)));
        differing.is_empty()
    });
    assert_eq!(differing, []);
    assert_eq!(
        prometheus.one("min_over_time(up[1h])"),
        Some(1.0),
        "no scrape has failed"
    );

    expect_quantiles(&prometheus, &relay, &Figures::read(&get(admin, "/metrics")));
}

/// Sees that what Prometheus makes of the buckets is, to a bucket, what the relay has measured.
fn expect_quantiles(prometheus: &Prometheus, relay: &Relay, figures: &Figures) {
    relay.signal(Signal::USR1);
    let row = |direction: &str| {
        let name = format!("added {direction}");
        let log = relay.log();
        site::relay::row(&log, &name)
    };
    until("the table is printed", PATIENCE, || {
        relay.log().contains("added server_to_client")
    });
    for direction in ["client_to_server", "server_to_client"] {
        let times = row(direction).times;
        let bounds = figures.bounds(ADDED, &[("direction", direction)]);
        for (nth, share) in [0.5, 0.9, 0.99].into_iter().enumerate() {
            let query = format!(
                "histogram_quantile({share}, sum by (le) ({ADDED}_bucket{{direction={direction:?}}}))"
            );
            let found = prometheus.one(&query).unwrap();
            let above = bounds
                .iter()
                .copied()
                .find(|bound| *bound >= found * (1.0 - 1e-9))
                .unwrap();
            let below = bounds
                .iter()
                .copied()
                .rfind(|bound| *bound < found * (1.0 - 1e-9))
                .unwrap_or(0.0);
            // The table has three digits.
            assert!(
                (below * 0.99..=above * 1.01).contains(&times[nth]),
                "{direction} {share}: {found} is between {below} and {above}, and {times:?} are measured"
            );
        }
    }
}

/// What does not change while nothing happens: counters and histograms of the relay itself. conntrack's are the
/// whole host's, and others use it.
fn settled(figures: &Figures) -> Figures {
    let lasts = |name: &str| {
        let ends = ["_total", "_bucket", "_count", "_sum"];
        name.starts_with("unmangle_")
            && !name.starts_with("unmangle_conntrack_")
            && ends.iter().any(|end| name.ends_with(end))
    };
    let kept = figures.0.iter().filter(|((name, _), _)| lasts(name));
    Figures(kept.map(|(key, value)| (key.clone(), *value)).collect())
}

/// Sees that `promtool check metrics` has no word to say.
fn expect_clean(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: deploy/install-packages.sh metrics");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let ended = promtool.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        ended.status.success() && said.is_empty(),
        "{said}\n{metrics}"
    );
}

#[test]
fn series_are_read_with_their_labels_and_values() {
    let text = "# HELP a What \"a\" is.\n# TYPE a counter\na_total 3\n\
                b_bucket{of=\"x, \\\"y\\\" = {z}\",le=\"0.5\"} 2\nb_bucket{of=\"x, \\\"y\\\" = {z}\",le=\"+Inf\"} 4\n\
                b_sum{of=\"\"} 1.5e-3\n# EOF\n";
    let figures = Figures::read(text);
    assert_eq!(figures.0.len(), 4);
    assert_eq!(figures.sum("a_total", &[]), Some(3.0));
    assert_eq!(figures.sum("a_total", &[("of", "x")]), None);
    let of = [("of", "x, \"y\" = {z}")];
    assert_eq!(figures.sum("b_bucket", &of), Some(6.0));
    assert_eq!(figures.bounds("b", &of), [0.5, f64::INFINITY]);
    assert_eq!(figures.sum("b_sum", &[("of", "")]), Some(0.0015));
}
