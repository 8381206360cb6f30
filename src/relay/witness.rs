//! What the relay's own rules show it of packets that no socket does: the SYNs of clients before anything was
//! stripped from them, and the DSCP of segments when it is not 0 or has changed.
//!
//! The rules log such packets to a netlink group. One reader keeps the SYNs until their sessions ask for
//! them, and tells every worker the DSCP of other segments; the worker that has the leg sets it on the other one,
//! so that the other host sees it, too. Both are bounded: SYNs that nobody asks for are forgotten, oldest first,
//! and a worker that is too busy to be told will be shown the same DSCP again.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use super::addr::ClientAddr;
use super::leg::TcpLeg;
use super::legs::{Legs, Party};
use crate::packet::Offer;
use crate::packet::nflog::{self, Logged, Seen};
use crate::sys::netfilter;
use crate::sys::watch::watch_descriptor;

/// SYNs that are kept for sessions that have not asked for them yet.
const OPENINGS: usize = 4096;
/// Segments that are kept for legs that are not known yet.
const UNCLAIMED: usize = 64;
/// What the kernel may keep while nobody reads.
const BUFFER: usize = 1 << 20;

/// The reader of what the rules log.
#[derive(Debug)]
pub struct Witness {
    socket: AsyncFd<OwnedFd>,
}

/// The SYNs of clients, until their sessions ask.
#[derive(Debug, Default)]
pub struct Openings {
    kept: Mutex<Kept>,
    /// Whether there ever was one.
    any: AtomicBool,
}

/// What was seen of a client's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// What it offered.
    pub offer: Offer,
    /// Its DSCP.
    pub dscp: u8,
}

#[derive(Debug, Default)]
struct Kept {
    openings: HashMap<(SocketAddr, SocketAddr), Opening>,
    order: VecDeque<(SocketAddr, SocketAddr)>,
}

/// The legs of one worker, by who sends and who receives on them.
#[derive(Debug, Default)]
pub struct Known {
    legs: HashMap<(SocketAddr, SocketAddr), Towards>,
    unclaimed: VecDeque<Seen>,
}

/// Where the DSCP that is seen on a leg belongs.
#[derive(Debug, Clone)]
enum Towards {
    Client(Weak<Legs>),
    Server(Weak<Legs>),
}

/// A session's legs are known until this is dropped.
pub struct Registered<'a> {
    known: &'a RefCell<Known>,
    keys: [(SocketAddr, SocketAddr); 2],
}

// === impl Witness ===

impl Witness {
    /// Begins to read.
    ///
    /// # Errors
    /// If the kernel has no NFLOG, or somebody else reads this group in this network namespace.
    pub fn open() -> io::Result<Self> {
        let socket = netfilter::socket(BUFFER)?;
        netfilter::request(&socket, &nflog::bind(nflog::GROUP, nflog::MOST))?;
        let mut buffer = [0; 1024];
        match nflog::answer(netfilter::receive(&socket, &mut buffer)?) {
            Some(0) => {}
            Some(error) => return Err(io::Error::from_raw_os_error(error)),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        let socket = watch_descriptor(socket)?;
        Ok(Self { socket })
    }

    /// Reads on where another process has begun to.
    ///
    /// # Errors
    /// If the kernel's epoll does not take it.
    pub fn take_on(socket: OwnedFd) -> io::Result<Self> {
        let socket = watch_descriptor(socket)?;
        Ok(Self { socket })
    }

    /// Waits for segments and tells each; may be given up and begun anew.
    pub async fn watch(&self, mut tell: impl FnMut(Logged)) -> io::Error {
        let mut buffer = netfilter::buffer();
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            match netfilter::receive(self.socket.get_ref(), &mut buffer) {
                Ok(datagram) => nflog::segments(datagram).for_each(&mut tell),
                Err(Errno::AGAIN) => ready.clear_ready(),
                // More was logged than was read: what is lost will be logged again, or is not missed.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(error) => return error.into(),
            }
        }
    }
}

impl AsFd for Witness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

// === impl Openings ===

