//! `unmangle probe` in a lab: the one end serves, the other runs.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use unmangle::lab::{Family, Lab, Process, Role};

use super::{PATIENCE, UNMANGLE};

/// A `probe serve` on the lab's server; dropped, it is killed.
pub struct Serving {
    _process: Process,
}

/// What a `probe run` printed.
#[derive(Debug)]
pub struct Probed {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

// === impl Serving ===

impl Serving {
    /// Starts one and waits until it listens.
    pub fn start(lab: &Lab, more: &[&str]) -> Self {
        let mut command = lab.server().command(UNMANGLE);
        command.args(["probe", "serve"]).args(more);
        let mut process = Process::start(
            "probe serve",
            &mut command,
            &lab.directory().join("probe-serve.log"),
        )
        .unwrap();
        process.ready("listening on", PATIENCE).unwrap();
        Self { _process: process }
    }
}

/// The command that probes the server from the client.
pub fn probe(lab: &Lab, family: Family, more: &[&str]) -> Command {
    let mut command = lab.client().command(UNMANGLE);
    let server = Role::Server.address(family).to_string();
    command.args(["probe", "run", &server]).args(more);
    command
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Probed {
    let begun = Instant::now();
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Probed {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        took: begun.elapsed(),
    }
}

// === impl Probed ===

impl Probed {
    /// What it printed, with `--json`.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
