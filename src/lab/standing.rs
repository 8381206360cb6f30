//! A lab that stands: three hosts, joined, filtered, with an sshd and a payload if asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::lab::error::{Error, Result};
use crate::lab::firewall::{Counts, TABLE, conntrack_invalid, ruleset};
use crate::lab::ground::{self, Ground};
use crate::lab::host::{Host, output};
use crate::lab::matrix::Strict;
use crate::lab::process::{GLANCE, Process};
use crate::lab::requirements::require;
use crate::lab::row::Invalid;
use crate::lab::scenario::Between;
use crate::lab::sshd::Sshd;
use crate::lab::topology::{FIREWALL_DEVICE, LONG_DEVICE, MTU, Role};
use crate::lab::wire::{End, WireSpec};
use crate::sys::child::die_with_parent;

/// How long a process of the lab may take to get ready or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Three hosts that stand until this is dropped.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they have to go.
    sshd: Option<Sshd>,
    wires: Vec<Process>,
    hosts: [Host; 3],
    strict: Option<Strict>,
    payload: Option<Payload>,
    unmangle: PathBuf,
    ground: Ground,
}

/// A file of random bytes, and their digest.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Where it is.
    pub path: PathBuf,
    /// How many bytes it has.
    pub bytes: u64,
    sha256: [u8; 32],
}

/// How a lab is to stand.
#[derive(Debug, Clone)]
pub struct Builder {
    firewall: Joined,
    long_leg: Joined,
    seed: u64,
    strict: Option<Strict>,
    sshd_on: Option<Role>,
    payload: Option<u64>,
    unmangle: Option<PathBuf>,
}

// === impl Joined ===

impl Joined {
    /// A wire that does this.
    pub fn wire(between: Between) -> Self {
        Self::Wire(Box::new(between))
    }
}

// === impl Builder ===

impl Builder {
    /// What joins client and relay host; a wire that does nothing unless told otherwise.
    pub fn firewall(mut self, joined: Joined) -> Self {
        self.firewall = joined;
        self
    }

    /// What joins relay host and server; a wire that does nothing unless told otherwise.
    pub fn long_leg(mut self, joined: Joined) -> Self {
        self.long_leg = joined;
        self
    }

    /// What the wires draw their chances from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Which end hosts filter; none unless told otherwise.
    pub fn strict(mut self, strict: Strict) -> Self {
        self.strict = Some(strict);
        self
    }

    /// Starts an sshd on this host.
    pub fn sshd_on(mut self, role: Role) -> Self {
        self.sshd_on = Some(role);
        self
    }

    /// Makes a file of this many random bytes.
    pub fn payload(mut self, bytes: u64) -> Self {
        self.payload = Some(bytes);
        self
    }

    /// The program under test, which the wires are part of; this very program unless told otherwise.
    pub fn unmangle(mut self, program: impl Into<PathBuf>) -> Self {
        self.unmangle = Some(program.into());
        self
    }

    /// Puts it up. What earlier labs left behind is swept away first.
    pub fn start(self) -> Result<Lab> {
        require()?;
        ground::sweep()?;
        let unmangle = match self.unmangle {
            Some(program) => program,
            None => std::env::current_exe().map_err(Error::io("finding this program"))?,
        };
        let ground = Ground::take()?;
        let mut lab = Lab {
            sshd: None,
            wires: Vec::new(),
            hosts: Role::ALL.map(|role| Host::new(ground.id(), role)),
            strict: self.strict,
            payload: None,
            unmangle,
            ground,
        };
        for host in &lab.hosts {
            output(Command::new("ip").args(["netns", "add", host.netns()]), "")?;
            host.run("ip", &["link", "set", "lo", "up"])?;
            host.set(&host.role().settings())?;
        }
        lab.reset_counts()?;
        lab.join(&self.firewall, &self.long_leg, self.seed)?;
        if let Some(role) = self.sshd_on {
            lab.sshd = Some(Sshd::start(lab.host(role), &lab.ground.directory())?);
        }
        if let Some(bytes) = self.payload {
            lab.payload = Some(Payload::make(lab.data_directory().join("payload"), bytes)?);
        }
        Ok(lab)
    }
}

// === impl Lab ===

impl Lab {
    /// Begins to describe one.
    pub fn builder() -> Builder {
        let nothing = || Joined::wire(Between::default());
        Builder {
            firewall: nothing(),
            long_leg: nothing(),
            seed: 1,
            strict: None,
            sshd_on: None,
            payload: None,
            unmangle: None,
        }
    }

