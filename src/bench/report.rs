//! The report of a run: what `--json` writes and `unmangle bench merge` reads.
//!
//! `docs/bench-report.schema.json` describes it for others: it is [`Report::schema`], and
//! `tests/bench_report.rs` keeps it so. A report that was written once can be read by later versions of
//! the same [`FORMAT`].

mod times;

pub use times::{Times, Uncounted};

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::bench::failure::Kind;
use crate::bench::tally::{Interval, Tally};
use crate::bench::versioned::{self, Unreadable, Written};
use crate::bench::work::{Direction, Load, Mode, Pace, Payload, Peer};
use times::nanos;

/// The version of the format.
pub const FORMAT: u32 = 2;

/// What a run, or several merged runs, found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A report of unmangle bench run")]
pub struct Report {
    /// The version of this format.
    #[schemars(extend("const" = FORMAT))]
    pub format: u32,
    /// What was asked for.
    pub load: LoadTold,
    /// What was found, the direct path first. One unless `--via` was given.
    pub paths: Vec<PathReport>,
    /// What the other path costs, if there were two.
    #[serde(deserialize_with = "Option::deserialize")]
    pub difference: Option<Difference>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadTold {
    /// What the connections did.
    pub mode: Mode,
    /// Whether requests waited for responses.
    #[serde(rename = "loop")]
    pub pace: Loop,
    /// Requests a second over all connections and clients; none in a closed loop.
    #[serde(deserialize_with = "Option::deserialize")]
    pub rate: Option<f64>,
    /// Connections at a time, over all clients.
    pub connections: u64,
    /// How many clients' reports are merged in this one.
    pub clients: u64,
    /// Bytes of a request.
    pub request: u32,
    /// Bytes of a response.
    pub response: u32,
    /// Who sent in a stream.
    pub direction: Direction,
    /// What the other end was.
    pub peer: Peer,
    /// What became of payload that arrived.
    pub payload: Payload,
}

/// Whether requests waited for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    /// A request was sent when the last one was answered: latency counts from the sending.
    Closed,
    /// Requests had their times: latency counts from the time at which one was to be sent.
    Open,
}

/// What was found on one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathReport {
    /// `direct`, or `via`.
    pub name: String,
    /// The address that was connected to.
    pub to: String,
    /// When it was measured, seconds since 1970; several where paths or clients took turns.
    pub windows: Vec<Window>,
    /// How long was measured in all: the windows together, what overlaps counted once.
    pub elapsed_s: f64,
    /// How long of it all clients measured at one time; all of it where there is one. Where reports were merged that
    /// had been merged before, at most so long. What is told a second was reached at one time only if this is nearly
    /// all.
    pub common_s: f64,
    /// CPU time of the load generator itself while it was measured, in seconds.
    pub generator_cpu_s: f64,
    /// What each kind of connection did; one kind, but for a mix.
    pub parts: Vec<Part>,
}

/// A stretch of time in which was measured, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// What one kind of connection did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What the connections did.
    pub mode: Mode,
    /// Requests that were answered.
    pub operations: u64,
    /// The same a second.
    pub operations_per_s: f64,
    /// Payload from client to server, in bytes. In a stream that is what the next kernel on the way had
    /// acknowledged when the time was over. Through a relay it is the relay's: what lies in the relay's buffers counts
    /// as carried. `unmangle bench serve` must have received it at the end, or there is an error `short`, but nobody
    /// says how much of it within the time. With requests it is theirs, once they are answered.
    pub bytes_up: u64,
    /// Payload from server to client, in bytes: what arrived within the time.
    pub bytes_down: u64,
    /// `bytes_up`, as bits a second: of a stream through a relay the rate at which the relay took it.
    pub bits_per_s_up: f64,
    /// `bytes_down`, as bits a second.
    pub bits_per_s_down: f64,
    /// From request to response.
    pub latency: Times,
    /// The making of connections.
    pub connect: Times,
    /// Smoothed round-trip times of the generator's sockets, sampled; in `crr` of one connection in 64.
    pub rtt: Times,
    /// Segments that the generator's sockets sent again; in `crr` of one connection in 64.
    pub retransmits: u64,
    /// What went wrong, and how often.
    #[schemars(schema_with = "counted_by_kind")]
    pub errors: BTreeMap<Kind, u64>,
    /// How it went over time.
    pub series: Vec<Point>,
}

