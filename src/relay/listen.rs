//! The sockets that connections arrive at, and the loop that accepts them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dial;
use super::reload::{Current, Standing};
use super::worker::{Order, REST, Worker};
use crate::config::{Forward, Listener, MangledLeg, Mode, Side};
use crate::sys::watch::watch_socket;

/// The listeners of every worker, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    per_worker: Vec<Vec<Bound>>,
    /// In the order of the settings.
    ways_in: Vec<WayIn>,
}

/// Where the connections of one [`Listener`] arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// On the loopback address, by the rules: the ports for connections that were opened from the
    /// mangled side, and from the other.
    Intercepted {
        /// From the mangled side.
        mangled: u16,
        /// From the other side.
        clean: u16,
    },
    /// At an address that clients know.
    Listening(SocketAddr),
}

/// A listening socket, whose it is, and on which side its connections were opened.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    side: Side,
    settings: Current,
}

/// A [`Bound`] that is registered with a worker's runtime.
pub struct Registered {
    socket: AsyncFd<Socket>,
    side: Side,
    settings: Current,
}

/// A connection that was accepted and not yet served.
#[derive(Debug)]
pub struct Accepted {
    /// The downstream leg.
    pub socket: OwnedFd,
    /// Where it was opened from.
    pub side: Side,
    /// What is to be done with it.
    pub settings: Arc<Listener>,
    /// When.
    pub at: Instant,
}

/// A listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {error}{hint}")]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
    hint: &'static str,
}

/// Connections that may wait to be accepted; the kernel holds it down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

// === impl Listeners ===

impl Listeners {
    /// Binds what each listener needs, for each worker.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN a socket cannot be transparent, so nothing can be intercepted. An address may
    /// be taken.
    pub fn bind(listeners: &[Listener], workers: usize) -> Result<Self, BindError> {
        let mut bound = Self {
            per_worker: (0..workers).map(|_| vec![]).collect(),
            ways_in: vec![],
        };
        for settings in listeners {
            let mode = &settings.mode;
            let settings = Current::new(settings.clone());
            let way_in = match mode {
                Mode::Gateway(_) => WayIn::Intercepted {
                    mangled: bound.bind_loopback(&settings, Side::Mangled)?,
                    clean: bound.bind_loopback(&settings, Side::Clean)?,
                },
                Mode::ServerSidecar(_) => bound.bind_sidecar(&settings, Side::Mangled)?,
                Mode::ClientSidecar(_) => bound.bind_sidecar(&settings, Side::Clean)?,
                Mode::Forward(forward) => bound.bind_known(&settings, forward)?,
            };
            bound.ways_in.push(way_in);
        }
        Ok(bound)
    }

