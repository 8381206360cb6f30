//! What was counted and timed while a load ran; each thread has its own, they are merged when they meet.

use std::time::Duration;

use crate::bench::failure::Failures;
use crate::bench::work::Mode;
use crate::metrics::FineTimes;

/// What one kind of connection did within one interval, or over a whole run.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// From the moment a request was sent (closed loop) or was to be sent (open loop) to the last byte of
    /// its response; in `crr` the making of the connection is part of it.
    pub latency: FineTimes,
    /// How long connections took to be made.
    pub connect: FineTimes,
    /// Smoothed round-trip times that the kernel had for our sockets, sampled.
    pub rtt: FineTimes,
    /// Requests that were answered.
    pub operations: u64,
    /// Payload of answered requests; in a stream, what the next kernel on the way acknowledged.
    pub up: u64,
    /// Payload that arrived.
    pub down: u64,
    /// Segments that our sockets sent again.
    pub retransmits: u64,
    /// What went wrong.
    pub failures: Failures,
}

/// The tallies of all kinds of connections that a mode has; one, but for a mix.
#[derive(Debug, Clone)]
pub struct Tallies(Vec<(Mode, Tally)>);

/// What happened in one interval, all threads together.
#[derive(Debug, Clone)]
pub struct Interval {
    /// When it began, counted from the beginning of the measurement.
    pub from: Duration,
    /// How long it was.
    pub length: Duration,
    /// What was done.
    pub tallies: Tallies,
}

// === impl Tally ===

impl Tally {
    /// Adds another one; nothing is averaged.
    pub fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.connect.add(&other.connect);
        self.rtt.add(&other.rtt);
        self.operations += other.operations;
        self.up += other.up;
        self.down += other.down;
        self.retransmits += other.retransmits;
        self.failures.add(&other.failures);
    }
}

// === impl Tallies ===

impl Tallies {
    /// Empty ones for a mode.
    pub fn of(mode: Mode) -> Self {
        let modes: &[Mode] = match mode {
            Mode::Mix => &[Mode::Stream, Mode::Rr, Mode::Crr, Mode::Idle],
            ref one => std::slice::from_ref(one),
        };
        Self(modes.iter().map(|mode| (*mode, Tally::default())).collect())
    }

    /// The one for connections that do this.
    ///
    /// # Panics
    /// If the mode these were made for has no such connections.
    pub fn mode(&mut self, mode: Mode) -> &mut Tally {
        self.0
            .iter_mut()
            .find(|(each, _)| *each == mode)
            .map(|(_, tally)| tally)
            .expect("a tally for every kind of connection")
    }

    /// Adds those of another thread or interval.
    pub fn add(&mut self, other: &Self) {
        for (mode, tally) in &other.0 {
            self.mode(*mode).add(tally);
        }
    }

    /// Each with the kind of connection it is of.
    pub fn iter(&self) -> impl Iterator<Item = (Mode, &Tally)> {
        self.0.iter().map(|(mode, tally)| (*mode, tally))
    }
}
