//! What is told of a capture, for programs. `docs/explain.schema.json` is made from it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::sides::PathTold;

/// What a capture shows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this format.
    pub format: u32,
    /// What was read.
    pub source: Source,
    /// Whose rules were followed: 5.10, 6.1, 6.12 or 6.18.
    pub kernel: String,
    /// Whether `nf_conntrack_tcp_be_liberal` was taken to be set.
    pub liberal: bool,
    /// Packets that are INVALID.
    pub invalid: u64,
    /// Connections seen; of more than are listed only the number is known.
    pub connections: u64,
    /// Connections that were forgotten before their time because there were too many at once.
    pub forgotten: u64,
    /// Connections, those with INVALID packets first.
    pub flows: Vec<FlowTold>,
    /// What a capture of the other side shows of the path between, if there is one.
    pub path: Option<PathTold>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Source {
    /// The name of the file.
    pub name: String,
    /// All packets in it.
    pub packets: u64,
    /// Those that were looked at.
    pub segments: u64,
    /// Seconds since the epoch of the first one.
    pub begins_s: f64,
    /// Seconds from the first to the last.
    pub lasts_s: f64,
    /// Packets that were not looked at, by the reason.
    pub skipped: Vec<Skipped>,
    /// Why it was not read to an orderly end, if it was not.
    pub cut_short: Option<String>,
}

/// Packets that were not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Skipped {
    /// How many.
    pub packets: u64,
    /// Why.
    pub why: String,
}

/// A connection as it was seen on one interface.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FlowTold {
    /// Its number in this report; `--flow` takes it.
    pub flow: u64,
    /// Where it was seen, if the capture is of several interfaces.
    pub interface: Option<String>,
    /// Who opened it, or whose packet came first; address and port.
    pub opener: String,
    /// The other end.
    pub answerer: String,
    /// Segments of it.
    pub packets: u64,
    /// Bytes of data in them, repetitions included.
    pub bytes: u64,
    /// When the first came, in seconds since the begin of the capture.
    pub begins_s: f64,
    /// When the last came.
    pub ends_s: f64,
    /// Those that are INVALID.
    pub invalid: u64,
    /// Those of them that `nf_conntrack_tcp_be_liberal` would let pass.
    pub liberal_would_pass: u64,
    /// Those that are let pass without being believed.
    pub ignored: u64,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// The first INVALID packets.
    pub findings: Vec<Finding>,
    /// What is to be done, if that can be told.
    pub cure: Option<Cure>,
}

/// A packet that is INVALID.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The packet.
    pub packet: PacketTold,
    /// The rule that it broke, by the name that it has in the metrics, too.
    pub bound: String,
    /// Which number broke it: `seq`, `end`, `ack` or `sack`.
    pub by: Option<String>,
    /// The block of the SACK option, if one did.
    pub sack: Option<SackTold>,
    /// What that number was.
    pub seen: Option<Number>,
    /// The last that would have been right.
    pub allowed: Option<Number>,
    /// How far it is out.
    pub out_by: Option<u32>,
    /// Whether `nf_conntrack_tcp_be_liberal` would let it pass.
    pub liberal_would_pass: bool,
    /// The connection's state before it.
    pub state: String,
    /// What the tracker knew of the packet's sender.
    pub sender: SideTold,
    /// What the tracker knew of its receiver.
    pub receiver: SideTold,
    /// What the kernel would have logged.
    pub kernel_says: Option<String>,
    /// All of it in a sentence.
    pub sentence: String,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PacketTold {
    /// Which one of the capture, the first being 1.
    pub number: u64,
    /// When, in seconds since the begin of the capture.
    pub at_s: f64,
    /// Where its record begins in the file.
    pub offset: u64,
    /// Who sent it.
    pub from: String,
    /// Its flags.
    pub flags: String,
    /// Sequence number.
    pub sequence: Number,
    /// Acknowledgement number.
    pub acknowledgement: Number,
    /// Window, not scaled.
    pub window: u16,
    /// Bytes of data.
    pub payload: u32,
}

/// A sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Number {
    /// As it stands in the packet.
    pub raw: u32,
    /// Counted from the first one of the connection; null if that was not seen.
    pub relative: Option<u32>,
}

/// A block of the SACK option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SackTold {
    /// Which one, the first being 1.
    pub block: u8,
    /// Its first byte.
    pub left: Number,
    /// The byte after its last.
    pub right: Number,
}

/// What the tracker knows of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SideTold {
    /// The sequence number after the last that it was seen to send (`td_end`).
    pub end: Number,
    /// How far it may send (`td_maxend`).
    pub max_end: Number,
    /// The largest window that it has offered (`td_maxwin`).
    pub max_window: u32,
    /// By how many bits its windows are shifted.
    pub scale: u8,
    /// Whether it offered window scale.
    pub scale_offered: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cure {
    /// The profile, if there is one for it.
    pub profile: Option<String>,
    /// Why that.
    pub why: String,
    /// Commands, one of which is enough.
    pub commands: Vec<String>,
}

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

// === impl Report ===

impl Report {
    /// The schema of what `--json` writes: every field is there, if only as null.
    #[must_use]
    pub fn schema() -> Schema {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        settings.into_generator().into_root_schema_for::<Self>()
    }

    /// Leaves only the connections that somebody asks for: by number in the report, by address, or by address and
    /// port of either end.
    pub fn retain(&mut self, asked: &str) {
        let is_end = |end: &str| {
            let address = end.rsplit_once(':').map(|(address, _)| address);
            end == asked || address.is_some_and(|a| a.trim_matches(['[', ']']) == asked)
        };
        self.flows.retain(|flow| {
            asked == flow.flow.to_string() || is_end(&flow.opener) || is_end(&flow.answerer)
        });
    }
}
