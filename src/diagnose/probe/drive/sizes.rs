//! What is common to the search for sizes that do not pass.

use std::time::Duration;

use super::background;
use crate::diagnose::probe::evidence::{Harm, TrainSeen};
use crate::diagnose::probe::order::{TooBig, Transit};
use crate::diagnose::sequential::{Sequential, Verdict};

/// What becomes of small packets: larger ones are compared to it.
#[derive(Debug, Clone)]
pub struct Background {
    pub sent: u32,
    pub lost: u32,
    late: u32,
    truncated: u32,
    /// The median, in microseconds.
    median_us: i64,
}

/// What was seen of one size.
#[derive(Debug, Clone)]
pub struct Sized {
    pub sent: u32,
    pub lost: u32,
    pub truncated: u32,
    pub truncated_to: Option<u16>,
    pub told: Option<TooBig>,
    tests: [Sequential; 3],
    late: u32,
    transit: Option<Transit>,
}

/// In which way a size is harmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lost,
    Truncated,
    /// Some come so late that others overtake them.
    Late,
    /// All come later.
    Delayed,
}

/// A delay is not looked for with less.
const LEAST_FOR_DELAY: u32 = 64;
/// Nor is a shorter one. In microseconds.
pub const LEAST_DELAY_US: i64 = 2000;

/// The size in the middle, until there is none.
pub fn between(passes: u16, harmed: u16) -> Option<u16> {
    (harmed - passes > 1).then(|| passes + (harmed - passes) / 2)
}

// === impl Background ===

impl Background {
    /// By a train of small packets.
    pub fn of(train: &TrainSeen) -> Self {
        let harvest = &train.harvest;
        Self {
            sent: train.sent,
            lost: harvest.lost(train.sent),
            late: harvest.reordered,
            truncated: harvest.truncated,
            median_us: harvest.transit_us.map_or(0, |transit| transit.median),
        }
    }

    /// A transit time to which others are compared.
    pub fn median_us(&self) -> i64 {
        self.median_us
    }

    /// Which share of small packets is lost.
    pub fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }
}

// === impl Sized ===

impl Sized {
    /// Nothing was seen of it yet. `None` where so many small packets come to harm that nothing can be told from that.
    pub fn new(small: &Background) -> Option<Self> {
        let test = |events| background::against(events, small.sent);
        Some(Self {
            sent: 0,
            lost: 0,
            truncated: 0,
            truncated_to: None,
            told: None,
            tests: [test(small.lost)?, test(small.truncated)?, test(small.late)?],
            late: 0,
            transit: None,
        })
    }

    /// Takes what came of another train.
    pub fn observe(&mut self, train: &TrainSeen) {
        let harvest = &train.harvest;
        let lost = harvest.lost(train.sent);
        self.sent += train.sent;
        self.lost += lost;
        self.truncated += harvest.truncated;
        self.late += harvest.reordered;
        let to = self.truncated_to.into_iter().chain(harvest.truncated_to);
        self.truncated_to = to.min();
        self.told = train.too_big.or(self.told);
        self.transit = harvest.transit_us.or(self.transit);
        let events = [lost, harvest.truncated, harvest.reordered];
        for (test, events) in self.tests.iter_mut().zip(events) {
            test.observe(train.sent, events);
        }
    }

    /// In which way it is harmed, once that can be said; `Ok(None)` if in none. `delay_us` is what counts as one.
    pub fn verdict(&self, background: &Background, delay_us: i64) -> Result<Option<Kind>, Open> {
        let kinds = [Kind::Lost, Kind::Truncated, Kind::Late];
        let is_harmed = |test: &Sequential| test.verdict() == Verdict::Harmed;
        if let Some(at) = self.tests.iter().position(is_harmed) {
            return Ok(Some(kinds[at]));
        }
        let delay = self.delay_us(background);
        if self.sent >= LEAST_FOR_DELAY && delay.is_some_and(|delay| delay > delay_us) {
            return Ok(Some(Kind::Delayed));
        }
        let needed = self
            .tests
            .iter()
            .filter(|test| test.verdict() == Verdict::Open);
        match needed.map(Sequential::needed).max() {
            Some(needed) => Err(Open(needed)),
            None => Ok(None),
        }
    }

    /// Whether what comes to harm is only a part of it.
    pub fn is_partial(&self) -> bool {
        let harmed = self.lost + self.truncated;
        (self.late > 0 || harmed > 0) && harmed < self.sent - self.sent / 8
    }

    /// How much later it comes than small packets do, in the middle.
    pub fn delay_us(&self, background: &Background) -> Option<i64> {
        Some(self.transit?.median - background.median_us)
    }

    /// Adds what was seen of another size that comes to the same harm.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.told = self.told.or(other.told);
        self.truncated_to = self.truncated_to.max(other.truncated_to);
    }

    /// What becomes of it.
    pub fn harm(&self, kind: Kind, background: &Background) -> Harm {
        let by = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
        match kind {
            Kind::Lost => Harm::Lost {
                share: f64::from(self.lost) / f64::from(self.sent.max(1)),
                background: background.share(),
            },
            Kind::Truncated => Harm::Truncated {
                to: self.truncated_to.unwrap_or(0),
            },
            Kind::Delayed => Harm::Delayed {
                by: by(self.delay_us(background).unwrap_or(0)),
            },
            Kind::Late => Harm::Delayed {
                by: by(self.transit.map_or(0, |t| t.most - background.median_us)),
            },
        }
    }
}

/// So many packets more are needed at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open(pub u32);
