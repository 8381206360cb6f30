//! Listeners that want the same thing.

use std::net::SocketAddr;

use super::choice::DialFrom;
use super::settings::{Listener, Mode};

impl Listener {
    /// Whether the two cannot both be had.
    pub(super) fn collides(&self, other: &Self) -> bool {
        self.name == other.name
            || self.mode.is_divided_from(&other.mode)
            || match (&self.mode, &other.mode) {
                (Mode::Gateway(one), Mode::Gateway(two)) => {
                    one.overlaps(two) || (self.holds() && other.holds() && one.looks_like(two))
                }
                (Mode::ServerSidecar(one), Mode::ServerSidecar(two)) => one.collides(two),
                (Mode::ClientSidecar(one), Mode::ClientSidecar(two)) => one.collides(two),
                (Mode::Forward(one), Mode::Forward(two)) => share(one.listen, two.listen),
                _ => false,
            }
    }

    /// Why not.
    pub(super) fn collision(&self, other: &Self) -> &'static str {
        match (&self.mode, &other.mode) {
            _ if self.name == other.name => "two listeners need two names",
            (one, two) if one.is_divided_from(two) => {
                "a host is a router or has sidecars, and the rules of one spoil the other's"
            }
            (Mode::Gateway(one), Mode::Gateway(two)) if !one.overlaps(two) => {
                "a packet that is held does not tell by which interface it would leave; tell them apart by \
                 port, from or to, or give one of them answer = \"at-once\""
            }
            (Mode::Forward(_), _) => "both listen at the same address",
            _ => {
                "on one interface a port belongs to one of them; tell them apart by port, from or to"
            }
        }
    }
}

/// Whether a connection could come to both; each listens for its own family alone.
fn share(one: SocketAddr, two: SocketAddr) -> bool {
    let same_port = one.port() == two.port() && one.port() != 0;
    let everywhere = one.ip().is_unspecified() || two.ip().is_unspecified();
    let same_ip = one.ip() == two.ip() || (everywhere && one.is_ipv4() == two.is_ipv4());
    same_port && same_ip
}

impl Mode {
    /// Whether it is a relay on the strict host itself.
    pub fn is_sidecar(&self) -> bool {
        matches!(self, Mode::ServerSidecar(_) | Mode::ClientSidecar(_))
    }

    /// Whether one has legs that bear others' addresses, as a router has, and the other is a sidecar: their rules
    /// spoil each other.
    fn is_divided_from(&self, other: &Self) -> bool {
        let one_way = |one: &Self, two: &Self| one.is_router() && two.is_sidecar();
        one_way(self, other) || one_way(other, self)
    }

    fn is_router(&self) -> bool {
        match self {
            Mode::Gateway(_) => true,
            Mode::Forward(forward) => forward.identity.dial_from == DialFrom::Client,
            Mode::ServerSidecar(_) | Mode::ClientSidecar(_) => false,
        }
    }
}
