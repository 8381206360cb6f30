//! How many connections there may be at a time, and who makes room for one more. Pure but for who is told.
//!
//! A connection takes a place when it is accepted. While a request is being answered it keeps it; otherwise whoever
//! has kept silent for the longest (half a request, none, or an answer that is not read) makes room for the next one.
//! So nobody who says nothing keeps out those who ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Places that are shared by the sockets of one kind.
#[derive(Debug, Clone)]
pub(super) struct Places {
    table: Arc<Mutex<Table>>,
    freed: Arc<Notify>,
}

/// One place, taken until this is dropped.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    places: Places,
    guest: Guest,
    leave: Arc<Notify>,
}

/// Later ones have higher numbers.
type Guest = u64;

/// Who is here, and since when each is silent: a number that grows; `None` while it is being answered.
#[derive(Debug)]
struct Table {
    most: usize,
    next: u64,
    guests: BTreeMap<Guest, (Option<u64>, Arc<Notify>)>,
}

// === impl Table ===

impl Table {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Lets one in, if there is room or somebody can be shown out, who is told; nobody if all are being answered.
    fn arrives(&mut self) -> Option<(Guest, Arc<Notify>)> {
        if self.guests.len() >= self.most {
            let silent = self.guests.iter().filter_map(|(guest, (since, leave))| {
                since.map(|since| (since, *guest, leave.clone()))
            });
            let (_, guest, leave) = silent.min_by_key(|(since, ..)| *since)?;
            leave.notify_one();
            self.guests.remove(&guest);
        }
        let guest = self.next();
        let leave = Arc::new(Notify::new());
        self.guests.insert(guest, (Some(guest), leave.clone()));
        Some((guest, leave))
    }

    fn is_answered(&mut self, guest: Guest, answered: bool) {
        let since = (!answered).then(|| self.next());
        if let Some((silent, _)) = self.guests.get_mut(&guest) {
            *silent = since;
        }
    }
}

// === impl Places ===

impl Places {
    pub fn new(most: usize) -> Self {
        Self {
            table: Arc::new(Mutex::new(Table {
                most,
                next: 0,
                guests: BTreeMap::new(),
            })),
            freed: Arc::new(Notify::new()),
        }
    }

    /// Takes a place, as soon as there is one.
    pub async fn take(&self) -> Place {
        loop {
            if let Some((guest, leave)) = self.change(Table::arrives) {
                return Place(Arc::new(Taken {
                    places: self.clone(),
                    guest,
                    leave,
                }));
            }
            // A permit that is left over only means one more look.
            self.freed.notified().await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Place ===

impl Place {
    /// Ready once it has to make room.
    pub async fn is_shown_out(&self) {
        self.0.leave.notified().await;
    }

    /// Keeps it for as long as this takes.
    pub async fn answering<T>(&self, answer: impl Future<Output = T>) -> T {
        let Taken { places, guest, .. } = &*self.0;
        places.change(|table| table.is_answered(*guest, true));
        let answer = answer.await;
        places.change(|table| table.is_answered(*guest, false));
        places.freed.notify_one();
        answer
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.change(|table| table.guests.remove(&self.guest));
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn table(most: usize) -> Table {
        Table {
            most,
            next: 0,
            guests: BTreeMap::new(),
        }
    }

    fn arrives(table: &mut Table) -> Guest {
        table.arrives().expect("there is room").0
    }

    #[test]
    fn the_one_that_is_silent_for_the_longest_makes_room() {
        let mut table = table(3);
        let [one, two, three] = [(); 3].map(|()| arrives(&mut table));
        table.is_answered(one, true);
        table.is_answered(one, false);
        arrives(&mut table);
        assert!(!table.guests.contains_key(&two));
        arrives(&mut table);
        assert!(!table.guests.contains_key(&three));
        arrives(&mut table);
        assert!(!table.guests.contains_key(&one));
        assert_eq!(table.guests.len(), 3);
    }

    #[test]
    fn nobody_who_is_being_answered_is_shown_out() {
        let mut table = table(2);
        let [one, two] = [(); 2].map(|()| arrives(&mut table));
        table.is_answered(one, true);
        table.is_answered(two, true);
        assert!(table.arrives().is_none());
        table.is_answered(one, false);
        arrives(&mut table);
        assert_eq!(table.guests.len(), 2);
        assert!(table.guests.contains_key(&two));
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_the_next_one_that_is_free() {
        let places = Places::new(1);
        let place = places.take().await;
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let busy = place.answering(answered);
        let next = places.take();
        tokio::pin!(busy, next);
        let both = std::future::poll_fn(|cx| {
            let busy = busy.as_mut().poll(cx).is_pending();
            Poll::Ready(busy && next.as_mut().poll(cx).is_pending())
        });
        assert!(both.await, "one is being answered, the other waits");
        answer.send(()).unwrap();
        busy.await.unwrap();
        let _next = next.await;
        place.is_shown_out().await;
    }
}
