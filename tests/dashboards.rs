//! The dashboard and the alerts ask for what is there: a Prometheus that is set up by `deploy/prometheus/scrape.yml`
//! scrapes a gateway in the lab that has something to do, and every expression gives figures. No alert fires, until
//! there is something to tell.
//!
//! Without Prometheus (`deploy/install-packages.sh metrics`) or root these tests are skipped, except in CI.

mod site;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use unmangle::lab::{Family, OpenedFrom};

use site::bare::Bare;
use site::lead::lead_to;
use site::prometheus::{Prometheus, possible, promtool};
use site::series::Labels;
use site::{PATIENCE, Pair, Relay, Site, inside, talk, until, write_until_stalled};

/// A gateway with every kind of limit, so that there are figures of each.
const GATEWAY: &str = "max-connections = 1000

[[listener]]
name = \"ssh\"
intercept = 22
mangled-side = \"fw0\"
profile = \"cisco-pix\"
max-connections = 500
";
/// A host that says why packets were INVALID.
const SAYS_WHY: [(&str, &str); 2] = [
    ("net/netfilter/nf_log/2", "nfnetlink_log"),
    ("net/netfilter/nf_conntrack_log_invalid", "6"),
];
/// What alerts wait for at most: [`ALARMED`] for a minute, after the next scrape.
const PATIENCE_FOR_ALERTS: Duration = Duration::from_secs(180);
/// The alert that INVALID packets are to raise.
const ALARMED: &str = "UnmangleInvalidRising";
/// FIN, SYN, RST, PSH, ACK and URG at once: what no TCP sends.
const ALL_FLAGS: u8 = 0x3f;

/// An expression, and where it stands.
struct Asks {
    place: String,
    expression: String,
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_when_it_should_and_not_before() {
    if !possible() {
        return;
    }
    let of = |name: &str| deployed("prometheus").join(name).display().to_string();
    promtool(&["check", "rules", &of("rules.yml")]);
    promtool(&["check", "config", &of("scrape.yml")]);
    promtool(&["test", "rules", &of("rules.test.yml")]);
}

#[test]
fn every_alert_is_tested_both_ways_and_explained() {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let rules = read(deployed("prometheus/rules.yml"));
    let tests = read(deployed("prometheus/rules.test.yml"));
    let page = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboards.md"));
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let named = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(before));
        named.map(str::to_owned).collect()
    };
    let alerts = names(&rules, "- alert: ");
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(
        names(&page, "### "),
        alerts,
        "the headings of docs/dashboards.md"
    );
    for alert in alerts {
        let cases: Vec<&str> = tests
            .split("- eval_time: ")
            .filter(|case| {
                case.lines().nth(1).map(str::trim) == Some(&format!("alertname: {alert}"))
            })
            .collect();
        let silent = cases.iter().any(|case| case.contains("exp_alerts: []"));
        let fires = cases.iter().any(|case| case.contains("exp_labels: {"));
        assert!(silent && fires, "{alert} has {} tests", cases.len());
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_none_covers_another() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64()), "{title}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(filled(&panel["description"]), "{title}");
        assert!(filled(&panel["fieldConfig"]["defaults"]["unit"]), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(filled(&target["legendFormat"]), "{title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expression = target["expr"].as_str().unwrap();
            for selector in selectors(expression) {
                assert!(
                    selector.contains("instance=~\"$instance\""),
                    "{title}: {selector}"
                );
            }
        }
    }
    assert!(taken.len() > 24 * 40, "{}", taken.len());
}

