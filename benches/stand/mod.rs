//! What stands while it is measured: a server, relays that lead to it, and loads, all on loopback.

// Each bench uses a part of this.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use unmangle::lab::Process;

#[path = "../../tests/site/series.rs"]
pub mod series;
#[path = "../../tests/site/web.rs"]
pub mod web;

pub const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and where logs go.
pub struct Stand {
    pub to: String,
    _server: Process,
    directory: TempDir,
}

/// A relay that leads to the server of a stand.
pub struct Relay {
    pub door: String,
    process: Process,
}

// === impl Stand ===

impl Stand {
    pub fn put_up() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut serve = Command::new(UNMANGLE);
        serve.args(["bench", "serve", "--listen", "127.0.0.1:0"]);
        let log = directory.path().join("serve.log");
        let mut server = Process::start("bench serve", &mut serve, &log)?;
        server.ready("listening ", PATIENCE)?;
        let said = server.log();
        let to = said
            .lines()
            .find_map(|line| line.strip_prefix("listening "));
        Ok(Self {
            to: to.context("bench serve says where")?.to_owned(),
            _server: server,
            directory,
        })
    }

    /// A relay, with these words beside those that make it one.
    pub fn relay(&self, name: &str, more: &[&str]) -> anyhow::Result<Relay> {
        let mut command = Command::new(UNMANGLE);
        command.args(["run", "--listen", "127.0.0.1:0", "--to", &self.to]);
        // A line for each session is another matter.
        command.args([
            "--log-format",
            "json",
            "--log",
            "info,unmangle::session=warn",
        ]);
        command.args(more);
        let log = self.directory.path().join(format!("{name}.log"));
        let mut process = Process::start(name, &mut command, &log)?;
        process.ready("\"relaying\"", PATIENCE)?;
        let way = event(&process, "relaying", "way")?;
        let door = way.split(' ').next().unwrap_or_default().to_owned();
        Ok(Relay { door, process })
    }

    /// Connections through a relay that say nothing, once all are there. The relay needs an admin port.
    pub fn crowd(&self, relay: &Relay, sessions: u32) -> anyhow::Result<Process> {
        let mut command = Command::new(UNMANGLE);
        command.args(["bench", "run", "--mode", "idle", "--duration", "1h"]);
        command.args(["--to", &relay.door, "--connections", &sessions.to_string()]);
        let log = format!("idle-{}.log", relay.id());
        let log = self.directory.path().join(log);
        let mut idle = Process::start("idle sessions", &mut command, &log)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let live = relay.figures()?.sum("unmangle_sessions_active", &[]);
            if live == Some(f64::from(sessions)) {
                return Ok(idle);
            }
            if idle.ended()?.is_some() || Instant::now() > until {
                bail!("{live:?} sessions are live: {}", idle.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A place for a file.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

// === impl Relay ===

impl Relay {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where its admin answers by TCP.
    pub fn admin(&self) -> anyhow::Result<SocketAddr> {
        Ok(event(&self.process, "answering", "admin")?.parse()?)
    }

    /// Its figures as they are now.
    pub fn figures(&self) -> anyhow::Result<series::Figures> {
        let answer = web::ask(self.admin()?, "/metrics")?;
        ensure!(answer.status == 200, "/metrics: {answer:?}");
        Ok(series::Figures::read(&answer.body))
    }
}

/// A word of the first event with this message in a relay's log.
fn event(process: &Process, message: &str, key: &str) -> anyhow::Result<String> {
    let log = process.log();
    let found = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["message"] == message)
        .and_then(|event| event[key].as_str().map(str::to_owned));
    found.with_context(|| format!("no {message:?} with {key:?} in {log}"))
}

/// A load, and its report; one in which anything went wrong is a failure.
pub fn load(words: &str) -> anyhow::Result<Value> {
    let output = Command::new(UNMANGLE)
        .args(["bench", "run", "--json"])
        .args(words.split_whitespace())
        .output()?;
    ensure!(
        output.status.success(),
        "{words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A number in a report, such as `/paths/0/parts/0/operations`.
pub fn number(report: &Value, at: &str) -> anyhow::Result<f64> {
    let found = report.pointer(at).and_then(Value::as_f64);
    found.with_context(|| format!("the report has no {at}"))
}
