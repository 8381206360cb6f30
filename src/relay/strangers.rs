//! Connections that another gateway has relayed, of which segments come here: the rules reset the end that sent one
//! and show it to the relay, which has the other end told, too. That one may be silent, and would wait for ever.
//!
//! What number a reset would have to bear to be believed, only that end knows. So it is asked as a host asks that has
//! rebooted: an opening segment in the peer's name, within a connection that it thinks established, it answers with its
//! own numbers (a challenge ACK, RFC 5961, section 4), and what answers that is a reset it believes (RFC 9293, section
//! 3.5.1). The kernel does both for a socket that connects. The rules make a SYN-ACK of what is sent in the acceptor's
//! name, which connection tracking at the opener takes for a late one, and a SYN it would not.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::dial::make_transparent;
use super::handle::Handle;
use super::refusal::Lines;
use crate::config::Mark;
use crate::packet::nflog::SentBy;
use crate::sys::tcp_info::tcp_info;

/// Ends that are asked at a time, each with a descriptor.
const AT_A_TIME: usize = 512;
/// How long an end is asked: the kernel sends the segment again after 1 s and after 3.
const ASKED_FOR: Duration = Duration::from_secs(5);
/// How soon after its answer an end is no longer asked.
const GLANCE: Duration = Duration::from_millis(20);
/// For how long what comes of a connection is no news.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// Connections that are known at a time; the oldest is forgotten for one more.
const KNOWN_MOST: usize = 65_536;

/// Has the other ends told.
#[derive(Debug)]
pub struct Strangers {
    /// By which the rules know a probe.
    mark: Mark,
    known: Mutex<Known>,
    seats: Arc<Semaphore>,
    lines: Arc<Lines>,
    /// Where they are counted.
    handle: Handle,
}

/// The connections of which both ends are being told, or were of late.
#[derive(Debug, Default)]
struct Known {
    connections: HashSet<Connection>,
    /// The oldest first, with the time at which it is forgotten.
    order: VecDeque<(Instant, Connection)>,
}

/// The addresses of both ends, the smaller one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Connection(SocketAddr, SocketAddr);

// === impl Strangers ===

impl Strangers {
    /// None have been met yet.
    pub fn new(mark: Mark, handle: Handle) -> Self {
        Self {
            mark,
            known: Mutex::default(),
            seats: Arc::new(Semaphore::new(AT_A_TIME)),
            lines: Arc::default(),
            handle,
        }
    }

    /// A segment has come, and who sent it was reset. Within a runtime, which tells the other end.
    pub fn met(&self, by: SentBy, from: SocketAddr, to: SocketAddr) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_news(Connection::between(from, to), now) {
            return;
        }
        if let Some(left_out) = self.lines.next(now) {
            let (client, server) = match by {
                SentBy::Opener => (from, to),
                SentBy::Acceptor => (to, from),
            };
            tracing::info!(%client, %server, left_out, "no session of this gateway: resetting both ends");
        }
        let (mark, seats, lines) = (self.mark, self.seats.clone(), self.lines.clone());
        let handle = self.handle.clone();
        tokio::spawn(async move {
            handle.count(|counters| counters.strangers += 1).await;
            let _seat = seats.acquire_owned().await;
            if let Err(error) = ask(to, from, mark).await
                && let Some(left_out) = lines.next(Instant::now())
            {
                tracing::warn!(%error, end = %to, peer = %from, left_out, "an end is not told that its session is gone");
            }
        });
    }
}

/// Asks an end in its peer's name, until it has answered.
async fn ask(end: SocketAddr, peer: SocketAddr, mark: Mark) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(end),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // An end that knows nothing of the connection may take this for a new one: that is reset.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_mark(mark.0)?;
    make_transparent(&socket, end)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(peer))?;
    match socket.connect(&SockAddr::from(end)) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        other => return other,
    }
    let deadline = Instant::now() + ASKED_FOR;
    // What the answer is, the kernel does not tell the socket: it resets the end, and goes on asking.
    while tcp_info(&socket)?.segments_received == 0 && Instant::now() < deadline {
        sleep(GLANCE).await;
    }
    Ok(())
}

// === impl Known ===

impl Known {
    /// Whether this connection is not known yet; from now on it is.
    fn is_news(&mut self, connection: Connection, now: Instant) -> bool {
        while let Some((until, oldest)) = self.order.front().copied()
            && (until <= now || self.order.len() >= KNOWN_MOST)
        {
            self.connections.remove(&oldest);
            self.order.pop_front();
        }
        let news = self.connections.insert(connection);
        if news {
            self.order.push_back((now + KNOWN_FOR, connection));
        }
        news
    }
}

// === impl Connection ===

impl Connection {
    fn between(one: SocketAddr, other: SocketAddr) -> Self {
        Self(one.min(other), one.max(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(port: u16) -> Connection {
        let client = SocketAddr::from(([192, 0, 2, 2], port));
        Connection::between(client, SocketAddr::from(([198, 51, 100, 2], 22)))
    }

    #[test]
    fn what_either_end_sends_is_of_one_connection() {
        let [one, other] = ["192.0.2.2:4711", "198.51.100.2:22"].map(|end| end.parse().unwrap());
        assert_eq!(
            Connection::between(one, other),
            Connection::between(other, one)
        );
    }

    #[test]
    fn a_connection_is_news_once_and_again_when_it_is_forgotten() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.is_news(connection(1), now));
        assert!(!known.is_news(connection(1), now + KNOWN_FOR / 2));
        assert!(known.is_news(connection(2), now));
        assert!(known.is_news(connection(1), now + KNOWN_FOR));
    }

    #[test]
    fn no_more_are_known_than_may_be() {
        let (mut known, now) = (Known::default(), Instant::now());
        for most in 0..KNOWN_MOST + 10 {
            let port = u16::try_from(most % 65_536).unwrap();
            let mut each = connection(port);
            each.1.set_port(u16::try_from(most / 65_536).unwrap());
            known.is_news(each, now);
        }
        assert_eq!(known.order.len(), KNOWN_MOST);
        assert_eq!(known.connections.len(), KNOWN_MOST);
    }
}
