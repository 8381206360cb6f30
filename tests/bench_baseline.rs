//! `unmangle bench compare --baseline`: a run that is worse than the one that is kept does not pass.
//!
//! Nothing is measured here: the runs are kept ones, shown with `--from`.

mod checked_in;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use unmangle::bench::compare::baseline::Baseline;
use unmangle::bench::compare::cores::Placement;
use unmangle::bench::compare::plan::{Measure, Offload, Shape, Work};
use unmangle::bench::compare::result::{Compared, Comparison, FORMAT, Figure, Setting, Terms};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

/// A run of six rounds in which ours had these figures in rr1, and haproxy 100 of each.
fn run(requests: f64, p99: f64) -> Comparison {
    let figure = |candidate: &str, median: f64| Figure {
        candidate: candidate.to_owned(),
        median,
        to_direct: None,
        to_best_peer: None,
        turns: vec![vec![Some(median); 2]; 6],
    };
    let compared = |measure: Measure, ours: f64| Compared {
        work: Work::Rr1,
        measure,
        unit: measure.unit(Work::Rr1).to_owned(),
        better: measure.better(),
        best_peer: Some("haproxy".to_owned()),
        figures: vec![
            figure("direct", 100.0),
            figure("haproxy", 100.0),
            figure("unmangle", ours),
        ],
    };
    Comparison {
        format: FORMAT,
        terms: Terms {
            shape: Shape::Forward,
            rounds: 6,
            slices: 2,
            slice_s: 0.15,
            warmup_s: 0.05,
            placement: Placement::Work,
            seed: 1,
            cores: 2,
            kernel: "6.12".to_owned(),
            processor: None,
            at: None,
        },
        absent: Vec::new(),
        settings: vec![Setting {
            offload: Offload::On,
            compared: vec![
                compared(Measure::Requests, requests),
                compared(Measure::P99, p99),
            ],
        }],
        idle: Vec::new(),
        failures: Vec::new(),
    }
}

/// A directory with a run in it, and with a baseline that was made from another.
struct Kept {
    directory: TempDir,
}

impl Kept {
    fn new(baseline_of: &Comparison, now: &Comparison) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kept = Self { directory };
        for (name, comparison) in [("then.json", baseline_of), ("now.json", now)] {
            let text = serde_json::to_string(comparison).unwrap();
            fs::write(kept.path(name), text).unwrap();
        }
        let asked = "--peers haproxy --engines splice --work rr1 --offload on";
        let made = kept.compare("then.json", &format!("{asked} --write-baseline"));
        assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
        assert!(stderr(&made).contains("4 ratios kept"), "{}", stderr(&made));
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Shows a run; the last of the options has the baseline as its value.
    fn compare(&self, run: &str, options: &str) -> Output {
        let mut command = Command::new(UNMANGLE);
        command.args(["bench", "compare", "--from"]);
        command.arg(self.path(run)).args(options.split_whitespace());
        command.arg(self.path("baseline.json")).output().unwrap()
    }
}

