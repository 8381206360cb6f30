//! Since when a message that is read now has been waiting in this worker.
//!
//! Reading the clock is half of what recording costs. So it is read when the worker is woken, which is when all
//! that it was woken for has begun to wait, and once for each message, at its end.

use std::cell::Cell;
use std::time::Instant;

/// The clock of a worker's messages.
#[derive(Debug)]
pub struct Wake {
    /// When the worker was woken last.
    at: Instant,
    /// When the last message ended.
    latest: Instant,
    /// How many sessions have had their turn since the worker was woken.
    turns: u32,
}

/// After so many tasks the runtime asks the kernel for news without going to sleep, and nobody is told of that: what
/// has its turn later is counted from there, not from the wake-up. Other tasks than sessions have their turns, too,
/// so the kernel may have been asked a little before, and a message counted from before it came.
pub const TASKS: u32 = 61;

thread_local! {
    /// When this thread was woken, until somebody wants to know.
    static WOKEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Takes note that this thread has just been woken.
pub fn woken() {
    WOKEN.set(Some(Instant::now()));
}

// === impl Wake ===

impl Wake {
    /// A session has its turn.
    pub fn turn(&mut self) {
        if let Some(at) = WOKEN.take() {
            self.at = at;
            self.turns = 0;
        } else if self.turns == TASKS {
            self.at = self.latest;
            self.turns = 0;
        }
        self.turns += 1;
    }

    /// The beginning of a message that has become readable: its direction had waited for it.
    pub fn awaited(&self) -> Instant {
        self.at
    }

    /// The beginning of a message that was there when the one before it had been read.
    pub fn next(&self) -> Instant {
        self.at.max(self.latest)
    }

    /// The end of a message: now.
    pub fn end(&mut self) -> Instant {
        self.latest = Instant::now();
        self.latest
    }
}

impl Default for Wake {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            at: now,
            latest: now,
            turns: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_wake_up_has_brought_begins_with_it_and_what_follows_with_the_end_of_the_one_before()
     {
        let mut wake = Wake::default();
        woken();
        wake.turn();
        let first = wake.awaited();
        let end = wake.end();
        assert!(first < end);
        assert_eq!(wake.awaited(), first);
        assert_eq!(wake.next(), end);
        woken();
        wake.turn();
        assert!(wake.next() > end, "it has slept in between");
    }

    #[test]
    fn a_worker_that_never_sleeps_counts_from_no_long_ago() {
        let mut wake = Wake::default();
        woken();
        wake.turn();
        let first = wake.awaited();
        for _ in 1..TASKS {
            wake.end();
            wake.turn();
            assert_eq!(wake.awaited(), first);
        }
        let end = wake.end();
        wake.turn();
        assert_eq!(wake.awaited(), end);
    }
}
