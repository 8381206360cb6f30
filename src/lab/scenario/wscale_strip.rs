//! The hosts disagree about the window scale: one was told that there is none.

use super::{Between, Scenario};
use crate::lab::tool::Tool;
use crate::lab::wire::{Direction, WindowScale};

pub(super) fn scenario() -> Scenario {
    let mangling = Direction {
        window_scale: WindowScale::StripFromSynAck,
        ..Direction::default()
    };
    Scenario {
        name: "wscale-strip",
        story: "The firewall strips the window scale from SYN-ACK, so that the hosts disagree.",
        firewall: Between::both(mangling),
        long_leg: Between::default(),
        profile: "wscale-strip",
        tool: Tool::Scp,
    }
}
