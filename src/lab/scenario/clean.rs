//! Nothing is wrong: what every other scenario is compared with.

use super::{Between, Scenario};
use crate::lab::tool::Tool;

pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "clean",
        story: "Nothing is mangled and nothing is lost.",
        firewall: Between::default(),
        long_leg: Between::default(),
        profile: "clean",
        tool: Tool::Scp,
    }
}
