//! What two captures together tell, for programs.

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnose::explain::{Cure, Source};

/// What happened between two captures.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PathTold {
    /// The capture of the other side.
    pub other: Source,
    /// Packets that are INVALID there.
    pub other_invalid: u64,
    /// Connections that are in both captures.
    pub flows: Vec<PairTold>,
    /// What was not compared, and why.
    pub notes: Vec<String>,
}

/// A connection that is in both captures.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PairTold {
    /// Who opened it, as seen in the first capture.
    pub opener: String,
    /// The other end, as seen in the first capture.
    pub answerer: String,
    /// The two ends as seen in the second capture, if they are others there.
    pub other_ends: Option<[String; 2]>,
    /// How it was found on the other side: `addresses` or `pattern`.
    pub matched_by: String,
    /// Whether something between ends the connection and begins it anew, as a relay or a proxy does: what one
    /// capture has is then not what the other one has, and nothing of it is compared.
    pub begun_anew: bool,
    /// Which capture is nearer to the opener: `first` or `second`; null if the connection is begun anew.
    pub nearer_to_opener: Option<String>,
    /// By how many seconds the second capture's clock is ahead of the first one's; null if the connection is begun
    /// anew.
    pub clock_ahead_s: Option<f64>,
    /// What became of the segments, from the opener and to it; null if the connection is begun anew.
    pub travelled: Option<[Travelled; 2]>,
    /// What differs.
    pub changes: Vec<Change>,
    /// What is to be done, if that can be told.
    pub cure: Option<Cure>,
}

/// What became of the segments of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Travelled {
    /// Seen on the sender's side.
    pub sent: u64,
    /// Of those, not seen on the other side.
    pub lost: u64,
    /// Seen in other portions on the other side, as offloads make them.
    pub resegmented: u64,
    /// The shortest time between the two captures, by clocks that the handshake has aligned.
    pub least_delay_s: f64,
    /// The median of it.
    pub median_delay_s: f64,
    /// The longest.
    pub most_delay_s: f64,
}

/// Something that is not on the other side as it was on the first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// What it is about.
    pub field: Field,
    /// Whether the packets that it was done to come from the opener.
    pub from_opener: bool,
    /// Packets that show it.
    pub packets: u64,
    /// Packets that could have.
    pub of: u64,
    /// What was done, in words.
    pub what: String,
    /// One of the packets.
    pub example: Option<Example>,
}

/// A packet that shows a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Example {
    /// Its number in the capture on its sender's side.
    pub sent: u64,
    /// Its number in the capture on its receiver's side, if it arrived.
    pub arrived: Option<u64>,
    /// What stood there.
    pub before: String,
    /// What stands there now.
    pub after: String,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Sequence numbers.
    Sequence,
    /// Acknowledgement numbers.
    Acknowledgement,
    /// The SACK option, while the numbers that it is about were shifted: it was not.
    SackNotTranslated,
    /// The SACK option, changed or taken away otherwise.
    Sack,
    /// SACK-permitted of a SYN.
    SackPermitted,
    /// Window scale of a SYN.
    WindowScale,
    /// Maximum segment size of a SYN.
    Mss,
    /// The timestamps option.
    Timestamps,
    /// Other options.
    OtherOptions,
    /// The window.
    Window,
    /// The urgent pointer or its flag.
    Urgent,
    /// ECN, in the IP header or in flags of TCP.
    Ecn,
    /// DSCP.
    Dscp,
    /// Hops between the captures: this is not a fault.
    Ttl,
    /// Addresses or ports: this is not a fault.
    Addresses,
    /// Bytes of data.
    Data,
    /// The length of the data.
    Length,
    /// Packets over some size do not arrive.
    SizeLimit,
    /// Packets that do not arrive.
    Loss,
    /// From some time on, or for some time, nothing arrives.
    Silence,
    /// Packets that arrive in another order.
    Order,
    /// Packets that arrive much later than others.
    Delay,
    /// Packets that arrive twice, or were not sent.
    Added,
}
