//! What can be asked of a relay while it runs, from any thread.
//!
//! Workers are asked by message, and answer between two sessions' turns. Each gives what it has recorded since it was
//! asked last, in exchange for empty recorders; what was given is added up here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::holder;
use super::pipes::PipeBudget;
use super::roll_call::RollCall;
use super::view::{Query, View};
use super::worker::{Loads, Order, Told};
use crate::metrics::{Counters, Gauges, Recorded, Recorders};

/// What can be asked of a relay while it runs. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

/// Whom to ask, and what does not change.
#[derive(Debug)]
pub struct Asked {
    /// What can be said to each worker.
    pub workers: Vec<mpsc::UnboundedSender<Order>>,
    /// What can be said to the thread that holds opening packets, if there is one.
    pub holder: Option<mpsc::UnboundedSender<holder::Order>>,
    /// The names of the listeners, in the order of the settings.
    pub names: Vec<String>,
    /// Whether times and sizes are recorded.
    pub histograms: bool,
    /// What pipes may come to.
    pub budget: Arc<PipeBudget>,
    /// How many sessions each worker has.
    pub loads: Arc<Loads>,
}

#[derive(Debug)]
struct Shared {
    asked: Asked,
    gathered: Mutex<Gathered>,
    /// One look at the sessions at a time.
    turns: Semaphore,
}

/// What the workers have given.
#[derive(Debug)]
struct Gathered {
    /// Since the start.
    all: Recorders,
    /// Since somebody asked for an interval, if somebody does.
    interval: Option<Recorders>,
    /// What each thread has been asked and has not answered: the workers, and behind them the holder.
    asked: Vec<Option<oneshot::Receiver<Told>>>,
    /// Empty ones, for the next exchange.
    empty: Vec<Recorders>,
}

