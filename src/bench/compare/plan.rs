//! What is to be measured, and how long it will take. Pure.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::compare::candidate::Candidate;
use crate::bench::compare::cores::{Cores, Placement};
use crate::bench::work::Mode;

/// What a turn takes beside load and warm-up: starting the generator, its connections, its report.
const AROUND_A_TURN: Duration = Duration::from_millis(30);
/// What a stream beside them takes: its start, and its first interval, which is waited for.
const AROUND_A_STREAM: Duration = Duration::from_millis(150);
/// The same for the hosts of one candidate, up and down.
const AROUND_A_CANDIDATE: Duration = Duration::from_millis(1500);
/// What the idle sessions of one candidate take.
const IDLE_TURN: Duration = Duration::from_secs(6);

/// One kind of load.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Bulk from server to client over one connection.
    Stream1,
    /// The same over eight.
    Stream8,
    /// Request and response over one connection.
    Rr1,
    /// The same over 64.
    Rr64,
    /// The same while another connection streams from server to client: what a bulk flow does to its neighbours.
    #[value(name = "rr64bulk")]
    Rr64Bulk,
    /// Connect, request, response, close; 64 at a time.
    Crr64,
    /// Sessions that say nothing: what they cost in memory and descriptors.
    Idle,
    /// 8 streams, 40 connections that do rr, 8 that do crr, 8 idle ones.
    Mix,
}

/// Where the relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Clients come to the relay host, and it connects to the server: what every peer can do.
    Forward,
    /// The relay takes connections that pass by and keeps the client's address and port (TPROXY).
    Gateway,
}

/// Whether packets may be larger than the MTU inside the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Offload {
    /// They may: segmentation and its reverse are left to the devices.
    On,
    /// They may not, as on a path whose devices cannot help.
    Off,
}

/// One thing that is measured of a work.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Payload that arrived at the far end of the path, in Gbit/s.
    Gbits,
    /// Requests answered, a second.
    Requests,
    /// Half of the latencies were no longer, in microseconds.
    P50,
    /// 99 % of the latencies were no longer, in microseconds.
    P99,
    /// CPU time of the candidate: seconds for each GB, or microseconds for each request.
    CpuRelay,
    /// The same of the whole machine: client, server and kernel too.
    CpuMachine,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
}

/// All that is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who takes part.
    pub candidates: Vec<Candidate>,
    /// What is measured.
    pub works: Vec<Work>,
    /// With which devices.
    pub offloads: Vec<Offload>,
    /// Where the relays stand.
    pub shape: Shape,
    /// How often everything is measured; intervals are over these.
    pub rounds: u32,
    /// How many turns each candidate has in a round with each work.
    pub slices: u32,
    /// How long a turn is measured.
    pub slice: Duration,
    /// How long the load runs before that.
    pub warmup: Duration,
    /// How many idle sessions are wanted of those who can hold them.
    pub idle_sessions: u32,
    /// How many descriptors a process may have here.
    pub descriptors: u64,
    /// Who decides on which cores a turn runs.
    pub placement: Placement,
    /// What the order of turns is drawn from.
    pub seed: u64,
}

// === impl Work ===

impl Work {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Stream1,
        Self::Stream8,
        Self::Rr1,
        Self::Rr64,
        Self::Rr64Bulk,
        Self::Crr64,
        Self::Mix,
        Self::Idle,
    ];

    /// What the connections do that are timed.
    pub fn mode(self) -> Mode {
        match self {
            Self::Stream1 | Self::Stream8 => Mode::Stream,
            Self::Rr1 | Self::Rr64 | Self::Rr64Bulk => Mode::Rr,
            Self::Crr64 => Mode::Crr,
            Self::Idle => Mode::Idle,
            Self::Mix => Mode::Mix,
        }
    }

    /// How many of these there are; idle sessions are counted elsewhere.
    pub fn connections(self) -> u32 {
        match self {
            Self::Stream1 | Self::Rr1 => 1,
            Self::Stream8 => 8,
            Self::Rr64 | Self::Rr64Bulk | Self::Crr64 | Self::Mix => 64,
            Self::Idle => 0,
        }
    }

    /// Whether another connection streams meanwhile.
    pub fn has_stream_beside(self) -> bool {
        self == Self::Rr64Bulk
    }

    /// On which cores it runs.
    pub fn cores(self, placement: Placement) -> Cores {
        match (self, placement) {
            (Self::Rr1, Placement::Work) => Cores::One,
            _ => Cores::Any,
        }
    }

    /// By what candidates are compared, the most telling first.
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Self::Stream1 | Self::Stream8 => {
                &[Measure::Gbits, Measure::CpuRelay, Measure::CpuMachine]
            }
            Self::Rr1 | Self::Rr64 | Self::Crr64 => &[
                Measure::Requests,
                Measure::P50,
                Measure::P99,
                Measure::CpuRelay,
                Measure::CpuMachine,
            ],
            // What a stream and a request cost cannot be told apart there.
            Self::Mix | Self::Rr64Bulk => &[
                Measure::Requests,
                Measure::P50,
                Measure::P99,
                Measure::Gbits,
            ],
            Self::Idle => &[],
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stream1 => "stream1",
            Self::Stream8 => "stream8",
            Self::Rr1 => "rr1",
            Self::Rr64 => "rr64",
            Self::Rr64Bulk => "rr64bulk",
            Self::Crr64 => "crr64",
            Self::Idle => "idle",
            Self::Mix => "mix",
        })
    }
}

