//! From file and flags to settings, and from settings to the plan of the rules.

use std::path::Path;

use super::{Usage, listener};
use crate::config::{Contents, Hold, Keys, Mode, Numbers, Settings, Track, file};
use crate::relay::WayIn;
use crate::rules::{Holding, Interception, ListenPorts, Plan, Queueing, Tracking, Zones};

/// File and flags, checked.
///
/// # Errors
/// [`Usage`] says where the first wrong value stands, and what would be right.
pub fn read(
    config: Option<&Path>,
    process: Keys,
    listener: &listener::Flags,
) -> Result<Settings, Usage> {
    let contents = match config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Usage(format!("--config {}: {error}", path.display())))?;
            file::parse(path, &text).map_err(|error| Usage(error.to_string()))?
        }
        None => Contents::default(),
    };
    Settings::resolve(contents, process, listener.keys()).map_err(|error| Usage(error.to_string()))
}

/// The rules that lead connections to the listeners that intercept; none if none does. What holds packets
/// is nftables, until the host was asked whether it can.
pub fn plan(settings: &Settings, ways_in: &[WayIn]) -> Option<Plan> {
    let interceptions: Vec<Interception> = settings
        .listeners
        .iter()
        .zip(ways_in)
        .filter_map(|(listener, way_in)| match (&listener.mode, *way_in) {
            (Mode::Gateway(intercept), WayIn::Intercepted { mangled, clean }) => {
                let ports = ListenPorts { mangled, clean };
                Some(Interception {
                    held: listener.holds(),
                    ..Interception::new(intercept.clone(), &listener.mangled, ports)
                })
            }
            _ => None,
        })
        .collect();
    if interceptions.is_empty() {
        return None;
    }
    let Numbers {
        mark,
        table,
        priority,
        zones: (mangled, clean),
    } = settings.process.numbers;
    let tracking = match settings.process.track {
        Track::Zones => Tracking::Zones(Zones { mangled, clean }),
        Track::Notrack => Tracking::Notrack,
    };
    let Hold {
        mark: answer,
        queue,
        ..
    } = settings.process.hold;
    let hold = interceptions
        .iter()
        .any(|each| each.held)
        .then_some(Holding {
            mark: answer,
            queue,
            by: Queueing::Nft,
        });
    Some(Plan {
        interceptions,
        mark,
        table,
        priority,
        tracking,
        hold,
    })
}
