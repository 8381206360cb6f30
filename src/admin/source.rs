//! What the admin side needs to know: it comes in by these values and goes nowhere but out.

use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::standing::Standing;
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
    /// How many lines of the log could not be written.
    pub lines_lost: fn() -> u64,
}
