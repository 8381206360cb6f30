//! A Prometheus on this host: Debian's, which `deploy/install-packages.sh metrics` installs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use unmangle::lab::Process;

use super::PATIENCE;
use super::series::{Figures, Labels};
use super::web::{escaped, get};

/// One that runs; dropped, it is killed.
pub struct Prometheus {
    at: SocketAddr,
    _process: Process,
}

/// Whether there is one; in CI there must.
pub fn possible() -> bool {
    let wanted = "deploy/install-packages.sh metrics installs it";
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("promtool: {error}; {wanted}"),
        Err(error) => {
            println!("skipped: promtool: {error}; {wanted}");
            false
        }
    }
}

/// What `promtool` says, which must be content.
pub fn promtool(words: &[&str]) -> String {
    let ended = Command::new("promtool").args(words).output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.status.success(), "{words:?}: {said}");
    said
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes one relay every second.
    pub fn start(directory: &Path, target: SocketAddr) -> Self {
        let settings = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: unmangle\n    \
             static_configs:\n      - targets: [\"{target}\"]\n"
        );
        Self::with(directory, &settings)
    }

    /// Starts one on a port of its own, with its data in `directory`.
    pub fn with(directory: &Path, settings: &str) -> Self {
        let config = directory.join("prometheus.yml");
        std::fs::write(&config, settings).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let log = directory.join("prometheus.log");
        let mut process = Process::start("prometheus", &mut command, &log)
            .expect("prometheus is there: deploy/install-packages.sh metrics");
        process
            .ready("Server is ready to receive web requests", PATIENCE)
            .unwrap();
        let events = process.log();
        let mut events = events
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let listens = events.find(|event| event["msg"] == "Listening on").unwrap();
        let at = listens["address"].as_str().unwrap().parse().unwrap();
        Self {
            at,
            _process: process,
        }
    }

    /// The series that an expression gives, with their values.
    pub fn query(&self, expression: &str) -> Vec<(Labels, f64)> {
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let answer: Value = serde_json::from_str(&get(self.at, &path)).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        let series = answer["data"]["result"].as_array().unwrap().iter();
        series
            .map(|series| {
                let labels = serde_json::from_value(series["metric"].clone()).unwrap();
                let value = series["value"][1].as_str().unwrap();
                (labels, value.parse().unwrap())
            })
            .collect()
    }

    /// Its rules, with how they do.
    pub fn rules(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&get(self.at, "/api/v1/rules")).unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    /// The value of an expression that gives one, if there is one by now.
    pub fn one(&self, expression: &str) -> Option<f64> {
        let series = self.query(expression);
        assert!(series.len() <= 1, "{expression}: {series:?}");
        series.first().map(|(_, value)| *value)
    }

    /// All that it has of the relay, as the relay said it.
    pub fn figures(&self) -> Figures {
        let series = self.query("{job=\"unmangle\"}").into_iter();
        let as_told = series.map(|(mut labels, value)| {
            let name = labels.remove("__name__").unwrap();
            labels.retain(|key, _| key != "job" && key != "instance");
            ((name, labels), value)
        });
        Figures(as_told.collect())
    }
}
