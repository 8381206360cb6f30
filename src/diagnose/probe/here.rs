//! One end of the path on this host: an [`Agent`] with a tap, a raw socket and the ports that it needs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::agent::Agent;
use super::order::{Answer, End, Order, Refusal};
use crate::diagnose::crafted::Unable;
use crate::diagnose::crafted::deaf::{Deaf, Shared};
use crate::diagnose::crafted::raw::Raw;
use crate::diagnose::crafted::tapped::Tapped;
use crate::sys::route::Interface;
use crate::sys::tap::Going;

/// So many packets are looked at before anything else is.
const AT_A_TIME: usize = 512;
/// So many are sent in one go, before who has it work looks at other things.
const SENT_AT_A_TIME: usize = 64;
/// What found no room is tried again after so long, if the socket does not say before that there is room.
const AGAIN: Duration = Duration::from_millis(20);

/// One end, at work.
#[derive(Debug)]
pub struct Here {
    agent: Agent,
    tapped: Tapped,
    raw: Raw,
    /// A packet of the agent's for which there was no room.
    unsent: Option<Vec<u8>>,
    peer: IpAddr,
    ports: Ports,
    /// What was answered without the agent.
    refused: Option<Answer>,
    mtu: u16,
    began: Instant,
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

// === impl Here ===

impl Here {
    /// Becomes an end, with its own address and the other's as this host sees it.
    ///
    /// # Errors
    /// [`Unable`]; nothing is left behind.
    pub fn open(end: End, own: IpAddr, peer: SocketAddr, ports: Ports) -> Result<Self, Unable> {
        let ip = peer.ip();
        let interface = Interface::towards(peer).map_err(|error| Unable::Route(ip, error))?;
        Ok(Self {
            agent: Agent::new(end, own, ip),
            tapped: Tapped::towards(ip)?,
            raw: Raw::towards(peer)?,
            unsent: None,
            peer: ip,
            ports,
            refused: None,
            mtu: u16::try_from(interface.mtu).unwrap_or(u16::MAX),
            began: Instant::now(),
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
        // It belongs to an order that has its answer.
        self.unsent = None;
        match self.ports.prepare(&order, self.peer) {
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
        let next = match self.unsent {
            Some(_) => until.min(self.now() + AGAIN),
            None => due.map_or(until, |due| due.min(until)),
        };
        let timeout = match self.refused {
            Some(_) => Duration::ZERO,
            None => next.saturating_sub(self.now()),
        };
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut polled = vec![PollFd::new(&self.tapped, PollFlags::IN)];
        let more = others.iter();
        polled.extend(more.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
        if self.unsent.is_some() {
            polled.push(PollFd::new(&self.raw, PollFlags::OUT));
        }
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled[1..=others.len()]
            .iter()
            .map(|fd| !fd.revents().is_empty());
        let ready = ready.collect();
        self.work()?;
        Ok(ready)
    }

    /// Shows the agent what has come, and sends what it wants sent; some of it, if it is much.
    fn work(&mut self) -> io::Result<()> {
        for _ in 0..SENT_AT_A_TIME {
            let seen = self.look()?;
            let now = self.now();
            let unsent = self.unsent.take();
            match unsent.or_else(|| self.agent.poll_transmit(now)) {
                Some(packet) => {
                    let fate = match self.raw.send(&packet) {
                        Ok(fate) => fate,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.unsent = Some(packet);
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    };
                    let now = self.now();
                    self.agent.sent(now, fate);
                }
                None if seen < AT_A_TIME => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    /// Shows the agent some of what has come; says how many packets that was.
    fn look(&mut self) -> io::Result<usize> {
        let mut seen = 0;
        while seen < AT_A_TIME {
            let Some((going, packet)) = self.tapped.read()? else {
                break;
            };
            seen += 1;
            let now = self.began.elapsed();
            match going {
                Going::In => self.agent.incoming(now, packet),
                Going::Out => self.agent.outgoing(now, packet),
            }
        }
        if seen > 0 {
            match self.tapped.lost()? {
                0 => {}
                lost => self.agent.missed(lost),
            }
        }
        Ok(seen)
    }
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
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => Refusal::PortInUse,
        // Of bind(2); a filter that is refused is EPERM.
        Some(Errno::ACCESS) => Refusal::Port("the server has no CAP_NET_BIND_SERVICE".to_owned()),
        _ => Refusal::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::FlowId;
    use super::*;

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
