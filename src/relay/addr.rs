//! Addresses that must not be mixed up.

use std::fmt;
use std::net::SocketAddr;

use crate::config::Target;

/// Who opened the connection: the remote address of the downstream leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr(pub SocketAddr);

/// Where the client meant to go. Under TPROXY this is the local address of the accepted socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginalDst(pub SocketAddr);

/// Whether a service is to see the client's own port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientPort {
    /// If it can be had.
    Wanted,
    /// It cannot: the client's leg has the same addresses and ports.
    Impossible,
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OriginalDst {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a session is to be dialled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Where the client meant to go; dialled with the client's own address.
    Original(OriginalDst),
    /// The service of this host that the client meant, at this address; dialled with the client's own
    /// address, and its port if `port` says so.
    Service {
        /// Where the service is dialled.
        at: SocketAddr,
        /// Whether it is to see the client's port.
        port: ClientPort,
    },
    /// Where a program of this host meant to go; dialled from this host.
    Meant(OriginalDst),
    /// Where the listener sends everybody; looked up at each dial.
    Fixed(Target),
}

impl Destination {
    /// What is dialled, unless a name has to be looked up for that.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Original(address) | Self::Meant(address) => Some(address.0),
            Self::Service { at, .. } => Some(*at),
            Self::Fixed(_) => None,
        }
    }

    /// Where the client meant to go, as far as that is known before a name is looked up; `local` is the
    /// address of its leg here.
    pub fn meant(&self, local: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Original(address) | Self::Meant(address) => Some(address.0),
            // Behind the loopback address is what the client has dialled.
            Self::Service { at, .. } if at.ip().is_loopback() => Some(local),
            Self::Service { at, .. } => Some(*at),
            Self::Fixed(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Original(address) | Self::Meant(address) => address.fmt(f),
            Self::Service { at, .. } => at.fmt(f),
            Self::Fixed(target) => target.fmt(f),
        }
    }
}
