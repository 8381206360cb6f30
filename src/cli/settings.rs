//! From file and flags to settings, and from settings to the plan of the rules.

use std::path::Path;

use super::{Usage, listener};
use crate::config::{Contents, Keys, Listener, Mode, Numbers, Settings, Track, file};
use crate::relay::WayIn;
use crate::rules::{Interception, ListenPorts, Plan, Shown, Tracking, Zones};

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

/// The rules that lead connections to the listeners that intercept, and answers to those that dial from
/// their clients' addresses; none if none does.
pub fn plan(settings: &Settings, ways_in: &[WayIn]) -> Option<Plan> {
    let interceptions: Vec<Interception> = settings
        .listeners
        .iter()
        .zip(ways_in)
        .filter_map(|(listener, way_in)| match (&listener.mode, *way_in) {
            (Mode::Gateway(intercept), WayIn::Intercepted { mangled, clean }) => {
                let ports = ListenPorts { mangled, clean };
                Some(Interception::new(
                    intercept.clone(),
                    &listener.mangled,
                    ports,
                ))
            }
            _ => None,
        })
        .collect();
    let borrows = settings.listeners.iter().any(Listener::dials_from_client);
    if interceptions.is_empty() && !borrows {
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
    Some(Plan {
        interceptions,
        mark,
        table,
        priority,
        tracking,
        borrows,
        shown: Shown::Nothing,
    })
}
