//! States of a connection, kinds of segment, and what follows what. The table is the same in Linux 5.10,
//! 6.1 and 6.12 (`tcp_conntracks` there).

use crate::packet::Flags;

/// Where the tracker believes a connection to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// No packet was believed yet.
    #[default]
    None,
    /// A SYN was seen.
    SynSent,
    /// Its SYN-ACK was seen.
    SynRecv,
    /// The handshake is over.
    Established,
    /// One side has sent FIN.
    FinWait,
    /// That FIN was acknowledged.
    CloseWait,
    /// Both sides have sent FIN.
    LastAck,
    /// The last ACK was seen.
    TimeWait,
    /// Reset.
    Close,
    /// Both sides have sent a SYN.
    SynSent2,
}

/// Which way a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Way {
    /// As the first packet of the connection.
    #[default]
    Original,
    /// The other way.
    Reply,
}

/// What a segment is by its flags: RST before SYN before FIN before ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// SYN alone.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// FIN.
    Fin,
    /// ACK, with or without data.
    Ack,
    /// RST.
    Rst,
    /// None of them.
    #[default]
    Bare,
}

/// What a kind of segment leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// This state, if the segment is within the bounds.
    To(State),
    /// It may be right and the tracker wrong: the segment passes, and is noted.
    Ignored,
    /// It cannot be.
    Invalid,
}

// === impl State ===

impl State {
    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }

    /// Whether the connection is about to end, so that its entry may be given to another.
    pub(super) fn ends(self) -> bool {
        matches!(
            self,
            Self::FinWait | Self::CloseWait | Self::LastAck | Self::TimeWait | Self::Close
        )
    }
}

// === impl Way ===

impl Way {
    /// The opposite one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// What a segment with these flags is.
    #[must_use]
    pub fn of(flags: Flags) -> Self {
        if flags.has(Flags::RST) {
            Self::Rst
        } else if flags.has(Flags::SYN | Flags::ACK) {
            Self::SynAck
        } else if flags.has(Flags::SYN) {
            Self::Syn
        } else if flags.has(Flags::FIN) {
            Self::Fin
        } else if flags.has(Flags::ACK) {
            Self::Ack
        } else {
            Self::Bare
        }
    }

    /// As it is called in a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::SynAck => "SYN-ACK",
            Self::Fin => "FIN",
            Self::Ack => "ACK",
            Self::Rst => "RST",
            Self::Bare => "segment without flags",
        }
    }
}

/// Whether such flags may stand together; PSH, ECE and CWR always may.
pub(super) fn go_together(flags: Flags) -> bool {
    const URG: u8 = 0x20;
    const SYN: u8 = Flags::SYN.0;
    const FIN_ACK: u8 = Flags::FIN.0 | Flags::ACK.0;
    const RST: u8 = Flags::RST.0;
    const ACK: u8 = Flags::ACK.0;
    let urgent = flags.0 & URG != 0;
    match flags.0 & (SYN | FIN_ACK | RST) {
        SYN | ACK | FIN_ACK => true,
        RST => !urgent,
        both if both == SYN | ACK || both == RST | ACK => !urgent,
        _ => false,
    }
}

/// What such a segment leads to.
pub(super) fn next(way: Way, kind: Kind, state: State) -> Next {
    use Next::{Ignored, Invalid, To};
    use State::{
        Close, CloseWait, Established, FinWait, LastAck, None, SynRecv, SynSent, SynSent2, TimeWait,
    };
    match (kind, way) {
        (Kind::Bare, _) => Invalid,
        (Kind::Rst, _) => match state {
            None => Invalid,
            _ => To(Close),
        },
        (Kind::Syn, Way::Original) => match state {
            None | SynSent | TimeWait | Close => To(SynSent),
            SynSent2 => To(SynSent2),
            SynRecv | Established | FinWait | CloseWait | LastAck => Ignored,
        },
        (Kind::Syn, Way::Reply) => match state {
            SynSent | SynSent2 => To(SynSent2),
            TimeWait => To(SynSent),
            _ => Invalid,
        },
        (Kind::SynAck, Way::Original) => match state {
            SynRecv | SynSent2 => To(SynRecv),
            _ => Invalid,
        },
        (Kind::SynAck, Way::Reply) => match state {
            None => Invalid,
            SynSent | SynSent2 => To(SynRecv),
            _ => Ignored,
        },
        (Kind::Fin, _) => match state {
            None | SynSent | SynSent2 => Invalid,
            SynRecv | Established => To(FinWait),
            FinWait | CloseWait | LastAck => To(LastAck),
            TimeWait => To(TimeWait),
            Close => To(Close),
        },
        (Kind::Ack, Way::Original) => match state {
            None | SynRecv | Established => To(Established),
            SynSent | SynSent2 => Invalid,
            FinWait | CloseWait => To(CloseWait),
            LastAck | TimeWait => To(TimeWait),
            Close => To(Close),
        },
        (Kind::Ack, Way::Reply) => match state {
            None => Invalid,
            SynSent | SynSent2 => Ignored,
            SynRecv => To(SynRecv),
            Established => To(Established),
            FinWait | CloseWait => To(CloseWait),
            LastAck | TimeWait => To(TimeWait),
            Close => To(Close),
        },
    }
}
