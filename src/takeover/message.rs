//! What two processes tell each other, and its bytes: pure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{FormatError, HEAD, Head, Kind};
use super::standing::Standing;
use crate::metrics::Portable;
use crate::relay::{MOST, Note, NotedDebt};

/// The version of what is told of a session. Where it differs, sessions stay where they are, and the rest goes over.
pub const SESSIONS_VERSION: u16 = 1;

/// What goes over besides sessions, each time that some do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// What was counted and measured since it was last told.
    pub recorded: Portable,
    /// What sources owe, where the rate of new connections is limited.
    pub debts: Vec<NotedDebt>,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Who speaks.
    Hello(Hello),
    /// What there is besides sessions. Its descriptors: the [`Claim`](super::Claim), and those that
    /// [`Standing::descriptors`] names, as far as there is room.
    Standing(Standing),
    /// So many of those that there was no room for.
    Further(u16),
    /// The newcomer has all it needs to begin.
    Ready,
    /// Sessions that stand still. They stay whose they are.
    Sessions(Vec<Note>),
    /// So many of them have arrived.
    Have(u32),
    /// What has arrived may be carried on; and what was recorded since this was last told.
    Yours(Box<Totals>),
    /// It is carried on by who writes this, from this message on.
    Started,
    /// The addresses where a relay is asked are nobody's any more.
    Free,
    /// There is nothing more; and what was recorded since this was last told.
    Bye(Box<Totals>),
    /// Nothing comes of it, and why. Whoever gets it drops what it was given.
    Off(String),
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its [`SESSIONS_VERSION`].
    pub sessions_version: u16,
    /// Its process, as itself sees it: for people.
    pub pid: u32,
    /// The version of the program: for people.
    pub program: String,
}

/// Descriptors of a claim, which come before those of a standing.
pub(super) const OF_CLAIM: usize = 2;

// === impl Message ===

impl Message {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Standing(_) => Kind::Standing,
            Self::Further(_) => Kind::Further,
            Self::Ready => Kind::Ready,
            Self::Sessions(_) => Kind::Sessions,
            Self::Have(_) => Kind::Have,
            Self::Yours(_) => Kind::Yours,
            Self::Started => Kind::Started,
            Self::Free => Kind::Free,
            Self::Bye(_) => Kind::Bye,
            Self::Off(_) => Kind::Off,
        }
    }

    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Standing(standing) => (OF_CLAIM + standing.descriptors()).min(MOST),
            Self::Further(descriptors) => (*descriptors).into(),
            Self::Sessions(notes) => notes.iter().map(Note::descriptors).sum(),
            _ => 0,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If it is more than one message can be.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let kind = self.kind();
        let payload = match self {
            Self::Hello(hello) => serde_json::to_vec(hello),
            Self::Standing(standing) => serde_json::to_vec(standing),
            Self::Further(descriptors) => serde_json::to_vec(descriptors),
            Self::Sessions(notes) => serde_json::to_vec(notes),
            Self::Have(count) => serde_json::to_vec(count),
            Self::Yours(totals) | Self::Bye(totals) => serde_json::to_vec(totals),
            Self::Off(why) => serde_json::to_vec(why),
            Self::Ready | Self::Started | Self::Free => Ok(Vec::new()),
        };
        let payload = payload.map_err(|error| FormatError::Payload { kind, error })?;
        let head = Head {
            kind,
            length: payload.len(),
            descriptors: self.descriptors(),
        };
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.extend(head.bytes()?);
        bytes.extend(payload);
        Ok(bytes)
    }

    /// The message that these bytes are, all of them.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some((head, payload)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(FormatError::Truncated {
                has: bytes.len(),
                wanted: HEAD,
            });
        };
        Self::from_parts(Head::parse(head)?, payload)
    }

    /// The message with this head and this payload.
    ///
    /// # Errors
    /// If they do not make one.
    pub fn from_parts(head: Head, payload: &[u8]) -> Result<Self, FormatError> {
        if payload.len() < head.length {
            return Err(FormatError::Truncated {
                has: payload.len(),
                wanted: head.length,
            });
        }
        // A kind that has no payload ends with its head.
        let end = match head.kind {
            Kind::Ready | Kind::Started | Kind::Free => 0,
            _ => head.length,
        };
        if payload.len() > end {
            return Err(FormatError::Trailing {
                extra: payload.len() - end,
            });
        }
        let message = match head.kind {
            Kind::Hello => Self::Hello(told(head.kind, payload)?),
            Kind::Standing => Self::Standing(told(head.kind, payload)?),
            Kind::Further => Self::Further(told(head.kind, payload)?),
            Kind::Ready => Self::Ready,
            Kind::Sessions => Self::Sessions(told(head.kind, payload)?),
            Kind::Have => Self::Have(told(head.kind, payload)?),
            Kind::Yours => Self::Yours(told(head.kind, payload)?),
            Kind::Started => Self::Started,
            Kind::Free => Self::Free,
            Kind::Bye => Self::Bye(told(head.kind, payload)?),
            Kind::Off => Self::Off(told(head.kind, payload)?),
        };
        if message.descriptors() != head.descriptors {
            return Err(FormatError::Descriptors {
                kind: head.kind,
                told: message.descriptors(),
                said: head.descriptors,
            });
        }
        Ok(message)
    }
}

fn told<T: DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, FormatError> {
    serde_json::from_slice(payload).map_err(|error| FormatError::Payload { kind, error })
}

// === impl Hello ===

impl Hello {
    /// Of this process.
    pub fn of_this_process() -> Self {
        Self {
            sessions_version: SESSIONS_VERSION,
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
