//! What an end of the path is told to do, and what it answers. The driver says the same to the end beside it and,
//! as lines of JSON, to the one far away.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::packet::Flags;

/// An end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Where `probe run` runs: it opens every flow.
    Client,
    /// Where `probe serve` runs.
    Server,
}

/// A flow of crafted segments, by the driver's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(pub u16);

/// One thing to be done by one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Have a flow. The client takes a port of its own that no one else has, and will send to `port`; the server
    /// takes the next unknown flow whose SYN comes to `port` for this one.
    Open {
        /// Its number from now on.
        flow: FlowId,
        /// The server's port.
        port: u16,
    },
    /// At the server, where a service of the host listens ([`Refusal::PortInUse`]): take the next unknown flow whose
    /// SYN comes to `port` for this one, as [`Order::Open`] does, but leave the answer to the service. Nothing is
    /// sent by such a flow.
    Watch {
        /// Its number from now on.
        flow: FlowId,
        /// The service's port.
        port: u16,
    },
    /// Say what the service sent next by a flow that is watched, or that it has sent nothing for so long.
    Overhear {
        /// The flow.
        flow: FlowId,
        /// How long, in milliseconds.
        patience_ms: u32,
    },
    /// Send one segment of a flow.
    Send {
        /// The flow.
        flow: FlowId,
        /// The segment.
        segment: Spec,
    },
    /// Say what comes next of a flow, or that nothing has come for so long. What came earlier and was not told
    /// yet is told first.
    Await {
        /// The flow.
        flow: FlowId,
        /// How long, in milliseconds.
        patience_ms: u32,
    },
    /// Count the segments of trains that come by this flow from now on, acknowledge them, and tell of them when asked
    /// to [`Order::Harvest`]; they are not told by [`Order::Await`]. What was counted before is forgotten.
    Receive {
        /// The flow.
        flow: FlowId,
        /// The number of the first segment that counts; lower ones are late ones of an earlier train.
        #[serde(default)]
        from: u32,
        /// What to acknowledge by.
        ack: Spec,
    },
    /// Send a train of segments, each with its number in its payload.
    Train {
        /// The flow.
        flow: FlowId,
        /// Of what.
        train: Train,
    },
    /// Say what came of the trains since [`Order::Receive`]. It may be asked again.
    Harvest {
        /// The flow.
        flow: FlowId,
    },
    /// Send echoes of one size: requests, or answers that nobody asked for.
    Echo {
        /// Of what.
        echoes: Echoes,
    },
    /// Say which echoes came, since this was last asked, from the other end.
    EchoHarvest {
        /// How many are waited for at most.
        expected: u32,
        /// How long, in milliseconds.
        patience_ms: u32,
    },
    /// Forget a flow, and reset it where anything of it may live on.
    Close {
        /// The flow.
        flow: FlowId,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done, and there is nothing to say of it.
    Done,
    /// What was sent: IP and TCP header, as it was handed to the kernel.
    Sent(Header),
    /// What came, or that nothing did.
    Arrived(Option<Arrival>),
    /// What the service sent: IP and TCP header; or that it sent nothing.
    Overheard(Option<Header>),
    /// How many segments of a train, or echoes, were sent.
    Counted(Dispatch),
    /// What came of a train.
    Harvest(Harvest),
    /// What came of echoes.
    Echoes(EchoHarvest),
    /// It was not done, and why; the driver goes on without it, or gives up.
    Refused(Refusal),
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Longer than the interface's MTU.
    #[error("longer than the MTU of the interface")]
    TooLong,
    /// The host's own rules let it not leave.
    #[error("this host's own rules let it not leave")]
    Forbidden,
    /// A service of the host has this port; what comes to it can be seen, and the service answers.
    #[error("a service of the host has this port")]
    PortInUse,
    /// This port needs a privilege, or is not among those that may be probed.
    #[error("this port may not be probed: {0}")]
    Port(String),
    /// There is no such flow, or the SYN that opens it has not come.
    #[error("no such flow")]
    NoFlow,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Headers as bytes: hexadecimal in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Header(pub Vec<u8>);

/// A segment as an experiment wants it; the end knows addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Header,
    /// Bytes of data, filled by the end with what the other can check.
    pub payload: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// What came, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// IP and TCP header.
    pub header: Header,
    /// Bytes of the packet by its IP header.
    pub length: u16,
    /// Whether the TCP checksum is right.
    pub checksum_right: bool,
    /// Whether the data is what its sender filled in, as far as it is there; true where there is none.
    pub payload_right: bool,
}

