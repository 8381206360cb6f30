//! Packets that are not due yet.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Packets of one direction by the time they are due; those due together leave as they came.
#[derive(Debug, Default)]
pub struct Schedule {
    waiting: BinaryHeap<Reverse<Entry>>,
    next_number: u64,
}

#[derive(Debug)]
struct Entry {
    due: Duration,
    number: u64,
    packet: Vec<u8>,
}

/// 200 MB of full packets: a gigabit per second delayed by more than a second.
const CAPACITY: usize = 131_072;

// === impl Schedule ===

impl Schedule {
    /// Keeps a packet until it is due; `false`, and it is lost, when too many wait already.
    pub fn push(&mut self, due: Duration, packet: Vec<u8>) -> bool {
        if self.waiting.len() >= CAPACITY {
            return false;
        }
        self.waiting.push(Reverse(Entry {
            due,
            number: self.next_number,
            packet,
        }));
        self.next_number += 1;
        true
    }

    /// The next packet that is due by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(entry)| entry.packet)
    }

    /// When the next packet is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(entry)| entry.due)
    }

    /// How many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

// === impl Entry ===

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn packets_leave_when_they_are_due_and_not_before() {
        let mut schedule = Schedule::default();
        schedule.push(ms(3), vec![3]);
        schedule.push(ms(1), vec![1]);
        assert_eq!(schedule.next_due(), Some(ms(1)));
        assert_eq!(schedule.pop(ms(0)), None);
        assert_eq!(schedule.pop(ms(2)), Some(vec![1]));
        assert_eq!(schedule.pop(ms(2)), None);
        assert_eq!(schedule.pop(ms(3)), Some(vec![3]));
        assert!(schedule.is_empty());
    }

    #[test]
    fn packets_due_together_keep_their_order() {
        let mut schedule = Schedule::default();
        for i in 0..100 {
            schedule.push(ms(1), vec![i]);
        }
        assert!((0..100).all(|i| schedule.pop(ms(1)) == Some(vec![i])));
    }

    #[test]
    fn a_full_schedule_says_so() {
        let mut schedule = Schedule::default();
        assert!((0..CAPACITY).all(|_| schedule.push(ms(1), Vec::new())));
        assert!(!schedule.push(ms(0), Vec::new()));
        assert_eq!(schedule.len(), CAPACITY);
    }
}
