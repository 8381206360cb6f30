//! The sockets that connections arrive at.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::time::Instant;

use super::admission::{Gate, Gates, Seat};
use super::dial;
use super::reload::{Current, Standing};
use crate::config::{Forward, Listener, MangledLeg, Mode, Side};
use crate::metrics::ListenerId;
use crate::sys::congestion_control;
use crate::sys::passed::Passed;

/// The listeners of every worker, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(super) per_worker: Vec<Vec<Bound>>,
    /// In the order of the settings.
    pub(super) ways_in: Vec<WayIn>,
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
    /// The socket.
    pub socket: Socket,
    /// On which side its connections were opened.
    pub side: Side,
    /// Whose it is.
    pub served: Served,
    /// Whether connections may wait in it that came before its options were set.
    pub came_before: CameBefore,
}

/// Whether connections came before the options were set which they inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameBefore {
    /// None: it listens since.
    None,
    /// Perhaps some: somebody else listened there.
    Some,
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

/// A listening socket of a worker, for another process or from one.
#[derive(Debug)]
pub struct Listening {
    /// The listener's name.
    pub listener: String,
    /// The number of the worker that accepts there.
    pub worker: usize,
    /// On which side its connections were opened.
    pub side: Side,
    /// The socket.
    pub socket: OwnedFd,
}

/// A listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {error}{hint}")]
pub struct BindError {
    address: SocketAddr,
    pub(super) error: io::Error,
    hint: &'static str,
}

/// Connections that may wait to be accepted; the kernel holds it down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

// === impl Listeners ===

impl Listeners {
    /// Binds what each listener needs, for each worker; what a service manager has passed in is shared by all of them.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN a socket cannot be transparent, so nothing can be intercepted. An address may
    /// be taken.
    pub fn bind(
        listeners: &[Listener],
        workers: usize,
        passed: &mut Passed,
    ) -> Result<Self, BindError> {
        let mut bound = Self::none(workers);
        for (number, settings) in listeners.iter().enumerate() {
            let served = bound.serve(number, settings);
            let way_in = match &settings.mode {
                Mode::Gateway(_) => WayIn::Intercepted {
                    mangled: bound.bind_loopback(&served, Side::Mangled, passed)?,
                    clean: bound.bind_loopback(&served, Side::Clean, passed)?,
                },
                Mode::ServerSidecar(_) => bound.bind_sidecar(&served, Side::Mangled, passed)?,
                Mode::ClientSidecar(_) => bound.bind_sidecar(&served, Side::Clean, passed)?,
                Mode::Forward(forward) => bound.bind_known(&served, forward, passed)?,
            };
            bound.ways_in.push(way_in);
        }
        Ok(bound)
    }

    /// None yet, for so many workers.
    pub(super) fn none(workers: usize) -> Self {
        Self {
            per_worker: (0..workers).map(|_| vec![]).collect(),
            ways_in: vec![],
            served: vec![],
            gates: Gates::default(),
            others: vec![],
        }
    }