/// Somebody who records.
#[derive(Debug, Clone, Copy)]
enum Thread<'a> {
    Worker(&'a mpsc::UnboundedSender<Order>),
    Holder(&'a mpsc::UnboundedSender<holder::Order>),
}

/// A thread that does not answer for so long is told as one that is silent.
const WITHIN: Duration = Duration::from_secs(2);

// === impl Handle ===

impl Handle {
    /// Of workers that have nothing recorded yet.
    pub fn new(asked: Asked) -> Self {
        let threads = asked.workers.len() + 1;
        let gathered = Mutex::new(Gathered {
            all: Recorders::new(asked.names.len()),
            interval: None,
            asked: (0..threads).map(|_| None).collect(),
            empty: vec![],
        });
        let turns = Semaphore::new(1);
        Self(Arc::new(Shared {
            asked,
            gathered,
            turns,
        }))
    }

    /// Sessions that run now, those that are still being dialled for included.
    pub fn live(&self) -> usize {
        self.0.asked.loads.total()
    }

    /// What all workers have recorded since the start, and how things stand.
    pub async fn recorded(&self) -> Recorded {
        let mut gathered = self.0.gathered.lock().await;
        let gauges = self.gather(&mut gathered).await;
        self.told(gathered.all.clone(), gauges)
    }

    /// What they have recorded since this was asked last; since the start, if it never was.
    pub async fn interval(&self) -> Recorded {
        let mut gathered = self.0.gathered.lock().await;
        let gauges = self.gather(&mut gathered).await;
        let next = gathered.take_empty(self.0.asked.names.len());
        let interval = gathered.interval.replace(*next);
        let interval = interval.unwrap_or_else(|| gathered.all.clone());
        self.told(interval, gauges)
    }

    /// The sessions that are asked for, of all workers.
    pub async fn sessions(&self, query: Query) -> Vec<View> {
        let query = Arc::new(query);
        let mut views = Vec::new();
        // Whoever asks often waits for those before, and the workers for nobody.
        let _turn = self.0.turns.acquire().await.expect("it is never closed");
        let asked = self.0.asked.workers.iter().filter_map(|worker| {
            let (answer, answered) = oneshot::channel();
            // One that has failed shows nothing; its thread's result tells why.
            worker.send(Order::Show(query.clone(), answer)).ok()?;
            Some(answered)
        });
        for answered in asked.collect::<Vec<_>>() {
            views.extend(answered.await.unwrap_or_default());
        }
        query.merge(views)
    }

    /// Asks every thread whether it is there.
    pub fn call(&self) -> RollCall {
        let Asked {
            workers, holder, ..
        } = &self.0.asked;
        let mut call = RollCall::default();
        for (number, worker) in workers.iter().enumerate() {
            let ask = |answer| worker.send(Order::Answer(answer)).is_ok();
            call.ask(format!("worker-{number}"), ask);
        }
        if let Some(holder) = holder {
            let ask = |answer| holder.send(holder::Order::Answer(answer)).is_ok();
            call.ask("holder".to_owned(), ask);
        }
        call
    }

    /// The names of the listeners, in the order of the settings.
    pub(super) fn names(&self) -> &[String] {
        &self.0.asked.names
    }

    /// What all workers have recorded since the start, or since this was asked last; then it is told no more.
    pub(super) async fn take_all(&self) -> Recorders {
        let mut gathered = self.0.gathered.lock().await;
        self.gather(&mut gathered).await;
        // What is told no more is still part of the interval that is under way.
        gathered.begin_interval();
        let empty = *gathered.take_empty(self.0.asked.names.len());
        std::mem::replace(&mut gathered.all, empty)
    }

    /// Adds what was recorded elsewhere, before whatever interval comes next.
    pub(super) async fn add(&self, recorders: &Recorders) {
        let mut gathered = self.0.gathered.lock().await;
        gathered.begin_interval();
        gathered.all.add(recorders);
    }

    /// The worker with the fewest sessions, which has one more from here on.
    pub(super) fn take_least(&self) -> usize {
        self.0.asked.loads.take_least()
    }

    /// Counts what concerns no worker.
    pub async fn count(&self, count: impl FnOnce(&mut Counters)) {
        let mut gathered = self.0.gathered.lock().await;
        let mut once = Counters::default();
        count(&mut once);
        gathered.all.process.add(&once);
        if let Some(interval) = &mut gathered.interval {
            interval.process.add(&once);
        }
    }

    pub(super) fn workers(&self) -> &[mpsc::UnboundedSender<Order>] {
        &self.0.asked.workers
    }

    pub(super) fn holder(&self) -> Option<&mpsc::UnboundedSender<holder::Order>> {
        self.0.asked.holder.as_ref()
    }

    fn told(&self, recorders: Recorders, gauges: Gauges) -> Recorded {
        let Asked {
            names, histograms, ..
        } = &self.0.asked;
        Recorded {
            names: names.clone(),
            recorders,
            gauges,
            histograms: *histograms,
        }
    }

    /// Takes what the workers have recorded since the last time.
    async fn gather(&self, gathered: &mut Gathered) -> Gauges {
        let Asked {
            workers,
            holder,
            names,
            budget,
            ..
        } = &self.0.asked;
        let mut gauges = Gauges {
            sessions: vec![0; names.len()],
            pipe_bytes: budget.used() as u64,
            pipe_budget: budget.limit() as u64,
            ..Gauges::default()
        };
        let until = Instant::now() + WITHIN;
        let workers = workers.iter().map(Thread::Worker);
        let threads = workers.chain(holder.iter().map(Thread::Holder));
        for (nth, thread) in threads.enumerate() {
            match gathered.answer(nth, thread, until, names.len()).await {
                Some(told) => gauges.add(&told),
                None => gauges.silent += 1,
            }
        }
        gauges
    }
}

// === impl Thread ===

impl Thread<'_> {
    /// Asks it what it has recorded; false if it is gone.
    fn ask(self, empty: Box<Recorders>, answer: oneshot::Sender<Told>) -> bool {
        match self {
            Self::Worker(worker) => worker.send(Order::Tell(empty, answer)).is_ok(),
            Self::Holder(holder) => holder.send(holder::Order::Tell(empty, answer)).is_ok(),
        }
    }
}

// === impl Gathered ===

impl Gathered {
    /// What a thread tells now, once what it has recorded is added; nothing if it does not answer in time.
    ///
    /// Whom is waited for is kept: should whoever asks give up, the next one hears the answer. A thread that owes an
    /// answer is not asked again.
    async fn answer(
        &mut self,
        nth: usize,
        thread: Thread<'_>,
        until: Instant,
        listeners: usize,
    ) -> Option<Gauges> {
        if self.asked[nth].is_some() {
            // As things stood when somebody gave up.
            self.hear(nth, until).await?;
        }
        let (answer, answered) = oneshot::channel();
        // A thread that has failed says nothing; its result tells why.
        if !thread.ask(self.take_empty(listeners), answer) {
            return None;
        }
        self.asked[nth] = Some(answered);
        self.hear(nth, until).await
    }

    async fn hear(&mut self, nth: usize, until: Instant) -> Option<Gauges> {
        let answered = self.asked[nth].as_mut()?;
        let answer = timeout_at(until, answered).await.ok()?;
        self.asked[nth] = None;
        let Told { recorders, gauges } = answer.ok()?;
        self.add(*recorders);
        Some(gauges)
    }

