//! The network with a limit: so many bytes, so much time, and packets one after another.

use std::time::Duration;

use super::came::{self, Came};
use super::network::{Broken, Fate, Network};

/// What may be sent at most, in bytes.
const MOST: u64 = 20_000_000;

/// A network that is used within limits.
pub struct Line<'a> {
    network: &'a mut dyn Network,
    left: u64,
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Nothing has been sent yet.
    pub fn new(network: &'a mut dyn Network) -> Self {
        Self {
            network,
            left: MOST,
        }
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.network.now()
    }

    /// Whether so many bytes may still be sent.
    pub fn affords(&self, bytes: u64) -> bool {
        self.left >= bytes
    }

    /// Sends one.
    ///
    /// # Errors
    /// If nothing can be sent any more.
    pub fn send(&mut self, packet: &[u8]) -> Result<Fate, Broken> {
        self.left = self.left.saturating_sub(packet.len() as u64);
        self.network.send(packet)
    }

    /// What comes before this time; what is no answer to anything is passed over.
    ///
    /// # Errors
    /// If nothing can be received any more.
    pub fn next(&mut self, until: Duration) -> Result<Option<Came>, Broken> {
        while let Some(packet) = self.network.next(until)? {
            if let Some(came) = came::read(&packet) {
                return Ok(Some(came));
            }
        }
        Ok(None)
    }

    /// A port of one's own.
    ///
    /// # Errors
    /// If there is none.
    pub fn port(&mut self) -> Result<u16, Broken> {
        self.network.port()
    }
}
