//! What a relay is started with, be it from nothing or in the place of another.

use std::time::Instant;

use anyhow::bail;

use super::output;
use super::reload::Running;
use super::standing::Publisher;
use crate::admin;
use crate::config::{HostTuning, Intercept, Listener, Mode, RulesMode, Settings, Strip};
use crate::relay::{WayIn, Witness};
use crate::rules::tuning::{self, Tuned};
use crate::rules::{Plan, Shown};
use crate::sys::notify::{self, State};

/// Has the rules show what no socket shows. Without it sessions are relayed all the same.
pub fn witness(plan: &mut Plan) -> Option<Witness> {
    if plan.interceptions.is_empty() || plan.has_sidecars() {
        return None;
    }
    match Witness::open() {
        Ok(witness) => {
            show(plan);
            Some(witness)
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "no NFLOG: what clients offered is not told, and DSCP is not kept"
            );
            None
        }
    }
}

/// Has the rules show what a witness reads.
pub fn show(plan: &mut Plan) {
    // A SYN that nobody reads about need not be told.
    plan.shown = if tracing::enabled!(target: "unmangle::session", tracing::Level::INFO) {
        Shown::DscpAndOffers
    } else {
        Shown::Dscp
    };
}

/// What is stripped from the wire.
pub fn strips(plan: Option<&Plan>) -> Vec<Strip> {
    let plans = plan.into_iter();
    plans
        .flat_map(|plan| &plan.interceptions)
        .map(|each| each.strip)
        .collect()
}

/// Refuses what cannot go over to another process.
///
/// # Errors
/// If a listener of these settings holds opening packets.
pub fn can_go_over(settings: &Settings) -> anyhow::Result<()> {
    if settings.listeners.iter().any(Listener::holds) {
        bail!(
            "a listener has answer = \"after-connect\", and what is held cannot go over: restart"
        );
    }
    Ok(())
}

/// Says that it relays, to those who ask and in the log; `needs_rules` is whether any of its listeners does.
pub fn relays(standing: &Publisher, running: &Running, needs_rules: bool) {
    let rules = match (running.rules.plan(), needs_rules) {
        (Some(_), _) => admin::Rules::InPlace {
            since: Instant::now(),
        },
        (None, true) => admin::Rules::SomebodyElses,
        (None, false) => admin::Rules::NotNeeded,
    };
    standing.relays(rules, running.rules.parts());
    for (listener, way_in) in running.settings.listeners.iter().zip(running.ways_in()) {
        tracing::info!(
            listener = listener.name,
            way = way(listener, way_in),
            "relaying"
        );
    }
}

/// Tells the service manager, if there is one.
pub fn announce(state: State) {
    if let Err(error) = notify::announce(state) {
        tracing::warn!(%error, ?state, "the service manager cannot be told");
    }
}

/// Changes the settings of the host that the profiles want changed, if that was asked for.
pub fn tune(settings: &Settings, strips: &[Strip]) -> anyhow::Result<Option<Tuned>> {
    let how = settings.process.host_tuning;
    // Whose rules they are not, does not know whether another relay's tuning is left over or in force.
    let ours = settings.process.rules == RulesMode::Own && !strips.is_empty();
    if !ours && how != HostTuning::Print {
        return Ok(None);
    }
    let wanted = tuning::plan(strips);
    match how {
        HostTuning::Nothing => {
            for restored in tuning::restore_left_over() {
                tracing::info!("{restored}");
            }
            Ok(None)
        }
        HostTuning::Print => {
            output::print(tuning::commands(wanted))?;
            Ok(None)
        }
        HostTuning::Apply => {
            let tuned = tuning::apply(wanted)?;
            for refused in &tuned.refused {
                tracing::warn!("{refused}");
            }
            Ok(Some(tuned))
        }
    }
}

/// What comes to a listener, in a few words.
pub fn way(listener: &Listener, way_in: &WayIn) -> String {
    let profile = &listener.mangled.name;
    match (&listener.mode, way_in) {
        (Mode::Forward(forward), WayIn::Listening(address)) => {
            format!("{address} to {} with profile {profile}", forward.to)
        }
        (Mode::Forward(forward), WayIn::Intercepted { .. }) => forward.to.to_string(),
        (Mode::Gateway(intercept), _) => {
            format!(
                "{} on {} with profile {profile}",
                intercept.ports, intercept.mangled_side
            )
        }
        (Mode::ServerSidecar(sidecar), _) => {
            let Intercept {
                ports,
                mangled_side,
                ..
            } = &sidecar.intercept;
            format!("{ports} of this host on {mangled_side} with profile {profile}")
        }
        (Mode::ClientSidecar(sidecar), _) => {
            let Intercept {
                ports,
                mangled_side,
                ..
            } = &sidecar.intercept;
            let whose = &sidecar.whose;
            format!("{ports} from this host ({whose}) on {mangled_side} with profile {profile}")
        }
    }
}
