//! One end of the path on this host: an [`Agent`] with a tap, a raw socket and the ports that it needs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::agent::{Agent, Fate};
use super::deaf::{Deaf, Shared};
use super::filter;
use super::order::{Answer, End, Order, Refusal};
use crate::sys::route::Interface;
use crate::sys::tap::{Going, Tap};

/// `IPPROTO_RAW`: headers are the sender's own.
const RAW: i32 = 255;
/// No packet is longer; what receive offload has merged may be as long.
const LONGEST: usize = 1 << 16;
/// So many packets are looked at before anything else is.
const AT_A_TIME: usize = 512;

/// One end, at work.
#[derive(Debug)]
pub struct Here {
    agent: Agent,
    tap: Tap,
    raw: Socket,
    to: SocketAddr,
    ports: Ports,
    /// What was answered without the agent.
    refused: Option<Answer>,
    mtu: u16,
    began: Instant,
    buffer: Vec<u8>,
}

/// Which ports of this host flows may have.
#[derive(Debug)]
pub enum Ports {
    /// The client's: one of its own for each flow, kept until the end.
    Client(BTreeMap<u16, Deaf>),
    /// The server's: those of this list, each held when it is first asked for.
    Server {
        /// Which.
        allowed: Vec<u16>,
        /// Held for all sessions.
        shared: Arc<Shared>,
        /// Held for this one, too.
        held: BTreeMap<u16, Arc<Deaf>>,
    },
}

/// Why this host cannot be an end.
#[derive(Debug, thiserror::Error)]
pub enum HereError {
    /// CAP_NET_RAW is missing.
    #[error(
        "crafting and seeing segments needs CAP_NET_RAW here: run it as root, or give the program that capability \
         (setcap cap_net_raw+ep)"
    )]
    Privilege,
    /// There is no way to the other end.
    #[error("there is no route to {0}: {1}")]
    Route(IpAddr, io::Error),
    /// Anything else.
    #[error("{0}: {1}")]
    Kernel(&'static str, io::Error),
}

/// Sees that this process may craft segments and see them.
///
/// # Errors
/// [`HereError`] says what is missing.
pub fn permitted() -> Result<(), HereError> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))
        .map(drop)
        .map_err(opening("opening a raw socket"))
}

fn opening(what: &'static str) -> impl Fn(io::Error) -> HereError {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => HereError::Privilege,
        _ => HereError::Kernel(what, error),
    }
}

// === impl Here ===

impl Here {
    /// Becomes an end, with its own address and the other's as this host sees it.
    ///
    /// # Errors
    /// [`HereError`]; nothing is left behind.
    pub fn open(end: End, own: IpAddr, peer: SocketAddr, ports: Ports) -> Result<Self, HereError> {
        let ip = peer.ip();
        let interface = Interface::towards(ip).map_err(|error| HereError::Route(ip, error))?;
        let raw = raw(ip).map_err(opening("opening a raw socket"))?;
        let tap = Tap::open(&filter::of(ip)).map_err(opening("opening a tap"))?;
        let mut to = peer;
        to.set_port(0);
        Ok(Self {
            agent: Agent::new(end, own, ip),
            tap,
            raw,
            to,
            ports,
            refused: None,
            mtu: u16::try_from(interface.mtu).unwrap_or(u16::MAX),
            began: Instant::now(),
            buffer: vec![0; LONGEST],
        })
    }

    /// The MTU of the interface that leads to the other end.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Time since it became one.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Begins with an order; [`Self::answer`] tells what came of it.
    pub fn order(&mut self, order: Order) {
        let now = self.now();
        match self.ports.prepare(&order, self.to.ip()) {
            Ok(port) => self.agent.order(now, order, port),
            Err(refusal) => self.refused = Some(Answer::Refused(refusal)),
        }
    }

    /// The answer to the order, once there is one.
    pub fn answer(&mut self) -> Option<Answer> {
        let now = self.now();
        self.refused.take().or_else(|| self.agent.poll_answer(now))
    }

