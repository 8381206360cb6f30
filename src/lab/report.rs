//! What is kept of a run for whoever wants to look closer: rows, logs, and a capture of every host.
//!
//! ```text
//! DIR/rows.json                       every row so far
//! DIR/001-pix-relay-scp-upload-…/     one directory a row
//!     row.json                        the row
//!     tool.log sshd.log relay.log     what was said
//!     wires.json                      what the firewall and the long leg did
//!     client.pcap relay.pcap server.pcap
//!     client.invalid.pcap …            the packets that connection tracking called INVALID there
//!     client.reasons.pcap …            what the kernel said of them
//! ```
//!
//! `HOST.pcap` is every packet on every device (link type LINUX_SLL2), its first 128 bytes. The other two are of link
//! type NFLOG: a packet is a list of TLVs, and ends with `NFULA_PAYLOAD`, which is the packet from its IP header on.
//!
//! - In `HOST.invalid.pcap` the prefix (`NFULA_PREFIX`) is `INVALID in` or `INVALID out`. A host without one INVALID
//!   packet has a file with none.
//! - In `HOST.reasons.pcap` the prefix is the kernel's text, such as `nf_ct_proto_6: ACK is over upper bound …`. It
//!   comes just before the packet's own entry in `HOST.invalid.pcap`. What conntrack finds odd and lets pass
//!   (`… ignored …`) is here too, and not there. A segment of no connection at all (`NEW` in the middle of one that is
//!   not taken up) may be INVALID without a text.
//!
//! Their times are those at which they were read, right after the kernel had seen the packet.

mod objections;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::lab::error::{Error, Result};
use crate::lab::host::Host;
use crate::lab::matrix::{Case, label, way};
use crate::lab::process::{PATIENCE, Process};
use crate::lab::requirements::find;
use crate::lab::row::Row;
use crate::lab::runner::Evidence;
use crate::lab::standing::Lab;
use crate::lab::topology::Role;

/// As much of a packet as is kept: every header, options included.
const SNAPLEN: &str = "128";
/// The same of one that is told, with its TLVs and the longest prefix there is.
const SNAPLEN_TOLD: &str = "512";

/// A directory that is being filled.
#[derive(Debug)]
pub struct Report {
    directory: PathBuf,
    rows: Vec<Row>,
}

/// What is kept of every host.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// Its packets.
    Everything,
    /// Those that its connection tracking calls INVALID.
    Invalid,
    /// What the kernel says of them.
    Reasons,
}

/// The captures on every host, while a transfer runs.
#[derive(Debug)]
pub struct Captures {
    directory: PathBuf,
    running: Vec<Process>,
}

// === impl Report ===

impl Report {
    /// Takes a directory that does not exist yet or has nothing in it.
    pub fn new(directory: &Path) -> Result<Self> {
        if find("tcpdump").is_none() {
            let (tool, package) = ("tcpdump", "tcpdump");
            return Err(Error::MissingTool { tool, package });
        }
        let taken = match fs::read_dir(directory) {
            Ok(mut entries) => entries.next().is_some(),
            // A file is no place for a report; that there is nothing yet is as it should be.
            Err(_) => directory.exists(),
        };
        if taken {
            return Err(Error::ReportTaken(directory.to_owned()));
        }
        fs::create_dir_all(directory).map_err(Error::file(directory))?;
        // The wires and captures may run elsewhere.
        let directory = directory.canonicalize().map_err(Error::file(directory))?;
        Ok(Self {
            directory,
            rows: Vec::new(),
        })
    }

    /// Starts to capture on every host of the lab.
    pub fn capture(&self, lab: &Lab, case: &Case) -> Result<Captures> {
        let directory = self.directory.join(name(self.rows.len() + 1, case));
        fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        let mut running = Vec::new();
        for role in Role::ALL {
            let host = lab.host(role);
            objections::tell(host)?;
            for what in Kept::ALL {
                running.push(what.capture(host, &directory)?);
            }
        }
        for process in &mut running {
            process.ready("listening on", PATIENCE)?;
        }
        Ok(Captures { directory, running })
    }

    /// Adds a transfer that is over.
    pub fn add(&mut self, captures: &Captures, row: &Row, evidence: &Evidence) -> Result<()> {
        let directory = &captures.directory;
        for (name, text) in [
            ("tool.log", &evidence.tool),
            ("sshd.log", &evidence.sshd),
            ("relay.log", &evidence.relay),
        ] {
            write(&directory.join(name), text)?;
        }
        write_json(&directory.join("wires.json"), &evidence.wires)?;
        write_json(&directory.join("row.json"), row)?;
        self.rows.push(row.clone());
        write_json(&self.directory.join("rows.json"), &self.rows)
    }
}

// === impl Captures ===

impl Captures {
    /// Ends them, and waits until they are written.
    pub fn end(&mut self) -> Result<()> {
        for process in self.running.drain(..) {
            process.stop(PATIENCE)?;
        }
        Ok(())
    }
}

/// One directory a row: sorted as they were made, and readable.
fn name(number: usize, case: &Case) -> String {
    format!(
        "{number:03}-{}-{}-{}-{}-ipv{}-run{}",
        case.scenario.name,
        way(case.path, case.shape).replace(':', "-"),
        label(case.tool),
        label(case.direction),
        u8::from(case.family),
        case.run
    )
}

// === impl Kept ===

impl Kept {
    const ALL: [Self; 3] = [Self::Everything, Self::Invalid, Self::Reasons];

    /// What its files are called behind the host's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Everything => "",
            Self::Invalid => ".invalid",
            Self::Reasons => ".reasons",
        }
    }

    /// Starts to keep it of a host.
    fn capture(self, host: &Host, directory: &Path) -> Result<Process> {
        let name = format!("{}{}", host.role(), self.suffix());
        let mut command = host.command("tcpdump");
        // Packets at once: those that wait in a block when it is stopped would be missing.
        command.args(["-n", "--immediate-mode"]);
        match self {
            Self::Everything => command.args(["-i", "any", "-B", "16384", "-s", SNAPLEN]),
            Self::Invalid => command.args(told(objections::INVALID_GROUP)),
            Self::Reasons => command.args(told(objections::REASONS_GROUP)),
        };
        command
            .arg("-w")
            .arg(directory.join(format!("{name}.pcap")));
        if rustix::process::geteuid().is_root() {
            // It would become a user who may not write here.
            command.args(["-Z", "root"]);
        }
        let log = directory.join(format!("{name}.tcpdump.log"));
        Process::start("tcpdump", &mut command, &log)
    }
}

/// How tcpdump is told to read what goes to a group.
fn told(group: u16) -> [String; 4] {
    let device = format!("nflog:{group}");
    ["-i", &device, "-s", SNAPLEN_TOLD].map(str::to_owned)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("plain data");
    write(path, &(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_is_refused_and_an_empty_one_taken() {
        if find("tcpdump").is_none() {
            println!("skipped: tcpdump is not installed");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        Report::new(directory.path()).unwrap();
        Report::new(&directory.path().join("not/there/yet")).unwrap();
        let error = Report::new(directory.path()).unwrap_err();
        assert!(error.is_usage(), "{error}");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Report::new(&file).unwrap_err().is_usage());
    }
}