    /// Binds sockets of both families, transparent ones for TPROXY, to a loopback port, the kernel's choice if none is
    /// fixed. A host
    /// without IPv6 is served without it.
    fn bind_loopback(&mut self, current: &Current, side: Side) -> Result<u16, BindError> {
        let settings = current.now();
        let mut port = match (settings.fixed_ports, side) {
            (Some((mangled, _)), Side::Mangled) => mangled,
            (Some((_, clean)), Side::Clean) => clean,
            (None, _) => 0,
        };
        for listeners in &mut self.per_worker {
            let prepare = |socket: &Socket, address| match settings.mode {
                // What is redirected is addressed to this host.
                Mode::ClientSidecar(_) => Ok(()),
                _ => dial::make_transparent(socket, address),
            };
            let bind = |address| Bound::bind(address, current, side, prepare);
            let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
            port = v4.address()?.port();
            listeners.push(v4);
            match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
                Ok(v6) => listeners.push(v6),
                Err(BindError { error, .. }) if lacks_v6(&error) => {
                    tracing::warn!(%error, "no IPv6 on this host: IPv6 is not relayed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(port)
    }

    /// A sidecar's connections come from one side alone.
    fn bind_sidecar(&mut self, settings: &Current, side: Side) -> Result<WayIn, BindError> {
        let port = self.bind_loopback(settings, side)?;
        Ok(WayIn::Intercepted {
            mangled: port,
            clean: port,
        })
    }

    /// Binds to the address that clients know.
    fn bind_known(&mut self, settings: &Current, forward: &Forward) -> Result<WayIn, BindError> {
        let side = match forward.mangled {
            MangledLeg::Downstream => Side::Mangled,
            MangledLeg::Upstream => Side::Clean,
        };
        // Sockets that share a port would share it with another process of this user, too.
        let alone = |socket: &Socket, _| socket.set_reuse_port(false);
        let mut address = Bound::bind(forward.listen, settings, side, alone)?.address()?;
        for listeners in &mut self.per_worker {
            let socket = Bound::bind(address, settings, side, |_, _| Ok(()))?;
            address = socket.address()?;
            listeners.push(socket);
        }
        Ok(WayIn::Listening(address))
    }

    /// Where connections arrive, listener by listener.
    pub fn ways_in(&self) -> &[WayIn] {
        &self.ways_in
    }

    /// How many workers there are listeners for.
    pub fn workers(&self) -> usize {
        self.per_worker.len()
    }

    /// What has to change when the settings do.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn standing(&self) -> io::Result<Vec<Standing>> {
        let bound = self.per_worker.iter().flatten();
        bound
            .map(|bound| Standing::new(&bound.socket, bound.side, &bound.settings))
            .collect()
    }

    /// The listeners, worker by worker.
    pub fn into_workers(self) -> impl Iterator<Item = Vec<Bound>> {
        self.per_worker.into_iter()
    }
}

// === impl Bound ===

impl Bound {
    /// Listens at an address; `prepare` has the last word on the socket's options.
    fn bind(
        address: SocketAddr,
        current: &Current,
        side: Side,
        prepare: impl Fn(&Socket, SocketAddr) -> io::Result<()>,
    ) -> Result<Self, BindError> {
        let settings = &current.now();
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
            // What cannot be set on the other leg is better known now than at each dial.
            let other = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            dial::set_options(&other, settings, settings.profile(side.other()))?;
            if settings.dials_from_client() {
                dial::make_transparent(&other, address)?;
            }
            // Accepted sockets inherit all of this, which saves as many calls for each of them.
            dial::set_options(&socket, settings, settings.profile(side))?;
            prepare(&socket, address)?;
            socket.bind(&SockAddr::from(address))?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => Ok(Self {
                socket,
                side,
                settings: current.clone(),
            }),
            Err(error) => Err(BindError {
                address,
                hint: hint(&error),
                error,
            }),
        }
    }

    fn address(&self) -> Result<SocketAddr, BindError> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        match self.socket.local_addr() {
            Ok(bound) => Ok(bound.as_socket().unwrap_or(address)),
            Err(error) => Err(BindError {
                address,
                error,
                hint: "",
            }),
        }
    }

    /// Whether clients know its address: no rule leads them here, and none keeps them away.
    pub fn is_known(&self) -> bool {
        matches!(self.settings.now().mode, Mode::Forward(_))
    }

    /// Registers it with the runtime of the calling worker.
    pub fn register(self) -> io::Result<Registered> {
        Ok(Registered {
            socket: watch_socket(self.socket)?,
            side: self.side,
            settings: self.settings,
        })
    }
}

fn hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) {
        return "; a port below 1024 needs root or CAP_NET_BIND_SERVICE";
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root, or with CAP_NET_ADMIN",
        io::ErrorKind::AddrNotAvailable => "; is it an address of this host, and its interface up?",
        io::ErrorKind::AddrInUse => "; another process listens there",
        _ => "",
    }
}

fn lacks_v6(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::AFNOSUPPORT.raw_os_error())
        || code == Some(Errno::ADDRNOTAVAIL.raw_os_error())
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
                    settings: listener.settings.now(),
                    at: Instant::now(),
                };
                let chosen = worker.place();
                if chosen == worker.index() {
                    worker.clone().begin(accepted);
                } else if peers[chosen].send(Order::Serve(accepted)).is_err() {
                    worker.unplace(chosen);
                    tracing::error!(
                        worker = chosen,
                        "a worker is gone: its connection was reset"
                    );
                }
            }
            Err(error) if concerns_one_connection(error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
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

/// Whether the error is that of the connection that was to be accepted, which Linux passes on from the
/// network; accept(2) says to go on as after EAGAIN.
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
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
