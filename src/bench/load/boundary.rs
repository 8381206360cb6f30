//! When a thread has something to tell: the end of the warm-up, of each interval, of the run. Pure.

use std::time::{Duration, Instant};

use super::clock::Clock;

/// The times at which a thread has something to tell, one after the other.
pub(super) struct Boundary {
    /// The run, which may be cut short.
    pub clock: Clock,
    interval: Duration,
    passed: Passed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    Nothing,
    /// The warm-up, and so many intervals.
    Intervals(u32),
    Stop,
    GiveUp,
}

/// What has just been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Measured,
    /// The end of this interval, which is not the last.
    Interval(usize),
    Stop,
    GiveUp,
}

// === impl Boundary ===

impl Boundary {
    pub fn new(clock: Clock, interval: Duration) -> Self {
        Self {
            clock,
            interval,
            passed: Passed::Nothing,
        }
    }

    /// The time of the next mark.
    pub fn next(&self) -> Instant {
        match self.passed {
            Passed::Nothing => self.clock.measured,
            Passed::Intervals(n) => {
                let end = self.clock.measured + self.interval * (n + 1);
                end.min(self.clock.stop)
            }
            Passed::Stop | Passed::GiveUp => self.clock.give_up,
        }
    }

    /// The next mark, if its time has come.
    pub fn pass(&mut self, now: Instant) -> Option<Mark> {
        if now < self.next() || self.passed == Passed::GiveUp {
            return None;
        }
        let (mark, passed) = match self.passed {
            Passed::Nothing => (Mark::Measured, Passed::Intervals(0)),
            Passed::Intervals(_) if self.next() == self.clock.stop => (Mark::Stop, Passed::Stop),
            Passed::Intervals(n) => (Mark::Interval(n as usize), Passed::Intervals(n + 1)),
            Passed::Stop | Passed::GiveUp => (Mark::GiveUp, Passed::GiveUp),
        };
        self.passed = passed;
        Some(mark)
    }

    /// The number of the last interval.
    pub fn last(&self) -> usize {
        let measured = self.clock.stop.duration_since(self.clock.measured);
        let whole = measured.as_nanos().div_ceil(self.interval.as_nanos());
        usize::try_from(whole).unwrap_or(usize::MAX).max(1) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(start: Instant) -> Clock {
        let ms = Duration::from_millis;
        Clock {
            start,
            measured: start + ms(10),
            stop: start + ms(35),
            last: start + ms(40),
            give_up: start + ms(50),
        }
    }

    #[test]
    fn the_marks_come_in_order_and_the_last_interval_is_told_with_the_end() {
        let start = Instant::now();
        let mut boundary = Boundary::new(clock(start), Duration::from_millis(10));
        let mut marks = Vec::new();
        for ms in 0..60 {
            while let Some(mark) = boundary.pass(start + Duration::from_millis(ms)) {
                marks.push((ms, mark));
            }
        }
        assert_eq!(
            marks,
            [
                (10, Mark::Measured),
                (20, Mark::Interval(0)),
                (30, Mark::Interval(1)),
                (35, Mark::Stop),
                (50, Mark::GiveUp),
            ]
        );
        assert_eq!(boundary.last(), 2);
    }

    #[test]
    fn a_thread_that_was_late_passes_every_mark() {
        let start = Instant::now();
        let mut boundary = Boundary::new(clock(start), Duration::from_millis(10));
        let late = start + Duration::from_secs(1);
        let marks: Vec<Mark> = std::iter::from_fn(|| boundary.pass(late)).collect();
        assert_eq!(marks.len(), 5);
    }

    #[test]
    fn a_run_that_is_cut_short_ends_in_the_interval_it_is_in() {
        let start = Instant::now();
        let mut boundary = Boundary::new(clock(start), Duration::from_millis(10));
        let now = start + Duration::from_millis(22);
        while boundary.pass(now).is_some() {}
        boundary.clock = boundary.clock.cut(now);
        assert_eq!(boundary.pass(now), Some(Mark::Stop));
        assert_eq!(boundary.pass(now), None);
        assert_eq!(boundary.last(), 1);
    }
}
