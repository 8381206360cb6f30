//! What carries the bytes: real programs, one file each.

mod rsync;
mod scp;
mod sftp;
mod ssh;
mod ssh_idle;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::lab::error::{Error, Result};
use crate::lab::host::Host;
use crate::lab::matrix::FlowDirection;
use crate::lab::payload::Payload;
use crate::lab::requirements::find;

/// A program that carries a file from one host to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// scp.
    Scp,
    /// sftp, by a batch of one put or get.
    Sftp,
    /// rsync by ssh.
    RsyncSsh,
    /// rsync from and to a daemon on port 873.
    RsyncDaemon,
    /// An ssh session that exchanges a line, is silent, and exchanges another.
    SshIdle,
}

/// One file to be carried.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The host that opens the connection.
    pub opener: &'a Host,
    /// The address of the other one.
    pub peer: IpAddr,
    /// Its user.
    pub user: &'a str,
    /// The private key that opens the door.
    pub key: &'a Path,
    /// Whether the opener sends or receives.
    pub direction: FlowDirection,
    /// The file to be carried.
    pub from: &'a Path,
    /// Where it is to arrive.
    pub to: &'a Path,
    /// How long an idle session is silent.
    pub silence: Duration,
}

// === impl Tool ===

impl Tool {
    /// The command that does it.
    pub fn command(self, errand: &Errand<'_>) -> Command {
        match self {
            Self::Scp => scp::command(errand),
            Self::Sftp => sftp::command(errand),
            Self::RsyncSsh => rsync::by_ssh(errand),
            Self::RsyncDaemon => rsync::by_daemon(errand),
            Self::SshIdle => ssh_idle::command(errand),
        }
    }

    /// Whether it is installed; the lab's own [`require`](crate::lab::require) asks for the rest.
    pub fn require(self) -> Result<()> {
        let (tool, package) = match self {
            Self::Scp | Self::SshIdle => return Ok(()),
            Self::Sftp => ("sftp", "openssh-client"),
            Self::RsyncSsh | Self::RsyncDaemon => ("rsync", "rsync"),
        };
        match find(tool) {
            Some(_) => Ok(()),
            None => Err(Error::MissingTool { tool, package }),
        }
    }

    /// Whether it carries the payload as fast as it can; the other kind says little, and waits.
    pub fn is_bulk(self) -> bool {
        self != Self::SshIdle
    }

    /// How many bytes it has to carry.
    pub fn bytes(self, payload: u64) -> u64 {
        match self {
            Self::SshIdle => ssh_idle::LINES.len() as u64,
            _ => payload,
        }
    }

    /// Whether what arrived at `to` is what was to be carried.
    pub fn delivered(self, payload: &Payload, to: &Path) -> bool {
        match self {
            Self::SshIdle => fs::read(to).is_ok_and(|said| said == ssh_idle::LINES.as_bytes()),
            _ => payload.equals(to),
        }
    }
}

/// An errand by a client that is called `test`, for the tests of the tools.
#[cfg(test)]
fn test_errand(opener: &Host, direction: FlowDirection, peer: IpAddr) -> Errand<'_> {
    Errand {
        opener,
        peer,
        user: "root",
        key: Path::new("/lab/key"),
        direction,
        from: Path::new("/lab/payload"),
        to: Path::new("/lab/received"),
        silence: Duration::from_millis(1500),
    }
}

/// The last `count` words of a command.
#[cfg(test)]
fn last_words(command: &Command, count: usize) -> Vec<String> {
    let words = command.get_args().map(|word| word.to_string_lossy());
    let words: Vec<_> = words.map(String::from).collect();
    words[words.len() - count..].to_vec()
}
