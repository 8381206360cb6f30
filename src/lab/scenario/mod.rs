//! What is wrong with the path: one short file each.
//!
//! To add one: a file that builds a [`Scenario`], and its line in [`all`].

mod clean;
mod isn_rewrite;
mod pix;
mod wscale_strip;

use crate::lab::error::{Error, Result};
use crate::lab::wire::Direction;

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

/// Every scenario, the harmless one first.
pub fn all() -> Vec<Scenario> {
    vec![
        clean::scenario(),
        isn_rewrite::scenario(),
        pix::scenario(),
        wscale_strip::scenario(),
    ]
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
            "unknown scenario \"pixie\": known are clean, isn-rewrite, pix, wscale-strip"
        );
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for scenario in all() {
            assert_eq!(find(scenario.name).unwrap(), scenario);
        }
    }
}