fn stderr(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn stdout(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn schema() -> serde_json::Value {
    schemars::schema_for!(Baseline).to_value()
}

#[test]
fn a_run_that_is_as_the_kept_one_passes() {
    let kept = Kept::new(&run(90.0, 110.0), &run(90.0, 110.0));
    let ended = kept.compare("now.json", "--baseline");
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stderr(&ended), "");
    let told = stdout(&ended);
    assert!(
        told.contains("4 the same, 0 better, 0 worse, 0 not measured, 0 new"),
        "{told}"
    );
    assert!(told.contains("0.900 [0.900, 0.900]"), "{told}");
    let text = fs::read(kept.path("baseline.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert!(jsonschema::is_valid(&schema(), &json), "{json}");
}

#[test]
fn what_is_worse_is_named_and_ends_with_1() {
    for (then, worse, same) in [
        (run(97.0, 110.0), "requests", "p99"),
        (run(90.0, 100.0), "p99", "requests"),
    ] {
        let kept = Kept::new(&then, &run(90.0, 110.0));
        let ended = kept.compare("now.json", "--baseline");
        assert_eq!(ended.status.code(), Some(1), "{}", stdout(&ended));
        let said = stderr(&ended);
        let line = format!("unmangle: worse: unmangle to haproxy, rr1, {worse}, offloads on: ");
        assert!(said.contains(&line), "{said}");
        assert!(!said.contains(same), "{said}");
    }
}

#[test]
fn with_json_the_run_alone_is_on_stdout() {
    let kept = Kept::new(&run(97.0, 110.0), &run(90.0, 110.0));
    let ended = kept.compare("now.json", "--json --baseline");
    assert_eq!(ended.status.code(), Some(1));
    Comparison::parse(&ended.stdout).unwrap();
    assert!(
        stderr(&ended).contains("2 the same, 0 better, 2 worse"),
        "{}",
        stderr(&ended)
    );
}

#[test]
fn what_was_not_measured_is_named_and_ends_with_1() {
    let mut now = run(90.0, 110.0);
    now.settings[0].compared.truncate(1);
    let kept = Kept::new(&run(90.0, 110.0), &now);
    let ended = kept.compare("now.json", "--baseline");
    assert_eq!(ended.status.code(), Some(1), "{}", stdout(&ended));
    let line = "not measured, but in the baseline: unmangle to haproxy, rr1, p99, offloads on\n";
    assert!(stderr(&ended).contains(line), "{}", stderr(&ended));
}

#[test]
fn what_is_no_baseline_is_one_line_and_ends_with_2() {
    let kept = Kept::new(&run(90.0, 110.0), &run(90.0, 110.0));
    for text in ["", "not JSON", "{\"format\": 99}"] {
        fs::write(kept.path("baseline.json"), text).unwrap();
        assert_one_line(&kept.compare("now.json", "--baseline"));
    }
    // A run is no baseline, either.
    fs::copy(kept.path("now.json"), kept.path("baseline.json")).unwrap();
    assert_one_line(&kept.compare("now.json", "--baseline"));
    fs::remove_file(kept.path("baseline.json")).unwrap();
    assert_one_line(&kept.compare("now.json", "--baseline"));
}

fn assert_one_line(ended: &Output) {
    let said = stderr(ended);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(
        said.contains("baseline.json: ") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_run_that_lacks_what_is_asked_for_does_not_replace_the_kept_one() {
    let kept = Kept::new(&run(90.0, 110.0), &run(90.0, 110.0));
    let before = fs::read(kept.path("baseline.json")).unwrap();
    let asked = "--peers haproxy,nginx --engines splice --work rr1 --offload on";
    let ended = kept.compare("now.json", &format!("{asked} --write-baseline"));
    assert_eq!(ended.status.code(), Some(2), "{}", stderr(&ended));
    assert!(
        stderr(&ended).contains("unmangle to nginx, rr1"),
        "{}",
        stderr(&ended)
    );
    assert_eq!(fs::read(kept.path("baseline.json")).unwrap(), before);
}

#[test]
fn comparing_with_a_baseline_and_making_one_exclude_each_other() {
    let kept = Kept::new(&run(90.0, 110.0), &run(90.0, 110.0));
    let baseline = kept.path("baseline.json");
    for (options, word) in [
        ("--allowance 0.1", "cannot be used with"),
        ("--write-baseline x.json", "cannot be used with"),
    ] {
        let mut command = Command::new(UNMANGLE);
        command
            .args(["bench", "compare", "--from"])
            .arg(kept.path("now.json"))
            .arg("--baseline")
            .arg(&baseline);
        let ended = command.args(options.split_whitespace()).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{options}");
        assert!(stderr(&ended).contains(word), "{}", stderr(&ended));
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    checked_in::is_current("docs/bench-baseline.schema.json", &text, "bench_baseline");
}