    /// Goes on until a moment of [`Self::now`] at most, or until something is due or has come, or one of `others` is
    /// ready; which of them are is told in the same order. There may be an answer afterwards.
    ///
    /// # Errors
    /// If a packet cannot be sent for a reason of this host's own, or not be seen.
    pub fn turn(
        &mut self,
        until: Duration,
        others: &[(BorrowedFd, PollFlags)],
    ) -> io::Result<Vec<bool>> {
        self.work()?;
        let due = self.agent.next_due();
        let next = due.map_or(until, |due| due.min(until));
        let timeout = match self.refused {
            Some(_) => Duration::ZERO,
            None => next.saturating_sub(self.now()),
        };
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut polled = vec![PollFd::new(&self.tap, PollFlags::IN)];
        let more = others.iter();
        polled.extend(more.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled[1..].iter().map(|fd| !fd.revents().is_empty());
        let ready = ready.collect();
        self.work()?;
        Ok(ready)
    }

    /// Shows the agent what has come, and sends what it wants sent.
    fn work(&mut self) -> io::Result<()> {
        loop {
            let seen = self.look()?;
            let now = self.now();
            match self.agent.poll_transmit(now) {
                Some(transmit) => {
                    let fate = self.send(&transmit.packet)?;
                    let now = self.now();
                    self.agent.sent(now, fate);
                }
                None if seen < AT_A_TIME => return Ok(()),
                None => {}
            }
        }
    }

    /// Shows the agent some of what has come; says how many packets that was.
    fn look(&mut self) -> io::Result<usize> {
        let mut seen = 0;
        while seen < AT_A_TIME {
            let (size, going) = match self.tap.read(&mut self.buffer) {
                Ok(Some(read)) => read,
                Ok(None) => break,
                // An interface went away, or came; the others stay.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NETDOWN) => continue,
                Err(error) => return Err(error),
            };
            seen += 1;
            let packet = without_padding(&self.buffer[..size]);
            let now = self.began.elapsed();
            match going {
                Going::In => self.agent.incoming(now, packet),
                Going::Out => self.agent.outgoing(now, packet),
            }
        }
        if seen > 0 {
            match self.tap.lost()? {
                0 => {}
                lost => self.agent.missed(lost),
            }
        }
        Ok(seen)
    }

    fn send(&self, packet: &[u8]) -> io::Result<Fate> {
        loop {
            let Err(error) = self.raw.send_to(packet, &self.to.into()) else {
                return Ok(Fate::Sent);
            };
            match Errno::from_io_error(&error) {
                Some(Errno::MSGSIZE) => return Ok(Fate::TooLong),
                Some(Errno::PERM) => return Ok(Fate::Forbidden),
                Some(Errno::INTR) => {}
                _ => return Err(error),
            }
        }
    }
}

/// A socket for packets to an address of this family. What is known of the path's MTU is nothing to it.
fn raw(peer: IpAddr) -> io::Result<Socket> {
    let domain = Domain::for_address((peer, 0).into());
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    match peer {
        IpAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
        IpAddr::V6(_) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    // It is for sending; what such a socket of IPv4 would get besides is dropped.
    socket.attach_filter(&filter::nothing())?;
    Ok(socket)
}

/// A packet as its IP header has its length: short frames are padded.
fn without_padding(packet: &[u8]) -> &[u8] {
    let field = |at: usize| {
        let two = packet.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([two[0], two[1]])))
    };
    let length = match packet.first().map(|first| first >> 4) {
        Some(4) => field(2),
        Some(6) => field(4).map(|payload| payload + 40),
        _ => None,
    };
    // What the kernel has merged beyond 64 KiB has no length there.
    let length = length.filter(|length| *length > 40);
    &packet[..length.map_or(packet.len(), |length| length.min(packet.len()))]
}

// === impl Ports ===

impl Ports {
    /// The client's, none of which is held yet.
    #[must_use]
    pub fn of_client() -> Self {
        Self::Client(BTreeMap::new())
    }

    /// Holds what an order needs; for the client, says its port.
    fn prepare(&mut self, order: &Order, peer: IpAddr) -> Result<Option<u16>, Refusal> {
        match (self, order) {
            (Self::Client(held), Order::Open { flow, .. }) => {
                let everywhere: IpAddr = match peer {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let deaf = Deaf::hold((everywhere, 0).into());
                let deaf = deaf.map_err(|error| Refusal::Other(error.to_string()))?;
                let port = deaf.port();
                // Kept until the end: what comes late would be reset otherwise.
                held.insert(flow.0, deaf);
                Ok(Some(port))
            }
            (
                Self::Server {
                    allowed,
                    shared,
                    held,
                },
                Order::Open { port, .. },
            ) => {
                permitted_port(allowed, *port)?;
                if !held.contains_key(port) {
                    let deaf = shared.hold(peer, *port);
                    held.insert(*port, deaf.map_err(|error| of_port(&error))?);
                }
                Ok(None)
            }
            (Self::Server { allowed, .. }, Order::Watch { port, .. }) => {
                permitted_port(allowed, *port)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

fn permitted_port(allowed: &[u16], port: u16) -> Result<(), Refusal> {
    match allowed.contains(&port) {
        true => Ok(()),
        false => Err(Refusal::Port(format!(
            "{port} is not among those of `unmangle probe serve --ports`"
        ))),
    }
}

fn of_port(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::AddrInUse => Refusal::PortInUse,
        io::ErrorKind::PermissionDenied => {
            Refusal::Port("the server has no CAP_NET_BIND_SERVICE".to_owned())
        }
        _ => Refusal::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::FlowId;
    use super::*;

    #[test]
    fn a_packet_ends_where_its_header_says() {
        let mut v4 = vec![0; 60];
        v4[0] = 0x45;
        v4[3] = 44;
        assert_eq!(without_padding(&v4).len(), 44);
        let mut v6 = vec![0; 90];
        v6[0] = 0x60;
        v6[5] = 20;
        assert_eq!(without_padding(&v6).len(), 60);
        v6[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(without_padding(&v6).len(), 90);
        assert_eq!(without_padding(&[]).len(), 0);
        assert_eq!(without_padding(&[0x45]).len(), 1);
    }

    #[test]
    fn the_server_opens_the_ports_of_its_list_and_no_others() {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let used = service.local_addr().unwrap().port();
        let mut ports = Ports::Server {
            allowed: vec![used],
            shared: Arc::default(),
            held: BTreeMap::new(),
        };
        let flow = FlowId(1);
        let peer = Ipv4Addr::LOCALHOST.into();
        let mut prepare = |order| ports.prepare(&order, peer);
        let open = |port| Order::Open { flow, port };
        assert_eq!(prepare(open(used)), Err(Refusal::PortInUse));
        assert_eq!(prepare(Order::Watch { flow, port: used }), Ok(None));
        let other = prepare(open(used.wrapping_add(1)));
        assert!(matches!(other, Err(Refusal::Port(_))), "{other:?}");
        let other = prepare(Order::Watch { flow, port: 1 });
        assert!(matches!(other, Err(Refusal::Port(_))), "{other:?}");
    }
}
