//! The way out of this host, as a sweep uses it: real sockets, or a model of a path in a test.

use std::time::Duration;

pub use crate::diagnose::crafted::raw::Fate;

/// Sends packets made to order, shows those that come, and knows the time.
pub trait Network {
    /// Time since the beginning.
    fn now(&self) -> Duration;

    /// Sends one packet, IP header included.
    ///
    /// # Errors
    /// If nothing can be sent any more.
    fn send(&mut self, packet: &[u8]) -> Result<Fate, Broken>;

    /// The next packet that comes before this time, IP header included; `None` when it is over.
    ///
    /// # Errors
    /// If nothing can be received any more.
    fn next(&mut self, until: Duration) -> Result<Option<Vec<u8>>, Broken>;

    /// A TCP port of this host that nobody else has, and at which the kernel answers nothing.
    ///
    /// # Errors
    /// If there is none.
    fn port(&mut self) -> Result<u16, Broken>;
}

/// The sweep cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);
