//! What is wrong with the path: one short file each.
//!
//! To add one: a file that builds a [`Scenario`], and its line in [`all`].

mod asa;
mod blackhole;
mod clean;
mod idle_drop;
mod isn_rewrite;
mod isn_rewrite_lossy_lan;
mod pix;
mod reorder;
mod wscale_strip;

use std::time::Duration;

use crate::lab::error::{Error, Result};
use crate::lab::tool::Tool;
use crate::lab::wire::Direction;

/// How long an idle session is silent where the firewall forgets nobody.
const SHORT_SILENCE: Duration = Duration::from_secs(5);

/// A path through a firewall, and the profile that cures it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, in one sentence.
    pub story: &'static str,
    /// The emulated firewall between client and relay host.
    pub firewall: Between,
    /// The wire between relay host and server.
    pub long_leg: Between,
    /// The relay's profile that cures it.
    pub profile: &'static str,
    /// The tool that suffers from it.
    pub tool: Tool,
}

/// What a wire does, each way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Between {
    /// To packets on their way to the server.
    pub client_to_server: Direction,
    /// To packets on their way to the client.
    pub server_to_client: Direction,
}

impl Between {
    /// The same both ways.
    pub fn both(direction: Direction) -> Self {
        Self {
            client_to_server: direction.clone(),
            server_to_client: direction,
        }
    }
}

// === impl Scenario ===

impl Scenario {
    /// How long an idle session is silent here: twice as long as the firewall remembers it.
    pub fn silence(&self) -> Duration {
        let Between {
            client_to_server,
            server_to_client,
        } = &self.firewall;
        [client_to_server, server_to_client]
            .iter()
            .filter_map(|direction| direction.forget_idle_after)
            .max()
            .map_or(SHORT_SILENCE, |remembered| 2 * remembered)
    }

    /// The same with another silence; a firewall that forgets does so after half of it.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        let Between {
            client_to_server,
            server_to_client,
        } = &mut self.firewall;
        for direction in [client_to_server, server_to_client] {
            if let Some(remembered) = &mut direction.forget_idle_after {
                *remembered = silence / 2;
            }
        }
        self
    }
}

/// The scenarios that tell the story, the harmless one first.
pub fn story() -> Vec<Scenario> {
    vec![
        clean::scenario(),
        isn_rewrite::scenario(),
        pix::scenario(),
        wscale_strip::scenario(),
    ]
}

/// Every scenario, those of the story first.
pub fn all() -> Vec<Scenario> {
    let mut all = story();
    all.extend([
        isn_rewrite_lossy_lan::scenario(),
        blackhole::scenario(),
        idle_drop::scenario(),
        reorder::scenario(),
        asa::scenario(),
    ]);
    all
}

/// The scenario called `name`.
pub fn find(name: &str) -> Result<Scenario> {
    let known = all().iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
    all()
        .into_iter()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| Error::UnknownScenario {
            name: name.to_owned(),
            known,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_names_those_there_are() {
        let error = find("pixie").unwrap_err();
        assert!(error.is_usage());
        assert_eq!(
            error.to_string(),
            "unknown scenario \"pixie\": known are clean, isn-rewrite, pix, wscale-strip, \
             isn-rewrite-lossy-lan, blackhole, idle-drop, reorder, asa"
        );
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for scenario in all() {
            assert_eq!(find(scenario.name).unwrap(), scenario);
        }
    }

    #[test]
    fn an_idle_session_is_silent_for_twice_as_long_as_the_firewall_remembers() {
        let idle_drop = find("idle-drop").unwrap();
        assert_eq!(idle_drop.silence(), Duration::from_secs(40));
        let quick = idle_drop.with_silence(Duration::from_secs(2));
        let remembered = quick.firewall.server_to_client.forget_idle_after;
        assert_eq!(remembered, Some(Duration::from_secs(1)));
        assert_eq!(quick.silence(), Duration::from_secs(2));
    }

    #[test]
    fn a_firewall_that_forgets_nobody_is_not_taught_to() {
        let pix = find("pix").unwrap();
        assert_eq!(pix.clone().with_silence(Duration::from_secs(2)), pix);
        assert_eq!(pix.silence(), SHORT_SILENCE);
    }
}
