//! What a firewall does not let pass, whatever its size: blocked ports, and SYNs with options it does not know.

use super::scope::Scope;
use crate::lab::wire::spec::{Direction, UnknownOptions};
use crate::packet::{Flags, Ip, Tcp, TcpOption};

/// Why a segment is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It goes to, or comes from, a blocked port.
    BlockedPort,
    /// It is a SYN or SYN-ACK with an option that the firewall does not know.
    UnknownOption,
}

/// Whether a packet of this direction is refused.
pub fn refuses(spec: &Direction, scope: &Scope, ip: &Ip, packet: &[u8]) -> Option<Refusal> {
    let drops_syns = spec.unknown_options == UnknownOptions::DropSyn;
    if spec.drop_ports.is_empty() && !drops_syns || !ip.has_tcp_header() {
        return None;
    }
    let tcp = Tcp::parse(&packet[ip.payload..ip.end]).ok()?;
    if Scope::touches(&spec.drop_ports, &tcp) {
        return Some(Refusal::BlockedPort);
    }
    let unknown = |option| matches!(option, TcpOption::Other { .. });
    (drops_syns && tcp.flags().has(Flags::SYN) && scope.covers(&tcp) && tcp.options().any(unknown))
        .then_some(Refusal::UnknownOption)
}
