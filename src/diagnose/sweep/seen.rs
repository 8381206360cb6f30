//! What a sweep saw, as plain values: nothing is judged here.

use std::net::IpAddr;
use std::time::Duration;

use super::came::Options;
use super::hops::Trace;
use super::search::Between;

/// Whom a sweep asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// This host's address towards it.
    pub own: IpAddr,
    /// The host.
    pub host: IpAddr,
    /// A TCP port of it that is open.
    pub port: u16,
    /// The longest packet that is tried: the MTU of the interface, at most 9000.
    pub longest: u16,
}

/// All that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Who was asked.
    pub target: Target,
    /// Echoes of all sizes.
    pub echo: Sizes,
    /// The TCP port.
    pub tcp: Tcp,
    /// Where a SYN is changed.
    pub trace: Option<Trace>,
    /// How long it took.
    pub took: Duration,
}

/// What became of packets of all sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// None of them was answered.
    Silent,
    /// All passed, up to this many bytes.
    Whole(u16),
    /// Those above some size are harmed.
    Cliff(Cliff),
    /// It could not be told, and why.
    Untold(String),
}

/// Where harm begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cliff {
    /// Between which sizes.
    pub between: Between,
    /// What happens to larger ones.
    pub harm: Harm,
}

/// What happens to packets above some size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// This share is lost, 0 to 1, and nobody is told; the second is what is lost below.
    Lost(f64, f64),
    /// They are cut to so many bytes.
    Cut(u16),
    /// They are lost, and a router tells the MTU; 0 where it names none.
    TooBig(IpAddr, u32),
}

/// What a TCP port answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Tcp {
    /// It is open.
    Open(Box<Open>),
    /// It resets.
    Closed,
    /// Nothing came.
    Silent,
    /// This router, or the host itself, says that it cannot be reached.
    Unreachable(IpAddr),
    /// The host's own rules let no SYN leave.
    Forbidden,
}

/// What an open port showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Time there and back.
    pub round_trip: Duration,
    /// Options of its SYN-ACK, where everything was offered that Linux offers.
    pub offered: Options,
    /// What was echoed of our timestamp, and what it was.
    pub echoed: Option<(u32, u32)>,
    /// SACK blocks.
    pub sack: Sack,
    /// Segments of all sizes.
    pub sizes: Sizes,
}

/// What SACK blocks said of a segment that left a hole before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sack {
    /// They name the segment by the numbers it was sent with.
    Right,
    /// They name it by other numbers, this much higher, although the acknowledgement number is right.
    Shifted(u32),
    /// It was acknowledged, and no block was there.
    Missing,
    /// SACK was not agreed upon.
    NotAgreed,
    /// It was not acknowledged.
    Unanswered,
}
