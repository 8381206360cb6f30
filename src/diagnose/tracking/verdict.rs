//! What comes out of the model.

use super::{SackBlock, Side, State, Way};
use crate::diagnose::reason::Reason;
use crate::diagnose::tracking::Kind;

/// What the tracker says of a packet. All but INVALID have a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first packet of a connection, or of one picked up in the middle; the state after it.
    New(State),
    /// A packet of a connection, believed.
    Tracked {
        /// The state before it.
        from: State,
        /// The state after it.
        state: State,
        /// The bound it broke, where the tracker is liberal.
        forgiven: Option<Bound>,
    },
    /// Let pass, but not believed: the connection stays what it was.
    Ignored(Ignored),
    /// `ct state invalid`.
    Invalid(Invalid),
}

/// A packet that is INVALID, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The rule that it broke.
    pub bound: Bound,
    /// The numbers, where the rule is about numbers.
    pub measured: Option<Measured>,
    /// What would have been with `nf_conntrack_tcp_be_liberal`.
    pub liberal: Liberal,
    /// What the tracker knew at that moment, before the packet.
    pub moment: Moment,
}

/// A packet that is let pass without being believed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
    /// Why.
    pub why: Passed,
    /// The numbers, where it is about numbers.
    pub measured: Option<Measured>,
    /// What the tracker knew at that moment, before the packet.
    pub moment: Moment,
}

/// The rules that a packet can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// Data beyond the window that the receiver had opened.
    SeqOverWindow,
    /// An ACK, or a SACK, of data that was not seen.
    AckOverSeen,
    /// Data acknowledged long ago; up to Linux 6.0.
    SeqUnderWindow,
    /// An ACK that comes much too late; up to Linux 6.0.
    AckUnderWindow,
    /// A segment that does not fit the connection's state.
    State,
    /// A connection that begins with something else than a SYN, or at all in the middle if
    /// `nf_conntrack_tcp_loose` is 0.
    New,
    /// A reset from before what its receiver has acknowledged.
    Reset,
    /// Flags that do not go together.
    Flags,
    /// A wrong checksum.
    Checksum,
    /// A header that is cut short or contradicts itself.
    Malformed,
}

/// Why a packet passes without being believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Passed {
    /// It does not fit the state, but the tracker may be the one that is wrong.
    State,
    /// An ACK with which a host answers a SYN in the middle of a connection (RFC 5961).
    ChallengeAck,
    /// A little more data than the window allows; since Linux 6.0 or so.
    Overshot,
    /// Data acknowledged long ago; since Linux 6.1.
    SeqUnderWindow,
    /// An ACK that comes much too late; since Linux 6.1.
    AckUnderWindow,
}

/// A number that is out of its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Which number.
    pub by: By,
    /// What it was.
    pub seen: u32,
    /// The last value that would have been right.
    pub allowed: u32,
    /// How far it is out.
    pub out_by: u32,
}

/// Which number of a segment is out of its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its sequence number.
    Seq,
    /// The sequence number after its last byte.
    End,
    /// Its acknowledgement number.
    Ack,
    /// The right edge of a SACK block.
    Sack(SackBlock),
}

/// What `nf_conntrack_tcp_be_liberal` would have made of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liberal {
    /// It would have passed.
    Pass,
    /// It would be INVALID all the same.
    StillInvalid,
}

/// What the tracker knew of a connection when a packet came, and what the packet was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The state; [`State::None`] if there was no connection.
    pub state: State,
    /// What the packet was by its flags.
    pub kind: Kind,
    /// Which way it went.
    pub way: Way,
    /// The side of the packet's sender.
    pub sender: Side,
    /// The side of its receiver.
    pub receiver: Side,
}

// === impl Verdict ===

impl Verdict {
    /// Why it is INVALID, if it is.
    #[must_use]
    pub fn invalid(&self) -> Option<&Invalid> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            _ => None,
        }
    }
}

// === impl Bound ===

impl Bound {
    /// As it is called in metrics, tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        Reason::from(self).name()
    }

    /// Whether `nf_conntrack_tcp_be_liberal` lets it pass.
    #[must_use]
    pub fn liberal(self) -> Liberal {
        match self {
            Self::SeqOverWindow
            | Self::AckOverSeen
            | Self::SeqUnderWindow
            | Self::AckUnderWindow => Liberal::Pass,
            Self::State
            | Self::New
            | Self::Reset
            | Self::Flags
            | Self::Checksum
            | Self::Malformed => Liberal::StillInvalid,
        }
    }
}

impl From<Bound> for Reason {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::SeqOverWindow => Self::SeqOverWindow,
            Bound::AckOverSeen => Self::AckOverSeen,
            Bound::SeqUnderWindow => Self::SeqUnderWindow,
            Bound::AckUnderWindow => Self::AckUnderWindow,
            Bound::State => Self::State,
            Bound::New => Self::New,
            Bound::Reset => Self::Reset,
            Bound::Flags => Self::Flags,
            Bound::Checksum => Self::Checksum,
            Bound::Malformed => Self::Malformed,
        }
    }
}

// === impl Invalid ===

impl Invalid {
    pub(super) fn new(bound: Bound, measured: Option<Measured>, moment: Moment) -> Self {
        Self {
            bound,
            measured,
            liberal: bound.liberal(),
            moment,
        }
    }
}
