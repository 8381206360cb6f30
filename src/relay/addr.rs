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
    /// Where the listener sends everybody; looked up at each dial.
    Fixed(Target),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Original(address) => address.fmt(f),
            Self::Fixed(target) => target.fmt(f),
        }
    }
}
