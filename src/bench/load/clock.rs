//! The times of a run: when it starts, what is measured, when it is over.

use std::time::{Duration, Instant};

use crate::bench::work::Load;

/// How far apart idle connections are asked at the end, so that each answer is timed on its own.
pub(super) const APART: Duration = Duration::from_micros(50);

/// The times of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// The load begins.
    pub start: Instant,
    /// The warm-up is over.
    pub measured: Instant,
    /// No new request is due.
    pub stop: Instant,
    /// What is late is not sent any more: who is asked now could hardly answer in time.
    pub last: Instant,
    /// What has not come by now does not come.
    pub give_up: Instant,
}

// === impl Clock ===

impl Clock {
    pub fn new(start: Instant, load: &Load) -> Self {
        let measured = start + load.warmup;
        let stop = measured + load.duration;
        Self {
            start,
            measured,
            stop,
            last: stop + load.grace / 4 * 3,
            give_up: stop + load.grace + APART * load.connections.get(),
        }
    }

    /// The same run, cut short: what is under way may still end, but is not waited for as long.
    pub fn cut(self, now: Instant) -> Self {
        let stop = self.stop.min(now);
        Self {
            start: self.start,
            measured: self.measured.min(stop),
            stop,
            last: stop,
            give_up: (stop + Duration::from_millis(200)).min(self.give_up),
        }
    }

    /// Whether what began or was due then is measured.
    pub fn measures(&self, then: Instant) -> bool {
        self.measured <= then
    }

    /// Whether what was done then counts for a rate.
    pub fn rates(&self, then: Instant) -> bool {
        self.measured <= then && then <= self.stop
    }
}
