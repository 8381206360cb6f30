//! The head of a message, as bytes: pure. docs/takeover.md has the picture.

use std::fmt;

use crate::relay::MOST;

/// The version of the messages. What it counts is in docs/takeover.md.
pub const VERSION: u16 = 1;
/// Bytes of a head.
pub const HEAD: usize = 16;
/// Bytes that may follow a head.
pub const LONGEST: usize = 8 << 20;

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who speaks.
    Hello = 1,
    /// What there is besides sessions.
    Standing = 2,
    /// Descriptors of `Standing` that one message could not have.
    Further = 3,
    /// The newcomer could begin.
    Ready = 4,
    /// Sessions.
    Sessions = 5,
    /// They have arrived.
    Have = 6,
    /// They may be carried on.
    Yours = 7,
    /// They are being carried on.
    Started = 8,
    /// The addresses for those who ask can be used.
    Free = 9,
    /// That was all.
    Bye = 10,
    /// Nothing comes of it.
    Off = 11,
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Bytes that follow.
    pub length: usize,
    /// Descriptors that come with its first byte.
    pub descriptors: usize,
}

/// Bytes that are no message, or values that make none.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// They begin otherwise.
    #[error("what came is no message of a takeover: give the socket of a running `unmangle run`")]
    Magic,
    /// Another version.
    #[error(
        "the other process speaks version {theirs} of the takeover, this one speaks version {VERSION}: let the old process drain, and start the new one without a takeover"
    )]
    Version {
        /// The version that it speaks.
        theirs: u16,
    },
    /// An unknown kind.
    #[error(
        "version {VERSION} of the takeover has no message of kind {code:#06x}: use builds of releases for both processes"
    )]
    Kind {
        /// What was there in its place.
        code: u16,
    },
    /// More than may be.
    #[error(
        "a message of {length} bytes is longer than the {LONGEST} that may be: let the old process drain instead"
    )]
    TooLong {
        /// Bytes after the head.
        length: usize,
    },
    /// More descriptors than one message can have.
    #[error(
        "{descriptors} descriptors are more than the {MOST} of one message: send fewer sessions at once"
    )]
    TooManyDescriptors {
        /// How many.
        descriptors: usize,
    },
    /// What is to be zero is not.
    #[error(
        "{value:#06x} stands in the head of a message where version {VERSION} of the takeover has zero: use builds of releases for both processes"
    )]
    Reserved {
        /// What was there.
        value: u16,
    },
    /// It ends too early.
    #[error("a message ended after {has} of {wanted} bytes: try the takeover again")]
    Truncated {
        /// Bytes that were there.
        has: usize,
        /// Bytes that were announced.
        wanted: usize,
    },
    /// It goes on after its end.
    #[error(
        "{extra} bytes follow where a message should end: use builds of releases for both processes"
    )]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// What was announced does not fit what is told.
    #[error(
        "{kind} has {told} descriptors by what it tells, and its head says {said}: use builds of releases for both processes"
    )]
    Descriptors {
        /// Which message.
        kind: Kind,
        /// By what it tells.
        told: usize,
        /// By its head.
        said: usize,
    },
    /// The payload is not that of its kind.
    #[error("{kind} cannot be read: {error}: use builds of releases for both processes")]
    Payload {
        /// Which message.
        kind: Kind,
        /// Why.
        error: serde_json::Error,
    },
}

/// What every message begins with.
const MAGIC: [u8; 4] = *b"UMTO";

// === impl Kind ===

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Standing,
        Self::Further,
        Self::Ready,
        Self::Sessions,
        Self::Have,
        Self::Yours,
        Self::Started,
        Self::Free,
        Self::Bye,
        Self::Off,
    ];

    /// Its number, in both bytes: no single byte that is wrong makes another kind of it.
    fn code(self) -> u16 {
        self as u16 * 0x0101
    }

    fn of(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Its name, as in docs/takeover.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "Hello",
            Self::Standing => "Standing",
            Self::Further => "Further",
            Self::Ready => "Ready",
            Self::Sessions => "Sessions",
            Self::Have => "Have",
            Self::Yours => "Yours",
            Self::Started => "Started",
            Self::Free => "Free",
            Self::Bye => "Bye",
            Self::Off => "Off",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name())
    }
}

// === impl Head ===

impl Head {
    /// As it is sent.
    ///
    /// # Errors
    /// If there is more than one message can have.
    pub fn bytes(self) -> Result<[u8; HEAD], FormatError> {
        let Self {
            kind,
            length,
            descriptors,
        } = self.checked()?;
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[6..8].copy_from_slice(&kind.code().to_be_bytes());
        // Both are below their limits, which fit.
        bytes[8..12].copy_from_slice(&(length as u32).to_be_bytes());
        bytes[12..14].copy_from_slice(&(descriptors as u16).to_be_bytes());
        Ok(bytes)
    }

    /// From what has arrived. `Off` is the same in every version: why nothing comes of it can always be told.
    ///
    /// # Errors
    /// If these bytes begin no message that this version knows.
    pub fn parse(bytes: &[u8; HEAD]) -> Result<Self, FormatError> {
        if bytes[..4] != MAGIC {
            return Err(FormatError::Magic);
        }
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (theirs, code, reserved) = (number(4), number(6), number(14));
        let kind = Kind::of(code);
        if theirs != VERSION && kind != Some(Kind::Off) {
            return Err(FormatError::Version { theirs });
        }
        let kind = kind.ok_or(FormatError::Kind { code })?;
        if reserved != 0 {
            return Err(FormatError::Reserved { value: reserved });
        }
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let head = Self {
            kind,
            length: length as usize,
            descriptors: number(12).into(),
        };
        head.checked()
    }

    fn checked(self) -> Result<Self, FormatError> {
        let Self {
            length,
            descriptors,
            ..
        } = self;
        if length > LONGEST {
            return Err(FormatError::TooLong { length });
        }
        if descriptors > MOST {
            return Err(FormatError::TooManyDescriptors { descriptors });
        }
        Ok(self)
    }
}
