//! A number of places that can be changed while they are taken. Whoever finds none waits, and the listen
//! queue with it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::config::Engine;

/// How many sessions there are descriptors for; pipes of our own engine are got along without.
pub fn fitting(limit: u64, others: usize, engine: Engine) -> usize {
    let each = match engine {
        Engine::Splice | Engine::Copy => 2,
        // Two pipes besides, which it cannot do without.
        Engine::TokioSplice => 6,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    (limit.saturating_sub(others) / each).max(1)
}

/// Places for sessions, shared by all workers.
#[derive(Debug)]
pub struct Seats {
    most: AtomicUsize,
    taken: AtomicUsize,
    freed: Notify,
}

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a Seats);

// === impl Seats ===

impl Seats {
    /// So many; `None` is no limit.
    pub fn new(most: Option<usize>) -> Self {
        Self {
            most: AtomicUsize::new(most.unwrap_or(usize::MAX)),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// From now on so many; those that are taken stay so.
    pub fn limit(&self, most: Option<usize>) {
        self.most
            .store(most.unwrap_or(usize::MAX), Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    /// Whether all are taken.
    pub fn is_full(&self) -> bool {
        self.taken.load(Ordering::SeqCst) >= self.most.load(Ordering::SeqCst)
    }

    /// Takes one, if there is one.
    pub fn try_take(&self) -> Option<Taken<'_>> {
        let most = self.most.load(Ordering::SeqCst);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < most).then_some(taken + 1)
            })
            .ok()
            .map(|_| Taken(self))
    }

    /// Takes one although there may be none; whoever does gives it back by hand.
    pub fn take_at_any_rate(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one, as soon as there is one.
    pub async fn take(&self) -> Taken<'_> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look, so that one that is freed after it is not missed.
            freed.as_mut().enable();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            freed.await;
        }
    }

    /// Gives one back.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
        self.freed.notify_one();
    }
}

// === impl Taken ===

impl Taken<'_> {
    /// Keeps it beyond this borrow: whoever does gives it back by hand.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn polled<F: Future>(waiting: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        match waiting.poll(&mut context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn there_is_room_for_as_many_sessions_as_there_are_descriptors_and_for_one() {
        assert_eq!(fitting(1024, 64, Engine::Splice), 480);
        assert_eq!(fitting(1024, 64, Engine::TokioSplice), 160);
        assert_eq!(fitting(64, 100, Engine::Copy), 1);
    }

    #[test]
    fn whoever_waits_gets_the_seat_that_is_freed_and_no_other() {
        let seats = Seats::new(Some(2));
        let (one, _two) = (seats.try_take().unwrap(), seats.try_take().unwrap());
        assert!(seats.try_take().is_none() && seats.is_full());
        let mut first = pin!(seats.take());
        let mut second = pin!(seats.take());
        assert!(polled(first.as_mut()).is_none() && polled(second.as_mut()).is_none());
        drop(one);
        let taken = polled(first.as_mut());
        assert!(taken.is_some() && polled(second.as_mut()).is_none());
    }

    #[test]
    fn one_who_was_called_and_gave_up_leaves_the_seat_to_the_next() {
        let seats = Seats::new(Some(1));
        let one = seats.try_take().unwrap();
        let mut first = Box::pin(seats.take());
        let mut second = pin!(seats.take());
        assert!(polled(first.as_mut()).is_none() && polled(second.as_mut()).is_none());
        drop(one);
        drop(first);
        assert!(polled(second.as_mut()).is_some());
    }

    #[test]
    fn a_limit_can_be_raised_and_lowered_while_seats_are_taken() {
        let seats = Seats::new(Some(1));
        let one = seats.try_take().unwrap();
        let two = {
            let mut waiting = pin!(seats.take());
            assert!(polled(waiting.as_mut()).is_none());
            seats.limit(None);
            polled(waiting.as_mut()).expect("there is no limit any more")
        };
        seats.limit(Some(1));
        drop(one);
        assert!(seats.try_take().is_none());
        drop(two);
        assert!(seats.try_take().is_some());
    }
}
