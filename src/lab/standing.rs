//! A lab that stands: three hosts, joined, filtered, with an sshd and a payload if asked for.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::builder::Builder;
use crate::lab::error::Result;
use crate::lab::firewall::{Counts, TABLE, conntrack_invalid, ruleset};
use crate::lab::ground::Ground;
use crate::lab::host::Host;
use crate::lab::joined::{Joined, Span, WireReport, take_up};
use crate::lab::matrix::{Case, Strict};
use crate::lab::payload::Payload;
use crate::lab::process::{GLANCE, Process};
use crate::lab::row::Invalid;
use crate::lab::rsyncd::Rsyncd;
use crate::lab::sshd::Sshd;
use crate::lab::tool::Errand;
use crate::lab::topology::{FIREWALL_DEVICE, LONG_DEVICE, Role};
use crate::lab::tuning::{Former, HostTuning, tune};

/// The ports of ssh and rsync: what the relay intercepts.
pub(crate) const PORTS: &str = "22,873";
/// The same, as `ss` asks for connections from or to them.
const CONNECTIONS: &str = "( sport = :22 or dport = :22 or sport = :873 or dport = :873 )";

/// Three hosts that stand until this is dropped.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they have to go.
    sshd: Option<Sshd>,
    rsyncd: Option<Rsyncd>,
    wires: Vec<Process>,
    hosts: [Host; 3],
    /// What every host was before it was tuned; none while they are as they were made.
    untuned: Option<Vec<Former>>,
    /// Of what joins the hosts.
    mtu: u16,
    strict: Option<Strict>,
    payload: Option<Payload>,
    unmangle: PathBuf,
    ground: Ground,
}

// === impl Lab ===

impl Lab {
    /// Begins to describe one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One that has its ground and nothing on it yet.
    pub(crate) fn bare(
        ground: Ground,
        mtu: u16,
        strict: Option<Strict>,
        unmangle: PathBuf,
    ) -> Self {
        Self {
            sshd: None,
            rsyncd: None,
            wires: Vec::new(),
            hosts: Role::ALL.map(|role| Host::new(ground.id(), role)),
            untuned: None,
            mtu,
            strict,
            payload: None,
            unmangle,
            ground,
        }
    }

    /// Makes the namespaces.
    pub(crate) fn make_hosts(&self) -> Result<()> {
        self.hosts.iter().try_for_each(Host::make)
    }

    pub(crate) fn start_sshd(&mut self, role: Role) -> Result<()> {
        self.sshd = Some(Sshd::start(self.host(role), &self.directory())?);
        Ok(())
    }

    /// Starts an rsync daemon on this host, if there is none yet.
    pub fn start_rsyncd(&mut self, role: Role) -> Result<()> {
        if self.rsyncd.is_none() {
            let (directory, data) = (self.directory(), self.data_directory());
            self.rsyncd = Some(Rsyncd::start(self.host(role), &directory, &data)?);
        }
        Ok(())
    }

    pub(crate) fn make_payload(&mut self, bytes: u64) -> Result<()> {
        let path = self.data_directory().join("payload");
        self.payload = Some(Payload::make(path, bytes)?);
        Ok(())
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
        let span = |device, a, b| Span {
            device,
            mtu: self.mtu,
            a: self.host(a),
            b: self.host(b),
        };
        let spans = [
            (span(FIREWALL_DEVICE, Role::Client, Role::Relay), firewall),
            (span(LONG_DEVICE, Role::Relay, Role::Server), long_leg),
        ];
        let directory = self.directory();
        let mut wires = Vec::new();
        for (nth, (span, joined)) in spans.iter().enumerate() {
            match joined {
                Joined::Wire(between) => {
                    let seed = seed.wrapping_add(nth as u64);
                    wires.push(span.lay_wire(between, seed, &self.unmangle, &directory)?);
                }
                Joined::Veth { offloads } => span.lay_veth(*offloads)?,
            }
        }
        self.wires = wires;
        for host in &self.hosts {
            host.feed("ip", &["-batch", "-"], &host.role().ip_batch())?;
        }
        Ok(())
    }

    /// Takes away what joins the hosts. Returns what each wire says it did, the firewall's first.
    pub fn part(&mut self) -> Result<Vec<WireReport>> {
        let mut reports = Vec::new();
        for wire in self.wires.drain(..) {
            reports.push(take_up(wire)?);
        }
        for (role, device) in [(Role::Client, FIREWALL_DEVICE), (Role::Server, LONG_DEVICE)] {
            // There is one only where a veth pair joined them: a wire takes its devices with it.
            let _ = self.host(role).run("ip", &["link", "delete", device]);
        }
        Ok(reports)
    }

    /// The program under test.
    pub(crate) fn program(&self) -> &std::path::Path {
        &self.unmangle
    }

    /// A command that runs `unmangle` on the relay host.
    pub fn unmangle(&self) -> Command {
        self.relay().command(&self.unmangle)
    }

    /// A command by which one host carries the payload to or from the other, to [`Self::received`].
    /// It needs a payload, and an sshd (or rsync daemon) on the host that does not open the connection.
    pub fn errand(&self, case: &Case) -> Command {
        let opened_from = case.opened_from;
        let payload = self.payload.as_ref().expect("the lab has a payload");
        let sshd = self.sshd.as_ref().expect("the lab has an sshd");
        case.tool.command(&Errand {
            opener: self.host(opened_from.opener()),
            peer: case.peer(),
            user: sshd.user(),
            key: sshd.key(),
            direction: case.direction,
            from: &payload.path,
            to: &self.received(),
            silence: case.scenario.silence(),
        })
    }

    /// Where an errand carries the payload to.
    pub fn received(&self) -> PathBuf {
        self.data_directory().join("received")
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

    /// Tunes every host (each of them sends on the mangled leg, or would), or gives back what was there
    /// before.
    pub fn tune(&mut self, tuning: HostTuning) -> Result<()> {
        match (tuning, self.untuned.take()) {
            (HostTuning::Apply, None) => {
                let former: Result<_> = self.hosts.iter().map(tune).collect();
                self.untuned = Some(former?);
            }
            (HostTuning::Apply, former) => self.untuned = former,
            (HostTuning::None, former) => {
                for (host, former) in self.hosts.iter().zip(former.iter().flatten()) {
                    former.restore(host)?;
                }
            }
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

    /// Waits until no host has a connection of ssh or rsync that is not over; says whether that came
    /// to pass.
    pub fn flows_closed(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let mut open = false;
            for host in &self.hosts {
                open |= host
                    .run("ss", &["-Htan", CONNECTIONS])?
                    .lines()
                    .any(is_open);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_and_a_connection_that_is_over_are_not_open() {
        assert!(!is_open("LISTEN    0 128 0.0.0.0:22 0.0.0.0:*"));
        assert!(!is_open("TIME-WAIT 0 0 192.0.2.2:4711 198.51.100.2:22"));
        assert!(is_open("FIN-WAIT-1 0 1 192.0.2.2:4711 198.51.100.2:22"));
    }
}
