//! What is told of a path, for programs. `docs/probe.schema.json` is made from it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::finding::{Finding, Status};

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

/// What a path does to TCP.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "What `unmangle probe run --json` prints")]
pub struct Report {
    /// The version of this format.
    pub format: u32,
    /// Between whom.
    pub path: PathTold,
    /// How many findings are problems.
    pub problems: usize,
    /// How many are notes.
    pub notes: usize,
    /// What the path does, problems first. What passes as it was sent is not among them.
    pub findings: Vec<Finding>,
    /// Everything that was compared, and what became of it in each direction.
    pub passages: Vec<Passage>,
    /// All of it in plain words.
    pub verdict: String,
    /// What is to be done.
    pub recommended: Recommended,
    /// What could not be tried, and why, in a sentence each. It is not known to be well.
    pub untried: Vec<String>,
}

/// Between whom, and by which way they talk.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PathTold {
    /// The client's own address.
    pub client: String,
    /// The server's address, as the client says it.
    pub server: String,
    /// The client's address, as the server sees it.
    pub client_seen: String,
    /// The server's address, as the server says it.
    pub server_own: String,
    /// The server's port of the crafted flows.
    pub port: u16,
    /// The shortest time there and back, in milliseconds.
    pub round_trip_ms: f64,
    /// How often the connection by which both ends talk was broken.
    pub broken: u32,
    /// The MTU of the client's interface.
    pub client_mtu: u16,
    /// The MTU of the server's interface.
    pub server_mtu: u16,
}

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Passage {
    /// What.
    pub what: String,
    /// What became of it from the client to the server: `kept`, or what else in a few words; null if it was not tried.
    pub client_to_server: Option<String>,
    /// The same from the server to the client.
    pub server_to_client: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Recommended {
    /// By what.
    pub kind: Kind,
    /// Why that, in a sentence or two.
    pub why: String,
    /// The profile: a preset, or `probed`, whose keys are below; null where no profile helps.
    pub profile: Option<String>,
    /// What the profile has to say, each with what was seen. A preset says it already.
    pub keys: Vec<Key>,
    /// Commands, in their order; `IFACE` stands for the interface that faces the firewall.
    pub commands: Vec<String>,
    /// What no profile cures, in a sentence each.
    pub elsewhere: Vec<String>,
}

/// By what it is cured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is nothing to cure.
    Nothing,
    /// By rules alone: `unmangle normalise`.
    Normalise,
    /// By a relay: `unmangle run`.
    Relay,
    /// Not here: by whoever has the path.
    MendElsewhere,
}

/// A key of a profile, as in docs/config.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its value, as a file has it.
    pub value: String,
    /// What was seen.
    pub seen: String,
}

// === impl Report ===

impl Report {
    /// The schema of what `--json` writes: every field is there, if only as null.
    #[must_use]
    pub fn schema() -> Schema {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        settings.into_generator().into_root_schema_for::<Self>()
    }

    pub(super) fn count(findings: &[Finding], status: Status) -> usize {
        let of_status = findings.iter().filter(|one| one.status == status);
        of_status.count()
    }
}
