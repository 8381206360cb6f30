//! The two legs of a session, and how they come to their end.

use std::io;

use socket2::SockRef;

use super::leg::TcpLeg;
use crate::metrics::Counters;
use crate::sys::tcp_info::{TcpInfo, tcp_info};

/// What the kernel says of the client's leg, and of the server's.
pub type Infos = (io::Result<TcpInfo>, io::Result<TcpInfo>);

/// The two legs of a session.
#[derive(Debug)]
pub struct Legs {
    /// The client's.
    pub downstream: TcpLeg,
    /// The server's.
    pub upstream: TcpLeg,
}

/// Who ended a session, or its side of it, first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The host that opened the connection.
    Client,
    /// The host that was dialled.
    Server,
    /// This program.
    Relay,
}

/// How a session ended.
#[derive(Debug)]
pub enum Close {
    /// Both ends were passed on, and every byte before them.
    Orderly {
        /// Whose end came first.
        first: Party,
    },
    /// One leg broke; the other was reset.
    Broken {
        /// Whose leg.
        by: Party,
        /// How.
        error: io::Error,
    },
    /// The relay had to end it.
    Aborted(Ended),
}

/// Why the relay ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The drain deadline.
    Drain,
    /// No byte has moved for the idle timeout.
    Idle,
    /// It was stuck, and such sessions are to be reset.
    Stuck,
}

/// How a session ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// In order.
    Fin,
    /// A leg was reset.
    Rst,
    /// A peer did not answer, or took nothing any more.
    Timeout,
    /// The network said that a peer cannot be reached.
    Unreachable,
    /// Another error of a leg.
    Error,
    /// The drain deadline.
    Drain,
    /// No byte had moved for the idle timeout.
    Idle,
    /// It was stuck.
    Stall,
}

// === impl Legs ===

impl Legs {
    /// The leg of a party.
    pub fn leg(&self, party: Party) -> &TcpLeg {
        match party {
            Party::Server => &self.upstream,
            Party::Client | Party::Relay => &self.downstream,
        }
    }

    /// What the kernel says of them now.
    pub fn infos(&self) -> Infos {
        (tcp_info(&self.downstream), tcp_info(&self.upstream))
    }

    /// After an orderly end, of which the kernel said this: what it still holds is delivered, not thrown away.
    pub fn let_go(&self, (downstream, upstream): &Infos) {
        for (leg, info) in [(&self.downstream, downstream), (&self.upstream, upstream)] {
            // It holds nothing of a connection that is no more, and resets none.
            if info.as_ref().is_ok_and(|info| info.closed) {
                continue;
            }
            if let Err(error) = SockRef::from(leg).set_linger(None) {
                tracing::warn!(%error, "a leg keeps its linger: its last bytes may be reset");
            }
        }
    }
}

// === impl Close ===

impl Close {
    /// Who closed first.
    pub fn by(&self) -> Party {
        match self {
            Close::Orderly { first } => *first,
            Close::Broken { by, .. } => *by,
            Close::Aborted(_) => Party::Relay,
        }
    }

    /// How.
    pub fn how(&self) -> How {
        match self {
            Close::Orderly { .. } => How::Fin,
            Close::Aborted(Ended::Drain) => How::Drain,
            Close::Aborted(Ended::Idle) => How::Idle,
            Close::Aborted(Ended::Stuck) => How::Stall,
            Close::Broken { error, .. } => match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::Rst,
                io::ErrorKind::TimedOut => How::Timeout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    How::Unreachable
                }
                _ => How::Error,
            },
        }
    }

    /// What counts sessions that end like this one.
    pub fn counter<'a>(&self, counters: &'a mut Counters) -> &'a mut u64 {
        match (self.by(), self.how()) {
            (Party::Client, How::Fin) => &mut counters.client_fin,
            (Party::Client, How::Rst) => &mut counters.client_rst,
            (Party::Client, How::Timeout) => &mut counters.client_timeout,
            (Party::Client, How::Unreachable) => &mut counters.client_unreachable,
            (Party::Client, _) => &mut counters.client_error,
            (Party::Server, How::Fin) => &mut counters.server_fin,
            (Party::Server, How::Rst) => &mut counters.server_rst,
            (Party::Server, How::Timeout) => &mut counters.server_timeout,
            (Party::Server, How::Unreachable) => &mut counters.server_unreachable,
            (Party::Server, _) => &mut counters.server_error,
            (Party::Relay, How::Drain) => &mut counters.relay_drain,
            (Party::Relay, How::Idle) => &mut counters.relay_idle,
            (Party::Relay, How::Stall) => &mut counters.relay_stall,
            (Party::Relay, _) => &mut counters.relay_error,
        }
    }
}

// === impl How ===

impl How {
    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            How::Fin => "fin",
            How::Rst => "rst",
            How::Timeout => "timeout",
            How::Unreachable => "unreachable",
            How::Error => "error",
            How::Drain => "drain",
            How::Idle => "idle",
            How::Stall => "stall",
        }
    }
}

// === impl Party ===

impl Party {
    /// The far end of the other leg.
    pub fn other(self) -> Self {
        match self {
            Party::Client => Party::Server,
            Party::Server => Party::Client,
            Party::Relay => Party::Relay,
        }
    }

    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Party::Client => "client",
            Party::Server => "server",
            Party::Relay => "relay",
        }
    }
}

/// What became of a leg that reports an error.
pub fn broken(by: Party, leg: &TcpLeg) -> Close {
    let error = match leg.take_error() {
        Ok(Some(error)) => error,
        // The direction that reads or writes has already taken it.
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    };
    Close::Broken { by, error }
}