/// One interval of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// When it began, seconds since 1970.
    pub at: f64,
    /// How long it was, in seconds.
    pub length_s: f64,
    /// Requests that were answered in it.
    pub operations: u64,
    /// Payload from client to server in it, in bytes; in a stream what the next kernel on the way acknowledged.
    pub bytes_up: u64,
    /// Payload from server to client in it, in bytes.
    pub bytes_down: u64,
    /// 99 % of its latencies were no longer, in nanoseconds; of merged clients, the longer.
    pub p99_ns: u64,
}

/// What the second path costs beside the first, for the kind of connection that the mode is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// For each kind of connection.
    pub parts: Vec<PartDifference>,
}

/// What the second path costs beside the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartDifference {
    /// What the connections did.
    pub mode: Mode,
    /// Requests (in a stream: bytes) a second by the second path, divided by those of the first; none if
    /// the first had none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub throughput_ratio: Option<f64>,
    /// The second path's percentile less the first's, in nanoseconds; it may be negative. None
    /// where one of them has no latency.
    #[serde(deserialize_with = "Option::deserialize")]
    pub added_p50_ns: Option<i64>,
    /// The same at 90 %.
    #[serde(deserialize_with = "Option::deserialize")]
    pub added_p90_ns: Option<i64>,
    /// The same at 99 %.
    #[serde(deserialize_with = "Option::deserialize")]
    pub added_p99_ns: Option<i64>,
    /// The same at 99.9 %.
    #[serde(deserialize_with = "Option::deserialize")]
    pub added_p999_ns: Option<i64>,
    /// The same of the longest.
    #[serde(deserialize_with = "Option::deserialize")]
    pub added_max_ns: Option<i64>,
}

// === impl Report ===

impl Report {
    /// Reads what `--json` wrote.
    ///
    /// # Errors
    /// A text that is none, that lacks a field or has one too many, or that is of another format.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let known = Written {
            name: "a report",
            origin: "a report of `unmangle bench run --json`",
            format: FORMAT,
        };
        versioned::read(text.as_bytes(), known)
    }

    /// The schema of what `--json` writes: every field is there, if only as null.
    pub fn schema() -> Schema {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        settings.into_generator().into_root_schema_for::<Self>()
    }
}

/// Schemars itself would let any name pass as a kind.
fn counted_by_kind(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": generator.subschema_for::<Kind>(),
        "additionalProperties": generator.subschema_for::<u64>(),
    })
}

// === impl LoadTold ===

impl From<&Load> for LoadTold {
    fn from(load: &Load) -> Self {
        let (pace, rate) = match load.pace {
            Pace::AsAnswered => (Loop::Closed, None),
            Pace::PerSecond(rate) => (Loop::Open, Some(rate)),
        };
        Self {
            mode: load.mode,
            pace,
            rate,
            connections: load.connections.get().into(),
            clients: 1,
            request: load.request.get(),
            response: load.response.get(),
            direction: load.direction,
            peer: load.peer,
            payload: load.payload,
        }
    }
}

// === impl PathReport ===

impl PathReport {
    /// How many things went wrong.
    pub fn errors(&self) -> u64 {
        self.parts
            .iter()
            .flat_map(|part| part.errors.values())
            .sum()
    }

    /// Requests answered, over all kinds of connections.
    pub fn operations(&self) -> u64 {
        self.parts.iter().map(|part| part.operations).sum()
    }
}

// === impl Window ===

impl Window {
    /// How much time these cover together, in seconds; what overlaps is counted once.
    pub fn covered(windows: &[Self]) -> f64 {
        let mut sorted = windows.to_vec();
        sorted.sort_by(|a, b| a.from.total_cmp(&b.from));
        let mut covered = 0.0;
        let mut reached = f64::NEG_INFINITY;
        for window in sorted {
            covered += (window.to - window.from.max(reached)).max(0.0);
            reached = reached.max(window.to);
        }
        covered
    }
}

// === impl Part ===

