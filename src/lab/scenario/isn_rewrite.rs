//! Sequence numbers are randomised, SACK is not translated: the fault behind most of the others.

use super::{Between, Scenario};
use crate::lab::tool::Tool;
use crate::lab::wire::{Direction, Isn};

pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "isn-rewrite",
        story: "The firewall randomises sequence numbers but not those in SACK; \
                0.3 % of the packets are lost on the long leg.",
        firewall: Between::both(mangling()),
        long_leg: Between::both(losing()),
        profile: "isn-rewrite",
        tool: Tool::Scp,
    }
}

/// What the firewall does to sequence numbers.
pub(super) fn mangling() -> Direction {
    Direction {
        isn: Some(Isn {
            translate_sack: false,
        }),
        ..Direction::default()
    }
}

/// What the long leg loses.
pub(super) fn losing() -> Direction {
    Direction {
        loss: 0.003,
        ..Direction::default()
    }
}