// === impl Offload ===

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

// === impl Shape ===

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "forward",
            Self::Gateway => "gateway",
        })
    }
}

// === impl Measure ===

impl Measure {
    /// Which way is better.
    pub fn better(self) -> Better {
        match self {
            Self::Gbits | Self::Requests => Better::Higher,
            Self::P50 | Self::P99 | Self::CpuRelay | Self::CpuMachine => Better::Lower,
        }
    }

    /// The unit it is told in.
    pub fn unit(self, work: Work) -> &'static str {
        match (self, work.mode()) {
            (Self::Gbits, _) => "Gbit/s",
            (Self::Requests, _) => "requests/s",
            (Self::P50 | Self::P99, _) => "us",
            (Self::CpuRelay | Self::CpuMachine, Mode::Stream) => "CPU s/GB",
            (Self::CpuRelay | Self::CpuMachine, _) => "CPU us/request",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gbits => "throughput",
            Self::Requests => "requests",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::CpuRelay => "CPU of the relay",
            Self::CpuMachine => "CPU of the machine",
        })
    }
}

// === impl Plan ===

impl Plan {
    /// The works that have turns; idle sessions are counted once.
    pub fn timed_works(&self) -> impl Iterator<Item = Work> {
        let timed = |work: &Work| *work != Work::Idle;
        self.works.iter().copied().filter(timed)
    }

    /// Whether idle sessions are counted.
    pub fn counts_idle(&self) -> bool {
        self.works.contains(&Work::Idle)
    }

    /// How many turns there are, idle ones included.
    pub fn turns(&self) -> u64 {
        let timed = self.timed_works().count() * self.offloads.len();
        let each = timed as u64 * u64::from(self.rounds) * u64::from(self.slices);
        (each + u64::from(self.counts_idle())) * self.candidates.len() as u64
    }

    /// How long it should take.
    pub fn estimate(&self) -> Duration {
        let candidates = self.candidates.len() as u32;
        let idle = if self.counts_idle() { candidates } else { 0 };
        let settings = candidates * self.offloads.len() as u32;
        let turn = self.slice + self.warmup + AROUND_A_TURN;
        let turns = self
            .timed_works()
            .map(|work| match work.has_stream_beside() {
                true => turn + AROUND_A_STREAM,
                false => turn,
            });
        let cycle: Duration = turns.sum();
        let hosts = AROUND_A_CANDIDATE * settings;
        cycle * self.rounds * self.slices * settings + IDLE_TURN * idle + hosts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::compare::candidate::named;

    pub(crate) fn plan(candidates: &[&str]) -> Plan {
        Plan {
            candidates: named(candidates.iter().map(|name| name.parse().unwrap())),
            works: Work::ALL.to_vec(),
            offloads: vec![Offload::On, Offload::Off],
            shape: Shape::Forward,
            rounds: 3,
            slices: 2,
            slice: Duration::from_secs(1),
            warmup: Duration::from_millis(200),
            idle_sessions: 9000,
            descriptors: 20_000,
            placement: Placement::Work,
            seed: 1,
        }
    }

    #[test]
    fn every_turn_is_counted_and_idle_sessions_once_a_candidate() {
        let plan = plan(&["direct", "haproxy", "unmangle"]);
        assert_eq!(plan.turns(), 3 * (7 * 2 * 3 * 2 + 1));
        assert!(plan.estimate() > (plan.slice + plan.warmup) * 252);
    }

    #[test]
    fn a_stream_beside_them_is_part_of_how_long_it_takes() {
        let estimate = |work| {
            let works = vec![work];
            let plan = plan(&["direct", "unmangle"]);
            Plan { works, ..plan }.estimate()
        };
        // Each of 2 candidates, with either setting of the devices, in 3 rounds of 2 turns.
        let more = estimate(Work::Rr64Bulk) - estimate(Work::Rr64);
        assert_eq!(more, AROUND_A_STREAM * 24);
    }

    #[test]
    fn works_are_called_in_the_settings_what_they_are_called_in_the_report() {
        for work in Work::ALL {
            let value = work.to_possible_value().unwrap();
            assert_eq!(value.get_name(), work.to_string());
            assert_eq!(serde_json::to_value(work).unwrap(), work.to_string());
        }
    }

    #[test]
    fn more_is_better_of_what_is_done_and_less_of_what_it_costs() {
        for work in Work::ALL {
            for measure in work.measures() {
                let done = matches!(measure, Measure::Gbits | Measure::Requests);
                assert_eq!(measure.better() == Better::Higher, done, "{measure}");
            }
        }
    }
}