#[test]
fn every_expression_gives_figures_of_a_gateway_that_does_well_and_invalid_packets_raise_an_alert() {
    if !possible() {
        return;
    }
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    host.set(&SAYS_WHY).unwrap();
    let directory = site.lab.directory();
    let (config, socket) = (directory.join("gateway.toml"), directory.join("admin.sock"));
    fs::write(&config, format!("admin = {socket:?}\n{GATEWAY}")).unwrap();
    let relay = Relay::start(&site.lab, &["--config", config.to_str().unwrap()]);
    let target = lead_to(socket).to_string();
    let scraped = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::with(scraped.path(), &settings(&target));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let listener = site.listen(OpenedFrom::Client.listener(), Family::V4);
            while !ended.load(Ordering::Relaxed) {
                one_session(&site.connect_to(&listener, OpenedFrom::Client));
            }
        });
        // What fails in here must not leave the other thread working.
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("it has scraped the relay twice", PATIENCE, || {
                prometheus.one("count_over_time(unmangle_ready[1m])") >= Some(2.0)
            });
            let (alerts, figures): (Vec<_>, Vec<_>) = asks_of_the_dashboard(&target)
                .into_iter()
                .partition(|asks| asks.expression.starts_with("ALERTS{"));
            assert!(figures.len() > 60, "{}", figures.len());
            expect_figures(&prometheus, &figures);
            expect_variables(&prometheus, &target);
            expect_rules(&prometheus);
            assert_eq!(alerts.len(), 1);
            assert!(prometheus.query(&alerts[0].expression).is_empty());
            inside(host, || sends_what_is_invalid(9));
            expect_the_alert(&prometheus, &alerts[0].expression);
        }));
        ended.store(true, Ordering::Relaxed);
        if let Err(panic) = seen {
            std::panic::resume_unwind(panic);
        }
    });
    relay.stop();
}

/// A session in which a few bytes go both ways, and many wait for a client that does not read at first.
fn one_session(pair: &Pair) {
    talk(pair);
    let bytes = vec![7; 64 << 20];
    let sent = write_until_stalled(&pair.server, &bytes);
    assert!(sent < bytes.len(), "nothing stalled");
    let mut received = vec![0; sent];
    (&pair.client).read_exact(&mut received).unwrap();
}

/// Packets that conntrack of this namespace sees on their way out.
fn sends_what_is_invalid(packets: usize) {
    let [from, to] = [4000, 22].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let bare = Bare::to(to);
    for _ in 0..packets {
        bare.send(from, to, ALL_FLAGS, 1, 1);
    }
}

/// Sees that one alert comes to fire, that the dashboard's annotation shows it, and the counters why.
fn expect_the_alert(prometheus: &Prometheus, annotation: &str) {
    let name = |labels: &Labels| labels["alertname"].clone();
    until("an alert fires", PATIENCE_FOR_ALERTS, || {
        !prometheus.query(annotation).is_empty()
    });
    let firing = prometheus.query(annotation);
    let names: Vec<String> = firing.iter().map(|(labels, _)| name(labels)).collect();
    assert_eq!(names, [ALARMED]);
    let flags = "unmangle_conntrack_invalid_reason_total{reason=\"flags\"}";
    assert_eq!(prometheus.one(flags), Some(9.0));
}

/// Sees that Prometheus runs the rules, that what is recorded is there, and that alerts ask for what is there and do
/// not fire.
fn expect_rules(prometheus: &Prometheus) {
    until("every rule was evaluated", PATIENCE, || {
        let rules = prometheus.rules();
        assert!(rules.len() > 20, "{rules:?}");
        rules.iter().all(|rule| rule["health"] == "ok")
    });
    let mut recorded = Vec::new();
    let mut alerts = Vec::new();
    for rule in prometheus.rules() {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        let (place, expression) = (text("name"), text("query"));
        if rule["type"] == "recording" {
            recorded.push(Asks {
                expression: place.clone(),
                place: place.clone(),
            });
            recorded.push(Asks { place, expression });
            continue;
        }
        assert_eq!(rule["state"], "inactive", "{rule}");
        assert!(prometheus.query(&expression).is_empty(), "{rule}");
        let asked = selectors(&expression).into_iter();
        alerts.extend(asked.map(|expression| Asks {
            place: place.clone(),
            expression,
        }));
    }
    expect_figures(prometheus, &recorded);
    expect_figures(prometheus, &alerts);
}

