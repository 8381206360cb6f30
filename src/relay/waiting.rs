//! Connections to servers that were made before their clients were answered, and wait for them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::addr::{ClientAddr, OriginalDst};
use super::admission::Admitted;
use super::dial::{Dialled, SourcePort};
use super::held::{Flow, Table};
use super::leg::TcpLeg;
use crate::config::Profile;
use crate::packet::Offer;

/// Connections to servers that wait for their clients.
#[derive(Debug)]
pub struct Held(Mutex<Table<Packet, Upstream>>);

/// A connection to a server, made before its client was answered.
#[derive(Debug)]
pub struct Upstream {
    /// The upstream leg, of no runtime yet.
    pub stream: OwnedFd,
    /// Who was dialled.
    pub server: SocketAddr,
    /// Which port the server sees.
    pub port: SourcePort,
    /// How long the dial took.
    pub connect_time: Duration,
    /// What the client's SYN offered, as it came from the wire.
    pub asked: Offer,
    /// Its client was let in.
    pub admitted: Admitted,
}

/// A packet that waits in the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// The kernel's number for it.
    pub id: u32,
    /// Its mark.
    pub mark: u32,
}

/// How long a server waits for a client that was let through: the client repeats its SYN, and the kernel
/// its answer, several times within this.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Held ===

impl Held {
    /// Room for so many, clients that wait for their server included.
    pub fn new(most: usize) -> Self {
        Self(Mutex::new(Table::new(most, PATIENCE)))
    }

    /// The connection that was made for a client that is accepted now, if there is one.
    pub fn claim(&self, client: ClientAddr, server: OriginalDst) -> Option<Upstream> {
        self.table().claim(&Flow {
            client: ClientAddr(plain(client.0)),
            server: OriginalDst(plain(server.0)),
        })
    }

    /// The table itself.
    pub fn table(&self) -> MutexGuard<'_, Table<Packet, Upstream>> {
        // A thread that panics ends the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address as a packet has it.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

// === impl Upstream ===

impl Upstream {
    /// Registers it with the runtime of the calling worker.
    ///
    /// # Errors
    /// If the kernel's epoll does not take it.
    pub fn into_dialled(self, profile: &Profile) -> io::Result<(Dialled, Admitted)> {
        let dialled = Dialled {
            leg: TcpLeg::new(self.stream, profile)?,
            server: self.server,
            port: self.port,
        };
        Ok((dialled, self.admitted))
    }
}
