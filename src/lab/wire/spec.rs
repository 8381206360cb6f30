//! What a wire is told to do: plain data, written by a scenario, read by the mangler.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One wire between two hosts: where its ends are and what it does in each direction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSpec {
    /// Everything random is drawn from this, so that a run repeats.
    pub seed: u64,
    /// One end; `a` is the end nearer to the client.
    pub a: End,
    /// The other end.
    pub b: End,
    /// What happens to packets that travel from `a` to `b`.
    pub a_to_b: Direction,
    /// What happens to packets that travel from `b` to `a`.
    pub b_to_a: Direction,
}

/// The TUN device at one end of a wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Name of the network namespace under `/run/netns`.
    pub netns: String,
    /// Name of the device, at most 15 bytes.
    pub device: String,
    /// Largest packet in bytes; also the device's MTU.
    pub mtu: u16,
}

/// What happens to packets that travel in one direction. `Default` is a perfect wire.
///
/// What is said of SYN and SYN-ACK holds for whichever of the two travels in this direction. Options are
/// removed as firewalls do it: NOPs stand in their place, and no byte moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Direction {
    /// TCP segments from or to these ports are lost, and nobody is told.
    pub drop_ports: Vec<u16>,
    /// Where there is such a list, only TCP segments from or to these ports are rewritten, forgotten when
    /// idle or refused for their options; other flows, and what has no ports, pass as they are. What chance,
    /// size and time do to packets, and `drop_ports`, concern all.
    pub ports: Option<Vec<u16>>,
    /// Shifts the sequence numbers of this direction, and the acknowledgements that come back.
    pub isn: Option<Isn>,
    /// What becomes of the window-scale option.
    pub window_scale: WindowScale,
    /// Writes this value over an MSS option that is larger.
    pub mss: Option<u16>,
    /// Removes SACK-permitted from SYN and SYN-ACK.
    pub strip_sack_permitted: bool,
    /// Removes SACK blocks from every segment; SACK-permitted passes.
    pub strip_sack: bool,
    /// Removes timestamps from SYN and SYN-ACK.
    pub strip_timestamps: bool,
    /// What becomes of options that the firewall does not know.
    pub unknown_options: UnknownOptions,
    /// Adds this to every TSval of this direction (and takes it from the TSecr that comes back).
    pub timestamp_offset: Option<u32>,
    /// Clears ECE and CWR in SYN and SYN-ACK, which is how ECN is offered and agreed (RFC 3168, 6.1.1).
    pub refuse_ecn: bool,
    /// Clears URG and the urgent pointer of every segment, as an ASA does unless told otherwise.
    pub clear_urgent: bool,
    /// Writes this value over the window field of every segment that has a larger one; it is not scaled.
    pub window: Option<u16>,
    /// Overwrites the DSCP of every packet, 0 to 63; what is above counts as 63.
    pub dscp: Option<u8>,
    /// Clears the two ECN bits in the IP header of every packet.
    pub bleach_ecn: bool,
    /// What becomes of large packets; the first entry whose protocol and size match is applied.
    pub oversize: Vec<Oversize>,
    /// A TCP flow with no packet for this long is forgotten: its later packets are dropped
    /// unless they open it anew.
    pub forget_idle_after: Option<Duration>,
    /// Probability, 0 to 1, that a packet is lost.
    pub loss: f64,
    /// Time each packet spends on the wire.
    pub delay: Duration,
    /// Up to this much is added to the delay, evenly distributed, order kept.
    pub jitter: Duration,
    /// Probability that a packet is held back by up to `reorder_by`, so that others overtake it.
    pub reorder: f64,
    /// How long a packet may be held back.
    pub reorder_by: Duration,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that one byte of the TCP or UDP payload is flipped and its checksum left wrong.
    pub corrupt: f64,
    /// Bits per second; `None` is as fast as the machine.
    pub rate_bits_per_s: Option<u64>,
    /// The wire goes dead, both ways, once this direction has carried so much.
    pub stops: Option<Stop>,
}

/// A wire that goes dead once and comes back: what enters meanwhile is lost, whichever way it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// This many packets of the direction pass before.
    pub after_packets: u64,
    /// For how long.
    pub lasts: Duration,
}

/// Sequence number randomisation, as a PIX or an ASA does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isn {
    /// Whether SACK blocks that come back are translated with the acknowledgement; the PIX does not.
    pub translate_sack: bool,
}

/// What becomes of the window-scale option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowScale {
    /// It passes.
    #[default]
    Keep,
    /// It is removed from SYN and SYN-ACK.
    Strip,
    /// It is removed from SYN-ACK alone: the two hosts then disagree.
    StripFromSynAck,
    /// Its shift count is overwritten (0 to 14).
    Set(u8),
}

/// What becomes of options other than MSS, window scale, SACK-permitted, SACK, timestamps and padding. One of
/// those with a length it cannot have is unknown, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownOptions {
    /// They pass.
    #[default]
    Keep,
    /// They are removed from every segment.
    Strip,
    /// A SYN or SYN-ACK that carries one is lost, and nobody is told.
    DropSyn,
}

/// What becomes of packets above a size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oversize {
    /// Which packets.
    pub protocol: Protocol,
    /// Packets with more bytes than this, IP header included, are affected.
    pub above: u16,
    /// What is done to them.
    pub action: OversizeAction,
    /// Probability, 0 to 1, that it is done.
    pub probability: f64,
}

/// The protocol an [`Oversize`] entry applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Every packet.
    Any,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6.
    Icmp,
}

/// What is done to a packet above a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OversizeAction {
    /// Lost, and nobody is told.
    Drop,
    /// Lost, and the sender is told by ICMP "fragmentation needed" / "packet too big".
    TooBig,
    /// Held back for this long.
    Delay(Duration),
    /// Cut to the size, lengths and checksums made to fit.
    Truncate,
}
