//! What a running session is watched for: silence, and bytes that do not move.

use std::time::Duration;

use super::choice::StallAction;
use super::keys::{ConfigError, Given};
use super::settings::duration;

/// What a running session is watched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// After how long without a byte either way it is reset; never if `None`.
    pub idle: Option<Duration>,
    /// After how long a direction is stuck that has bytes to deliver and moves none; never if `None`.
    pub stall_after: Option<Duration>,
    /// What becomes of a session with such a direction.
    pub stall_action: StallAction,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            idle: None,
            stall_after: Some(Duration::from_secs(30)),
            stall_action: StallAction::default(),
        }
    }
}

impl Watch {
    /// Reads the keys; `given` finds one in the listener or in the process.
    pub(super) fn read<'a>(given: impl Fn(&str) -> Option<&'a Given>) -> Result<Self, ConfigError> {
        let usual = Self::default();
        let time = |key: &str, default| match given(key) {
            Some(given) => given.parse(time_or_off),
            None => Ok(default),
        };
        Ok(Self {
            idle: time("idle-timeout", usual.idle)?,
            stall_after: time("stall-after", usual.stall_after)?,
            stall_action: match given("stall-action") {
                Some(given) => given.parse(str::parse)?,
                None => usual.stall_action,
            },
        })
    }
}

/// A time such as `30s`, or `off`.
fn time_or_off(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "off" => Ok(None),
        time => duration(time)
            .map(Some)
            .map_err(|wrong| format!("{wrong}; or off")),
    }
}
