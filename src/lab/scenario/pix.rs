//! The firewall of the story: a Cisco PIX that rewrites sequence numbers and dislikes large packets.

use super::{Between, Scenario, isn_rewrite};
use crate::lab::tool::Tool;
use crate::lab::wire::{Direction, Oversize, OversizeAction, Protocol};

/// The largest packet that gets through unharmed: `ping -s 992` passes, `-s 993` does not.
const UNHARMED: u16 = 1020;

pub(super) fn scenario() -> Scenario {
    let mangling = Direction {
        oversize: vec![losing(Protocol::Icmp, 1.0), losing(Protocol::Tcp, 0.02)],
        ..isn_rewrite::mangling()
    };
    Scenario {
        name: "pix",
        story: "As isn-rewrite, and of packets over 1020 bytes the firewall loses \
                every ICMP and 2 % of TCP.",
        firewall: Between::both(mangling),
        long_leg: Between::both(isn_rewrite::losing()),
        profile: "cisco-pix",
        tool: Tool::Scp,
    }
}

fn losing(protocol: Protocol, probability: f64) -> Oversize {
    Oversize {
        protocol,
        above: UNHARMED,
        action: OversizeAction::Drop,
        probability,
    }
}
