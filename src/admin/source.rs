//! What the admin side needs to know: it comes in by these values and goes nowhere but out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex, mpsc, watch};

use super::standing::Standing;
use crate::metrics::Recorded;
use crate::relay::Handle;

/// All of it.
pub struct Source {
    /// The relay.
    pub relay: Handle,
    /// What stays as it is.
    pub about: About,
    /// What its main thread says.
    pub standing: watch::Receiver<Standing>,
    /// What begins the drain.
    pub drain: mpsc::Sender<()>,
}

/// What stays as it is while the process lives.
#[derive(Debug, Clone)]
pub struct About {
    /// When it was started.
    pub started: SystemTime,
    /// The same, for what has passed since.
    pub began: Instant,
    /// Threads that share the sessions.
    pub workers: usize,
    /// What comes to each listener, in a few words.
    pub ways: Vec<String>,
}

/// Gathers what the workers have recorded, to the end: what a worker has given and nobody has added would be lost.
#[derive(Debug, Clone)]
pub(super) struct Gatherer {
    relay: Handle,
    gathers: Arc<Mutex<()>>,
}

/// A worker that does not answer for so long must not hold up the end.
const WITHIN: Duration = Duration::from_secs(1);

// === impl Gatherer ===

impl Gatherer {
    pub fn new(relay: Handle) -> Self {
        let gathers = Arc::default();
        Self { relay, gathers }
    }

    /// Goes on to its end if whoever asked gives up.
    pub async fn recorded(&self) -> Recorded {
        let Self { relay, gathers } = self.clone();
        let gathering = tokio::spawn(async move {
            let _gathers = gathers.lock().await;
            relay.recorded().await
        });
        // It fails when the runtime ends, and nobody is asked any more.
        gathering.await.unwrap_or_default()
    }

    /// Waits until nothing is being gathered.
    pub async fn settle(&self) {
        let _ = tokio::time::timeout(WITHIN, self.gathers.lock()).await;
    }
}