    /// What a listener goes by, and whom it lets in.
    pub(super) fn serve(&mut self, number: usize, settings: &Listener) -> Served {
        let served = Served {
            id: ListenerId(u16::try_from(number).expect("a file has fewer listeners")),
            gate: self.gates.add(settings),
            settings: Current::new(settings.clone()),
        };
        self.served.push(served.clone());
        served
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
    fn bind_loopback(
        &mut self,
        served: &Served,
        side: Side,
        passed: &mut Passed,
    ) -> Result<u16, BindError> {
        let settings = served.settings.now();
        let mut port = match (settings.fixed_ports, side) {
            (Some((mangled, _)), Side::Mangled) => mangled,
            (Some((_, clean)), Side::Clean) => clean,
            (None, _) => 0,
        };
        let prepare = |socket: &Socket, address| match settings.mode {
            // What is redirected is addressed to this host.
            Mode::ClientSidecar(_) => Ok(()),
            _ => dial::make_transparent(socket, address),
        };
        let [at_v4, at_v6] = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ];
        let (shares_v4, shares_v6) = (passed.tcp(at_v4), passed.tcp(at_v6));
        let shared = (shares_v4.is_some(), shares_v6.is_some());
        for (socket, address) in [(shares_v4, at_v4), (shares_v6, at_v6)] {
            if let Some(socket) = socket {
                self.share(socket, address, served, side, prepare)?;
            }
        }
        for listeners in &mut self.per_worker {
            let bind = |address| Bound::bind(address, served, side, prepare);
            if !shared.0 {
                let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
                port = v4.address()?.port();
                listeners.push(v4);
            }
            if shared.1 {
                continue;
            }
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
    fn bind_sidecar(
        &mut self,
        served: &Served,
        side: Side,
        passed: &mut Passed,
    ) -> Result<WayIn, BindError> {
        let port = self.bind_loopback(served, side, passed)?;
        Ok(WayIn::Intercepted {
            mangled: port,
            clean: port,
        })
    }

    /// Binds to the address that clients know.
    fn bind_known(
        &mut self,
        served: &Served,
        forward: &Forward,
        passed: &mut Passed,
    ) -> Result<WayIn, BindError> {
        let side = match forward.mangled {
            MangledLeg::Downstream => Side::Mangled,
            MangledLeg::Upstream => Side::Clean,
        };
        if let Some(socket) = passed.tcp(forward.listen) {
            self.share(socket, forward.listen, served, side, |_, _| Ok(()))?;
            return Ok(WayIn::Listening(forward.listen));
        }
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

    /// Has every worker accept at one socket, which a service manager listens at, too.
    fn share(
        &mut self,
        socket: OwnedFd,
        address: SocketAddr,
        served: &Served,
        side: Side,
        prepare: impl Fn(&Socket, SocketAddr) -> io::Result<()>,
    ) -> Result<(), BindError> {
        let socket = Socket::from(socket);
        let settings = &served.settings.now();
        let shared = || -> io::Result<Vec<Socket>> {
            check_other_leg(address, settings, side)?;
            // Whoever had it before may have set others.
            let usual = congestion_control::usual()?;
            dial::change_options(&socket, settings.profile(side), &usual)?;
            dial::keep_alive(&socket, settings, settings.profile(side))?;
            prepare(&socket, address)?;
            socket.set_nonblocking(true)?;
            self.per_worker.iter().map(|_| socket.try_clone()).collect()
        };
        let shared = shared().map_err(|error| BindError::new(address, error))?;
        for (listeners, socket) in self.per_worker.iter_mut().zip(shared) {
            listeners.push(Bound {
                socket,
                side,
                served: served.clone(),
                came_before: CameBefore::Some,
            });
        }
        Ok(())
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
        let of = |worker| {
            move |bound: &Bound| {
                let (side, settings) = (bound.side, &bound.served.settings);
                Standing::new(&bound.socket, worker, side, settings)
            }
        };
        let workers = self.per_worker.iter().enumerate();
        workers
            .flat_map(|(worker, bound)| bound.iter().map(of(worker)))
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
            check_other_leg(address, settings, side)?;
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
                came_before: CameBefore::None,
            }),
            Err(error) => Err(BindError::new(address, error)),
        }
    }

    /// Has the kernel prefer it for what arrives on this processor.
    pub fn prefer(&self, cpu: usize) -> io::Result<()> {
        self.socket.set_cpu_affinity(cpu)
    }

    pub(super) fn address(&self) -> Result<SocketAddr, BindError> {
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
}

/// What cannot be set on the other leg is better known now than at each dial.
fn check_other_leg(address: SocketAddr, settings: &Listener, side: Side) -> io::Result<()> {
    let other = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    dial::set_options(&other, settings.profile(side.other()))?;
    dial::keep_alive(&other, settings, settings.profile(side.other()))?;
    if settings.dials_from_client() {
        dial::make_transparent(&other, address)?;
    }
    Ok(())
}

// === impl BindError ===

impl BindError {
    fn new(address: SocketAddr, error: io::Error) -> Self {
        Self {
            address,
            hint: hint(&error),
            error,
        }
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
