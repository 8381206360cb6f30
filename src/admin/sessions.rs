//! What `/api/sessions` answers. `docs/api-sessions.schema.json` describes it for others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sessions that run, the oldest of each worker first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "What unmangle answers to GET /api/sessions")]
pub struct Sessions {
    /// Sessions that run, whether or not the query means them.
    pub live: u64,
    /// Whether there are more that the query means than its limit let through.
    pub more: bool,
    /// Those that the query means, at most as many as its limit.
    pub sessions: Vec<Session>,
}

/// A session that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its worker and its number there; no other session has or gets it while the relay runs.
    pub id: String,
    /// The name of the listener that it came by.
    pub listener: String,
    /// How that one gets its connections.
    pub mode: String,
    /// On which leg the firewall is.
    pub mangled_leg: Option<LegName>,
    /// Who opened it.
    pub client: String,
    /// The proxy that said so; null if the client came itself.
    pub via: Option<String>,
    /// Who was dialled.
    pub server: String,
    /// Seconds since it was accepted.
    pub age_seconds: f64,
    /// What moves its bytes.
    pub engine: String,
    /// Bytes from the client that the server's socket has taken.
    pub client_to_server: Flow,
    /// Bytes from the server that the client's socket has taken.
    pub server_to_client: Flow,
    /// The leg to the client.
    pub downstream: Leg,
    /// The leg to the server.
    pub upstream: Leg,
    /// What the client's SYN asked for, where the rules showed it: `mss 1460, wscale 7, sack, timestamps`.
    pub client_offer: Option<String>,
    /// Where it is stuck; null if it is not.
    pub stuck: Option<Stuck>,
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
    /// Bytes so far; null if its engine tells only at the end.
    pub bytes: Option<u64>,
    /// Bytes a second, of late; null while nobody has measured it.
    pub bytes_per_second: Option<f64>,
}

/// One leg, as its kernel tells it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// The profile that it goes by.
    pub profile: String,
    /// What was agreed on: `mss 940, timestamps`.
    pub agreed: Option<String>,
    /// The round-trip time, smoothed.
    pub rtt_seconds: Option<f64>,
    /// The shortest one.
    pub min_rtt_seconds: Option<f64>,
    /// Segments that were sent again.
    pub retransmits: Option<u64>,
}

/// A direction has something to deliver, and nothing moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stuck {
    /// At whom: `client` or `server`.
    pub side: String,
    /// Why: `window` (it answers and does not read), `unacked` (it, or the way to it, does not answer) or `pipe` (the
    /// bytes wait in the relay).
    pub why: String,
    /// For how long.
    pub for_seconds: f64,
}

#[cfg(test)]
impl Session {
    /// One that is stuck; for tests of what is made of it.
    pub fn stuck_at(side: &str, why: &str, for_seconds: f64) -> Self {
        let leg = || Leg {
            profile: "cisco-pix".to_owned(),
            agreed: Some("mss 940, timestamps".to_owned()),
            rtt_seconds: Some(0.012),
            min_rtt_seconds: Some(0.011),
            retransmits: Some(3),
        };
        let flow = Flow {
            bytes: Some(123),
            bytes_per_second: Some(1.5),
        };
        Self {
            id: "0-17".to_owned(),
            listener: "backups".to_owned(),
            mode: "gateway".to_owned(),
            mangled_leg: Some(LegName::Upstream),
            client: "192.0.2.7:4000".to_owned(),
            via: Some("192.0.2.9:5000".to_owned()),
            server: "198.51.100.2:22".to_owned(),
            age_seconds: 123.4,
            engine: "splice".to_owned(),
            client_to_server: flow,
            server_to_client: flow,
            downstream: leg(),
            upstream: leg(),
            client_offer: Some("mss 1460, wscale 7, sack, timestamps".to_owned()),
            stuck: Some(Stuck {
                side: side.to_owned(),
                why: why.to_owned(),
                for_seconds,
            }),
        }
    }
}
