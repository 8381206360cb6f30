//! What is to be done about what was found: a profile, by rules alone or by a relay, and what no profile cures.

mod file;

pub use file::{Deployment, NothingToWrite, Place, UnknownPlace, config};

use std::time::Duration;

use super::evidence::{Carrier, Evidence, Outcome, SizesSeen};
use super::finding::{self, Behaviour, Finding, Status};
use super::told::{Key, Kind, Passage, Recommended};
use super::verdict;
use crate::config::{Profile, Strip, profile};

/// The name of a profile that no preset fits.
pub const OWN: &str = "probed";
/// Stands in commands for the interface that faces the firewall.
const IFACE: &str = "IFACE";
/// What writes the file.
const PROBE: &str = "unmangle probe run";
/// The file, as long as nobody has named another.
const FILE: &str = "unmangle.toml";
/// IPv6 and TCP header without options: what is small enough by this is so by IPv4, too.
const HEADERS: u16 = 60;
/// The smallest MSS that a profile takes.
const LEAST_MSS: u16 = 88;
/// A preset whose MSS is lower by no more than this than it need be.
const MSS_CLOSE: u16 = 40;
/// From this round trip on windows of 64 KiB are felt (3 MB/s).
const LONG: Duration = Duration::from_millis(20);
/// A relay probes silent peers after this anyway.
const KEEPALIVE: u64 = 60;

/// What a leg must not negotiate here, and what it must do.
#[derive(Debug, Default)]
struct Needs {
    strip: Strip,
    /// No larger segments.
    mss: Option<u16>,
    /// What the firewall itself lowers the MSS to.
    lowered: Vec<u16>,
    /// Seconds of silence before a probe.
    keepalive: Option<u64>,
    keys: Vec<Key>,
}

/// What is to be done.
pub(super) fn recommend(
    evidence: &Evidence,
    findings: &[Finding],
    passages: &[Passage],
) -> Recommended {
    let needs = Needs::of(evidence, findings, passages);
    let elsewhere: Vec<String> = findings
        .iter()
        .filter(|one| one.status == Status::Problem && !is_cured(one, &needs))
        .filter(|one| !finding::is_consequence(one, findings))
        .map(|finding| finding.sentence.clone())
        .collect();
    if needs.keys.is_empty() {
        return nothing_here(elsewhere, verdict::host_alone(findings));
    }
    let preset = needs.preset();
    let profile = preset.clone().unwrap_or_else(|| OWN.to_owned());
    let relay = relay(evidence, findings, &needs);
    let server = evidence.path.server;
    let mut commands = Vec::new();
    let by_file = preset.is_none();
    if by_file {
        commands.push(format!("{PROBE} {server} --write-config {FILE}"));
    }
    let run = match relay {
        Some(Why::Socket) => format!(
            "run --mode client-sidecar --intercept 22,873 --mangled-side {IFACE} --to {server}"
        ),
        Some(Why::Speed(_)) => format!("run --intercept 22,873 --mangled-side {IFACE}"),
        None => format!("normalise --mangled-side {IFACE}"),
    };
    let subcommand = if relay.is_some() { "run" } else { "normalise" };
    commands.push(match by_file {
        true => format!("unmangle {subcommand} --config {FILE}"),
        false => format!("unmangle {run} --profile {profile}"),
    });
    let (kind, why) = match relay {
        Some(Why::Socket) => (
            Kind::Relay,
            "Run a relay on this host: only a socket can keep a silent connection from being forgotten.".to_owned(),
        ),
        Some(Why::Speed(reason)) => (
            Kind::Relay,
            format!(
                "Run a relay on a router close to the firewall: there only the short way across the firewall does \
                 without what it gets wrong, and the long one keeps it, which counts because {reason}. Rules alone \
                 (`unmangle normalise`, with the same profile) would cure it, too, and be slower."
            ),
        ),
        None => (
            Kind::Normalise,
            "Rules on one host are enough, this one or a router close to the firewall: they keep the two ends from \
             agreeing on what this path gets wrong, and nothing is relayed."
                .to_owned(),
        ),
    };
    Recommended {
        kind,
        why,
        profile: Some(profile),
        keys: needs.keys,
        commands,
        elsewhere,
    }
}

