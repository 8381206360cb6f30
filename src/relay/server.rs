//! Starts the workers, drains them, and gathers what they recorded.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::mpsc;

use super::cpus;
use super::handle::{Asked, Handle};
use super::holder::{self, Queue};
use super::listen::{Listeners, Listening};
use super::moving::Move;
use super::pipes::PipeBudget;
use super::reload::Reloadable;
use super::seats;
use super::strangers::Strangers;
use super::witness::{Opening, Openings, Witness};
use super::word::Word;
use super::worker::{self, Loads, Order, Start};
use crate::config::{Histograms, Listener, Process, Settings};
use crate::packet::nflog::{Logged, Seen};

/// A relay whose workers run.
#[derive(Debug)]
pub struct Server {
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// What can be asked while it runs.
    handle: Handle,
    loads: Arc<Loads>,
    /// One for each worker: they are registered with for each session, which would have the workers wait for each other.
    words: Vec<Arc<Word>>,
    /// What each worker is shown of its legs.
    shown: Vec<mpsc::Sender<Seen>>,
    openings: Arc<Openings>,
    strangers: Strangers,
    reloadable: Reloadable,
}

/// When a relay begins to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// At its start.
    AtOnce,
    /// When it is [told to](Move::begin): until then another process accepts.
    WhenTold,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every session ended by itself.
    Drained,
    /// So many were reset at the deadline.
    Aborted(usize),
}

/// Segments that a worker may not have seen yet.
const SHOWN: usize = 1024;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A handshake that was under way when the rules went is given this long to reach its accept.
const HANDSHAKES_WITHIN: Duration = Duration::from_millis(200);
/// Aborting a session takes one wake-up; a worker that needs longer than this is stuck.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// Descriptors that come after the start and are no session's: of runtimes, programs that are run, names that
/// are looked up.
const SPARE: usize = 64;
/// What a worker opens for itself beyond the first few: its runtime, pipes that are kept.
const A_WORKER: usize = 4;

fn open_descriptors() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

