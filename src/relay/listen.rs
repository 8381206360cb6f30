//! The sockets that intercepted connections arrive at, and the loop that accepts them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dial;
use super::worker::{Order, REST, Worker};
use crate::config::{Profile, Sessions, Side};
use crate::sys::watch::watch_listener;

/// The listeners of every worker, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    per_worker: Vec<Vec<SideListener>>,
    ports: [u16; 2],
}

/// A listener that knows on which side its connections were opened.
#[derive(Debug)]
pub struct SideListener {
    socket: Socket,
    side: Side,
}

/// A [`SideListener`] that is registered with a worker's runtime.
pub struct Registered {
    socket: AsyncFd<Socket>,
    side: Side,
}

/// A connection that was accepted and not yet served.
#[derive(Debug)]
pub struct Accepted {
    /// The downstream leg.
    pub socket: OwnedFd,
    /// Where it was opened from.
    pub side: Side,
    /// When.
    pub at: Instant,
}

/// A listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for intercepted connections: {error}{hint}")]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
    hint: &'static str,
}

/// Connections that may wait to be accepted; the kernel holds it down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

// === impl Listeners ===

impl Listeners {
    /// Binds one listener for each worker, side and address family, on loopback ports that the kernel
    /// chooses.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN a socket cannot be transparent. A host without IPv6 is served without it.
    pub fn bind(settings: &Sessions) -> Result<Self, BindError> {
        let mut per_worker: Vec<Vec<SideListener>> =
            (0..settings.workers).map(|_| vec![]).collect();
        let mut ports = [0; 2];
        for (side, port) in Side::ALL.into_iter().zip(&mut ports) {
            let profile = settings.profile(side);
            for listeners in &mut per_worker {
                let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let socket = listener(v4, settings, profile)?;
                *port = local_port(&socket, v4)?;
                listeners.push(SideListener { socket, side });
                let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, *port));
                match listener(v6, settings, profile) {
                    Ok(socket) => listeners.push(SideListener { socket, side }),
                    Err(BindError { error, .. }) if lacks_v6(&error) => {
                        tracing::warn!(%error, "no IPv6 on this host: IPv6 is not relayed");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self { per_worker, ports })
    }

    /// The port that connections opened from this side are to be sent to.
    pub fn port(&self, side: Side) -> u16 {
        match side {
            Side::Mangled => self.ports[0],
            Side::Clean => self.ports[1],
        }
    }

    /// The listeners, worker by worker.
    pub fn into_workers(self) -> impl Iterator<Item = Vec<SideListener>> {
        self.per_worker.into_iter()
    }
}

fn listener(
    address: SocketAddr,
    settings: &Sessions,
    profile: &Profile,
) -> Result<Socket, BindError> {
    let bound = || -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        dial::make_transparent(&socket, address)?;
        // Accepted sockets inherit all of this, which saves as many calls for each of them.
        dial::set_options(&socket, settings, profile)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    bound().map_err(|error| BindError {
        address,
        hint: hint(&error),
        error,
    })
}

fn local_port(socket: &Socket, address: SocketAddr) -> Result<u16, BindError> {
    socket
        .local_addr()
        .map(|bound| bound.as_socket().map_or(0, |bound| bound.port()))
        .map_err(|error| BindError {
            address,
            hint: "",
            error,
        })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root, or with CAP_NET_ADMIN",
        io::ErrorKind::AddrNotAvailable => "; is the interface lo up?",
        _ => "",
    }
}

fn lacks_v6(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::AFNOSUPPORT.raw_os_error())
        || code == Some(Errno::ADDRNOTAVAIL.raw_os_error())
}

// === impl SideListener ===

impl SideListener {
    /// Registers it with the runtime of the calling worker.
    pub fn register(self) -> io::Result<Registered> {
        Ok(Registered {
            socket: watch_listener(self.socket)?,
            side: self.side,
        })
    }
}

/// Accepts for as long as the worker lives; a connection goes to the worker with the fewest sessions.
pub async fn accept_loop(
    listener: Registered,
    worker: Rc<Worker>,
    peers: Vec<mpsc::UnboundedSender<Order>>,
) {
    loop {
        match listener.accept().await {
            Ok(socket) => {
                worker.resources.borrow_mut().recorder.counters.accepted += 1;
                let accepted = Accepted {
                    socket,
                    side: listener.side,
                    at: Instant::now(),
                };
                let chosen = worker.place();
                if chosen == worker.index() {
                    worker.clone().begin(accepted);
                } else if peers[chosen].send(Order::Serve(accepted)).is_err() {
                    tracing::error!(
                        worker = chosen,
                        "a worker is gone: its connection was reset"
                    );
                }
            }
            // The client gave up before it was accepted.
            Err(Errno::CONNABORTED | Errno::INTR) => {}
            Err(error) => {
                worker
                    .resources
                    .borrow_mut()
                    .recorder
                    .counters
                    .accept_pauses += 1;
                tracing::warn!(%error, pause_ms = REST.as_millis() as u64, "cannot accept, resting");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

// === impl Registered ===

impl Registered {
    async fn accept(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let mut ready = self.socket.readable().await.map_err(|_| Errno::BADF)?;
            match accept_with(self.socket.get_ref(), flags) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                other => return other,
            }
        }
    }
}