fn nothing_here(elsewhere: Vec<String>, host: Option<&str>) -> Recommended {
    let (kind, why) = match (elsewhere.is_empty(), host) {
        (true, _) => (
            Kind::Nothing,
            "There is nothing to cure on this path.".to_owned(),
        ),
        (false, Some(whose)) => (
            Kind::MendElsewhere,
            format!(
                "Rules of {whose} do it by themselves: look at them (`unmangle doctor` there)."
            ),
        ),
        (false, None) => (
            Kind::MendElsewhere,
            "No relay and no rule cures this: it is to be mended on the path, by whoever has it."
                .to_owned(),
        ),
    };
    Recommended {
        kind,
        why,
        profile: None,
        keys: Vec::new(),
        commands: Vec::new(),
        elsewhere,
    }
}

/// Why rules alone do not do.
#[derive(Clone, Copy)]
enum Why {
    /// Only a socket does what is needed.
    Socket,
    /// The long way suffers, because of this.
    Speed(&'static str),
}

fn relay(evidence: &Evidence, findings: &[Finding], needs: &Needs) -> Option<Why> {
    let lossy = findings
        .iter()
        .any(|finding| finding.behaviour == Behaviour::Loss);
    if needs.keepalive.is_some() {
        Some(Why::Socket)
    } else if needs.strip.window_scale && evidence.path.round_trip >= LONG {
        Some(Why::Speed(
            "without window scale no more than 64 KiB go in one round trip, and those are long here",
        ))
    } else if needs.strip.sack_permitted && lossy {
        Some(Why::Speed(
            "without SACK lost segments are repaired slowly, and there are lost ones here",
        ))
    } else {
        None
    }
}

fn is_cured(finding: &Finding, needs: &Needs) -> bool {
    match finding.behaviour {
        Behaviour::SackNotTranslated
        | Behaviour::SackChanged
        | Behaviour::SackBlocksRemoved
        | Behaviour::SackPermittedRemoved => needs.strip.sack_permitted,
        Behaviour::WindowScaleRemoved | Behaviour::WindowScaleChanged => needs.strip.window_scale,
        Behaviour::TimestampsInconsistent | Behaviour::TimestampsRemoved => needs.strip.timestamps,
        Behaviour::EcnRefused | Behaviour::CongestionMarkLost => needs.strip.ecn,
        Behaviour::TcpSizeCliff | Behaviour::PathMtuBlackHole => needs.mss.is_some(),
        Behaviour::IdleForgotten => needs.keepalive.is_some(),
        // What breaks it is what the profile is for, as far as can be told.
        Behaviour::ControlBroken | Behaviour::ResetByHost => !needs.keys.is_empty(),
        _ => false,
    }
}

// === impl Needs ===

impl Needs {
    fn of(evidence: &Evidence, findings: &[Finding], passages: &[Passage]) -> Self {
        let mut needs = Self::default();
        let seen = |behaviours: &[Behaviour]| {
            let sentences: Vec<&str> = findings
                .iter()
                .filter(|one| one.status == Status::Problem && behaviours.contains(&one.behaviour))
                .map(|one| one.sentence.as_str())
                .collect();
            (!sentences.is_empty()).then(|| sentences.join(" "))
        };
        let sack = seen(&[
            Behaviour::SackNotTranslated,
            Behaviour::SackChanged,
            Behaviour::SackBlocksRemoved,
            Behaviour::SackPermittedRemoved,
        ]);
        if let Some(seen) = sack.or_else(|| sack_unseen(findings, passages)) {
            needs.strip.sack_permitted = true;
            needs.key("sack", "false", seen);
        }
        if let Some(seen) = seen(&[Behaviour::WindowScaleRemoved, Behaviour::WindowScaleChanged]) {
            needs.strip.window_scale = true;
            needs.key("window-scale", "false", seen);
        }
        if let Some(seen) = seen(&[
            Behaviour::TimestampsInconsistent,
            Behaviour::TimestampsRemoved,
        ]) {
            needs.strip.timestamps = true;
            needs.key("timestamps", "false", seen);
        }
        if let Some(seen) = seen(&[Behaviour::EcnRefused, Behaviour::CongestionMarkLost]) {
            needs.strip.ecn = true;
            needs.key("ecn", "false", seen);
        }
        needs.lowered = findings
            .iter()
            .filter(|one| one.behaviour == Behaviour::MssLowered)
            .filter_map(|one| one.arrived.as_deref()?.strip_prefix("MSS ")?.parse().ok())
            .collect();
        let cliffs = evidence.sizes.iter().filter_map(small_enough);
        if let Some(mss) = cliffs.min().filter(|mss| *mss >= LEAST_MSS)
            && let Some(seen) = seen(&[Behaviour::TcpSizeCliff, Behaviour::PathMtuBlackHole])
        {
            needs.mss = Some(mss);
            needs.key("mss", &mss.to_string(), seen);
        }
        let survived = evidence.idle.filter(|idle| idle.forgotten.is_some());
        if let Some(idle) = survived
            && let Some(seen) = seen(&[Behaviour::IdleForgotten])
        {
            let seconds = (idle.survived.as_secs() / 2).clamp(1, KEEPALIVE);
            needs.keepalive = Some(seconds);
            needs.key("keepalive", &format!("\"{seconds}s\""), seen);
        }
        needs
    }

