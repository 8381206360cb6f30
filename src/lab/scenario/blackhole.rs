//! A path MTU black hole: large packets vanish and the ICMP that would tell is never sent.

use super::{Between, Scenario};
use crate::lab::tool::Tool;
use crate::lab::wire::{Direction, Oversize, OversizeAction, Protocol};

/// The largest packet that gets through.
const LARGEST: u16 = 1020;

pub(super) fn scenario() -> Scenario {
    let swallowing = Direction {
        oversize: vec![Oversize {
            protocol: Protocol::Any,
            above: LARGEST,
            action: OversizeAction::Drop,
            probability: 1.0,
        }],
        ..Direction::default()
    };
    Scenario {
        name: "blackhole",
        story: "No packet over 1020 bytes passes the firewall, and nobody is told.",
        firewall: Between::both(swallowing),
        long_leg: Between::default(),
        profile: "blackhole",
        tool: Tool::Scp,
    }
}
