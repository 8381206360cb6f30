//! What a sweep tells, as values that are printed or written in JSON.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::quote::Field;

/// All that is told.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "What `unmangle probe sweep --json` prints")]
pub struct Report {
    /// The host.
    pub host: IpAddr,
    /// The TCP port of it.
    pub port: u16,
    /// This host's address towards it.
    pub from: IpAddr,
    /// The longest packet that was tried, in bytes with its IP header.
    pub longest: u16,
    /// For how long was looked, in seconds.
    pub seconds: f64,
    /// How many findings are problems.
    pub problems: usize,
    /// The verdict, in one sentence.
    pub verdict: String,
    /// The profile that helps; null where none is needed or none is known to.
    pub profile: Option<String>,
    /// What to do next, in this order.
    pub next: Vec<String>,
    /// Pings of all sizes.
    pub ping: Sizes,
    /// TCP segments of all sizes; null where the port could not be used.
    pub tcp: Option<Sizes>,
    /// What the SYN-ACK answered to an offer of everything; null where there was none.
    pub syn_ack: Option<SynAck>,
    /// Every hop that was asked, the nearest first.
    pub hops: Vec<Hop>,
    /// After how many hops the host itself answered; null if it did not.
    pub reached: Option<u8>,
    /// What is wrong, and what is to be known.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub untried: Vec<String>,
}

/// What became of packets of all sizes. Sizes are bytes of the packet, IP header included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Sizes {
    /// The largest that passes; null if that is not known.
    pub passes: Option<u16>,
    /// The smallest that is harmed; null if none is.
    pub harmed: Option<u16>,
    /// What `ping -s` has to be told for the largest that passes; null for TCP.
    pub ping_passes: Option<u16>,
    /// The same for the smallest that is harmed.
    pub ping_harmed: Option<u16>,
    /// What happens to larger ones; null if nothing.
    pub harm: Option<Harm>,
    /// How many of the larger ones are lost, in percent; null where none are, or it was not counted.
    pub lost_percent: Option<f64>,
    /// To how many bytes they are cut.
    pub cut_to: Option<u16>,
    /// The MTU that a router tells; 0 where it names none.
    pub told_mtu: Option<u32>,
    /// Which router tells it.
    pub told_by: Option<IpAddr>,
}

/// What happens to packets above some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// They are lost and nobody is told.
    Lost,
    /// They are cut short.
    Cut,
    /// They are lost, and a router tells which size passes: as it should be.
    TooBig,
}

/// What a SYN-ACK answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SynAck {
    /// MSS.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// Whether it has timestamps.
    pub timestamps: bool,
}

/// A hop.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Hop {
    /// Its number.
    pub hop: u8,
    /// Who it is; null if it said nothing.
    pub by: Option<IpAddr>,
    /// How long its answer took, in milliseconds.
    pub ms: Option<f64>,
    /// What is first seen to be changed here.
    pub changed: Vec<Field>,
    /// Whether it quotes all of the SYN; where it does not, changed options do not show.
    pub quotes_options: bool,
}

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// To be known; it may be meant so.
    Note,
    /// It breaks connections, or slows them down.
    Problem,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Id {
    /// Pings above some size are harmed.
    PingSize,
    /// TCP segments above some size are harmed.
    TcpSize,
    /// Sequence numbers are rewritten, and those in SACK blocks are not.
    SackNotTranslated,
    /// The path has room for little at a time: packets are lost by their rate, not by their size.
    Bandwidth,
    /// The SYN-ACK offers no window scale.
    NoWindowScale,
    /// SACK was agreed upon, and blocks are not there.
    SackMissing,
    /// Timestamps are rewritten one way only.
    TimestampEcho,
    /// A field of the SYN is changed on the way.
    SynChanged,
    /// A SYN with an unknown option, a DSCP and an offer of ECN is not answered, and a plain one is.
    UnusualSyn,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// What it is.
    pub id: Id,
    /// How bad.
    pub status: Status,
    /// The field of the SYN that is meant; null elsewhere.
    pub field: Option<Field>,
    /// How it is, in one sentence.
    pub sentence: String,
}
