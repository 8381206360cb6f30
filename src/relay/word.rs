//! What the sessions of a worker are told, all at once: to go on, to stand still, or to end.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// The last word; the end is the last for ever.
#[derive(Debug, Default)]
pub struct Word {
    said: AtomicU8,
    told: Notify,
}

const GO_ON: u8 = 0;
const STAND_STILL: u8 = 1;
const END: u8 = 2;

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

    /// Whether all are to end.
    pub fn is_end(&self) -> bool {
        self.said.load(Ordering::Relaxed) == END
    }

    /// Whether all are to stand still.
    pub fn is_stand_still(&self) -> bool {
        self.said.load(Ordering::Relaxed) == STAND_STILL
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

    fn say(&self, word: u8) {
        let before = self.said.load(Ordering::Relaxed);
        if before != END {
            self.said.store(word, Ordering::Relaxed);
            self.told.notify_waiters();
        }
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
}
