//! What there is besides sessions, as it is told: plain values.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::relay::WayIn;
use crate::rules::HandedNote;

/// What there is besides sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// In the order of the settings.
    pub listeners: Vec<ListenerSockets>,
    /// The rules, if this process owns some.
    pub rules: Option<HandedNote>,
    /// Where it can be asked, each as `--admin` has it.
    pub doors: Vec<String>,
    /// Those of them whose files are a service manager's: they stay when whoever answers there ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lasting_doors: Vec<String>,
    /// Whether packets are logged to it.
    pub witness: bool,
    /// How many workers it has.
    pub workers: usize,
}

/// The sockets of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSockets {
    /// Its name.
    pub name: String,
    /// Where its connections arrive.
    pub way_in: NotedWayIn,
    /// Each is one descriptor.
    pub sockets: Vec<SocketNote>,
}

/// Where connections arrive. See [`WayIn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NotedWayIn {
    /// At two ports of the loopback address, by the rules.
    Intercepted {
        /// Those opened from the mangled side.
        mangled: u16,
        /// Those opened from the other.
        clean: u16,
    },
    /// At an address that clients know.
    Listening(SocketAddr),
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketNote {
    /// Whose it is.
    pub worker: usize,
    /// Whether its connections are opened from the mangled side.
    pub mangled_side: bool,
}

/// The lock, and both pipes of `nft`.
const OF_RULES: usize = 3;

// === impl Standing ===

impl Standing {
    /// How many descriptors belong to it, in this order: the listeners' sockets; with rules, the lock's socket and the
    /// stdin and the stderr of `nft`; one for each door; with a witness, its socket.
    pub fn descriptors(&self) -> usize {
        let sockets = self.listeners.iter().map(|listener| listener.sockets.len());
        let rules = self.rules.as_ref().map_or(0, |_| OF_RULES);
        sockets.sum::<usize>() + rules + self.doors.len() + usize::from(self.witness)
    }
}

// === impl NotedWayIn ===

impl From<WayIn> for NotedWayIn {
    fn from(way: WayIn) -> Self {
        match way {
            WayIn::Intercepted { mangled, clean } => Self::Intercepted { mangled, clean },
            WayIn::Listening(address) => Self::Listening(address),
        }
    }
}

impl From<NotedWayIn> for WayIn {
    fn from(way: NotedWayIn) -> Self {
        match way {
            NotedWayIn::Intercepted { mangled, clean } => Self::Intercepted { mangled, clean },
            NotedWayIn::Listening(address) => Self::Listening(address),
        }
    }
}
