//! What the admin side needs to know: it comes in by these values and goes nowhere but out.

use std::future::Future;
use std::pin::Pin;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::query::Query;
use super::sessions::Sessions;
use super::standing::Standing;
use super::status::AddedLatency;

/// All of it.
pub struct Source {
    /// The relay, as far as it can be asked.
    pub relayed: Box<dyn Relayed>,
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

/// Something that is told later.
pub type Told<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A relay that can be asked.
pub trait Relayed: Send + Sync + 'static {
    /// Sessions that run.
    fn live(&self) -> usize;
    /// The sessions that a query means.
    fn sessions(&self, query: Query) -> Told<Sessions>;
    /// Figures for the status.
    fn figures(&self) -> Told<Figures>;
    /// Everything that is measured, in the format that this header Accept prefers.
    fn metrics(&self, accept: Option<String>) -> Told<Metrics>;
}

/// Figures for the status; what is not known is `None`.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Sessions of each listener.
    pub sessions: Vec<u64>,
    /// What the pipes that there are can hold.
    pub pipe_bytes: Option<u64>,
    /// What the relay adds.
    pub added: Option<AddedLatency>,
    /// What conntrack has called INVALID.
    pub conntrack_invalid: Option<u64>,
}

/// Metrics as text.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// For the header Content-Type.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}
