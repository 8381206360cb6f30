//! Runs `nft` and `ip`, and says in one line what went wrong.

use std::io;
use std::process::{Command, Stdio};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run `{0}`: {1}; install the package {2}")]
    Start(&'static str, io::Error, &'static str),
    /// It ran and refused.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// What was run.
        command: String,
        /// The first line of what it said.
        message: String,
    },
}

/// The Debian package a command is in.
pub fn package(program: &str) -> &'static str {
    match program {
        "ip" => "iproute2",
        _ => "nftables",
    }
}

/// Runs a command to its end and returns what it printed.
pub fn run(program: &'static str, args: &[&str]) -> Result<String, ToolError> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| ToolError::Start(program, error, package(program)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(ToolError::Failed {
        command: format!("{program} {}", args.join(" ")),
        message: stderr
            .lines()
            .next()
            .unwrap_or("it said nothing")
            .to_owned(),
    })
}

/// Runs a command that reads `input`, and returns its error text if it refuses.
pub fn feed(program: &'static str, args: &[&str], input: &str) -> Result<(), ToolError> {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| ToolError::Start(program, error, package(program)))?;
    // A command that stops reading has refused: its exit status tells.
    let _ = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| ToolError::Start(program, error, package(program)))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(ToolError::Failed {
        command: format!("{program} {}", args.join(" ")),
        message: stderr.lines().take(3).collect::<Vec<_>>().join(" "),
    })
}
