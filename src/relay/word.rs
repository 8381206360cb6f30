//! What the sessions of a worker are told, all at once: to go on, to stand still, or to end.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// The last word; the end is the last for ever.
#[derive(Debug, Default)]
pub struct Word {
    /// A [`Said`].
    said: AtomicU32,
    told: Notify,
}

/// A word with its number: whoever was woken by another one waits anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said(u32);

const GO_ON: u32 = 0;
const STAND_STILL: u32 = 1;
const END: u32 = 2;
/// The bits of a [`Said`] that are the word; the others count.
const WORD: u32 = 3;

// === impl Word ===

impl Word {
    /// Aborts every session that runs or is still to come.
    pub fn end(&self) {
        self.say(END);
    }

    /// Has every session stop between two bytes, once it relays.
    pub fn stand_still(&self) {
        self.say(STAND_STILL);
    }

    /// Sessions that come to relaying go on.
    pub fn go_on(&self) {
        self.say(GO_ON);
    }

    /// What was said last.
    pub fn last(&self) -> Said {
        Said(self.said.load(Ordering::Relaxed))
    }

    /// Whether all are to end.
    pub fn is_end(&self) -> bool {
        self.last().0 & WORD == END
    }

    /// Whether all are to stand still.
    pub fn is_stand_still(&self) -> bool {
        self.last().is_stand_still()
    }

    /// Ready once all are to end. Whoever waits is woken by every word.
    pub async fn ended(&self) {
        loop {
            let told = self.told.notified();
            // Who is told after this look is told by the notification.
            if self.is_end() {
                return;
            }
            told.await;
        }
    }

    fn say(&self, word: u32) {
        let next = |said: u32| (said & WORD != END).then(|| (said | WORD).wrapping_add(1) | word);
        let (set, fetched) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.said.fetch_update(set, fetched, next).is_ok() {
            self.told.notify_waiters();
        }
    }
}

// === impl Said ===

impl Said {
    /// Whether all are to stand still.
    pub fn is_stand_still(self) -> bool {
        self.0 & WORD == STAND_STILL
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn the_end_is_the_last_word() {
        let word = Word::default();
        let mut ended = pin!(word.ended());
        let mut context = Context::from_waker(Waker::noop());
        word.stand_still();
        assert!(word.is_stand_still() && ended.as_mut().poll(&mut context).is_pending());
        word.end();
        word.go_on();
        assert!(word.is_end() && ended.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_word_that_is_said_again_is_another() {
        let word = Word::default();
        let first = word.last();
        word.go_on();
        let second = word.last();
        word.go_on();
        assert!(first != second && second != word.last() && !word.is_stand_still());
    }
}
