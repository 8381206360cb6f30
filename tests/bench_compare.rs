//! `unmangle bench compare`: who takes part is measured, who cannot is named, and nothing stays behind.
//!
//! Most of these tests need root, and without it are skipped except in CI. How fast anybody is they do not say.

mod checked_in;
mod site;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use unmangle::bench::compare::plan::{Measure, Work};
use unmangle::bench::compare::result::Comparison;
use unmangle::lab::ground;

use site::browser::Browser;
use site::{PATIENCE, UNMANGLE, possible};

/// As little as shows everything.
const TINY: &str = "--rounds 2 --slices 1 --slice 200ms --warmup 20ms --offload on";

fn compare(arguments: &str) -> Command {
    let mut command = Command::new(UNMANGLE);
    command.args(["bench", "compare"]);
    command.args(arguments.split_whitespace());
    command
}

fn stderr(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn schema() -> serde_json::Value {
    schemars::schema_for!(Comparison).to_value()
}

#[test]
fn every_candidate_has_figures_or_is_named_as_missing() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("compare.svg");
    let what = "--peers haproxy,nginx,socat --engines splice,tokio-splice,copy \
                --work stream1,rr1,rr64bulk,crr64,idle --idle-sessions 20 --json";
    let ended = compare(&format!("{TINY} {what} --plot {}", plot.display()))
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(jsonschema::is_valid(&schema(), &json), "{json}");
    let told = Comparison::parse(&ended.stdout).unwrap();

    let absent: Vec<&str> = told
        .absent
        .iter()
        .map(|each| each.candidate.as_str())
        .collect();
    for absent in &told.absent {
        assert!(absent.why.contains("apt install"), "{}", absent.why);
    }
    if std::env::var_os("CI").is_some() {
        assert_eq!(absent, [""; 0]);
    }
    let all = [
        "direct",
        "haproxy",
        "nginx",
        "socat",
        "unmangle",
        "tokio-splice",
        "copy",
    ];
    for (work, measure) in [
        (Work::Stream1, Measure::Gbits),
        (Work::Rr1, Measure::Requests),
        (Work::Rr64Bulk, Measure::Requests),
        (Work::Rr64Bulk, Measure::P99),
        (Work::Rr64Bulk, Measure::Gbits),
        (Work::Crr64, Measure::Requests),
    ] {
        let compared = told.settings[0].find(work, measure).unwrap();
        for name in all.iter().filter(|name| !absent.contains(name)) {
            let figure = compared.figure(name).unwrap();
            assert!(figure.median > 0.0, "{name} {work}");
            assert_eq!(figure.turns.len(), 2, "{name} {work}");
            for ratio in [figure.to_direct, figure.to_best_peer]
                .into_iter()
                .flatten()
            {
                assert!(
                    ratio.interval.unwrap().contains(ratio.ratio),
                    "{name}: {ratio:?}"
                );
            }
        }
    }
    for idle in told.idle.iter().filter(|idle| idle.candidate != "direct") {
        // Two sockets a session, whatever else it holds.
        assert!(idle.descriptors.unwrap() >= 2.0, "{idle:?}");
    }
    assert_eq!(told.idle.len(), all.len() - absent.len());
    let kept = directory.path().join("compare.json");
    fs::write(&kept, &ended.stdout).unwrap();
    let shown = compare(&format!("--from {}", kept.display()))
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let table = String::from_utf8(shown.stdout).unwrap();
    for name in all.iter().filter(|name| !absent.contains(name)) {
        assert!(table.contains(&format!("| {name} ")), "{table}");
    }
    let picture = fs::read_to_string(&plot).unwrap();
    roxmltree::Document::parse(&picture).unwrap();
    assert_eq!(ground::sweep().unwrap(), 0, "labs were left behind");
}

