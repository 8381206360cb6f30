//! A host of the lab: a network namespace, and commands that run in it.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::lab::error::{Error, Result};
use crate::lab::requirements::search_path;
use crate::lab::topology::Role;
use crate::sys::child::die_with_parent;

/// A network namespace with a part to play. It is made and removed by the [`Lab`](super::Lab).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    role: Role,
    netns: String,
}

impl Host {
    /// The host that plays `role` in the lab called `id`.
    pub(crate) fn new(id: &str, role: Role) -> Self {
        Self {
            role,
            netns: format!("um-{id}-{role}"),
        }
    }

    /// The part it plays.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name of its namespace under `/run/netns`.
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Makes its namespace, with the settings of its role.
    pub(crate) fn make(&self) -> Result<()> {
        let mut add = Command::new("ip");
        output(add.args(["netns", "add", &self.netns]), "")?;
        self.run("ip", &["link", "set", "lo", "up"])?;
        self.set(&self.role.settings())
    }

    /// A command that will run on this host. The child becomes the program itself, so its process
    /// id is the program's; it dies with the thread that spawns it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(program);
        command.env("PATH", search_path());
        die_with_parent(&mut command);
        command
    }

    /// Runs a program to its end and returns what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        output(self.command(program).args(args), "")
    }

    /// Runs a program to its end with `input` on its standard input.
    pub fn feed(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        output(self.command(program).args(args), input)
    }

    /// Sets kernel settings of this namespace, such as `("net/ipv4/ip_forward", "1")`.
    pub fn set(&self, settings: &[(&str, &str)]) -> Result<()> {
        let mut script = String::from("set -e\n");
        for (key, value) in settings {
            script += &format!("echo {value} > /proc/sys/{key}\n");
        }
        self.feed("sh", &[], &script).map(drop)
    }
}

/// Runs a command to its end, fed with `input`; anything but success is an error with its last words.
pub(crate) fn output(command: &mut Command, input: &str) -> Result<String> {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io(line.clone()))?;
    // What is fed is smaller than a pipe; a child that has died already tells why by its exit.
    let _ = child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input.as_bytes());
    let ended = child.wait_with_output().map_err(Error::io(line.clone()))?;
    if !ended.status.success() {
        return Err(Error::Command {
            command: line,
            status: ended.status.to_string(),
            stderr: String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// The command line, for messages.
pub(crate) fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_told_with_its_last_words() {
        let error = output(
            Command::new("sh").args(["-c", "echo no good >&2; exit 3"]),
            "",
        );
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("sh -c") && text.ends_with("no good"),
            "{text}"
        );
    }

    #[test]
    fn what_is_fed_is_read() {
        assert_eq!(output(&mut Command::new("cat"), "abc").unwrap(), "abc");
    }
}
