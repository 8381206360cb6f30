//! The server's end: answers, discards and sends as each connection's hello asks.
//!
//! It believes what a hello says and serves everybody who can reach it: it is for the time of a
//! measurement.

mod inbox;
mod served;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::work::Mode;
use inbox::Inboxes;
use worker::Worker;

/// How many connections may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) holds, too.
const BACKLOG: i32 = 65_535;

/// What is to be served.
#[derive(Debug, Clone)]
pub struct Serve {
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// How many threads serve.
    pub threads: NonZeroUsize,
    /// The only mode that is served; others are told so. None: all.
    pub only: Option<Mode>,
    /// When the server stands still, to see whether a load generator notices.
    pub stall: Option<Stall>,
}

/// A server that stands still now and then.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// For how long.
    pub length: Duration,
    /// From the beginning of one to that of the next; longer than it.
    pub every: Duration,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The machine gave no thread or descriptor.
    #[error("the server cannot go on: {0}")]
    Machine(#[from] io::Error),
}

/// What was served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub connections: u64,
    /// Those that began with something else than a hello.
    pub foreign: u64,
    /// Those that ended by an error.
    pub failed: u64,
    /// Times when no descriptor was left for a connection.
    pub refused: u64,
    /// Payload received and sent, in bytes.
    pub bytes: u64,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    serve: Serve,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

// === impl Totals ===

impl Totals {
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.foreign += other.foreign;
        self.failed += other.failed;
        self.refused += other.refused;
        self.bytes += other.bytes;
    }
}

// === impl Server ===

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// An address that is in use, or not this host's.
    pub fn bind(serve: Serve) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in &serve.listen {
            let refused = |source| Error::Listen {
                address: *address,
                source,
            };
            let listener = listen(*address).map_err(refused)?;
            addresses.push(listener.local_addr().map_err(refused)?);
            listeners.push(listener);
        }
        Ok(Self {
            serve,
            listeners,
            addresses,
        })
    }

    /// Where it listens, in the order in which that was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `ended` is set.
    ///
    /// # Errors
    /// The machine takes away what it takes.
    pub fn run(&self, ended: &AtomicBool) -> Result<Totals, Error> {
        let threads = self.serve.threads.get();
        let inboxes = Inboxes::new(threads)?;
        let began = Instant::now();
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for number in 0..threads {
                let worker = Worker {
                    number,
                    listeners: &self.listeners,
                    inboxes: &inboxes,
                    serve: &self.serve,
                    began,
                    ended,
                };
                let thread = std::thread::Builder::new().name("serve".to_owned());
                running.push(thread.spawn_scoped(scope, move || worker.run())?);
            }
            let mut totals = Totals::default();
            for thread in running {
                let of_one = thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")))?;
                totals.add(&of_one);
            }
            Ok(totals)
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
