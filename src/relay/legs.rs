//! The two legs of a session, and how they come to their end.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::leg::TcpLeg;

/// The two legs of a session.
#[derive(Debug)]
pub struct Legs {
    /// The client's.
    pub downstream: TcpStream,
    /// The server's.
    pub upstream: TcpStream,
    /// Whether urgent bytes may come on either: no rule takes the mark off them.
    pub may_be_urgent: bool,
}

/// Bytes that the receiving side has accepted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// From the client to the server.
    pub client_to_server: u64,
    /// From the server to the client.
    pub server_to_client: u64,
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

// === impl Legs ===

impl Legs {
    /// The same, for our engine.
    pub fn tcp_leg(&self, party: Party) -> TcpLeg<'_> {
        TcpLeg {
            stream: self.leg(party),
            may_be_urgent: self.may_be_urgent,
        }
    }

    /// The leg of a party.
    pub fn leg(&self, party: Party) -> &TcpStream {
        match party {
            Party::Server => &self.upstream,
            Party::Client | Party::Relay => &self.downstream,
        }
    }

    /// After an orderly end: what the kernel still holds is delivered, not thrown away.
    pub fn let_go(&self) {
        for leg in [&self.downstream, &self.upstream] {
            if let Err(error) = SockRef::from(leg).set_linger(None) {
                tracing::warn!(%error, "a leg keeps its linger: its last bytes may be reset");
            }
        }
    }
}

// === impl Ended ===

impl Ended {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Ended::Drain => "drain",
            Ended::Idle => "idle",
            Ended::Stuck => "stall",
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
pub fn broken(by: Party, leg: &TcpStream) -> Close {
    let error = match leg.take_error() {
        Ok(Some(error)) => error,
        // The direction that reads or writes has already taken it.
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    };
    Close::Broken { by, error }
}
