//! What the admin side needs to know: it comes in by these values and goes nowhere but out.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

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
    /// What its main thread is asked for. Where there is no room, whoever asks is told so and does not wait.
    pub asks: mpsc::Sender<Ask>,
}

/// What the main thread is asked for.
#[derive(Debug)]
pub enum Ask {
    /// To do what SIGTERM begins.
    Drain,
    /// To hand over what it has to the process at the other end of this Unix stream socket, which is of the same user or
    /// root's, has been answered by `101 Switching Protocols` and has said nothing since. The socket does not block.
    Takeover(OwnedFd),
    /// To start its successor, and hand over what it has to that.
    Upgrade {
        /// What is to be started; the program that it was started from itself if `None`.
        program: Option<PathBuf>,
        /// What has become of it; why not, in one line.
        answer: oneshot::Sender<Result<Upgraded, String>>,
    },
}

/// What has become of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that relays from now on.
    pub pid: u32,
    /// Sessions that have gone over.
    pub sessions: u64,
    /// Sessions that have not, and drain where they are.
    pub left: u64,
    /// Milliseconds from the start of the new process until everything was its own.
    pub took_ms: u64,
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
