//! What can be asked of a relay while it runs, from any thread.
//!
//! Workers are asked by message, and answer between two sessions' turns. Each gives what it has recorded since it was
//! asked last, in exchange for empty recorders; what was given is added up here.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::holder;
use super::pipes::PipeBudget;
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
}

/// What the workers have given.
#[derive(Debug)]
struct Gathered {
    /// Since the start.
    all: Recorders,
    /// Since somebody asked for an interval, if somebody does.
    interval: Option<Recorders>,
    /// Empty ones, for the next exchange.
    empty: Vec<Recorders>,
}

// === impl Handle ===

impl Handle {
    /// Of workers that have nothing recorded yet.
    pub fn new(asked: Asked) -> Self {
        let gathered = Mutex::new(Gathered {
            all: Recorders::new(asked.names.len()),
            interval: None,
            empty: vec![],
        });
        Self(Arc::new(Shared { asked, gathered }))
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
        let mut answers = Vec::new();
        for worker in workers {
            let (answer, answered) = oneshot::channel();
            let empty = gathered.take_empty(names.len());
            // A worker that has failed says nothing; its thread's result tells why.
            if worker.send(Order::Tell(empty, answer)).is_ok() {
                answers.push(answered);
            }
        }
        let mut gauges = Gauges {
            sessions: vec![0; names.len()],
            pipe_bytes: budget.used() as u64,
            pipe_budget: budget.limit() as u64,
            ..Gauges::default()
        };
        for answered in answers {
            if let Ok(Told {
                recorders,
                gauges: of_worker,
            }) = answered.await
            {
                gauges.add(&of_worker);
                gathered.add(*recorders);
            }
        }
        if let Some(holder) = holder {
            let (answer, answered) = oneshot::channel();
            let empty = gathered.take_empty(names.len());
            if holder.send(holder::Order::Tell(empty, answer)).is_ok()
                && let Ok(recorders) = answered.await
            {
                gathered.add(*recorders);
            }
        }
        gauges
    }
}

// === impl Gathered ===

impl Gathered {
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
