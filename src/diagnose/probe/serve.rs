//! `probe serve`: lets clients in, one thread each, and gives each of them an end.

mod session;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::control::client::tame;
use super::control::{Hello, Lines, Refused, Said, Told, VERSION, line};
use crate::diagnose::crafted::deaf::{Deaf, Shared};
use crate::diagnose::crafted::{Unable, raw};
use session::Session;

/// A client has so long for its hello.
const HELLO: Duration = Duration::from_secs(5);
/// So often threads look whether it is all over.
const LOOK: Duration = Duration::from_millis(100);
/// So many may be about to say hello at a time; further ones are turned away.
const GREETED: usize = 16;

/// What is to be served.
#[derive(Debug, Clone)]
pub struct Serve {
    /// The port of control connections.
    pub port: u16,
    /// The port of crafted flows.
    pub flow_port: u16,
    /// Other ports that clients may have tried.
    pub ports: Vec<u16>,
    /// Who may come; everybody if empty.
    pub allow: Vec<IpNet>,
    /// So many sessions at a time.
    pub sessions: usize,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be had.
    #[error("TCP port {0} cannot be had: {1}")]
    Port(u16, io::Error),
    /// This host cannot be an end.
    #[error(transparent)]
    Here(#[from] Unable),
    /// It cannot go on.
    #[error("the server cannot go on: {0}")]
    Machine(#[from] io::Error),
}

/// What happens, for who watches the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client's session has begun.
    Began(IpAddr),
    /// It has a connection again.
    Returned(IpAddr),
    /// It has ended, and why.
    Ended(IpAddr, &'static str),
    /// Somebody was turned away.
    Refused(IpAddr, Refused),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    serve: Serve,
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
    /// The flow port, held for as long as it serves.
    _flow: Vec<Arc<Deaf>>,
}

/// What its threads have in common.
struct House<'a> {
    serve: &'a Serve,
    shared: &'a Arc<Shared>,
    ended: &'a AtomicBool,
    tell: &'a (dyn Fn(Event) + Sync),
    sessions: Mutex<HashMap<u64, Guest>>,
    greeted: AtomicUsize,
}

/// A connection, and what has come by it and was not looked at yet.
type Line = (TcpStream, Lines);

/// A session, as others see it.
struct Guest {
    peer: IpAddr,
    /// Whether it has a connection now.
    linked: Arc<AtomicBool>,
    door: Sender<Line>,
    bell: Arc<OwnedFd>,
    /// Set when another session takes its place.
    replaced: Arc<AtomicBool>,
}

// === impl Server ===

impl Server {
    /// Listens for IPv4 and, where this host has it, IPv6.
    ///
    /// # Errors
    /// [`ServeError`] if a port is taken, or a privilege is missing.
    pub fn bind(serve: Serve) -> Result<Self, ServeError> {
        raw::permitted()?;
        let shared = Arc::new(Shared::default());
        let (mut listeners, mut flow) = (Vec::new(), Vec::new());
        let everywhere: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for address in everywhere {
            match listen((address, serve.port).into()) {
                Ok(listener) => listeners.push(listener),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => continue,
                Err(error) => return Err(ServeError::Port(serve.port, error)),
            }
            let deaf = shared.hold(address, serve.flow_port);
            flow.push(deaf.map_err(|error| ServeError::Port(serve.flow_port, error))?);
        }
        Ok(Self {
            serve,
            listeners,
            shared,
            _flow: flow,
        })
    }

    /// Serves until `ended` is set.
    ///
    /// # Errors
    /// If this host takes away what it takes.
    pub fn run(&self, ended: &AtomicBool, tell: &(dyn Fn(Event) + Sync)) -> Result<(), ServeError> {
        let house = House {
            serve: &self.serve,
            shared: &self.shared,
            ended,
            tell,
            sessions: Mutex::default(),
            greeted: AtomicUsize::new(0),
        };
        std::thread::scope(|scope| {
            while !ended.load(Ordering::Acquire) {
                for stream in self.arrived()? {
                    if house.greeted.fetch_add(1, Ordering::Relaxed) >= GREETED {
                        house.greeted.fetch_sub(1, Ordering::Relaxed);
                        continue;
                    }
                    let house = &house;
                    scope.spawn(move || house.receive(stream));
                }
            }
            Ok(())
        })
    }

