//! The client's part of the control connection: asks, and makes it anew when it breaks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::super::here::Here;
use super::super::order::{Answer, Order};
use super::{Garbage, Hello, Lines, Refused, Said, Told, VERSION, Welcome, line};
use crate::sys::window_clamp::set_window_clamp;

/// How long an answer is waited for, beyond what the order itself takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often the server is told that the client is there: well below what the server bears, and below what
/// firewalls forget.
const STILL_HERE: Duration = Duration::from_secs(10);
/// So many times in a row a connection is made anew before it is given up.
const ATTEMPTS: u32 = 4;
/// The largest segment, in bytes: what every path carries (RFC 9293, 3.7.1).
const SEGMENT: u32 = 536;
/// A window that needs no scale.
const WINDOW: u32 = 65_535;

/// Why the server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its kernel says that nobody listens.
    #[error("nothing listens on {0}, or a firewall refuses it")]
    NobodyListens(SocketAddr),
    /// Nothing comes back.
    #[error("no answer from {0} within {time} s", time = PATIENCE.as_secs())]
    Silent(SocketAddr),
    /// Some other way in which no connection comes about.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, io::Error),
    /// It connects, and then there is nothing.
    #[error(
        "{0} takes the connection and then says nothing: it is no `unmangle probe serve`, or the path carries no data"
    )]
    Mute(SocketAddr),
    /// It ends at once.
    #[error(
        "{0} ends the connection at once: it is no `unmangle probe serve`, or something between ends it"
    )]
    Closed(SocketAddr),
    /// What answers is something else.
    #[error("{0} is no `unmangle probe serve`: {1}")]
    Foreign(SocketAddr, Garbage),
    /// It does not want to.
    #[error("the server at {0} refuses: {1}")]
    Refused(SocketAddr, Refused),
    /// It breaks again and again.
    #[error("the connection to {0} broke {1} times in a row, and was given up: {2}")]
    Broken(SocketAddr, u32, Box<ControlError>),
    /// This host has a fault of its own.
    #[error("this host cannot go on: {0}")]
    Own(#[from] io::Error),
}

/// How the time is spent until a descriptor is ready.
pub trait Attend {
    /// Waits for it until a moment at most; whether it is ready.
    ///
    /// # Errors
    /// If this host cannot go on.
    fn attend(&mut self, fd: BorrowedFd, flags: PollFlags, until: Instant) -> io::Result<bool>;
}

/// Nothing else is done meanwhile.
#[derive(Debug)]
pub struct Alone;

/// The connection, and the session that it is for.
#[derive(Debug)]
pub struct Control {
    server: SocketAddr,
    session: u64,
    link: Option<Link>,
    last: u32,
    broken: u32,
    said: Instant,
}

/// What the first connection has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// The client's own address.
    pub own: IpAddr,
    /// What the server says.
    pub welcome: Welcome,
    /// How long its first answer took.
    pub round_trip: Duration,
}

/// A connection that is open.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    lines: Lines,
}

// === impl Attend ===