    /// The host that plays `role`.
    pub fn host(&self, role: Role) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.role() == role)
            .expect("every role has a host")
    }

    /// The host behind the firewall.
    pub fn client(&self) -> &Host {
        self.host(Role::Client)
    }

    /// The host between the firewall and the long leg.
    pub fn relay(&self) -> &Host {
        self.host(Role::Relay)
    }

    /// The host at the far end.
    pub fn server(&self) -> &Host {
        self.host(Role::Server)
    }

    /// Its name among the labs of this machine.
    pub fn id(&self) -> &str {
        self.ground.id()
    }

    /// Where keys, settings and logs are.
    pub fn directory(&self) -> PathBuf {
        self.ground.directory()
    }

    /// Where bulk data belongs.
    pub fn data_directory(&self) -> PathBuf {
        self.ground.data_directory()
    }

    /// The sshd, if one was asked for.
    pub fn sshd(&self) -> Option<&Sshd> {
        self.sshd.as_ref()
    }

    /// The payload, if one was asked for.
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// Joins the hosts; what joined them before is gone.
    pub fn join(&mut self, firewall: &Joined, long_leg: &Joined, seed: u64) -> Result<()> {
        self.part()?;
        let spans = [
            (FIREWALL_DEVICE, Role::Client, Role::Relay, firewall),
            (LONG_DEVICE, Role::Relay, Role::Server, long_leg),
        ];
        for (device, a, b, joined) in spans {
            match joined {
                Joined::Wire(between) => self.lay_wire(device, a, b, between, seed)?,
                Joined::Veth { offloads } => self.lay_veth(device, a, b, *offloads)?,
            }
        }
        for host in &self.hosts {
            host.feed("ip", &["-batch", "-"], &host.role().ip_batch())?;
        }
        Ok(())
    }

    /// Takes away what joins the hosts. Returns each wire's own count of what it did, as JSON.
    pub fn part(&mut self) -> Result<Vec<String>> {
        let mut counts = Vec::new();
        for wire in self.wires.drain(..) {
            let log = wire.log_path().to_owned();
            if wire.stop(PATIENCE)?.is_none() {
                tracing::warn!("a wire did not stop when asked and was killed");
            }
            let text = fs::read_to_string(&log).map_err(Error::file(&log))?;
            counts.extend(
                text.lines()
                    .rfind(|line| line.starts_with('{'))
                    .map(str::to_owned),
            );
        }
        for (role, device) in [(Role::Client, FIREWALL_DEVICE), (Role::Server, LONG_DEVICE)] {
            // There is one only where a veth pair joined them: a wire takes its devices with it.
            let _ = self.host(role).run("ip", &["link", "delete", device]);
        }
        Ok(counts)
    }

    fn lay_wire(
        &mut self,
        device: &str,
        a: Role,
        b: Role,
        between: &Between,
        seed: u64,
    ) -> Result<()> {
        let end = |role: Role| End {
            netns: self.host(role).netns().to_owned(),
            device: device.to_owned(),
            mtu: MTU,
        };
        let spec = WireSpec {
            seed: seed ^ u64::from(device == LONG_DEVICE),
            a: end(a),
            b: end(b),
            a_to_b: between.client_to_server.clone(),
            b_to_a: between.server_to_client.clone(),
        };
        let file = self.directory().join(format!("{device}.json"));
        let json = serde_json::to_vec_pretty(&spec).expect("a specification is plain data");
        fs::write(&file, json).map_err(Error::file(&file))?;
        let mut command = Command::new(&self.unmangle);
        die_with_parent(command.args(["lab", "wire", "--spec"]).arg(&file));
        let log = self.directory().join(format!("{device}.log"));
        let mut wire = Process::start(&format!("wire {device}"), &mut command, &log)?;
        wire.ready("ready", PATIENCE)?;
        self.wires.push(wire);
        Ok(())
    }

    fn lay_veth(&self, device: &str, a: Role, b: Role, offloads: bool) -> Result<()> {
        let [a, b] = [a, b].map(|role| self.host(role));
        let peer = ["peer", "name", device, "netns", b.netns()];
        let pair = [&["link", "add", device, "type", "veth"][..], &peer].concat();
        a.run("ip", &pair)?;
        if !offloads {
            for host in [a, b] {
                let off = ["-K", device, "tso", "off", "gso", "off", "gro", "off"];
                host.run("ethtool", &off)?;
            }
        }
        Ok(())
    }

    /// A command that runs `unmangle` on the relay host.
    pub fn unmangle(&self) -> Command {
        self.relay().command(&self.unmangle)
    }

    /// Starts a relay for ssh with this profile, and waits until it relays.
    pub fn start_relay(&self, profile: &str) -> Result<Process> {
        let mut command = self.unmangle();
        command
            .args([
                "run",
                "--intercept",
                "22",
                "--mangled-side",
                FIREWALL_DEVICE,
            ])
            .args(["--profile", profile, "--log-format", "json"]);
        let mut relay = Process::start("relay", &mut command, &self.directory().join("relay.log"))?;
        relay.ready("\"relaying\"", PATIENCE)?;
        Ok(relay)
    }

    /// Whether connection tracking on every host looks away
    /// (`nf_conntrack_tcp_be_liberal`).
    pub fn set_liberal(&self, liberal: bool) -> Result<()> {
        let value = if liberal { "1" } else { "0" };
        for host in &self.hosts {
            host.set(&[("net/netfilter/nf_conntrack_tcp_be_liberal", value)])?;
        }
        Ok(())
    }

    /// Loads every host's rules anew: all counters are zero, and tracked flows are forgotten.
    pub fn reset_counts(&self) -> Result<()> {
        for host in &self.hosts {
            let strict = self.strict.is_some_and(|strict| strict.covers(host.role()));
            host.feed("nft", &["-f", "-"], &ruleset(host.role(), strict))?;
            host.run("conntrack", &["-F"])?;
        }
        Ok(())
    }

    /// What a host counted since its counters were zero.
    pub fn counts(&self, role: Role) -> Result<Counts> {
        Counts::parse(
            &self
                .host(role)
                .run("nft", &["-j", "list", "table", "inet", TABLE])?,
        )
    }

    /// Packets INVALID on every host since the counters were zero.
    pub fn invalid(&self) -> Result<Invalid> {
        let relay = self.counts(Role::Relay)?;
        Ok(Invalid {
            client: self.counts(Role::Client)?.invalid,
            server: self.counts(Role::Server)?.invalid,
            relay_mangled: relay.invalid_mangled,
            relay_clean: relay.invalid_clean,
        })
    }

    /// The same by connection tracking's own statistics, which count from the lab's beginning.
    pub fn conntrack_statistics(&self) -> Result<[u64; 3]> {
        let mut sums = [0; 3];
        for (sum, host) in sums.iter_mut().zip(&self.hosts) {
            *sum = conntrack_invalid(&host.run("conntrack", &["-S"])?);
        }
        Ok(sums)
    }

    /// Waits until no host has a connection to or from port 22 that is not over; says whether that
    /// came to pass.
    pub fn flows_closed(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let mut open = false;
            for host in &self.hosts {
                let filter = ["-Htan", "( sport = :22 or dport = :22 )"];
                open |= host.run("ss", &filter)?.lines().any(is_open);
            }
            if !open || Instant::now() > deadline {
                return Ok(!open);
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// Whether a line of `ss` is a connection that may still send something.
fn is_open(line: &str) -> bool {
    !line.starts_with("LISTEN") && !line.starts_with("TIME-WAIT")
}

// === impl Payload ===

impl Payload {
    fn make(path: PathBuf, bytes: u64) -> Result<Self> {
        let mut content = vec![0; bytes as usize];
        rand::rngs::StdRng::seed_from_u64(bytes).fill_bytes(&mut content);
        fs::write(&path, &content).map_err(Error::file(&path))?;
        let sha256 = Sha256::digest(&content).into();
        Ok(Self {
            path,
            bytes,
            sha256,
        })
    }

    /// Whether the file at `path` holds the same bytes, by SHA-256; one that is missing does not.
    pub fn equals(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|content| self.sha256 == <[u8; 32]>::from(Sha256::digest(content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_repeats_and_one_flipped_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        let payload = Payload::make(one.clone(), 10_000).unwrap();
        Payload::make(two.clone(), 10_000).unwrap();
        assert!(payload.equals(&two));
        let mut content = fs::read(&two).unwrap();
        content[5000] ^= 1;
        fs::write(&two, content).unwrap();
        assert!(!payload.equals(&two));
        assert!(!payload.equals(&directory.path().join("three")));
    }

    #[test]
    fn a_listener_and_a_connection_that_is_over_are_not_open() {
        assert!(!is_open("LISTEN    0 128 0.0.0.0:22 0.0.0.0:*"));
        assert!(!is_open("TIME-WAIT 0 0 192.0.2.2:4711 198.51.100.2:22"));
        assert!(is_open("FIN-WAIT-1 0 1 192.0.2.2:4711 198.51.100.2:22"));
    }
}
