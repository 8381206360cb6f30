//! When requests are due in an open loop. Pure: time is counted from the start of the load.

use std::time::Duration;

/// The times at which one connection is to send, evenly spread and interleaved with the others'.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: f64,
    connections: u64,
    /// Which of all requests is this connection's next.
    next: u64,
}

// === impl Schedule ===

impl Schedule {
    /// For connection `number` of `connections` that send `rate` requests a second together.
    ///
    /// # Panics
    /// If there are no connections, or the rate is not positive.
    pub fn new(rate: f64, connections: u32, number: u32) -> Self {
        assert!(connections > 0 && rate > 0.0, "{rate} by {connections}");
        Self {
            rate,
            connections: connections.into(),
            next: number.into(),
        }
    }

    /// When the next request is due.
    pub fn due(&self) -> Duration {
        self.due_of(self.next)
    }

    fn due_of(&self, request: u64) -> Duration {
        Duration::try_from_secs_f64(request as f64 / self.rate).unwrap_or(Duration::MAX)
    }

    /// The next request has been sent: it is the turn of the one after it.
    pub fn advance(&mut self) {
        self.next += self.connections;
    }

    /// How many requests are due before `end` and not sent.
    pub fn unsent(&self, end: Duration) -> u64 {
        let mut due = (end.as_secs_f64() * self.rate).ceil() as u64;
        // The product is rounded, what decides is not.
        while due > 0 && self.due_of(due - 1) >= end {
            due -= 1;
        }
        due.saturating_sub(self.next).div_ceil(self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_at_even_distances() {
        let mut all = Vec::new();
        for number in 0..3 {
            let mut schedule = Schedule::new(1000.0, 3, number);
            for _ in 0..4 {
                all.push(schedule.due());
                schedule.advance();
            }
        }
        all.sort();
        let expected: Vec<_> = (0..12).map(Duration::from_millis).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn what_was_due_before_the_end_and_not_sent_is_counted() {
        let mut schedule = Schedule::new(100.0, 4, 1);
        // Due at 10, 50, 90, 130 ms ...
        assert_eq!(schedule.unsent(Duration::from_millis(100)), 3);
        schedule.advance();
        assert_eq!(schedule.unsent(Duration::from_millis(100)), 2);
        assert_eq!(schedule.unsent(Duration::from_millis(50)), 0);
        assert_eq!(schedule.unsent(Duration::from_millis(51)), 1);
    }

    #[test]
    fn nothing_is_unsent_when_everything_that_was_due_was_sent() {
        for rate in [3.0, 7.0, 3000.0, 99_999.0] {
            let end = Duration::from_millis(1100);
            let mut schedule = Schedule::new(rate, 1, 0);
            while schedule.due() < end {
                schedule.advance();
            }
            assert_eq!(schedule.unsent(end), 0, "{rate}");
        }
    }

    #[test]
    fn a_rate_beyond_all_bounds_is_still_a_schedule() {
        let mut schedule = Schedule::new(f64::MAX, 1, 0);
        schedule.advance();
        assert_eq!(schedule.due(), Duration::ZERO);
        let mut slow = Schedule::new(f64::MIN_POSITIVE, 1, 1);
        slow.advance();
        assert_eq!(slow.due(), Duration::MAX);
    }
}