/// Sees that each expression comes to give a number.
fn expect_figures(prometheus: &Prometheus, asks: &[Asks]) {
    let has_figures = |expression: &str| {
        let series = prometheus.query(expression);
        series.iter().any(|(_, value)| !value.is_nan())
    };
    let mut waiting: Vec<&Asks> = asks.iter().collect();
    assert!(!waiting.is_empty());
    let begun = std::time::Instant::now();
    while !waiting.is_empty() {
        waiting.retain(|asks| !has_figures(&asks.expression));
        let left = || {
            waiting
                .iter()
                .map(|asks| format!("{}: {}\n", asks.place, asks.expression))
        };
        assert!(
            begun.elapsed() < PATIENCE,
            "these give nothing:\n{}",
            left().collect::<String>()
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Sees that the variables have values: `label_values(SELECTOR, LABEL)`.
fn expect_variables(prometheus: &Prometheus, target: &str) {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let mut seen = Vec::new();
    for variable in variables
        .iter()
        .filter(|variable| variable["type"] == "query")
    {
        let query = substituted(variable["query"]["query"].as_str().unwrap(), target);
        let words = query.strip_prefix("label_values(").unwrap();
        let (selector, label) = words.trim_end_matches(')').rsplit_once(", ").unwrap();
        let series = prometheus.query(selector);
        let values = series
            .iter()
            .filter_map(|(labels, _): &(Labels, f64)| labels.get(label));
        let values: BTreeSet<&String> = values.collect();
        assert_eq!(values.len(), 1, "{query}: {series:?}");
        seen.push(variable["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ["instance", "listener"]);
}

#[test]
fn selectors_are_found_with_their_matchers_and_without_their_ranges() {
    let expression = "sum by (job, le) (rate(unmangle_a_total{x=\"}\", y=~\"b\"}[5m])) > 1 and on (job) up == 1 \
                      unless instance:unmangle_b:used_ratio";
    let expected = [
        "unmangle_a_total{x=\"}\", y=~\"b\"}",
        "up",
        "instance:unmangle_b:used_ratio",
    ];
    assert_eq!(selectors(expression), expected);
}

// === reading what is deployed ===

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// The settings that are given as an example, for this relay and with less patience.
fn settings(target: &str) -> String {
    let mut settings = fs::read_to_string(deployed("prometheus/scrape.yml")).unwrap();
    let rules = deployed("prometheus/rules.yml").display().to_string();
    for (what, by) in [
        ("_interval: 15s", "_interval: 1s"),
        ("- rules.yml", &format!("- {rules}")),
        (
            "targets: [\"127.0.0.1:9184\"]",
            &format!("targets: [\"{target}\"]"),
        ),
    ] {
        assert!(settings.contains(what), "{what} in {settings}");
        settings = settings.replace(what, by);
    }
    settings
}

fn dashboard() -> Value {
    let text = fs::read_to_string(deployed("grafana/unmangle.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Every expression of the dashboard, as Grafana would send it.
fn asks_of_the_dashboard(target: &str) -> Vec<Asks> {
    let dashboard = dashboard();
    let of_panels = panels(&dashboard).iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (&panel["title"], &target["expr"]))
    });
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let of_annotations = annotations.map(|each| (&each["name"], &each["expr"]));
    of_panels
        .chain(of_annotations)
        .filter_map(|(place, expression)| {
            Some(Asks {
                place: place.as_str().unwrap().to_owned(),
                expression: substituted(expression.as_str()?, target),
            })
        })
        .collect()
}

/// With the variables that Grafana would put in: the relay chosen by its address, every listener.
fn substituted(expression: &str, target: &str) -> String {
    let filled = expression
        .replace("$__rate_interval", "1m")
        .replace("$__range", "5m")
        .replace("$instance", &format!("({})", target.replace('.', "\\\\.")))
        .replace("$listener", ".*");
    assert!(
        !filled.contains('$'),
        "a variable that nobody knows: {filled}"
    );
    filled
}

/// The series that an expression asks for, by name and labels.
fn selectors(expression: &str) -> Vec<String> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(in_name) {
        let from = &rest[at..];
        let end = from.find(|c| !in_name(c)).unwrap_or(from.len());
        let name = &from[..end];
        let matchers = if from[end..].starts_with('{') {
            braced(&from[end..])
        } else {
            0
        };
        let is_series = ["unmangle_", "process_"]
            .iter()
            .any(|start| name.starts_with(start))
            || name == "up"
            || name.contains(':');
        if is_series {
            found.push(from[..end + matchers].to_owned());
        }
        rest = &from[end + matchers..];
    }
    found
}

/// How long a part in braces is; what is between quotes ends none.
fn braced(text: &str) -> usize {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == '}' && !quoted
    });
    end.expect("a brace that ends") + 1
}
