//! From file and flags to settings, and from settings to the plan of the rules.

use std::path::Path;

use super::{Usage, listener};
use crate::config::{
    Contents, Hold, Intercept, Keys, Listener, Mode, Numbers, Settings, Track, file,
};
use crate::relay::WayIn;
use crate::rules::{
    Capture, Holding, Interception, ListenPorts, Plan, Queueing, Shown, Tracking, Zones,
};

/// File and flags, checked.
///
/// # Errors
/// [`Usage`] says where the first wrong value stands, and what would be right.
pub fn read(
    config: Option<&Path>,
    process: Keys,
    listener: &listener::Flags,
) -> Result<Settings, Usage> {
    let contents = contents(config)?;
    let flags = listener.keys();
    if let Some(path) = config
        && contents.listeners.is_empty()
        && flags.is_empty()
    {
        return Err(Usage(format!(
            "{}: nothing is configured yet: write a [[listener]], or take the # away from the lines of an example \
             that is there",
            path.display()
        )));
    }
    Settings::resolve(contents, process, flags).map_err(|error| Usage(error.to_string()))
}

/// What a file says, if one was named; nothing of it is checked but its keys.
///
/// # Errors
/// [`Usage`] says why it cannot be read, or where the first wrong key stands.
pub fn contents(config: Option<&Path>) -> Result<Contents, Usage> {
    let Some(path) = config else {
        return Ok(Contents::default());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage(format!("--config {}: {error}", path.display())))?;
    file::parse(path, &text).map_err(|error| Usage(error.to_string()))
}

/// The rules that lead connections to the listeners that intercept, and answers to those that dial from
/// their clients' addresses; none if none does. What holds packets is nftables, until the host was asked whether it can.
pub fn plan(settings: &Settings, ways_in: &[WayIn]) -> Option<Plan> {
    let interceptions: Vec<Interception> = settings
        .listeners
        .iter()
        .zip(ways_in)
        .filter_map(|(listener, way_in)| {
            let WayIn::Intercepted { mangled, clean } = *way_in else {
                return None;
            };
            let (intercept, capture) = captured(listener)?;
            let ports = ListenPorts { mangled, clean };
            Some(Interception {
                capture,
                held: listener.holds(),
                ..Interception::new(intercept.clone(), &listener.mangled, ports)
            })
        })
        .collect();
    let borrows = settings.listeners.iter().any(Listener::dials_from_client);
    if interceptions.is_empty() && !borrows {
        return None;
    }
    let Numbers {
        mark,
        dial_mark,
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
        dial_mark,
        table,
        priority,
        tracking,
        hold,
        borrows,
        shown: Shown::Nothing,
        strangers: settings.process.strangers,
    })
}

/// The same plan before the ports are known: what is looked at and judged.
pub fn plan_somewhere(settings: &Settings) -> Option<Plan> {
    let somewhere = WayIn::Intercepted {
        mangled: 1,
        clean: 2,
    };
    plan(settings, &vec![somewhere; settings.listeners.len()])
}

/// What is taken in this mode, and by what; nothing where clients come of themselves.
fn captured(listener: &Listener) -> Option<(&Intercept, Capture)> {
    match &listener.mode {
        Mode::Gateway(intercept) => Some((intercept, Capture::Gateway)),
        Mode::ServerSidecar(sidecar) => {
            let (leg, own) = (sidecar.leg, sidecar.own);
            let silence = listener
                .mangled
                .keepalive
                .unwrap_or(listener.keepalive)
                .idle;
            Some((&sidecar.intercept, Capture::Service { leg, own, silence }))
        }
        Mode::ClientSidecar(sidecar) => {
            Some((&sidecar.intercept, Capture::Own(sidecar.whose.clone())))
        }
        Mode::Forward(_) => None,
    }
}