impl Part {
    /// What was tallied in `elapsed_s` seconds, the series still empty.
    pub fn new(mode: Mode, tally: &Tally, elapsed_s: f64) -> Self {
        let errors = tally.failures.iter();
        let mut part = Self {
            mode,
            operations: tally.operations,
            operations_per_s: 0.0,
            bytes_up: tally.up,
            bytes_down: tally.down,
            bits_per_s_up: 0.0,
            bits_per_s_down: 0.0,
            latency: Times::of(&tally.latency),
            connect: Times::of(&tally.connect),
            rtt: Times::of(&tally.rtt),
            retransmits: tally.retransmits,
            errors: errors.map(|(kind, times, _)| (kind, times)).collect(),
            series: Vec::new(),
        };
        part.rate_over(elapsed_s);
        part
    }

    /// Works out what is told a second.
    pub(crate) fn rate_over(&mut self, elapsed_s: f64) {
        let a_second = |count: u64| match elapsed_s > 0.0 {
            true => count as f64 / elapsed_s,
            false => 0.0,
        };
        self.operations_per_s = a_second(self.operations);
        self.bits_per_s_up = a_second(self.bytes_up) * 8.0;
        self.bits_per_s_down = a_second(self.bytes_down) * 8.0;
    }

    /// What its throughput is judged by: bytes a second in a stream, otherwise requests a second.
    pub fn throughput(&self) -> f64 {
        match self.mode {
            Mode::Stream => (self.bits_per_s_up + self.bits_per_s_down) / 8.0,
            _ => self.operations_per_s,
        }
    }
}

// === impl Point ===

impl Point {
    /// What one kind of connection did in an interval of a measurement that began at `start`, seconds
    /// since 1970.
    pub fn new(start: f64, interval: &Interval, tally: &Tally) -> Self {
        Self {
            at: start + interval.from.as_secs_f64(),
            length_s: interval.length.as_secs_f64(),
            operations: tally.operations,
            bytes_up: tally.up,
            bytes_down: tally.down,
            p99_ns: nanos(tally.latency.percentile(99.0)),
        }
    }
}

// === impl Difference ===

impl Difference {
    /// What `second` costs beside `first`.
    pub fn between(first: &PathReport, second: &PathReport) -> Self {
        let pairs = first.parts.iter().zip(&second.parts);
        Self {
            parts: pairs
                .map(|(first, second)| PartDifference::between(first, second))
                .collect(),
        }
    }
}

impl PartDifference {
    fn between(first: &Part, second: &Part) -> Self {
        let added = |of: fn(&Times) -> u64| {
            let is_timed = |part: &Part| part.latency.count > 0;
            let nanos = |part: &Part| i64::try_from(of(&part.latency)).unwrap_or(i64::MAX);
            (is_timed(first) && is_timed(second)).then(|| nanos(second) - nanos(first))
        };
        let base = first.throughput();
        Self {
            mode: first.mode,
            throughput_ratio: (base > 0.0).then(|| second.throughput() / base),
            added_p50_ns: added(|times| times.p50_ns),
            added_p90_ns: added(|times| times.p90_ns),
            added_p99_ns: added(|times| times.p99_ns),
            added_p999_ns: added(|times| times.p999_ns),
            added_max_ns: added(|times| times.max_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn windows_that_overlap_are_counted_once() {
        let window = |from, to| Window { from, to };
        let covered = Window::covered(&[window(5.0, 7.0), window(0.0, 2.0), window(1.0, 3.0)]);
        assert!((covered - 5.0).abs() < 1e-9);
        assert!(Window::covered(&[]).abs() < 1e-9);
    }

    #[test]
    fn the_difference_is_second_against_first() {
        let part = |operations_each_second: u64, latency_us: u64| {
            let mut tally = Tally {
                operations: operations_each_second,
                ..Tally::default()
            };
            tally.latency.record(Duration::from_micros(latency_us));
            Part::new(Mode::Rr, &tally, 1.0)
        };
        let difference = PartDifference::between(&part(100, 50), &part(80, 70));
        assert_eq!(difference.throughput_ratio, Some(0.8));
        assert!((difference.added_p50_ns.unwrap() - 20_000).abs() < 100);
        let none = PartDifference::between(&part(0, 50), &part(80, 70));
        assert_eq!(none.throughput_ratio, None);
    }
}
