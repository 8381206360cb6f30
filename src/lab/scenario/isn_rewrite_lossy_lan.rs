//! The stress case: what is lost is lost on the mangled leg itself, which has no SACK to repair it.

use super::{Between, Scenario, isn_rewrite};
use crate::lab::tool::Tool;
use crate::lab::wire::Direction;

pub(super) fn scenario() -> Scenario {
    let mangling = Direction {
        loss: isn_rewrite::losing().loss,
        ..isn_rewrite::mangling()
    };
    Scenario {
        name: "isn-rewrite-lossy-lan",
        story: "As isn-rewrite, but the 0.3 % are lost in the firewall, on the mangled leg itself.",
        firewall: Between::both(mangling),
        long_leg: Between::default(),
        profile: "isn-rewrite",
        tool: Tool::Scp,
    }
}