impl Server {
    /// Starts one thread for each worker that there are listeners for, and one for the queue, if there is
    /// one.
    ///
    /// # Errors
    /// If the system gives no thread, or a worker does not come up.
    pub fn start(
        settings: &Process,
        listeners: Listeners,
        queue: Option<Queue>,
        begins: Begins,
    ) -> io::Result<Self> {
        let workers = listeners.workers();
        let budget = PipeBudget::new(settings.pipe_budget);
        let loads = Loads::new(workers);
        let words: Vec<_> = (0..workers).map(|_| Arc::new(Word::default())).collect();
        let openings = Arc::new(Openings::default());
        let gates = listeners.gates().clone();
        gates.doors_are(listeners.doors());
        let reloadable = Reloadable::of(&listeners)?;
        let served = listeners.served().to_vec();
        let held_most = queue.as_ref().map_or(0, Queue::most);
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            let others = open_descriptors()? + workers * A_WORKER + SPARE + held_most;
            gates.ceiling_is(seats::fitting(limit, others, settings.engine));
        }
        gates.limit(settings.max_connections);
        let (ready, came_up) = std::sync::mpsc::channel();
        let (orders, inboxes): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let (shown, to_see): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(SHOWN)).unzip();
        let held = queue.as_ref().map(Queue::held);
        let cpus = cpus::assigned(settings.pin_workers, workers);
        let mut threads: Vec<_> = listeners
            .into_workers()
            .zip(inboxes)
            .zip(to_see)
            .enumerate()
            .map(|(index, ((listeners, inbox), shown))| {
                let start = Start {
                    index,
                    cpu: cpus[index],
                    listeners,
                    served: served.len(),
                    histograms: settings.histograms == Histograms::On,
                    engine: settings.engine,
                    budget: budget.clone(),
                    loads: loads.clone(),
                    held: held.clone(),
                    orders: inbox,
                    shown,
                    peers: orders.clone(),
                    word: words[index].clone(),
                    openings: openings.clone(),
                    accepts: begins == Begins::AtOnce,
                    ready: ready.clone(),
                };
                std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || worker::run(start))
            })
            .collect::<io::Result<_>>()?;
        let mut holder = None;
        let mut expected = workers;
        if let (Some(queue), Some(held)) = (queue, held) {
            let (order, inbox) = mpsc::unbounded_channel();
            threads.push(
                std::thread::Builder::new()
                    .name("holder".to_owned())
                    .spawn(move || queue.serve(held, inbox, &ready))?,
            );
            holder = Some(order);
            expected += 1;
        } else {
            drop(ready);
        }
        let names = served
            .iter()
            .map(|served| served.settings.now().name.clone());
        let handle = Handle::new(Asked {
            workers: orders,
            holder,
            names: names.collect(),
            histograms: settings.histograms == Histograms::On,
            budget,
            loads: loads.clone(),
        });
        let server = Self {
            threads,
            strangers: Strangers::new(settings.numbers.dial_mark, handle.clone()),
            handle,
            loads,
            words,
            shown,
            openings,
            reloadable,
        };
        if came_up.into_iter().take(expected).count() < expected {
            server.stop()?;
            return Err(io::Error::other("a worker did not come up"));
        }
        Ok(server)
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.words.len()
    }

    /// Sessions that run now.
    pub fn sessions(&self) -> usize {
        self.loads.total()
    }

    /// What can be asked of it while it runs, from any thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sees whether the kernel takes these settings; changes nothing.
    ///
    /// # Errors
    /// What it says of the first that it does not take.
    pub fn check(&self, listeners: &[Listener]) -> io::Result<()> {
        self.reloadable.check(listeners)
    }

    /// Has sessions that begin from now on go by these settings, whose names and ways in are the same. Those
    /// that run keep theirs.
    ///
    /// # Errors
    /// If the kernel does not take what it took in [`Server::check`].
    pub fn reload(&self, settings: &Settings) -> io::Result<()> {
        self.reloadable.adopt(settings)
    }

    /// What moves its sessions from or to another process.
    pub fn moving(&self) -> Move {
        Move::new(
            self.handle.clone(),
            self.words.clone(),
            self.reloadable.served().to_vec(),
        )
    }

    /// Its listening sockets, listener by listener and worker by worker.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn listening(&self) -> io::Result<Vec<Listening>> {
        self.reloadable.listening()
    }

    /// Listens no more, here; another process has the same sockets.
    pub fn let_go_of_listeners(&self) {
        self.reloadable.close();
    }

    /// Passes on what the rules show, until it can no longer be read.
    pub async fn watch(&self, witness: &Witness) -> io::Error {
        let tell = |logged: Logged| {
            let seen = match logged {
                Logged::Leg(seen) => seen,
                Logged::Stranger { by, from, to } => return self.strangers.met(by, from, to),
            };
            if let Some(offer) = seen.offer {
                let dscp = seen.dscp;
                return self
                    .openings
                    .keep(seen.from, seen.to, Opening { offer, dscp });
            }
            for worker in &self.shown {
                // One that is gone has no legs, and one that is too busy will be told again.
                let _ = worker.try_send(seen);
            }
        };
        witness.watch(tell).await
    }

    /// Waits until a worker has ended, which none should before it is told to.
    pub async fn failed(&self) {
        let mut ended: Vec<_> = self
            .handle
            .workers()
            .iter()
            .map(|worker| Box::pin(worker.closed()))
            .collect();
        let any_worker = poll_fn(|cx| {
            match ended
                .iter_mut()
                .any(|worker| worker.as_mut().poll(cx).is_ready())
            {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let holder = async {
            match self.handle.holder() {
                Some(holder) => holder.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = any_worker => {}
            () = holder => {}
        }
    }

    /// Takes no client that comes of itself any more, and waits until no session is left, at most for
    /// `deadline`; then resets those that are.
    pub async fn drain(&self, deadline: Duration) -> Outcome {
        self.reloadable.close();
        for worker in self.handle.workers() {
            // One that is gone listens no more.
            let _ = worker.send(Order::Close);
        }
        if let Some(holder) = self.handle.holder() {
            let _ = holder.send(holder::Order::Close);
        }
        if tokio::time::timeout(deadline, self.idle()).await.is_ok() {
            return Outcome::Drained;
        }
        let left = self.sessions();
        if left == 0 {
            return Outcome::Drained;
        }
        self.words.iter().for_each(|word| word.end());
        if tokio::time::timeout(ABORT_WITHIN, self.idle())
            .await
            .is_err()
        {
            tracing::error!(
                sessions = self.sessions(),
                "sessions did not end when told to"
            );
        }
        Outcome::Aborted(left)
    }

    /// Waits until no session is left, and none has begun for a while.
    async fn idle(&self) {
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < HANDSHAKES_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.sessions() > 0 {
                idle_since = Instant::now();
            }
        }
    }

    /// Ends the workers and waits for their threads.
    ///
    /// # Errors
    /// The first error that a worker ended with.
    pub fn stop(self) -> io::Result<()> {
        for worker in self.handle.workers() {
            // One that is gone needs no telling.
            let _ = worker.send(Order::Stop);
        }
        if let Some(holder) = self.handle.holder() {
            let _ = holder.send(holder::Order::Stop);
        }
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| io::Error::other("a worker panicked"))??;
        }
        Ok(())
    }
}