impl Openings {
    /// Keeps a client's SYN; its last one counts.
    pub fn keep(&self, client: SocketAddr, server: SocketAddr, opening: Opening) {
        let mut kept = self.kept();
        self.any.store(true, Ordering::Relaxed);
        if kept.openings.insert((client, server), opening).is_none() {
            kept.order.push_back((client, server));
        }
        // Those that were taken have left their place in the order.
        while kept.order.len() > OPENINGS {
            if let Some(oldest) = kept.order.pop_front() {
                kept.openings.remove(&oldest);
            }
        }
    }

    /// This client's SYN, if it was seen.
    pub fn take(&self, ClientAddr(client): ClientAddr, server: SocketAddr) -> Option<Opening> {
        // Where no rule shows SYNs there never is one, and each session asks twice.
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.kept().openings.remove(&(client, server))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    /// Registers a session's legs; what was seen of them before is applied now.
    pub fn register<'a>(known: &'a RefCell<Self>, legs: &Rc<Legs>) -> io::Result<Registered<'a>> {
        let key = |leg: &TcpLeg| Ok::<_, io::Error>((leg.peer_addr()?, leg.local_addr()?));
        let keys = [key(&legs.downstream)?, key(&legs.upstream)?];
        let own = &mut *known.borrow_mut();
        let legs = Rc::downgrade(legs);
        own.legs.insert(keys[0], Towards::Server(legs.clone()));
        own.legs.insert(keys[1], Towards::Client(legs));
        let (ours, others): (VecDeque<Seen>, _) = std::mem::take(&mut own.unclaimed)
            .into_iter()
            .partition(|seen| keys.contains(&(seen.from, seen.to)));
        own.unclaimed = others;
        ours.into_iter().for_each(|seen| own.tell(seen));
        Ok(Registered { known, keys })
    }

    /// Sets the DSCP of a client's SYN on the other leg of its session.
    pub fn opened(&mut self, ClientAddr(from): ClientAddr, to: SocketAddr, opening: Opening) {
        if opening.dscp != 0 {
            self.tell(Seen {
                from,
                to,
                dscp: opening.dscp,
                offer: None,
            });
        }
    }

    /// Sets the DSCP of a segment on the other leg of its session.
    pub fn tell(&mut self, seen: Seen) {
        let (legs, party) = match self.legs.get(&(seen.from, seen.to)) {
            Some(Towards::Server(legs)) => (legs.upgrade(), Party::Server),
            Some(Towards::Client(legs)) => (legs.upgrade(), Party::Client),
            None => {
                if self.unclaimed.len() >= UNCLAIMED {
                    self.unclaimed.pop_front();
                }
                self.unclaimed.push_back(seen);
                return;
            }
        };
        let Some(legs) = legs else { return };
        let leg = legs.leg(party);
        let class = u32::from(seen.dscp) << 2;
        let socket = SockRef::from(leg);
        // The kernel keeps the bits of ECN as they are.
        let set = match leg.local_addr() {
            Ok(SocketAddr::V4(_)) => socket.set_tos_v4(class),
            Ok(SocketAddr::V6(_)) => socket.set_tclass_v6(class),
            Err(error) => Err(error),
        };
        if let Err(error) = set {
            tracing::debug!(%error, "a leg keeps its DSCP");
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let known = &mut *self.known.borrow_mut();
        for key in &self.keys {
            known.legs.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn a_syn_is_kept_until_it_is_asked_for_and_the_oldest_is_forgotten_first() {
        let openings = Openings::default();
        let server = address(22);
        let opening = |mss| Opening {
            offer: Offer {
                mss: Some(mss),
                ..Offer::default()
            },
            dscp: 4,
        };
        for nth in 0..5000 {
            openings.keep(address(nth), server, opening(nth));
        }
        let take = |port| openings.take(ClientAddr(address(port)), server);
        assert_eq!(take(903), None);
        assert_eq!(take(904), Some(opening(904)));
        assert_eq!(take(904), None);
        openings.keep(address(4999), server, opening(1));
        assert_eq!(take(4999), Some(opening(1)));
    }

    #[test]
    fn segments_of_legs_that_are_not_known_are_bounded() {
        let mut known = Known::default();
        for port in 0..1000 {
            known.tell(Seen {
                from: address(port),
                to: address(22),
                dscp: 4,
                offer: None,
            });
        }
        assert_eq!(known.unclaimed.len(), UNCLAIMED);
        assert_eq!(known.unclaimed[0].from, address(1000 - UNCLAIMED as u16));
    }
}
