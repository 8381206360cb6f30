//! What the kernel knows of a session's legs, taken once in a while: round-trip times and retransmissions.
//!
//! Only sessions that have moved bytes since, or want to, are asked for: one at rest costs nothing.

use std::io;
use std::time::{Duration, Instant};

use super::legs::Infos;
use super::sessions::Session;
use super::worker::Worker;
use crate::metrics::PerDirection;
use crate::sys::tcp_info::TcpInfo;

/// How often a session is sampled that moves bytes.
pub const SAMPLED_EVERY: Duration = Duration::from_secs(10);

/// What was sampled last of a session.
#[derive(Debug, Clone, Copy)]
pub struct Sampled {
    at: Instant,
    passed: PerDirection<u64>,
    /// Bytes a second between that sample and the one before.
    rate: PerDirection<u64>,
    retransmits: (u32, u32),
}

// === impl Sampled ===

impl Sampled {
    /// Of a session that begins now.
    pub fn first(now: Instant) -> Self {
        Self {
            at: now,
            passed: PerDirection::default(),
            rate: PerDirection::default(),
            retransmits: (0, 0),
        }
    }

    /// Of a session that was sampled by another process, up to what it has passed on by now.
    pub fn continued(now: Instant, passed: PerDirection<u64>, retransmits: (u32, u32)) -> Self {
        Self {
            passed,
            retransmits,
            ..Self::first(now)
        }
    }

    /// Segments that were sent again, downstream and upstream, as far as they were counted.
    pub fn retransmits(&self) -> (u32, u32) {
        self.retransmits
    }

    /// Bytes a second since the last sample; if that is less than a second ago, up to then.
    pub fn rates(&self, now: Instant, passed: PerDirection<u64>) -> PerDirection<u64> {
        self.rate_until(now, passed).unwrap_or(self.rate)
    }

    fn rate_until(&self, now: Instant, passed: PerDirection<u64>) -> Option<PerDirection<u64>> {
        let millis = now.saturating_duration_since(self.at).as_millis() as u64;
        let rate = |now: u64, then: u64| {
            u64::try_from(u128::from(now.saturating_sub(then)) * 1000 / u128::from(millis))
                .unwrap_or(u64::MAX)
        };
        (millis >= 1000).then(|| PerDirection {
            client_to_server: rate(passed.client_to_server, self.passed.client_to_server),
            server_to_client: rate(passed.server_to_client, self.passed.server_to_client),
        })
    }
}

/// Samples a session if it is time, and it has moved bytes since or has some that wait.
pub fn in_time(worker: &Worker, session: &Session, now: Instant) {
    let last = session.sampled.get();
    if now.saturating_duration_since(last.at) < SAMPLED_EVERY {
        return;
    }
    let passed = session.passed();
    if session.counts && passed == last.passed && !session.waits() {
        let (at, rate) = (now, PerDirection::default());
        return session.sampled.set(Sampled { at, rate, ..last });
    }
    let legs = &session.legs;
    sample(worker, session, &legs.infos());
}

/// Records what the kernel says of a session's legs.
pub fn sample(worker: &Worker, session: &Session, (downstream, upstream): &Infos) {
    let (now, passed, last) = (Instant::now(), session.passed(), session.sampled.get());
    // A leg of which the kernel tells nothing is closed.
    let count = |info: &io::Result<TcpInfo>, before: u32| {
        let now = info.as_ref().map_or(before, |info| info.retransmits);
        (now, u64::from(now.saturating_sub(before)))
    };
    let (down, more_down) = count(downstream, last.retransmits.0);
    let (up, more_up) = count(upstream, last.retransmits.1);
    {
        let mut counters = worker.counters(session.id);
        counters.retransmits_downstream += more_down;
        counters.retransmits_upstream += more_up;
    }
    worker.recorded(session.id, |recorder| {
        let (rtt, min_rtt) = (&mut recorder.rtt, &mut recorder.min_rtt);
        for (info, rtt, min_rtt) in [
            (downstream, &mut rtt.downstream, &mut min_rtt.downstream),
            (upstream, &mut rtt.upstream, &mut min_rtt.upstream),
        ] {
            // Nothing was measured on a leg that never carried anything.
            if let Ok(info) = info
                && !info.rtt.is_zero()
            {
                rtt.record(info.rtt);
                info.min_rtt
                    .into_iter()
                    .for_each(|least| min_rtt.record(least));
            }
        }
    });
    session.sampled.set(Sampled {
        at: now,
        passed,
        rate: last.rates(now, passed),
        retransmits: (down, up),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_last_sample_or_of_the_interval_before() {
        let began = Instant::now();
        let passed = |client_to_server| PerDirection {
            client_to_server,
            server_to_client: 0,
        };
        let mut sampled = Sampled::first(began);
        let after = |millis| began + Duration::from_millis(millis);
        let rate = |sampled: &Sampled, millis, bytes| {
            sampled.rates(after(millis), passed(bytes)).client_to_server
        };
        assert_eq!(rate(&sampled, 500, 1_000_000), 0);
        assert_eq!(rate(&sampled, 2000, 1_000_000), 500_000);
        sampled.rate = sampled.rate_until(after(2000), passed(1_000_000)).unwrap();
        (sampled.at, sampled.passed) = (after(2000), passed(1_000_000));
        assert_eq!(rate(&sampled, 2001, 1_000_000), 500_000);
        assert_eq!(rate(&sampled, 4000, 1_000_000), 0);
    }
}
