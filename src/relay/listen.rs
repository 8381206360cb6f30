//! The sockets that connections arrive at, and the loop that accepts them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::admission::{Gate, Gates, Seat};
use super::dial;
use super::reload::{Current, Standing};
use super::shortage::Shortage;
use super::worker::{Order, REST, Worker};
use crate::config::{Forward, Listener, MangledLeg, Mode, Side};
use crate::metrics::ListenerId;
use crate::sys::watch::watch_socket;

/// The listeners of every worker, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    per_worker: Vec<Vec<Bound>>,
    /// In the order of the settings.
    ways_in: Vec<WayIn>,
    served: Vec<Served>,
    gates: Gates,
    /// Where the process listens besides.
    others: Vec<SocketAddr>,
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

/// A listener, and what it lets in.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its number.
    pub id: ListenerId,
    /// What is to be done with what comes.
    pub settings: Current,
    /// Whether it is let in.
    pub gate: Arc<Gate>,
}

/// A listening socket, whose it is, and on which side its connections were opened.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    side: Side,
    served: Served,
}

/// A [`Bound`] that is registered with a worker's runtime.
pub struct Registered {
    socket: AsyncFd<Socket>,
    side: Side,
    served: Served,
}

/// A connection that was accepted and not yet served.
#[derive(Debug)]
pub struct Accepted {
    /// The downstream leg.
    pub socket: OwnedFd,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Where it was opened from.
    pub side: Side,
    /// The number of the listener.
    pub id: ListenerId,
    /// What is to be done with it.
    pub settings: Arc<Listener>,
    /// Whether it is let in.
    pub gate: Arc<Gate>,
    /// The place it takes.
    pub seat: Seat,
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
            served: vec![],
            gates: Gates::default(),
            others: vec![],
        };
        for (number, settings) in listeners.iter().enumerate() {
            let served = Served {
                id: ListenerId(u16::try_from(number).expect("a file has fewer listeners")),
                gate: bound.gates.add(settings),
                settings: Current::new(settings.clone()),
            };
            bound.served.push(served.clone());
            let way_in = match &settings.mode {
                Mode::Gateway(_) => WayIn::Intercepted {
                    mangled: bound.bind_loopback(&served, Side::Mangled)?,
                    clean: bound.bind_loopback(&served, Side::Clean)?,
                },
                Mode::ServerSidecar(_) => bound.bind_sidecar(&served, Side::Mangled)?,
                Mode::ClientSidecar(_) => bound.bind_sidecar(&served, Side::Clean)?,
                Mode::Forward(forward) => bound.bind_known(&served, forward)?,
            };
            bound.ways_in.push(way_in);
        }
        Ok(bound)
    }

    /// Says where the process listens besides: nothing is passed on to there either.
    pub fn are_not_alone(&mut self, others: Vec<SocketAddr>) {
        self.others = others;
    }

    /// Every address at which the process itself listens.
    pub(super) fn doors(&self) -> Vec<SocketAddr> {
        let doors_of = |way_in: &WayIn| match *way_in {
            WayIn::Listening(address) => vec![address],
            WayIn::Intercepted { mangled, clean } => [mangled, clean]
                .into_iter()
                .flat_map(|port| {
                    [
                        (Ipv4Addr::LOCALHOST, port).into(),
                        (Ipv6Addr::LOCALHOST, port).into(),
                    ]
                })
                .collect(),
        };
        let own = self.ways_in.iter().flat_map(doors_of);
        own.chain(self.others.iter().copied()).collect()
    }

    /// Binds sockets of both families, transparent ones for TPROXY, to a loopback port, the kernel's choice if
    /// none is fixed. A host without IPv6 is served without it.
    fn bind_loopback(&mut self, served: &Served, side: Side) -> Result<u16, BindError> {
        let settings = served.settings.now();
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
            let bind = |address| Bound::bind(address, served, side, prepare);
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
    fn bind_sidecar(&mut self, served: &Served, side: Side) -> Result<WayIn, BindError> {
        let port = self.bind_loopback(served, side)?;
        Ok(WayIn::Intercepted {
            mangled: port,
            clean: port,
        })
    }

    /// Binds to the address that clients know.
    fn bind_known(&mut self, served: &Served, forward: &Forward) -> Result<WayIn, BindError> {
        let side = match forward.mangled {
            MangledLeg::Downstream => Side::Mangled,
            MangledLeg::Upstream => Side::Clean,
        };
        // Sockets that share a port would share it with another process of this user, too.
        let alone = |socket: &Socket, _| socket.set_reuse_port(false);
        let mut address = Bound::bind(forward.listen, served, side, alone)?.address()?;
        for listeners in &mut self.per_worker {
            let socket = Bound::bind(address, served, side, |_, _| Ok(()))?;
            address = socket.address()?;
            listeners.push(socket);
        }
        Ok(WayIn::Listening(address))
    }

    /// Where connections arrive, listener by listener.
    pub fn ways_in(&self) -> &[WayIn] {
        &self.ways_in
    }

    /// What each listener goes by, in the order of the settings.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// What all of them let in.
    pub fn gates(&self) -> &Gates {
        &self.gates
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
            .map(|bound| Standing::new(&bound.socket, bound.side, &bound.served.settings))
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
        served: &Served,
        side: Side,
        prepare: impl Fn(&Socket, SocketAddr) -> io::Result<()>,
    ) -> Result<Self, BindError> {
        let settings = &served.settings.now();
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
            dial::set_options(&other, settings.profile(side.other()))?;
            dial::keep_alive(&other, settings, settings.profile(side.other()))?;
            if settings.dials_from_client() {
                dial::make_transparent(&other, address)?;
            }
            // Accepted sockets inherit all of this, which saves as many calls for each of them.
            dial::set_options(&socket, settings.profile(side))?;
            dial::keep_alive(&socket, settings, settings.profile(side))?;
            prepare(&socket, address)?;
            socket.bind(&SockAddr::from(address))?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => Ok(Self {
                socket,
                side,
                served: served.clone(),
            }),
            Err(error) => Err(BindError {
                address,
                hint: hint(&error),
                error,
            }),
        }
    }

    /// Has the kernel prefer it for what arrives on this processor.
    pub fn prefer(&self, cpu: usize) -> io::Result<()> {
        self.socket.set_cpu_affinity(cpu)
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
        matches!(self.served.settings.now().mode, Mode::Forward(_))
    }

    /// Registers it with the runtime of the calling worker.
    pub fn register(self) -> io::Result<Registered> {
        Ok(Registered {
            socket: watch_socket(self.socket)?,
            side: self.side,
            served: self.served,
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
        match listener.accept(&worker).await {
            Ok((socket, peer, seat)) => {
                worker.counters(listener.served.id).accepted += 1;
                let accepted = Accepted {
                    socket,
                    peer,
                    side: listener.side,
                    id: listener.served.id,
                    settings: listener.served.settings.now(),
                    gate: listener.served.gate.clone(),
                    seat,
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
                listener.cannot_accept(&worker, error);
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
    /// Accepts one connection, once there is one and a seat for it. Until then it waits in the kernel.
    async fn accept(&self, worker: &Worker) -> Result<(OwnedFd, SocketAddr, Seat), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let mut ready = self.socket.readable().await.map_err(|_| Errno::BADF)?;
            let seat = match self.served.gate.try_seat() {
                Some(seat) => seat,
                // Nobody waits because of what was there before.
                None if !self.is_visited()? => {
                    ready.clear_ready();
                    continue;
                }
                None => {
                    self.is_full(worker);
                    self.served.gate.seat().await
                }
            };
            match acceptfrom_with(self.socket.get_ref(), flags) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Ok((socket, peer)) => {
                    // A socket of TCP over IP has no other.
                    let peer = peer.and_then(|peer| peer.try_into().ok());
                    return Ok((socket, peer.ok_or(Errno::AFNOSUPPORT)?, seat));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a connection waits to be accepted.
    fn is_visited(&self) -> Result<bool, Errno> {
        let mut looked_at = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
        let at_once = Timespec::default();
        poll(&mut looked_at, Some(&at_once)).map(|ready| ready > 0)
    }

    fn is_full(&self, worker: &Worker) {
        let mut counters = worker.counters(self.served.id);
        counters.accept_waits += 1;
        match self.served.gate.troubles().next(std::time::Instant::now()) {
            Some(left_out) => tracing::warn!(
                listener = self.served.settings.now().name,
                left_out,
                "max-connections is reached: connections wait to be accepted"
            ),
            None => counters.lines_left_out += 1,
        }
    }

    fn cannot_accept(&self, worker: &Worker, error: Errno) {
        let mut counters = worker.counters(self.served.id);
        counters.accept_pauses += 1;
        if let Some(shortage) = Shortage::of(error) {
            shortage.count(&mut counters);
        }
        match self.served.gate.troubles().next(std::time::Instant::now()) {
            Some(left_out) => {
                let pause_ms = REST.as_millis() as u64;
                tracing::warn!(%error, pause_ms, left_out, "cannot accept, resting");
            }
            None => counters.lines_left_out += 1,
        }
    }
}