    /// From now on the first interval is told apart from what was recorded since the start.
    fn begin_interval(&mut self) {
        if self.interval.is_none() {
            self.interval = Some(self.all.clone());
        }
    }

    fn take_empty(&mut self, listeners: usize) -> Box<Recorders> {
        let empty = self.empty.pop();
        Box::new(empty.unwrap_or_else(|| Recorders::new(listeners)))
    }

    /// Adds what a worker has given, and keeps its memory for the next exchange.
    fn add(&mut self, mut given: Recorders) {
        self.all.add(&given);
        if let Some(interval) = &mut self.interval {
            interval.add(&given);
        }
        given.clear();
        self.empty.push(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ListenerId;

    /// A relay of one worker, which is played by the test.
    fn relay() -> (Handle, mpsc::UnboundedReceiver<Order>) {
        let (worker, asked) = mpsc::unbounded_channel();
        let handle = Handle::new(Asked {
            workers: vec![worker],
            holder: None,
            names: vec!["ssh".to_owned()],
            histograms: true,
            loads: Loads::new(1),
            budget: PipeBudget::new(0),
        });
        (handle, asked)
    }

    /// Answers once, with so many connections accepted and sessions that run.
    fn answer(order: Option<Order>, accepted: u64, sessions: u64) {
        let Some(Order::Tell(mut given, answer)) = order else {
            panic!("a worker is asked what it has recorded");
        };
        assert_eq!(given.merged().counters, Counters::default());
        given.of(ListenerId(0)).counters.accepted = accepted;
        let gauges = Gauges {
            sessions: vec![sessions],
            workers: 1,
            ..Gauges::default()
        };
        let told = Told {
            recorders: given,
            gauges,
        };
        // Whoever has asked may have given up.
        let _ = answer.send(told);
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn what_a_worker_gives_is_kept_when_whoever_asked_has_given_up() {
        run(async {
            let (handle, mut asked) = relay();
            for _ in 0..2 {
                let ask = tokio::time::timeout(Duration::from_millis(1), handle.recorded());
                assert!(ask.await.is_err(), "nobody has answered");
            }
            let (recorded, ()) = tokio::join!(handle.recorded(), async {
                answer(asked.recv().await, 3, 1);
                answer(asked.recv().await, 4, 2);
            });
            assert!(
                asked.try_recv().is_err(),
                "who owes an answer is not asked again"
            );
            assert_eq!(recorded.merged().counters.accepted, 7);
            assert_eq!(recorded.gauges.sessions, [2], "as it is now");
            assert_eq!((recorded.gauges.workers, recorded.gauges.silent), (1, 0));
        });
    }

    #[test]
    fn what_goes_to_another_process_is_still_in_the_first_interval_here() {
        run(async {
            let (handle, mut asked) = relay();
            let (taken, ()) = tokio::join!(handle.take_all(), async {
                answer(asked.recv().await, 3, 1);
            });
            assert_eq!(taken.merged().counters.accepted, 3);
            let (interval, ()) = tokio::join!(handle.interval(), async {
                answer(asked.recv().await, 4, 1);
            });
            assert_eq!(interval.merged().counters.accepted, 7);
        });
    }

    #[test]
    fn a_worker_that_does_not_answer_is_told_and_what_it_has_recorded_comes_later() {
        run(async {
            let (handle, mut asked) = relay();
            let recorded = handle.recorded().await;
            assert_eq!((recorded.gauges.workers, recorded.gauges.silent), (0, 1));
            let (recorded, ()) = tokio::join!(handle.recorded(), async {
                answer(asked.recv().await, 3, 1);
                answer(asked.recv().await, 4, 1);
            });
            assert_eq!(recorded.merged().counters.accepted, 7);
            assert_eq!((recorded.gauges.workers, recorded.gauges.silent), (1, 0));
        });
    }

    #[test]
    fn an_interval_has_what_came_since_the_one_before_and_all_has_everything() {
        run(async {
            let (handle, mut asked) = relay();
            let mut counts = Vec::new();
            for (accepted, interval) in [(1, false), (2, true), (4, false), (8, true), (0, true)] {
                let ask = async {
                    match interval {
                        true => handle.interval().await,
                        false => handle.recorded().await,
                    }
                };
                let (recorded, ()) = tokio::join!(ask, async {
                    answer(asked.recv().await, accepted, 0);
                });
                counts.push(recorded.merged().counters.accepted);
            }
            assert_eq!(counts, [1, 3, 7, 12, 0]);
        });
    }
}
