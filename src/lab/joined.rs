//! What joins two hosts: a wire of our own, or the kernel's veth pair.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::error::{Error, Result};
use crate::lab::host::Host;
use crate::lab::process::{PATIENCE, Process};
use crate::lab::requirements::find;
use crate::lab::scenario::Between;
use crate::lab::wire::counters::Counters;
use crate::lab::wire::{End, PerHeading, WireSpec};
use crate::sys::child::die_with_parent;

/// What joins two hosts.
#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// A wire of our own, which does something to packets.
    Wire(Box<Between>),
    /// A pair of the kernel's virtual devices: for measuring speed.
    Veth {
        /// Whether packets may be larger than the MTU until they leave.
        offloads: bool,
    },
}

// === impl Joined ===

impl Joined {
    /// A wire that does this.
    pub fn wire(between: Between) -> Self {
        Self::Wire(Box::new(between))
    }
}

/// What a wire says it did, each way; end `a` is the one nearer to the client.
pub type WireReport = PerHeading<Counters>;

/// Two hosts to be joined, by devices of one name.
pub(crate) struct Span<'a> {
    /// What the devices are called.
    pub device: &'static str,
    /// Their MTU in bytes.
    pub mtu: u16,
    /// The host nearer to the client.
    pub a: &'a Host,
    /// The other one.
    pub b: &'a Host,
}

// === impl Span ===

impl Span<'_> {
    /// Starts a wire and waits until its devices are there. Its files go to `directory`.
    pub fn lay_wire(
        &self,
        between: &Between,
        seed: u64,
        unmangle: &Path,
        directory: &Path,
    ) -> Result<Process> {
        let device = self.device;
        let spec = WireSpec {
            seed,
            a: self.end(self.a),
            b: self.end(self.b),
            a_to_b: between.client_to_server.clone(),
            b_to_a: between.server_to_client.clone(),
        };
        let file = directory.join(format!("{device}.json"));
        let json = serde_json::to_vec_pretty(&spec).expect("a specification is plain data");
        fs::write(&file, json).map_err(Error::file(&file))?;
        let mut command = Command::new(unmangle);
        die_with_parent(command.args(["lab", "wire", "--spec"]).arg(&file));
        let log = directory.join(format!("{device}.log"));
        let mut wire = Process::start(&format!("wire {device}"), &mut command, &log)?;
        wire.ready("ready", PATIENCE)?;
        Ok(wire)
    }

    /// Makes a veth pair, which stays until one of its ends is deleted.
    pub fn lay_veth(&self, offloads: bool) -> Result<()> {
        let (device, mtu) = (self.device, &self.mtu.to_string());
        let near = ["link", "add", device, "mtu", mtu, "type", "veth"];
        let far = ["peer", "name", device, "mtu", mtu, "netns", self.b.netns()];
        self.a.run("ip", &[near, far].concat())?;
        if !offloads {
            if find("ethtool").is_none() {
                let (tool, package) = ("ethtool", "ethtool");
                return Err(Error::MissingTool { tool, package });
            }
            for host in [self.a, self.b] {
                let off = ["-K", device, "tso", "off", "gso", "off", "gro", "off"];
                host.run("ethtool", &off)?;
            }
        }
        Ok(())
    }

    fn end(&self, host: &Host) -> End {
        End {
            netns: host.netns().to_owned(),
            device: self.device.to_owned(),
            mtu: self.mtu,
        }
    }
}

/// Takes a wire up and returns what it says it did.
pub(crate) fn take_up(wire: Process) -> Result<WireReport> {
    let log = wire.log_path().to_owned();
    if wire.stop(PATIENCE)?.is_none() {
        tracing::warn!("a wire did not stop when asked and was killed");
    }
    let text = fs::read_to_string(&log).map_err(Error::file(&log))?;
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| Error::Answer {
        what: "a wire at its end",
        answer: last.to_owned(),
    })
}

/// Packets that a wire lost although it was not told to: a measurement with any is worth nothing.
pub fn lost_by_accident(report: &WireReport) -> u64 {
    [report.a_to_b, report.b_to_a]
        .map(|counters| counters.overrun)
        .map(|overrun| overrun.device + overrun.held + overrun.refused)
        .iter()
        .sum()
}
