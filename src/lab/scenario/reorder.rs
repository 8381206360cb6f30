//! Packets overtake each other, so that SACK is spoken without any loss, with foreign numbers.

use std::time::Duration;

use super::{Between, Scenario, isn_rewrite};
use crate::lab::tool::Tool;
use crate::lab::wire::Direction;

pub(super) fn scenario() -> Scenario {
    let shuffling = Direction {
        reorder: 0.03,
        reorder_by: Duration::from_millis(5),
        ..isn_rewrite::mangling()
    };
    Scenario {
        name: "reorder",
        story: "The firewall randomises sequence numbers but not those in SACK, and holds 3 % of the \
                packets back by up to 5 ms, so that others overtake them.",
        firewall: Between::both(shuffling),
        long_leg: Between::default(),
        profile: "isn-rewrite",
        tool: Tool::Scp,
    }
}
