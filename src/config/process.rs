//! What concerns the whole process: from what was given to checked settings.

use std::time::Duration;

use super::admin::Admin;
use super::answer::Hold;
use super::choice::{
    Engine, Fail, Histograms, HostTuning, InvalidReasons, PinWorkers, RulesMode, Strangers, Track,
};
use super::hdr_log::HdrLog;
use super::keys::{ConfigError, Keys};
use super::limits;
use super::log::Log;
use super::mark::{DEFAULT_DIAL_MARK, DEFAULT_MARK, Mark};
use super::run_as::RunAs;
use super::settings::{duration, number, truth};

/// What concerns the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// How many worker threads share the sessions; one for each core if `None`.
    pub workers: Option<usize>,
    /// Whether they stay on processors of their own.
    pub pin_workers: PinWorkers,
    /// How many bytes of pipes all workers may hold together; 0 means that every byte is copied.
    pub pipe_budget: usize,
    /// Sessions of all listeners at a time; no limit if `None`.
    pub max_connections: Option<usize>,
    /// How long running sessions may go on after SIGTERM or SIGINT.
    pub drain: Duration,
    /// What moves the bytes.
    pub engine: Engine,
    /// What becomes of new connections when the relay is gone.
    pub fail: Fail,
    /// Who puts the rules in place.
    pub rules: RulesMode,
    /// How the two legs are kept apart in conntrack.
    pub track: Track,
    /// What becomes of segments that another gateway has relayed.
    pub strangers: Strangers,
    /// What becomes of the host's settings.
    pub host_tuning: HostTuning,
    /// Whether what FORWARD drops may be relayed all the same.
    pub override_forward: bool,
    /// The numbers that the rules use.
    pub numbers: Numbers,
    /// How opening packets are held, where [`Listener::answer`] wants that.
    pub hold: Hold,
    /// Whether times and sizes are recorded.
    pub histograms: Histograms,
    /// How and what is logged.
    pub log: Log,
    /// Where histograms are logged; nowhere if `None`.
    pub hdr_log: Option<HdrLog>,
    /// Where it answers those who ask how it does.
    pub admin: Admin,
    /// Whether INVALID packets are counted by reason.
    pub invalid_reasons: InvalidReasons,
    /// Whom it becomes where root has started it.
    pub run_as: Option<RunAs>,
}

/// The numbers that the rules use; they can be changed where they collide with another program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The bits that lead a packet to the relay.
    pub mark: Mark,
    /// The bits by which a sidecar's own dials are known.
    pub dial_mark: Mark,
    /// Routing table that makes every destination local, for marked packets.
    pub table: u32,
    /// Priority of the `ip rule` that leads there.
    pub priority: u32,
    /// Conntrack zones of the mangled and of the clean leg.
    pub zones: (u16, u16),
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            mark: DEFAULT_MARK,
            dial_mark: DEFAULT_DIAL_MARK,
            // "UM" in ASCII, as are the zones.
            table: 0x554d,
            // Before `local` (0) would be too early, after `main` (32766) too late.
            priority: 21_069,
            zones: (0x554d, 0x554e),
        }
    }
}

// === impl Process ===

impl Process {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub(super) fn read(keys: &Keys) -> Result<Self, ConfigError> {
        let numbers = Numbers::default();
        let zones = keys
            .parse("zones", |text| {
                let zones: Result<Vec<u16>, _> =
                    text.split(',').map(|zone| number(zone, 1, 65535)).collect();
                match zones.as_deref() {
                    Ok(&[mangled, clean]) if mangled != clean => Ok((mangled, clean)),
                    _ => Err(format!(
                        "{text:?} are no zones; give two different numbers from 1 to 65535"
                    )),
                }
            })?
            .unwrap_or(numbers.zones);
        let mark = keys
            .parse("mark", |text| number(text, 1, u32::MAX.into()))?
            .map_or(numbers.mark, Mark);
        Ok(Self {
            workers: keys.parse("workers", |text| number(text, 1, 1024))?,
            pin_workers: keys.parse("pin-workers", str::parse)?.unwrap_or_default(),
            pipe_budget: keys
                .parse("pipe-budget", |text| number(text, 0, 65536))?
                .unwrap_or(48_usize)
                << 20,
            max_connections: limits::most_connections(keys)?,
            drain: keys
                .parse("drain", duration)?
                .unwrap_or(Duration::from_secs(30)),
            engine: keys.parse("engine", str::parse)?.unwrap_or_default(),
            fail: keys.parse("fail", str::parse)?.unwrap_or_default(),
            rules: keys.parse("rules", str::parse)?.unwrap_or_default(),
            track: keys.parse("track", str::parse)?.unwrap_or_default(),
            strangers: keys.parse("strangers", str::parse)?.unwrap_or_default(),
            host_tuning: keys.parse("host-tuning", str::parse)?.unwrap_or_default(),
            override_forward: keys.parse("override-forward", truth)?.unwrap_or_default(),
            numbers: Numbers {
                mark,
                dial_mark: keys
                    .parse("dial-mark", |text| number(text, 1, u32::MAX.into()))?
                    .map_or(numbers.dial_mark, Mark),
                table: keys
                    .parse("table", |text| number(text, 256, u32::MAX.into()))?
                    .unwrap_or(numbers.table),
                priority: keys
                    .parse("priority", |text| number(text, 1, 32765))?
                    .unwrap_or(numbers.priority),
                zones,
            },
            hold: Hold::read(keys)?,
            histograms: keys.parse("histograms", str::parse)?.unwrap_or_default(),
            log: Log::read(keys)?,
            hdr_log: HdrLog::read(keys)?,
            admin: Admin::read(keys)?,
            invalid_reasons: keys
                .parse("invalid-reasons", str::parse)?
                .unwrap_or_default(),
            run_as: keys.parse("run-as", str::parse)?,
        })
    }
}
