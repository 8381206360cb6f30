//! `probe serve`: lets clients in, one thread each, and gives each of them an end.

mod session;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::control::client::tame;
use super::control::{Hello, Lines, Refused, Said, Told, VERSION, line};
use crate::diagnose::crafted::deaf::{Deaf, Shared};
use crate::diagnose::crafted::{self, Unable};
use session::Session;

/// A client has so long for its hello.
const HELLO: Duration = Duration::from_secs(5);
/// So often threads look whether it is all over.
const LOOK: Duration = Duration::from_millis(100);
/// So many may be about to say hello at a time; further ones are turned away.
const GREETED: usize = 16;
/// So many of them from one address.
const GREETED_OF_ONE: usize = 4;

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
    sessions: Mutex<Guests>,
    /// From where those come that were not heard yet.
    greeted: Mutex<Vec<IpAddr>>,
}

/// A connection, and what has come by it and was not looked at yet.
type Line = (TcpStream, Lines);

/// Sessions by who has them, and the number that it gives them: others may give the same.
type Guests = HashMap<(IpAddr, u64), Guest>;

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
        crafted::permitted()?;
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
            greeted: Mutex::default(),
        };
        std::thread::scope(|scope| {
            while !ended.load(Ordering::Acquire) {
                for (stream, peer) in self.arrived()? {
                    if let Err(refused) = house.greet(peer) {
                        house.turn_away(peer, &stream, refused);
                        continue;
                    }
                    let house = &house;
                    scope.spawn(move || house.receive(stream, peer));
                }
            }
            Ok(())
        })
    }

    /// Connections that have come, for as long as [`LOOK`].
    fn arrived(&self) -> Result<Vec<(TcpStream, IpAddr)>, io::Error> {
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
                Ok((stream, peer)) => arrived.push((stream, peer.ip())),
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
    /// Whether one more of this address may say what it comes for.
    fn greet(&self, peer: IpAddr) -> Result<(), Refused> {
        let mut greeted = self.greeted();
        let same = greeted.iter().filter(|other| **other == peer).count();
        if greeted.len() >= GREETED || same >= GREETED_OF_ONE {
            let why = "too many connections have not said yet what they are for: try again in some seconds";
            return Err(Refused::Cannot(why.to_owned()));
        }
        greeted.push(peer);
        Ok(())
    }

    /// Hears what a connection is for, and does it.
    fn receive(&self, stream: TcpStream, peer: IpAddr) {
        let mut connection = (stream, Lines::default());
        let heard = self.hello(&mut connection, peer);
        let mut greeted = self.greeted();
        if let Some(at) = greeted.iter().position(|other| *other == peer) {
            greeted.swap_remove(at);
        }
        drop(greeted);
        let Some(hello) = heard else { return };
        let hello = match hello {
            Ok(hello) => hello,
            Err(refused) => return self.turn_away(peer, &connection.0, refused),
        };
        match self.admit(peer, &hello, connection) {
            Ok(None) => {}
            Ok(Some(session)) => {
                (self.tell)(Event::Began(peer));
                let why = session.run();
                self.guests().remove(&(peer, hello.session));
                (self.tell)(Event::Ended(peer, why));
            }
            Err((stream, refused)) => self.turn_away(peer, &stream, refused),
        }
    }

    fn turn_away(&self, peer: IpAddr, mut stream: &TcpStream, refused: Refused) {
        // Who does not wait for it does not miss it.
        let _ = stream.write_all(&line(&Told::Refused(refused.clone())));
        (self.tell)(Event::Refused(peer, refused));
    }

    /// Its hello; nothing of one that goes away.
    fn hello(&self, (stream, lines): &mut Line, peer: IpAddr) -> Option<Result<Hello, Refused>> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        let allow = &self.serve.allow;
        if !allow.is_empty() && !allow.iter().any(|net| net.contains(&peer)) {
            return Some(Err(Refused::NotAllowed(peer)));
        }
        let until = Instant::now() + HELLO;
        let mut buffer = [0; 1024];
        let said = loop {
            match lines.take() {
                Ok(Some(said)) => break said,
                Ok(None) => {}
                Err(garbage) => return Some(Err(Refused::Garbage(garbage.to_string()))),
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
        Some(match said {
            Said::Hello(hello) if hello.unmangle_probe == VERSION => Ok(hello),
            Said::Hello(_) => Err(Refused::Version(VERSION)),
            _ => Err(Refused::Garbage("no hello".to_owned())),
        })
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
        let key = (peer, hello.session);
        if hello.again {
            let Some(guest) = guests.get(&key) else {
                return Err((connection.0, Refused::Ended));
            };
            let sent = guest.door.send(connection);
            sent.map_err(|back| (back.0.0, Refused::Ended))?;
            ring(&guest.bell);
            (self.tell)(Event::Returned(peer));
            return Ok(None);
        }
        if guests.contains_key(&key) {
            // It would take the place of one that is still there, and that one's end would take it away.
            let why = "a new session has a new number".to_owned();
            return Err((connection.0, Refused::Garbage(why)));
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
                guests.insert(key, guest);
                Ok(Some(session))
            }
            Err(error) => Err((connection.0, cannot(&error))),
        }
    }

    /// Whether this client may have a session, and if not, why.
    fn has_room(&self, guests: &Guests, peer: IpAddr) -> Result<(), Refused> {
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

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn greeted(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.greeted.lock().unwrap_or_else(PoisonError::into_inner)
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
