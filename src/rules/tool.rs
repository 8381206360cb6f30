//! Runs `nft`, `ip`, `ss` and `iptables`, and says in one line what went wrong.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::sys::privileges::lending;

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

/// How long a command may take that the running relay waits for.
const WITHIN: Duration = Duration::from_secs(5);

/// The Debian package a command is in.
pub fn package(program: &str) -> &'static str {
    match program {
        "ip" | "ss" => "iproute2",
        "iptables" | "ip6tables" => "iptables",
        _ => "nftables",
    }
}

/// Runs a command to its end and returns what it printed.
pub fn run(program: &'static str, args: &[&str]) -> Result<String, ToolError> {
    let child = lending(|| {
        command(program, args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let output = child
        .and_then(Child::wait_with_output)
        .map_err(|error| ToolError::Start(program, error, package(program)))?;
    printed(program, args, &output)
}

/// The same, while others go on; a command that does not end is killed.
pub async fn ask(program: &'static str, args: &[&str]) -> Result<String, ToolError> {
    let child = lending(|| {
        tokio::process::Command::from(command(program, args))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    });
    let output = async { child?.wait_with_output().await };
    match tokio::time::timeout(WITHIN, output).await {
        Ok(Ok(output)) => printed(program, args, &output),
        Ok(Err(error)) => Err(ToolError::Start(program, error, package(program))),
        Err(_) => Err(failed(
            program,
            args,
            format!("it did not end within {WITHIN:?}"),
        )),
    }
}

/// Runs a command that reads `input`, and returns its error text if it refuses.
pub fn feed(program: &'static str, args: &[&str], input: &str) -> Result<(), ToolError> {
    use std::io::Write;
    let child = lending(|| {
        command(program, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = child.map_err(|error| ToolError::Start(program, error, package(program)))?;
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
    Err(failed(program, args, complaint(&output, 3)))
}

impl ToolError {
    /// Whether a command that lists or deletes found nothing, which is an answer and not a failure.
    ///
    /// A kernel without IPv6 (`ipv6.disable=1`) has nothing of that family either, and says so in the words of
    /// EAFNOSUPPORT.
    pub fn is_absence(&self) -> bool {
        let Self::Failed { message, .. } = self else {
            return false;
        };
        [
            "No such file or directory",
            "No such process",
            "does not exist",
            "Address family not supported by protocol",
        ]
        .iter()
        .any(|absent| message.contains(absent))
    }
}

/// What was listed; nothing if what was asked for is not there.
pub fn if_there(listed: Result<String, ToolError>) -> Result<Option<String>, ToolError> {
    match listed {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

/// To be spawned while CAP_NET_ADMIN is lent: nothing of what the relay may do is theirs by itself.
///
/// In a process group of its own: Ctrl-C on a terminal is for the relay, which still needs its tools.
fn command(program: &'static str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    // What it says is read, in English.
    command.args(args).env("LC_ALL", "C").process_group(0);
    command
}

fn printed(program: &str, args: &[&str], output: &Output) -> Result<String, ToolError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(program, args, complaint(output, 1)))
}

fn failed(program: &str, args: &[&str], message: String) -> ToolError {
    ToolError::Failed {
        command: format!("{program} {}", args.join(" ")),
        message,
    }
}

/// The first lines that a command has said about its failure.
fn complaint(output: &Output, lines: usize) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().take(lines).collect::<Vec<_>>().join(" ");
    match (output.status.signal(), said.is_empty()) {
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, true) => "it said nothing".to_owned(),
        (None, false) => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_killed_is_told_by_its_signal() {
        let error = run("sh", &["-c", "kill -9 $$"]).unwrap_err();
        assert!(error.to_string().ends_with("ended by signal 9"), "{error}");
        assert!(!error.is_absence());
    }

    #[test]
    fn what_is_not_there_is_told_from_what_cannot_be_listed() {
        let said = |text: &str| run("sh", &["-c", &format!("echo '{text}' >&2; exit 1")]);
        assert_eq!(
            if_there(said("Error: ipv4: FIB table does not exist.")).unwrap(),
            None
        );
        let no_ipv6 = "RTNETLINK answers: Address family not supported by protocol";
        assert_eq!(if_there(said(no_ipv6)).unwrap(), None);
        assert!(if_there(said("Operation not permitted")).is_err());
    }
}