#[test]
fn as_a_gateway_bytes_arrive_only_through_who_is_measured() {
    if !possible() {
        return;
    }
    let what = "--peers haproxy,haproxy --engines splice,copy --shape gateway --work rr1";
    let ended = compare(&format!("{TINY} {what} --json")).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let told = Comparison::parse(&ended.stdout).unwrap();
    let rate = told.settings[0].find(Work::Rr1, Measure::Requests).unwrap();
    let cost = told.settings[0].find(Work::Rr1, Measure::CpuRelay).unwrap();
    for candidate in ["haproxy", "haproxy#2", "unmangle", "copy"] {
        assert!(rate.figure(candidate).unwrap().median > 0.0, "{candidate}");
        // Nobody carries bytes for nothing: a microsecond for each request at the very least.
        let cost = cost.figure(candidate).unwrap().median;
        assert!(cost > 1.0, "{candidate}: {cost}");
    }
    assert_eq!(cost.figure("direct").unwrap().median, 0.0);
    assert_eq!(rate.best_peer.as_deref(), Some("haproxy"));
}

#[test]
fn an_interrupt_takes_everything_down() {
    if !possible() {
        return;
    }
    let mut child = compare("--peers none --engines splice --work rr1 --offload on --rounds 1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while descendants(&child).len() < 4 {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::yield_now();
    }
    let running = descendants(&child);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for pid in running {
        assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
    }
    assert_eq!(ground::sweep().unwrap(), 0, "labs were left behind");
}

/// What the process has started and not yet waited for.
fn descendants(child: &Child) -> Vec<String> {
    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_starts() {
    for (arguments, word) in [
        ("--peers apache", "apache"),
        ("--work stream9", "stream9"),
        ("--slice 10ms", "100ms"),
        ("--rounds 0", "rounds"),
        ("--shape bridge", "bridge"),
        ("--from /dev/null", "/dev/null"),
        ("--from Cargo.toml", "Cargo.toml"),
    ] {
        let ended = compare(arguments).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments}");
        assert!(stderr(&ended).contains(word), "{}", stderr(&ended));
    }
}

#[test]
fn a_kept_run_is_shown_as_a_page_that_asks_nobody_for_anything() {
    let directory = tempfile::tempdir().unwrap();
    let [run, page] = ["run.json", "run.html"].map(|name| directory.path().join(name));
    let figure = |candidate: &str, median: f64| json!({"candidate": candidate, "median": median, "to_direct": null, "to_best_peer": null, "turns": [[median]]});
    let kept = json!({
        "format": 2,
        "terms": {"shape": "forward", "rounds": 1, "slices": 1, "slice_s": 0.15, "warmup_s": 0.05,
            "placement": "work", "seed": 1, "cores": 2, "kernel": "6.12"},
        "absent": [{"candidate": "socat", "why": "socat is not installed"}],
        "settings": [{"offload": "on", "compared": [{"work": "rr1", "measure": "requests", "unit": "/s",
            "better": "higher", "best_peer": "haproxy",
            "figures": [figure("direct", 1.0), figure("haproxy", 0.75), figure("unmangle", 0.5)]}]}],
        "idle": [],
        "failures": [],
    });
    fs::write(&run, kept.to_string()).unwrap();
    let shown = compare(&format!(
        "--from {} --plot {}",
        run.display(),
        page.display()
    ))
    .output()
    .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text = fs::read_to_string(&page).unwrap();
    assert!(
        text.contains("<svg") && text.contains("date not kept"),
        "{text}"
    );
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let url = format!("file://{}", page.display());
    for (width, scheme) in [(360, "dark"), (1280, "light")] {
        browser.size(width, 900, 1.0);
        browser.scheme(scheme);
        browser.open(&url);
        assert_eq!(browser.eval("document.documentElement.scrollWidth"), width);
    }
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
    for asked in browser.requests() {
        assert!(asked == url || asked.starts_with("data:"), "{asked}");
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    checked_in::is_current("docs/bench-compare.schema.json", &text, "bench_compare");
}
