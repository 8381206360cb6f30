//! What `/api/sessions` answers. `docs/api-sessions.schema.json` describes it for others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sessions that run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "What unmangle answers to GET /api/sessions")]
pub struct Sessions {
    /// Sessions that run, whether or not the query means them, and those that are still being dialled for.
    pub live: u64,
    /// Whether there are more that the query means than its limit let through.
    pub more: bool,
    /// Those that the query means, at most as many as its limit, in the order that it wants.
    pub sessions: Vec<Session>,
}

/// A session that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its worker and its number there; no other session has or gets it while the relay runs.
    pub id: String,
    /// The name of the listener that it came by.
    pub listener: String,
    /// How that one gets its connections: `gateway`, `server-sidecar`, `client-sidecar` or `forward`.
    pub mode: String,
    /// On which leg the firewall is.
    pub mangled_leg: LegName,
    /// Who opened it.
    pub client: String,
    /// The proxy that said so; null if the client came itself.
    pub via: Option<String>,
    /// Who was dialled.
    pub server: String,
    /// Seconds since it was accepted.
    pub age_seconds: f64,
    /// What moves its bytes: `splice`, `tokio-splice` or `copy`.
    pub engine: String,
    /// What the server's socket has taken from the client.
    pub client_to_server: Flow,
    /// What the client's socket has taken from the server.
    pub server_to_client: Flow,
    /// The leg to the client.
    pub downstream: Leg,
    /// The leg to the server.
    pub upstream: Leg,
    /// What the client's SYN asked for before anything was stripped from it, such as
    /// `mss 1460, wscale 7, sack, timestamps`; null where no rule showed it.
    pub client_offer: Option<String>,
    /// Where its directions are stuck; empty if none is.
    pub stuck: Vec<Stuck>,
}

/// One of the two legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegName {
    /// That to the client.
    Downstream,
    /// That to the server.
    Upstream,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Bytes so far; null if the engine tells only at the end.
    pub bytes: Option<u64>,
    /// Bytes a second, of the last one to eleven seconds; null if the engine does not tell.
    pub bytes_per_second: Option<u64>,
}

/// One leg, as its kernel tells it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// The profile that it goes by.
    pub profile: String,
    /// What its two ends agreed on: `mss 940, timestamps`.
    pub agreed: String,
    /// The round-trip time, smoothed; null if none was measured.
    pub rtt_seconds: Option<f64>,
    /// The shortest that was measured lately.
    pub min_rtt_seconds: Option<f64>,
    /// Segments that were sent again.
    pub retransmits: u64,
}

/// A direction that has something to deliver, and nothing moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stuck {
    /// Which: `client_to_server` or `server_to_client`.
    pub direction: String,
    /// At whom.
    pub side: StuckSide,
    /// Why.
    pub why: StuckWhy,
    /// Bytes that wait.
    pub waiting_bytes: u64,
    /// For how long nothing has moved.
    pub for_seconds: f64,
}

/// At whom a direction is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StuckSide {
    /// At the client, or on the way to it.
    Client,
    /// At the server, or on the way to it.
    Server,
    /// In the relay.
    Relay,
}

/// Why a direction is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StuckWhy {
    /// The receiver answers and does not read.
    Window,
    /// The receiver, or the way to it, does not answer.
    Unacknowledged,
    /// The bytes wait in the relay, although the receiver has taken all before them.
    Pipe,
}
