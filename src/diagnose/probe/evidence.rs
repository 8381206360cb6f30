//! What experiments saw, as plain values: nothing is judged here. [`judge`](super::judge) says what it means.

use std::net::IpAddr;
use std::time::Duration;

use super::order::{Arrival, End, Harvest, Header, Refusal, TooBig};
use crate::metrics::{Direction, PerDirection};

/// All that was seen of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Between whom.
    pub path: Path,
    /// Flows whose segments were compared, in the order in which they were tried.
    pub exchanges: Vec<Exchange>,
    /// What became of many small segments.
    pub trains: PerDirection<Option<TrainSeen>>,
    /// Which way packets came in fragments, although each says that it must not be fragmented.
    pub fragmented: PerDirection<bool>,
    /// What became of packets of all sizes; those not tried are not there.
    pub sizes: Vec<SizesSeen>,
    /// How long a silent flow was remembered, if that was asked for.
    pub idle: Option<IdleSeen>,
    /// Other ports of the server.
    pub ports: Vec<PortSeen>,
    /// What could not be tried, and why, in a sentence each.
    pub untried: Vec<String>,
}

/// Between whom, and by which way they talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The client's own address.
    pub client: IpAddr,
    /// The server's address, as the client says it.
    pub server: IpAddr,
    /// The server's address, as the server says it: another one behind a translation of addresses.
    pub server_own: IpAddr,
    /// The client's address, as the server sees it.
    pub client_seen: IpAddr,
    /// The server's port of the crafted flows.
    pub port: u16,
    /// The shortest time there and back that was seen.
    pub round_trip: Duration,
    /// How often the connection by which both ends talk was broken and made anew.
    pub broken: u32,
    /// The MTU of the interfaces at both ends.
    pub mtu: EndMtu,
}

/// The MTU of the interface that leads to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMtu {
    /// At the client.
    pub client: u16,
    /// At the server.
    pub server: u16,
}

/// Why a flow was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// As Linux opens one: MSS, SACK-permitted, timestamps, window scale; data, windows and SACK blocks both ways.
    Plain,
    /// With the offer of ECN, and data that carries ECT(0) and CE.
    Ecn,
    /// With urgent data.
    Urgent,
    /// With an option that nobody knows (kind 253, RFC 4727), in SYN, SYN-ACK and data.
    UnknownOption,
    /// To a port of the server that is not the probe's own.
    Port(u16),
}

/// What a step of an exchange is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// It opens the flow.
    Syn,
    /// It answers that.
    SynAck,
    /// It ends the handshake.
    Ack,
    /// Ordinary data.
    Data,
    /// It acknowledges data and leaves a hole: it carries a SACK block.
    Sack,
    /// Data with the DSCP 46 (EF).
    Dscp,
    /// Data that carries ECT(0).
    Ect,
    /// Data that carries CE.
    Ce,
    /// Data with the URG flag.
    Urgent,
}

/// One segment on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is there for.
    pub what: What,
    /// Which way it went.
    pub direction: Direction,
    /// IP and TCP header as they were sent: numbers are in the sender's own terms.
    pub sent: Header,
    /// What came of it; what comes twice is there twice, and a lost one is not there.
    pub arrived: Vec<Arrival>,
    /// How often it was sent until one came, or at all.
    pub attempts: u32,
    /// What came instead, such as a reset that the other end did not send.
    pub instead: Vec<Arrival>,
}

/// A flow, and what became of its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Why it was opened.
    pub purpose: Purpose,
    /// Its segments. After a lost SYN there are no others.
    pub steps: Vec<Step>,
    /// Ends whose own host answered a segment of it with a reset, as strict rules do to what is INVALID to them.
    pub reset_by_host: Vec<End>,
    /// The end that could not send a segment of it, and why; nothing was tried of it after that.
    pub refused: Option<(End, Refusal)>,
}

/// A train, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainSeen {
    /// Bytes of each packet, IP header included.
    pub length: u16,
    /// How many were sent.
    pub sent: u32,
    /// What came.
    pub harvest: Harvest,
    /// That they were too big, as a router says.
    pub too_big: Option<TooBig>,
    /// How fast they were sent, in kbit/s.
    pub kbit_per_s: u32,
    /// A faster train that lost far more: the way carries no more than that.
    pub faster: Option<Faster>,
}

/// A train that was too fast for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faster {
    /// How fast it was sent, in kbit/s.
    pub kbit_per_s: u32,
    /// How many segments were sent.
    pub sent: u32,
    /// How many of them were lost.
    pub lost: u32,
}

/// Which packets grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// ICMP or ICMPv6 echoes.
    Icmp,
    /// TCP segments.
    Tcp,
}

/// What became of packets of all sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct SizesSeen {
    /// Which packets.
    pub carrier: Carrier,
    /// Which way.
    pub direction: Direction,
    /// The largest packet that could be sent, IP header included.
    pub largest: u16,
    /// What became of them.
    pub outcome: Outcome,
    /// How many packets that took.
    pub packets: u32,
}

/// What became of packets as they grew.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every size passes as well as the smallest.
    EverySize,
    /// From a size on they do not.
    Cliff(Cliff),
    /// Not even the smallest passes.
    None,
    /// It cannot be told, because of this.
    Unclear(String),
}

/// The size from which on packets do not pass as smaller ones do. Bytes of the packet, IP header included.
#[derive(Debug, Clone, PartialEq)]
pub struct Cliff {
    /// The largest that passes.
    pub passes: u16,
    /// The smallest that was seen not to: `passes + 1` where the search came to its end.
    pub harmed: u16,
    /// What becomes of larger ones.
    pub harm: Harm,
    /// What a router says of it, if one does.
    pub told: Option<TooBig>,
}

/// What becomes of larger packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// This share of them is lost, of smaller ones this.
    Lost {
        /// 0 to 1.
        share: f64,
        /// 0 to 1.
        background: f64,
    },
    /// They are cut to this many bytes.
    Truncated {
        /// Bytes of the packet.
        to: u16,
    },
    /// They come this much later than smaller ones.
    Delayed {
        /// The difference of the medians.
        by: Duration,
    },
}

/// How long a silent flow is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleSeen {
    /// The longest silence after which a flow went on.
    pub survived: Duration,
    /// The shortest after which it did not.
    pub forgotten: Option<Duration>,
}

/// Another port of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSeen {
    /// Which.
    pub port: u16,
    /// What became of its handshake.
    pub outcome: PortOutcome,
}

/// What became of the handshake at another port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOutcome {
    /// It was compared. A real service may have answered in place of the probe.
    Compared(Exchange),
    /// No SYN came to the server.
    Blocked,
    /// It could not be tried, because of this.
    Untried(String),
}

// === impl Exchange ===

impl Exchange {
    /// The first step of this kind that went this way.
    #[must_use]
    pub fn step(&self, what: What, direction: Direction) -> Option<&Step> {
        self.steps
            .iter()
            .find(|step| step.what == what && step.direction == direction)
    }
}

// === impl Evidence ===

impl Evidence {
    /// The flow that was opened for this.
    #[must_use]
    pub fn exchange(&self, purpose: Purpose) -> Option<&Exchange> {
        self.exchanges
            .iter()
            .find(|exchange| exchange.purpose == purpose)
    }
}