    fn key(&mut self, name: &str, value: &str, seen: String) {
        self.keys.push(Key {
            name: name.to_owned(),
            value: value.to_owned(),
            seen,
        });
    }

    /// The preset that does this and no more.
    fn preset(&self) -> Option<String> {
        let presets = profile::names();
        let fitting = presets
            .iter()
            .filter_map(|name| name.parse::<Profile>().ok())
            .filter_map(|preset| Some((self.fits(&preset)?, preset)));
        let best = fitting.min_by_key(|(distance, _)| *distance)?;
        Some(best.1.name)
    }

    /// How far a preset is from what is needed, if it does all of it: 0 is closest.
    fn fits(&self, preset: &Profile) -> Option<u8> {
        if preset.strip != self.strip {
            return None;
        }
        let by_mss = match (self.mss, preset.mss) {
            (None, None) => 1,
            // The preset is for this very firewall: it is left nothing to rewrite.
            (None, Some(mss)) if self.lowered.contains(&mss) => 0,
            (Some(need), Some(mss)) if mss <= need && need - mss <= MSS_CLOSE => 1,
            _ => return None,
        };
        let idle = preset.keepalive.map(|keepalive| keepalive.idle.as_secs());
        match (self.keepalive, idle) {
            (None, None) => Some(by_mss),
            (Some(need), Some(idle)) if idle <= need && need < 2 * idle => Some(by_mss),
            _ => None,
        }
    }
}

/// The MSS with which packets of both families stay below the cliff.
fn small_enough(seen: &SizesSeen) -> Option<u16> {
    match &seen.outcome {
        Outcome::Cliff(cliff) if seen.carrier == Carrier::Tcp && cliff.told.is_none() => {
            Some(cliff.passes.saturating_sub(HEADERS))
        }
        _ => None,
    }
}

/// Numbers are rewritten, and whether SACK is translated could not be seen: then it is not relied upon.
fn sack_unseen(findings: &[Finding], passages: &[Passage]) -> Option<String> {
    let cell = |what: &str| passages.iter().find(|row| row.what == what);
    let (blocks, permitted) = (cell("SACK blocks")?, cell("SACK-permitted")?);
    if permitted.client_to_server.as_deref() == Some("removed") {
        return None;
    }
    let rewritten = findings
        .iter()
        .find(|one| one.behaviour == Behaviour::SequenceRewritten)?;
    let ways = rewritten.direction?;
    use crate::metrics::Direction::{ClientToServer, ServerToClient};
    let unseen = (ways.has(ClientToServer) && blocks.server_to_client.is_none())
        || (ways.has(ServerToClient) && blocks.client_to_server.is_none());
    unseen.then(|| {
        format!(
            "{} Whether SACK blocks are translated was not seen.",
            rewritten.sentence
        )
    })
}
