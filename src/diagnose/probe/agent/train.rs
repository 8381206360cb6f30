//! The end that sends a train: which segment is next, and when.

use std::time::Duration;

use super::payload::{Kind, Label};
use crate::diagnose::probe::order::{Dispatch, Spec, TooBig, Train};

/// A train that is being sent.
#[derive(Debug)]
pub struct Sender {
    train: Train,
    payload: u16,
    sent: u32,
    next_sequence: u32,
    /// Up to here nothing is under way any more: acknowledged, or given up.
    settled: u32,
    next_at: Duration,
    /// When something was last sent or acknowledged.
    moved_at: Duration,
}

/// How far a train that was held up may catch up at once, in segments.
const CATCH_UP: u32 = 4;

// === impl Sender ===

impl Sender {
    /// A train whose segments carry so many bytes each, to be sent from now on.
    pub fn new(train: Train, payload: u16, now: Duration) -> Self {
        Self {
            next_sequence: train.first.sequence,
            settled: train.first.sequence,
            train,
            payload,
            sent: 0,
            next_at: now,
            moved_at: now,
        }
    }

    /// The next segment, if it is due.
    pub fn poll(&mut self, now: Duration) -> Option<(Spec, Label)> {
        if self.sent == self.train.count || now < self.due() {
            return None;
        }
        if self.is_held_up() {
            self.settled = self.next_sequence; // no acknowledgement came: go on without it
        }
        let is_last = self.sent + 1 == self.train.count;
        let spec = Spec {
            sequence: self.next_sequence,
            payload: self.payload,
            ..self.train.first.clone()
        };
        let length = u32::from(self.payload);
        self.next_sequence = self.next_sequence.wrapping_add(length);
        let asks = is_last || self.is_held_up();
        let label = Label {
            kind: if asks { Kind::TrainAsks } else { Kind::Train },
            number: self.train.number.wrapping_add(self.sent),
            sent_us: now.as_micros() as u32,
            length: self.train.length,
        };
        self.sent += 1;
        let gap = Duration::from_micros(self.train.gap_us.into());
        self.next_at = (self.next_at + gap).max(now.saturating_sub(gap * CATCH_UP));
        self.moved_at = now;
        Some((spec, label))
    }

    /// The other end has all up to here, in this end's numbers.
    pub fn acknowledged(&mut self, now: Duration, by: u32) {
        let forward = by.wrapping_sub(self.settled);
        if forward != 0 && forward <= self.under_way() {
            self.settled = by;
            self.moved_at = now;
        }
    }

    /// When the next segment is to be sent, or the last acknowledgement is no longer waited for.
    pub fn due(&self) -> Duration {
        let patience = Duration::from_micros(self.train.patience_us.into());
        if self.sent == self.train.count || self.is_held_up() {
            self.next_at.max(self.moved_at + patience)
        } else {
            self.next_at
        }
    }

    /// Whether all is sent, and acknowledged as far as that is waited for.
    pub fn is_done(&self, now: Duration) -> bool {
        self.sent == self.train.count && (self.under_way() == 0 || now >= self.due())
    }

    /// What was sent.
    pub fn dispatch(&self, too_big: Option<TooBig>) -> Dispatch {
        Dispatch {
            sent: self.sent,
            too_big,
            next_sequence: self.next_sequence,
        }
    }

    fn under_way(&self) -> u32 {
        self.next_sequence.wrapping_sub(self.settled)
    }

    /// Whether one more would be more than may be under way. One always may.
    fn is_held_up(&self) -> bool {
        let under_way = self.under_way();
        under_way > 0 && under_way + u32::from(self.payload) > self.train.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn train(count: u32, window: u32) -> Sender {
        let train = Train {
            first: Spec {
                sequence: u32::MAX - 150,
                ..Spec::default()
            },
            number: 7,
            count,
            length: 140,
            window,
            patience_us: 10_000,
            gap_us: 1000,
        };
        Sender::new(train, 100, Duration::ZERO)
    }

    #[test]
    fn segments_follow_one_another_in_number_and_sequence_at_their_pace() {
        let mut sender = train(3, 10_000);
        let mut seen = Vec::new();
        for ms in 0..3 {
            while let Some((spec, label)) = sender.poll(MS * ms) {
                seen.push((ms, label.number, spec.sequence, label.kind));
            }
        }
        let first = u32::MAX - 150;
        assert_eq!(
            seen,
            [
                (0, 7, first, Kind::Train),
                (1, 8, first.wrapping_add(100), Kind::Train),
                (2, 9, first.wrapping_add(200), Kind::TrainAsks)
            ]
        );
        assert!(!sender.is_done(MS * 3));
        sender.acknowledged(MS * 3, first.wrapping_add(300));
        assert!(sender.is_done(MS * 3));
        assert_eq!(sender.dispatch(None).next_sequence, first.wrapping_add(300));
    }

    #[test]
    fn no_more_is_under_way_than_the_window_until_patience_ends() {
        let mut sender = train(10, 250);
        let sent = |sender: &mut Sender, until: u32| -> usize {
            (0..until)
                .filter(|ms| sender.poll(MS * *ms).is_some())
                .count()
        };
        assert_eq!(sent(&mut sender, 5), 2);
        assert_eq!(sender.due(), MS * 11);
        assert_eq!(sender.poll(MS * 10), None);
        sender.acknowledged(MS * 10, (u32::MAX - 150).wrapping_add(100));
        assert!(sender.poll(MS * 10).is_some());
        assert!(sender.poll(MS * 19).is_none());
        let (_, label) = sender.poll(MS * 20).unwrap();
        assert_eq!(label.number, 10);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_counts_for_nothing() {
        let mut sender = train(10, 250);
        assert!(sender.poll(Duration::ZERO).is_some() && sender.poll(MS).is_some());
        sender.acknowledged(MS, 5_000_000);
        assert!(sender.poll(MS * 2).is_none());
    }

    #[test]
    fn a_train_that_was_held_up_does_not_come_all_at_once() {
        let mut sender = train(100, 100_000);
        assert!(sender.poll(Duration::ZERO).is_some());
        let mut burst = 0;
        while sender.poll(MS * 50).is_some() {
            burst += 1;
        }
        assert!((2..=CATCH_UP + 2).contains(&burst), "{burst}");
    }
}