impl Attend for Alone {
    fn attend(&mut self, fd: BorrowedFd, flags: PollFlags, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut polled = [PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(!polled[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Attend for Here {
    fn attend(&mut self, fd: BorrowedFd, flags: PollFlags, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let ready = self.turn(self.now() + left, &[(fd, flags)])?;
        Ok(ready.contains(&true))
    }
}

// === impl Control ===

impl Control {
    /// Connects to a server and begins a session of this number.
    ///
    /// # Errors
    /// [`ControlError`] says why there is none.
    pub fn begin(server: SocketAddr, session: u64) -> Result<(Self, Met), ControlError> {
        let (link, met) = Link::make(server, session, false, &mut Alone)?;
        let control = Self {
            server,
            session,
            link: Some(link),
            last: 0,
            broken: 0,
            said: Instant::now(),
        };
        Ok((control, met))
    }

    /// How often it was made anew.
    #[must_use]
    pub fn broken(&self) -> u32 {
        self.broken
    }

    /// Has the server do something, and waits for what comes of it.
    ///
    /// # Errors
    /// If the connection is lost for good.
    pub fn ask(
        &mut self,
        order: Order,
        meanwhile: &mut dyn Attend,
    ) -> Result<Answer, ControlError> {
        self.last += 1;
        let n = self.last;
        let patience = order.takes() + PATIENCE;
        let ask = line(&Said::Ask { n, order });
        let mut failed = 0;
        loop {
            let why = match self.converse(&ask, n, patience, meanwhile) {
                Ok(answer) => return Ok(answer),
                Err(error @ (ControlError::Own(_) | ControlError::Refused(..))) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            self.drop_link();
            failed += 1;
            if failed == ATTEMPTS {
                return Err(ControlError::Broken(self.server, failed, Box::new(why)));
            }
        }
    }

    /// Tells the server that the client is there, where it has said nothing for a while.
    pub fn keep(&mut self) {
        if self.said.elapsed() < STILL_HERE {
            return;
        }
        self.said = Instant::now();
        if let Some(link) = &mut self.link
            && link.stream.write_all(&line(&Said::Here)).is_err()
        {
            self.drop_link();
        }
    }

    /// When [`Self::keep`] has something to do, at the latest.
    #[must_use]
    pub fn keep_by(&self) -> Instant {
        self.said + STILL_HERE
    }

    /// Ends the session.
    pub fn bye(mut self) {
        if let Some(link) = &mut self.link {
            // The connection ends now in any case, and the server notices.
            let _ = link.stream.write_all(&line(&Said::Bye));
        }
    }

    /// Says it once, by a new connection if need be, and waits for its answer.
    fn converse(
        &mut self,
        ask: &[u8],
        n: u32,
        patience: Duration,
        meanwhile: &mut dyn Attend,
    ) -> Result<Answer, ControlError> {
        if self.link.is_none() {
            self.broken += 1;
            let made = Link::make(self.server, self.session, true, meanwhile)?;
            self.link = Some(made.0);
        }
        let server = self.server;
        let link = self.link.as_mut().ok_or(ControlError::Mute(server))?;
        let broken = |error| ControlError::Unreachable(server, error);
        link.stream.write_all(ask).map_err(broken)?;
        self.said = Instant::now();
        let until = self.said + patience;
        loop {
            let next = until.min(self.said + STILL_HERE);
            match link.hear(server, next, meanwhile)? {
                Some(Told::Answer { n: told, answer }) if told == n => return Ok(answer),
                Some(Told::Refused(refused)) => return Err(ControlError::Refused(server, refused)),
                // An answer that was repeated.
                Some(Told::Answer { .. } | Told::Welcome(_)) => {}
                None if Instant::now() >= until => return Err(ControlError::Silent(server)),
                None => {
                    link.stream.write_all(&line(&Said::Here)).map_err(broken)?;
                    self.said = Instant::now();
                }
            }
        }
    }

    /// By a reset: a connection that ends in order ends its session.
    fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            let _ = SockRef::from(&link.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

// === impl Link ===

impl Link {
    /// Connects, says hello, and waits to be welcomed.
    fn make(
        server: SocketAddr,
        session: u64,
        again: bool,
        meanwhile: &mut dyn Attend,
    ) -> Result<(Self, Met), ControlError> {
        let stream = dial(server, meanwhile)?;
        let own = stream.local_addr()?.ip();
        let mut link = Self {
            stream,
            lines: Lines::default(),
        };
        let hello = Said::Hello(Hello {
            unmangle_probe: VERSION,
            session,
            again,
        });
        let asked = Instant::now();
        let broken = |error| ControlError::Unreachable(server, error);
        link.stream.write_all(&line(&hello)).map_err(broken)?;
        match link.hear(server, asked + PATIENCE, meanwhile)? {
            Some(Told::Welcome(welcome)) => {
                let met = Met {
                    own,
                    welcome,
                    round_trip: asked.elapsed(),
                };
                Ok((link, met))
            }
            Some(Told::Refused(refused)) => Err(ControlError::Refused(server, refused)),
            Some(Told::Answer { .. }) => {
                let what = "an answer to no question".to_owned();
                Err(ControlError::Foreign(server, Garbage::NoMessage(what)))
            }
            None => Err(ControlError::Mute(server)),
        }
    }

    /// The next message, if it comes in time.
    fn hear(
        &mut self,
        server: SocketAddr,
        until: Instant,
        meanwhile: &mut dyn Attend,
    ) -> Result<Option<Told>, ControlError> {
        let mut buffer = [0; 2048];
        loop {
            let told = self.lines.next();
            if let Some(told) = told.map_err(|error| ControlError::Foreign(server, error))? {
                return Ok(Some(told));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ControlError::Closed(server)),
                Ok(size) => self.lines.push(&buffer[..size]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return Ok(None);
                    }
                    meanwhile.attend(self.stream.as_fd(), PollFlags::IN, until)?;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ControlError::Closed(server));
                }
                Err(error) => return Err(ControlError::Unreachable(server, error)),
            }
        }
    }
}

/// A connection of which no message is cut, stretched or kept back, as far as a socket can see to that.
fn dial(server: SocketAddr, meanwhile: &mut dyn Attend) -> Result<TcpStream, ControlError> {
    let socket = Socket::new(
        Domain::for_address(server),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    tame(&socket)?;
    socket.set_nonblocking(true)?;
    let until = Instant::now() + PATIENCE;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => ControlError::NobodyListens(server),
        io::ErrorKind::TimedOut => ControlError::Silent(server),
        _ => ControlError::Unreachable(server, error),
    };
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        Err(error) => return Err(failed(error)),
    }
    while !meanwhile.attend(socket.as_fd(), PollFlags::OUT, until)? {
        if Instant::now() >= until {
            return Err(ControlError::Silent(server));
        }
    }
    match socket.take_error()? {
        None => Ok(socket.into()),
        Some(error) => Err(failed(error)),
    }
}

/// Short segments, unscaled windows, and no message waits for another. Before connect or listen.
pub(in super::super) fn tame(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_mss(SEGMENT)?;
    set_window_clamp(socket, WINDOW)?;
    socket.set_tcp_nodelay(true)
}
