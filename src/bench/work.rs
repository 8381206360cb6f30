//! What is asked of a path: values that the command line fills in and everything else reads.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the connections do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Bytes, as fast as they go.
    Stream,
    /// Request and response, over connections that stay.
    Rr,
    /// Connect, request, response, close.
    Crr,
    /// Connections that are silent, then asked whether they still live.
    Idle,
    /// Of every eight connections one streams, five do rr, one does crr, one is idle.
    Mix,
}

/// Who sends in [`Mode::Stream`], seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The client sends.
    Upload,
    /// The server sends.
    Download,
    /// Both send.
    Both,
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: as soon as the response to the last one is there. A stall of the other end holds
    /// requests back, so it hardly shows in the latencies.
    AsAnswered,
    /// Open loop: so many requests a second over all connections, whether or not they are answered. Latency
    /// counts from the moment at which a request was to be sent.
    PerSecond(f64),
}

/// What the other end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// `unmangle bench serve`: every connection begins with a hello.
    Serve,
    /// A plain server: one that echoes (RFC 862) in `rr` and `crr`, one that discards (RFC 863) in `stream`.
    Bare,
}

/// What a receiver does with payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The kernel throws it away (`MSG_TRUNC`, tcp(7)): the ends cost little, so that the path is measured.
    Discarded,
    /// It is read into memory, as everybody does who wants it.
    Read,
    /// Every byte is compared with what was to arrive.
    Verified,
}

/// One load, checked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What the connections do.
    pub mode: Mode,
    /// When requests are sent.
    pub pace: Pace,
    /// How many connections at a time.
    pub connections: NonZeroU32,
    /// How many threads carry them.
    pub threads: NonZeroU32,
    /// How long is measured.
    pub duration: Duration,
    /// How long the load runs before that, unmeasured.
    pub warmup: Duration,
    /// How long one point of the report's series is.
    pub interval: Duration,
    /// Bytes of a request.
    pub request: NonZeroU32,
    /// Bytes of a response.
    pub response: NonZeroU32,
    /// Who sends in `stream`.
    pub direction: Direction,
    /// What the other end is.
    pub peer: Peer,
    /// What becomes of payload that arrives.
    pub payload: Payload,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the last responses are waited for once the time is over.
    pub grace: Duration,
}

// === impl Mode ===

impl Mode {
    /// What the connection with this number does: in a mix not all do the same.
    pub fn of_connection(self, number: u32) -> Self {
        match (self, number % 8) {
            (Self::Mix, 0) => Self::Stream,
            (Self::Mix, 6) => Self::Crr,
            (Self::Mix, 7) => Self::Idle,
            (Self::Mix, _) => Self::Rr,
            (mode, _) => mode,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stream => "stream",
            Self::Rr => "rr",
            Self::Crr => "crr",
            Self::Idle => "idle",
            Self::Mix => "mix",
        })
    }
}

// === impl Direction ===

impl Direction {
    /// Whether the client sends.
    pub fn up(self) -> bool {
        self != Self::Download
    }

    /// Whether the server sends.
    pub fn down(self) -> bool {
        self != Self::Upload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_connections_of_a_mix_are_one_stream_five_rr_one_crr_one_idle() {
        let modes: Vec<Mode> = (0..8).map(|n| Mode::Mix.of_connection(n)).collect();
        let count = |mode| modes.iter().filter(|each| **each == mode).count();
        assert_eq!(
            [Mode::Stream, Mode::Rr, Mode::Crr, Mode::Idle].map(count),
            [1, 5, 1, 1]
        );
        assert_eq!(Mode::Rr.of_connection(7), Mode::Rr);
    }
}
