//! The firewall forgets who is quiet: the session looks alive on both ends and is dead in between.

use std::time::Duration;

use super::{Between, Scenario};
use crate::lab::tool::Tool;
use crate::lab::wire::Direction;

pub(super) fn scenario() -> Scenario {
    let forgetful = Direction {
        forget_idle_after: Some(Duration::from_secs(20)),
        ..Direction::default()
    };
    Scenario {
        name: "idle-drop",
        story: "The firewall forgets a flow that was idle for 20 s, and drops its later packets.",
        firewall: Between::both(forgetful),
        long_leg: Between::default(),
        profile: "idle-drop",
        tool: Tool::SshIdle,
    }
}
