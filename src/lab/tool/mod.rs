//! What carries the bytes: real programs, one file each.

mod scp;

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::lab::host::Host;
use crate::lab::matrix::FlowDirection;

/// A program that carries a file from one host to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `scp`.
    Scp,
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
}

impl Tool {
    /// The command that does it.
    pub fn command(self, errand: &Errand<'_>) -> Command {
        let mut command = errand.opener.command(match self {
            Self::Scp => "scp",
        });
        match self {
            Self::Scp => command.args(scp::arguments(errand)),
        };
        command
    }
}