/// Segments that are sent one after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// How the first one looks; each further one begins where the one before ended.
    pub first: Spec,
    /// The number of the first one.
    pub number: u32,
    /// How many: 1 to 20,000.
    pub count: u32,
    /// Bytes of each packet, IP header included: 64 (IPv6: 84) to 9000.
    pub length: u16,
    /// Most bytes that are under way unacknowledged.
    pub window: u32,
    /// How long an acknowledgement is waited for, in microseconds, before the train goes on without it.
    pub patience_us: u32,
    /// Time between two segments, in microseconds.
    pub gap_us: u32,
}

/// What was sent of a train, or of echoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// How many.
    pub sent: u32,
    /// The last ICMP "fragmentation needed" or "packet too big" that came meanwhile for what was sent.
    pub too_big: Option<TooBig>,
    /// Where the next train of this flow begins.
    pub next_sequence: u32,
}

/// That a packet was too big, as a router says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooBig {
    /// Who says it.
    pub by: IpAddr,
    /// The MTU that it names; 0 where it names none (RFC 792).
    pub mtu: u16,
}

/// What came of trains: each segment has a number, and is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Harvest {
    /// Different numbers that came whole and with right data.
    pub arrived: u32,
    /// Numbers that came again.
    pub duplicated: u32,
    /// Segments that came after one with a higher number.
    pub reordered: u32,
    /// Segments that were shorter than they were sent, by what their sender wrote into them; not counted above.
    pub truncated: u32,
    /// The least bytes of a packet that one was cut to.
    pub truncated_to: Option<u16>,
    /// Segments whose data or checksum was wrong, not counted above.
    pub corrupted: u32,
    /// Transit time in microseconds, on clocks that do not agree: good for differences between trains of one direction.
    pub transit_us: Option<Transit>,
    /// Packets that the tap had no room for: the other figures are worth nothing then.
    pub missed: u32,
    /// Segments that came in fragments: they count as whole, for they are put together by who is meant.
    #[serde(default)]
    pub fragmented: u32,
}

/// How transit times are distributed, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transit {
    /// The shortest.
    pub least: i64,
    /// The one in the middle.
    pub median: i64,
    /// The longest.
    pub most: i64,
}

/// Echoes that are sent one after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echoes {
    /// Whether they are answers.
    pub reply: bool,
    /// Whose they are.
    pub identifier: u16,
    /// The number of the first.
    pub sequence: u16,
    /// How many: 1 to 1000.
    pub count: u16,
    /// Bytes of each packet, IP header included.
    pub length: u16,
    /// Time between two, in microseconds.
    pub gap_us: u32,
}

/// What came of echoes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoHarvest {
    /// Requests that came whole.
    pub requests: u32,
    /// Answers that came whole.
    pub replies: u32,
    /// The least bytes of a packet that one was cut to.
    pub truncated_to: Option<u16>,
    /// That one was too big, as a router says.
    pub too_big: Option<TooBig>,
    /// Those that came in fragments.
    #[serde(default)]
    pub fragmented: u32,
}

// === impl End ===

impl End {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

// === impl Order ===

impl Order {
    /// How long the end may take for this beyond what the way there and back takes.
    #[must_use]
    pub fn takes(&self) -> Duration {
        let milliseconds = match self {
            Self::Await { patience_ms, .. }
            | Self::Overhear { patience_ms, .. }
            | Self::EchoHarvest { patience_ms, .. } => u64::from(*patience_ms),
            Self::Train { train, .. } => {
                let gaps = u64::from(train.gap_us) * u64::from(train.count);
                let bytes = u64::from(train.length) * u64::from(train.count);
                let waits = bytes / u64::from(train.window.max(1)) + 2;
                (gaps + waits * u64::from(train.patience_us)) / 1000 + 1
            }
            Self::Echo { echoes } => u64::from(echoes.gap_us) * u64::from(echoes.count) / 1000 + 1,
            _ => 0,
        };
        Duration::from_millis(milliseconds)
    }
}

// === impl Harvest ===

impl Harvest {
    /// How many of so many segments did not come at all, neither whole nor cut nor damaged.
    #[must_use]
    pub fn lost(&self, sent: u32) -> u32 {
        sent.saturating_sub(self.arrived + self.truncated + self.corrupted)
    }
}

// === impl Spec ===

impl Default for Spec {
    fn default() -> Self {
        Self {
            flags: Flags::ACK.0,
            sequence: 0,
            acknowledgement: 0,
            window: 0xfff0,
            urgent: 0,
            options: Header(Vec::new()),
            payload: 0,
            traffic_class: 0,
        }
    }
}

// === impl Header ===

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.as_bytes();
        let pairs = digits.chunks_exact(2);
        if !pairs.remainder().is_empty() || digits.len() > 512 {
            return Err(format!("{} hexadecimal digits are no header", digits.len()));
        }
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        bytes
            .map(Self)
            .ok_or_else(|| "a header is written in hexadecimal digits".to_owned())
    }
}

impl From<Header> for String {
    fn from(Header(bytes): Header) -> Self {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