    /// Connections that have come, for as long as [`LOOK`].
    fn arrived(&self) -> Result<Vec<TcpStream>, io::Error> {
        let listeners = self.listeners.iter();
        let mut polled: Vec<PollFd> = listeners
            .map(|listener| PollFd::new(listener, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut arrived = Vec::new();
        for (listener, polled) in self.listeners.iter().zip(&polled) {
            if polled.revents().is_empty() {
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => arrived.push(stream),
                Err(error) => match Errno::from_io_error(&error) {
                    // It waits in the backlog until there is room.
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        std::thread::sleep(LOOK);
                    }
                    Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => return Err(error),
                    // Of the connection that is no more: accept(2).
                    _ => {}
                },
            }
        }
        Ok(arrived)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    tame(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

// === impl House ===

impl House<'_> {
    /// Hears what a connection is for, and does it.
    fn receive(&self, stream: TcpStream) {
        let mut connection = (stream, Lines::default());
        let heard = self.hello(&mut connection);
        self.greeted.fetch_sub(1, Ordering::Relaxed);
        let Some((peer, hello)) = heard else { return };
        let hello = match hello {
            Ok(hello) => hello,
            Err(refused) => return self.turn_away(peer.ip(), &connection.0, refused),
        };
        match self.admit(peer.ip(), &hello, connection) {
            Ok(None) => {}
            Ok(Some(session)) => {
                (self.tell)(Event::Began(peer.ip()));
                let why = session.run();
                self.guests().remove(&hello.session);
                (self.tell)(Event::Ended(peer.ip(), why));
            }
            Err((stream, refused)) => self.turn_away(peer.ip(), &stream, refused),
        }
    }

    fn turn_away(&self, peer: IpAddr, mut stream: &TcpStream, refused: Refused) {
        // Who does not wait for it does not miss it.
        let _ = stream.write_all(&line(&Told::Refused(refused.clone())));
        (self.tell)(Event::Refused(peer, refused));
    }

    /// Who it is, and its hello; nothing of one that goes away.
    fn hello(&self, (stream, lines): &mut Line) -> Option<(SocketAddr, Result<Hello, Refused>)> {
        let peer = stream.peer_addr().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        let allow = &self.serve.allow;
        if !allow.is_empty() && !allow.iter().any(|net| net.contains(&peer.ip())) {
            return Some((peer, Err(Refused::NotAllowed(peer.ip()))));
        }
        let until = Instant::now() + HELLO;
        let mut buffer = [0; 1024];
        let said = loop {
            match lines.next() {
                Ok(Some(said)) => break said,
                Ok(None) => {}
                Err(garbage) => return Some((peer, Err(Refused::Garbage(garbage.to_string())))),
            }
            if Instant::now() >= until || self.ended.load(Ordering::Acquire) {
                return None;
            }
            match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(size) => lines.push(&buffer[..size]),
                Err(error) if is_for_now(&error) => {}
                Err(_) => return None,
            }
        };
        let hello = match said {
            Said::Hello(hello) if hello.unmangle_probe == VERSION => Ok(hello),
            Said::Hello(_) => Err(Refused::Version(VERSION)),
            _ => Err(Refused::Garbage("no hello".to_owned())),
        };
        Some((peer, hello))
    }

    /// A new session, or none if the connection went to the one that it belongs to. A connection that is refused is
    /// given back.
    fn admit(
        &self,
        peer: IpAddr,
        hello: &Hello,
        connection: Line,
    ) -> Result<Option<Session<'_>>, (TcpStream, Refused)> {
        let mut guests = self.guests();
        if hello.again {
            let known = guests.get(&hello.session);
            let Some(guest) = known.filter(|guest| guest.peer == peer) else {
                return Err((connection.0, Refused::Ended));
            };
            let sent = guest.door.send(connection);
            sent.map_err(|back| (back.0.0, Refused::Ended))?;
            ring(&guest.bell);
            (self.tell)(Event::Returned(peer));
            return Ok(None);
        }
        if let Err(refused) = self.has_room(&guests, peer) {
            return Err((connection.0, refused));
        }
        let cannot = |error: &dyn std::fmt::Display| Refused::Cannot(error.to_string());
        let bell = match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(bell) => Arc::new(bell),
            Err(error) => return Err((connection.0, cannot(&error))),
        };
        let (door, connections) = channel();
        let guest = Guest {
            peer,
            linked: Arc::default(),
            door,
            bell,
            replaced: Arc::default(),
        };
        match Session::begin(self, &guest, &connection.0, connections) {
            Ok(mut session) => {
                session.connect(connection);
                guests.insert(hello.session, guest);
                Ok(Some(session))
            }
            Err(error) => Err((connection.0, cannot(&error))),
        }
    }

    /// Whether this client may have a session, and if not, why.
    fn has_room(&self, guests: &HashMap<u64, Guest>, peer: IpAddr) -> Result<(), Refused> {
        for guest in guests.values().filter(|guest| guest.peer == peer) {
            if guest.linked.load(Ordering::Acquire) {
                return Err(Refused::Running(peer));
            }
            // Its client is gone without a word, or would have come again by now.
            guest.replaced.store(true, Ordering::Release);
            ring(&guest.bell);
        }
        let others = guests.values().filter(|guest| guest.peer != peer).count();
        match others >= self.serve.sessions {
            true => Err(Refused::Busy(others)),
            false => Ok(()),
        }
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Guest>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a session's thread.
fn ring(bell: &OwnedFd) {
    // It fails when it has been rung very often already.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
