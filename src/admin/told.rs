//! How the relay stands, as the values that are told. Pure: the time is an argument.

use std::time::Instant;

use humantime::format_rfc3339_seconds;
use rustix::process::{Resource, getrlimit};

use super::source::{About, Figures};
use super::standing::{Phase, Rules, Standing};
use super::status::{Limits, ListenerTold, Pipes, RulesStanding, RulesTold, Status};
use crate::config::{Listener, Mode};

/// The status.
pub(super) fn status(
    about: &About,
    standing: &Standing,
    live: usize,
    figures: &Figures,
    now: Instant,
) -> Status {
    let settings = &standing.settings;
    let process = &settings.process;
    let ready = standing.ready(now);
    let listeners = settings.listeners.iter().enumerate();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: format_rfc3339_seconds(about.started).to_string(),
        uptime_seconds: now.saturating_duration_since(about.began).as_secs_f64(),
        ready: ready.is_ok(),
        not_ready: ready.err().map(|why| why.to_string()),
        draining: standing.phase == Phase::Draining,
        rules: rules(&standing.rules, now),
        workers: about.workers as u64,
        engine: process.engine.to_string(),
        sessions: live as u64,
        limits: Limits {
            max_connections: process.max_connections.map(|most| most as u64),
            max_descriptors: getrlimit(Resource::Nofile).current,
        },
        listeners: listeners
            .map(|(index, each)| listener(each, about.ways.get(index), figures, index))
            .collect(),
        reloads: standing.reloads,
        reloads_refused: standing.reloads_refused,
        pipes: Pipes {
            budget_bytes: process.pipe_budget as u64,
            in_use_bytes: figures.pipe_bytes,
        },
        added_latency: figures.added,
        conntrack_invalid: figures.conntrack_invalid,
        settings: standing.text.to_string(),
    }
}

fn listener(
    listener: &Listener,
    way: Option<&String>,
    figures: &Figures,
    index: usize,
) -> ListenerTold {
    ListenerTold {
        name: listener.name.clone(),
        mode: mode(&listener.mode).to_owned(),
        way: way.cloned().unwrap_or_default(),
        profile: listener.mangled.name.clone(),
        clean_profile: listener.clean.name.clone(),
        sessions: figures.sessions.get(index).copied(),
        max_connections: listener.admission.most.map(|most| most as u64),
    }
}

/// As the key `mode` has it.
fn mode(mode: &Mode) -> &'static str {
    match mode {
        Mode::Gateway(_) => "gateway",
        Mode::ServerSidecar(_) => "server-sidecar",
        Mode::ClientSidecar(_) => "client-sidecar",
        Mode::Forward(_) => "forward",
    }
}

fn rules(rules: &Rules, now: Instant) -> RulesTold {
    let lasted = |since: &Instant| Some(now.saturating_duration_since(*since).as_secs_f64());
    let (standing, since_seconds, why) = match rules {
        Rules::NotNeeded => (RulesStanding::NotNeeded, None, None),
        Rules::SomebodyElses => (RulesStanding::SomebodyElses, None, None),
        Rules::InPlace { since } => (RulesStanding::InPlace, lasted(since), None),
        Rules::Missing { since, why } => (RulesStanding::Missing, lasted(since), Some(why.clone())),
    };
    RulesTold {
        standing,
        since_seconds,
        why,
    }
}
