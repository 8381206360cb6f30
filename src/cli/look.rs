//! What is looked at before anything is changed.

use super::{Usage, doctor, privileges, settings};
use crate::config::{RulesMode, Settings};
use crate::diagnose::doctor::gather::Root;
use crate::diagnose::doctor::warnings;
use crate::rules::survey::{self, Forward};
use crate::rules::{Lock, Queueing, preflight, queue_rule};

/// Whether this host can do it and its other rules leave room for it, before anything is changed. What
/// somebody else has put in place is theirs to judge. The lock comes first: nobody else changes it meanwhile.
pub fn first(settings: &Settings) -> Result<Option<Looked>, Usage> {
    let Some(plan) = settings::plan_somewhere(settings) else {
        return Ok(None);
    };
    if settings.process.rules != RulesMode::Own {
        return Ok(None);
    }
    let lock = Lock::relay().map_err(|error| Usage(error.to_string()))?;
    let queueing = match plan.hold {
        Some(_) => queue_rule::probe().map_err(|error| Usage(error.to_string()))?,
        None => Queueing::Nft,
    };
    let legacy = queueing == Queueing::Iptables
        && queue_rule::is_legacy().map_err(|error| Usage(error.to_string()))?;
    if legacy && !privileges::is_root() {
        return Err(Usage(
            "--answer after-connect: only iptables-legacy can put packets into the queue here, and only as \
             root: install iptables-nft, or give --run-as root"
                .to_owned(),
        ));
    }
    let plan = plan.queued_by(queueing);
    let warned = preflight::check(&plan).map_err(|error| Usage(error.to_string()))?;
    let forward = if settings.process.override_forward {
        Forward::Override
    } else {
        Forward::Respect
    };
    let doubts = survey::survey(&plan, forward).map_err(|error| Usage(error.to_string()))?;
    let needs = doctor::needs(settings, Some(&plan));
    let host = warnings(&Root::default().settings(), needs);
    for warning in host.into_iter().chain(warned).chain(doubts) {
        tracing::warn!("{warning}");
    }
    Ok(Some(Looked {
        lock,
        queueing,
        legacy,
    }))
}

/// What was found, and what keeps it so.
pub struct Looked {
    /// Nobody else changes the rules meanwhile.
    pub lock: Lock,
    /// What can put packets into a queue here.
    pub queueing: Queueing,
    /// Whether that is the old iptables.
    pub legacy: bool,
}
