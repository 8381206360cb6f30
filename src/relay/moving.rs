//! A relay whose sessions go to another process, or come from one: what its main thread has the workers do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::handle::Handle;
use super::listen::Served;
use super::parcel::{Carrier, NotedDebt, Parcel};
use super::still::Taken;
use super::word::Word;
use super::worker::Order;
use crate::config::Source;
use crate::metrics::Recorders;

/// Has the workers of a relay stand still, hand over and go on. Clones are of the same relay; to be used on a thread that
/// may wait.
#[derive(Debug, Clone)]
pub struct Move {
    relay: Handle,
    words: Vec<Arc<Word>>,
    served: Vec<Served>,
}

// === impl Move ===

impl Move {
    pub(super) fn new(relay: Handle, words: Vec<Arc<Word>>, served: Vec<Served>) -> Self {
        Self {
            relay,
            words,
            served,
        }
    }

    /// Accepts nobody from now on, and has every session stop between two bytes; ready when all have that relay. How
    /// many that are. Those that are still being opened stop when they come to relaying.
    pub fn stand_still(&self) -> usize {
        self.words.iter().for_each(|word| word.stand_still());
        let answers = self.ask(Order::StandStill);
        answers.into_iter().sum()
    }

    /// Accepts nobody from now on; sessions go on.
    pub fn shut(&self) {
        self.tell(|| Order::Shut);
    }

    /// Brings every session that stands still, and was not brought before, to another process; how many. They still
    /// belong to this one.
    ///
    /// # Errors
    /// If one did not get there.
    pub fn carry(&self, carrier: Box<dyn Carrier>) -> io::Result<usize> {
        let carrier = Arc::new(Mutex::new(carrier));
        let mut carried = 0;
        for worker in self.relay.workers() {
            let (answer, answered) = oneshot::channel();
            // One that has failed has no sessions.
            if worker.send(Order::Carry(carrier.clone(), answer)).is_ok() {
                carried += answered.blocking_recv().unwrap_or(Ok(0))?;
            }
        }
        Ok(carried)
    }

    /// Takes everything back: accepts, and goes on with every session. What was carried must not have been touched.
    pub fn go_on(&self) {
        self.words.iter().for_each(|word| word.go_on());
        self.tell(|| Order::GoOn);
    }

    /// Lets go of the sessions that were carried, and of the listeners; how many sessions.
    pub fn let_go(&self) -> usize {
        self.ask(Order::LetGo).into_iter().sum()
    }

    /// Goes on with sessions of another process, each on the worker with the fewest. Those of a listener that there is
    /// not are handed back, unchanged.
    pub fn take_over(&self, parcels: Vec<Parcel<OwnedFd>>) -> Vec<Parcel<OwnedFd>> {
        let workers = self.relay.workers();
        let mut dealt: Vec<Vec<Taken>> = workers.iter().map(|_| Vec::new()).collect();
        let mut strangers = Vec::new();
        for parcel in parcels {
            match self.served(&parcel.note.listener) {
                Some(served) => dealt[self.relay.take_least()].push(Taken { served, parcel }),
                None => strangers.push(parcel),
            }
        }
        for (worker, sessions) in workers.iter().zip(dealt) {
            // One that has failed ends the relay.
            let _ = worker.send(Order::TakeOver(sessions));
        }
        strangers
    }

    /// Accepts from now on.
    pub fn begin(&self) {
        self.tell(|| Order::GoOn);
    }

    /// The names of the listeners, in the order of the settings.
    pub fn listeners(&self) -> &[String] {
        self.relay.names()
    }

    /// Whether there is a listener of this name.
    pub fn serves(&self, listener: &str) -> bool {
        self.served(listener).is_some()
    }

    /// Sessions that are here, those included that are being opened.
    pub fn sessions(&self) -> usize {
        self.relay.live()
    }

    /// Everything that was recorded since the start, or since this was asked last; from now on it is recorded as if
    /// the relay had just begun.
    pub async fn take_records(&self) -> Recorders {
        self.relay.take_all().await
    }

    /// Adds what was recorded elsewhere to what is told of this relay.
    pub async fn add_records(&self, recorders: &Recorders) {
        self.relay.add(recorders).await;
    }

    /// What sources owe here, where the rate of new connections is limited.
    pub fn debts(&self) -> Vec<NotedDebt> {
        let now = Instant::now();
        let of = |served: &Served| {
            let listener = served.settings.now().name.clone();
            let noted = move |(source, owes): (Source, Duration)| NotedDebt {
                listener: listener.clone(),
                source: source.network(),
                owes_us: u64::try_from(owes.as_micros()).unwrap_or(u64::MAX),
            };
            served.gate.debts(now).into_iter().map(noted)
        };
        self.served.iter().flat_map(of).collect()
    }

    /// Takes into account what sources owe elsewhere. Of a listener that there is not, nothing.
    pub fn owe(&self, debts: &[NotedDebt]) {
        let now = Instant::now();
        for debt in debts {
            if let Some(served) = self.served(&debt.listener) {
                let owes = Duration::from_micros(debt.owes_us);
                served.gate.owes(debt.source, owes, now);
            }
        }
    }

    fn served(&self, listener: &str) -> Option<Served> {
        let mut all = self.served.iter();
        all.find(|served| served.settings.now().name == listener)
            .cloned()
    }

    fn tell(&self, order: impl Fn() -> Order) {
        for worker in self.relay.workers() {
            // One that has failed ends the relay.
            let _ = worker.send(order());
        }
    }

    /// What each worker answers, all of them at a time.
    fn ask<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Vec<T> {
        let asked = |worker: &mpsc::UnboundedSender<Order>| {
            let (answer, answered) = oneshot::channel();
            worker.send(order(answer)).ok()?;
            Some(answered)
        };
        let answers: Vec<_> = self.relay.workers().iter().filter_map(asked).collect();
        let heard = answers.into_iter().map(oneshot::Receiver::blocking_recv);
        heard.filter_map(Result::ok).collect()
    }
}
