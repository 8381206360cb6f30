//! A session that stands still, as another process can carry it on: plain values, and descriptors.
//!
//! What is told of a session here is part of the format that docs/takeover.md describes: a field more, or one that
//! means something else, is another version of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

/// A session that stands still. `F` holds a descriptor: borrowed by who sends it, owned by who has received it.
#[derive(Debug)]
pub struct Parcel<F> {
    /// What is known of it.
    pub note: Note,
    /// The downstream leg, the upstream leg; then of each direction that holds a pipe, from the client to the server
    /// first: the end that bytes are taken from, and the end they are put into. See [`Note::descriptors`].
    pub descriptors: Vec<F>,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The name of the listener that it was accepted for.
    pub listener: String,
    /// Whether it was opened on the side of the firewall.
    pub from_mangled_side: bool,
    /// Who opened it.
    pub client: SocketAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
    /// Who was dialled.
    pub server: SocketAddr,
    /// The address that the client connected to, as its socket has it.
    pub local: SocketAddr,
    /// Whether the server sees the client's port.
    pub port: NotedPort,
    /// How long ago it was accepted, in microseconds.
    pub age_us: u64,
    /// How long the dial took, in microseconds.
    pub connect_us: u64,
    /// What the client's SYN offered, if that was seen.
    pub offer: Option<NotedOffer>,
    /// Whose end of the stream came first, if one has come: whether that was the client's.
    pub client_ended_first: Option<bool>,
    /// From the client to the server.
    pub client_to_server: NotedHalf,
    /// From the server to the client.
    pub server_to_client: NotedHalf,
    /// Whether the downstream leg is still sent without pacing, and looked at.
    pub downstream_unpaced: bool,
    /// Whether the upstream leg is.
    pub upstream_unpaced: bool,
    /// Segments that were sent again on the downstream leg, as far as they are counted in the totals.
    pub downstream_retransmits: u32,
    /// The same of the upstream leg.
    pub upstream_retransmits: u32,
}

/// Which port the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotedPort {
    /// The client's own.
    Kept,
    /// Another, because the client's could not be bound.
    Fallback,
    /// One of this host's.
    OfThisHost,
}

/// What a SYN offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotedOffer {
    /// Largest segment it wants to receive, in bytes.
    pub mss: Option<u16>,
    /// Its shift count.
    pub window_scale: Option<u8>,
    /// Whether it would take selective acknowledgements.
    pub sack: bool,
    /// Whether it would use timestamps.
    pub timestamps: bool,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotedHalf {
    /// Bytes read from the sender.
    pub read: u64,
    /// Bytes that the receiver's socket has taken.
    pub passed: u64,
    /// Whether it carries bulk.
    pub bulk: bool,
    /// Whether its first bytes were passed on.
    pub begun: bool,
    /// How far its end has come.
    pub end: NotedEnd,
    /// What was read and not passed on.
    pub held: NotedHeld,
}

/// How far the end of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotedEnd {
    /// More may come.
    Open,
    /// It was read.
    Read,
    /// It was passed on.
    PassedOn,
}

/// What was read and not passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotedHeld {
    /// Nothing.
    Nothing,
    /// These bytes, in base64.
    Bytes(#[serde(with = "in_base64")] Vec<u8>),
    /// So many bytes in a pipe, whose ends are among the descriptors.
    Pipe(u64),
}

/// A source that has opened much lately, where the rate is limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotedDebt {
    /// The name of the listener.
    pub listener: String,
    /// The first address of the source.
    pub source: IpAddr,
    /// For how long it counts yet, in microseconds.
    pub owes_us: u64,
}

/// What brings sessions to another process.
pub trait Carrier: Send + std::fmt::Debug {
    /// Brings these, in as many messages as they need; ready when the other process has them. They still belong to this
    /// one.
    ///
    /// # Errors
    /// If the other process does not have them.
    fn carry<'a>(
        &mut self,
        sessions: &mut dyn Iterator<Item = Parcel<BorrowedFd<'a>>>,
    ) -> io::Result<()>;
}

/// Descriptors that one message can have (SCM_MAX_FD in include/net/scm.h).
pub const MOST: usize = 253;

// === impl Note ===

impl Note {
    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        let pipes = [&self.client_to_server, &self.server_to_client]
            .into_iter()
            .filter(|half| matches!(half.held, NotedHeld::Pipe(_)));
        2 + 2 * pipes.count()
    }
}

mod in_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Note {
        /// Of a session that holds nothing.
        pub(crate) fn sample() -> Self {
            let half = NotedHalf {
                read: 7,
                passed: 7,
                bulk: true,
                begun: true,
                end: NotedEnd::Open,
                held: NotedHeld::Nothing,
            };
            let address: SocketAddr = "192.0.2.1:22".parse().unwrap();
            Self {
                listener: "ssh".to_owned(),
                from_mangled_side: true,
                client: address,
                via: None,
                server: address,
                local: address,
                port: NotedPort::Kept,
                age_us: 1,
                connect_us: 1,
                offer: None,
                client_ended_first: None,
                client_to_server: half.clone(),
                server_to_client: half,
                downstream_unpaced: true,
                upstream_unpaced: false,
                downstream_retransmits: 0,
                upstream_retransmits: 3,
            }
        }
    }

    #[test]
    fn a_note_says_how_many_descriptors_come_with_it() {
        let mut note = Note::sample();
        note.server_to_client.held = NotedHeld::Bytes(vec![0, 255]);
        assert_eq!(note.descriptors(), 2);
        note.client_to_server.held = NotedHeld::Pipe(2);
        assert_eq!(note.descriptors(), 4);
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), note);
    }
}
