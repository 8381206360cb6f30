//! What `/api/status` answers. `docs/api-status.schema.json` describes it for others.

use schemars::JsonSchema;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use crate::diagnose::Summary;

/// How the relay does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "What unmangle answers to GET /api/status")]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// When it was started, by RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// Whether new connections are relayed.
    pub ready: bool,
    /// Why they are not.
    pub not_ready: Option<String>,
    /// Whether it is about to end.
    pub draining: bool,
    /// The rules that lead connections to it.
    pub rules: RulesTold,
    /// Threads that share the sessions.
    pub workers: u64,
    /// What moves the bytes.
    pub engine: String,
    /// Sessions that run, accepted ones that are still being dialled for included.
    pub sessions: u64,
    /// How many there may be.
    pub limits: Limits,
    /// The ways in.
    pub listeners: Vec<ListenerTold>,
    /// How often changed settings were taken on (SIGHUP).
    pub reloads: u64,
    /// How often they were refused, and the old ones stayed.
    pub reloads_refused: u64,
    /// The pipes of all workers.
    pub pipes: Pipes,
    /// What the relay adds; null before the first byte has passed.
    pub added_latency: Option<AddedLatency>,
    /// What this host's conntrack has counted.
    pub conntrack: Summary,
    /// The settings in force, as a file that says the same: what `unmangle run --check` prints.
    pub settings: String,
}

/// How the rules stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RulesTold {
    /// How.
    pub standing: RulesStanding,
    /// Seconds since they were put in place, at the start or again, or since they are missing.
    pub since_seconds: Option<f64>,
    /// Why they are missing.
    pub why: Option<String>,
    /// Each of them: chains, `ip rule`s, routes; empty where they are not the relay's own.
    #[serde(default)]
    pub parts: Vec<RuleTold>,
}

/// One of the relay's own rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleTold {
    /// As somebody would look for it.
    pub rule: String,
    /// Whether it was there when it was last looked at.
    pub in_place: bool,
}

/// How the rules stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulesStanding {
    /// None are needed.
    NotNeeded,
    /// They are somebody else's, and nobody looks.
    SomebodyElses,
    /// They are in place, verified and watched.
    InPlace,
    /// Something is missing, and being put back.
    Missing,
}

/// How many sessions there may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Of all listeners, if `max-connections` is set.
    pub max_connections: Option<u64>,
    /// Open files that the process may have.
    pub max_descriptors: Option<u64>,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerTold {
    /// What it is called.
    pub name: String,
    /// `gateway`, `server-sidecar`, `client-sidecar` or `forward`.
    pub mode: String,
    /// What comes to it, in a few words.
    pub way: String,
    /// The profile of the leg that crosses the firewall.
    pub profile: String,
    /// The profile of the other leg.
    pub clean_profile: String,
    /// Sessions that are being relayed.
    pub sessions: u64,
    /// How many it may have, if that is limited.
    pub max_connections: Option<u64>,
}

/// The pipes of all workers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Pipes {
    /// What they may hold together.
    pub budget_bytes: u64,
    /// What those that there are can hold.
    pub capacity_bytes: u64,
    /// Pipes that hold bytes which wait for a receiver.
    pub in_use: u64,
    /// Pipes that are kept for the next who needs one.
    pub free: u64,
}

/// From the worker's wake-up for bytes until the other socket has taken them, since the start, both directions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AddedLatency {
    /// Half of them took no longer.
    pub p50_seconds: f64,
    /// 99 of 100 took no longer.
    pub p99_seconds: f64,
}

/// The schema of an answer: every field is there, if only as null.
pub fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}
