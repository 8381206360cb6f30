//! Connections that are not served: why, and how often that is told.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::addr::ClientAddr;
use super::sources::Excess;
use crate::config::{Barred, Rate, Source};
use crate::metrics::Counters;

/// Why a connection is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Because of where it comes from or goes.
    #[error("{0}")]
    Barred(#[from] Barred),
    /// Because it would come around again.
    #[error("it asked for the relay's own listener {0}")]
    Own(SocketAddr),
    /// Because of how many its source has.
    #[error("{0} has {1} connections already")]
    TooMany(Source, u32),
    /// Because of how many its source has opened.
    #[error("{0} has opened more than {1}")]
    TooFast(Source, Rate),
}

/// Who was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// By which listener.
    pub listener: &'a str,
    /// Who opened the connection.
    pub client: ClientAddr,
    /// The proxy that said so.
    pub via: Option<SocketAddr>,
    /// Where it was to go, if that is known.
    pub server: Option<SocketAddr>,
}

/// Lines of a log that anybody can cause: a few at once, and from then on one by one. What is left out is
/// counted, and the next line says how many they were.
#[derive(Debug)]
pub struct Lines {
    told: Mutex<Ration>,
}

/// How many may be told, with the time as an argument.
#[derive(Debug, Clone, Copy)]
struct Ration {
    rate: Rate,
    owes_until: Option<Instant>,
    left_out: u64,
}

/// So many lines at once, and that many within a time afterwards.
const RATE: Rate = Rate {
    connections: 10,
    within: Duration::from_secs(10),
};

// === impl Refusal ===

impl Refusal {
    /// What a source has too much of.
    pub fn of(source: Source, excess: Excess) -> Self {
        match excess {
            Excess::Connections(has) => Self::TooMany(source, has),
            Excess::Rate(rate) => Self::TooFast(source, rate),
        }
    }

    /// Counts it.
    pub fn count(&self, counters: &mut Counters) {
        *match self {
            Self::Barred(_) => &mut counters.refused_by_lists,
            Self::Own(_) => &mut counters.refused_own,
            Self::TooMany(..) => &mut counters.refused_too_many,
            Self::TooFast(..) => &mut counters.refused_too_fast,
        } += 1;
    }

    /// Counts it, and says it unless enough was said.
    pub fn tell(&self, refused: Refused, lines: &Lines, counters: &mut Counters) {
        self.count(counters);
        let Some(left_out) = lines.next(Instant::now()) else {
            counters.lines_left_out += 1;
            return;
        };
        tracing::warn!(
            target: "unmangle::access",
            listener = refused.listener,
            client = %refused.client,
            via = refused.via.map(tracing::field::display),
            server = refused.server.map(tracing::field::display),
            why = %self,
            left_out,
            "connection refused"
        );
    }
}

// === impl Lines ===

impl Default for Lines {
    fn default() -> Self {
        let told = Mutex::new(Ration::new(RATE));
        Self { told }
    }
}

impl Lines {
    /// Whether a line may be written now, and how many were left out before it.
    pub fn next(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.next(now)
    }
}

// === impl Ration ===

impl Ration {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            owes_until: None,
            left_out: 0,
        }
    }

    fn next(&mut self, now: Instant) -> Option<u64> {
        let owes_until = self.owes_until.map_or(now, |until| until.max(now));
        if owes_until - now > self.rate.within - self.rate.interval() {
            self.left_out += 1;
            return None;
        }
        self.owes_until = Some(owes_until + self.rate.interval());
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_a_few_lines_and_the_next_one_says_how_many_were_left_out() {
        let (mut ration, now) = (Ration::new(RATE), Instant::now());
        let told = (0..1000).filter(|_| ration.next(now).is_some()).count();
        assert_eq!(told, 10);
        let later = now + Duration::from_secs(1);
        assert_eq!(ration.next(later), Some(990));
        assert_eq!(ration.next(later), None);
        assert_eq!(ration.next(later + Duration::from_secs(60)), Some(1));
    }
}
