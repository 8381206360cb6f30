//! How a connection begins: what the client wants of `unmangle bench serve`, and what that answers. And how a
//! stream ends.
//!
//! A hello is 32 bytes, big endian: `unmangle`, version, mode, direction, what becomes of payload (0: discarded,
//! 1: verified, 2: read), request size, response size, the seed of the pattern, 4 zeros. Payload may follow in
//! the same segment. The answer is 8 bytes: `unma`, version, status, 2 zeros; the server's payload follows it.
//!
//! A stream ends when the client says that it sends no more. Then the server stops sending, too, and says last
//! in 24 bytes what it had: `the end.`, payload received, payload sent. So both ends know whether the way
//! between them has lost some of it, or cut it off.

use crate::bench::work::{Direction, Mode, Payload};

/// Bytes of a hello.
pub const HELLO: usize = 32;
/// Bytes of an answer.
pub const ANSWER: usize = 8;
/// Bytes of what ends a stream.
pub const TRAILER: usize = 24;

const MAGIC: &[u8; 8] = b"unmangle";
const END: &[u8; 8] = b"the end.";
const VERSION: u8 = 2;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for; never a mix.
    pub mode: Mode,
    /// Who sends in a stream.
    pub direction: Direction,
    /// What the server is to do with payload.
    pub payload: Payload,
    /// Bytes of a request.
    pub request: u32,
    /// Bytes of a response.
    pub response: u32,
    /// The seed of the pattern, in both directions.
    pub seed: u64,
}

/// What the server says to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It will do that.
    Welcome,
    /// It was started for another mode.
    WrongMode,
    /// It is of another version.
    OtherVersion,
}

/// What the server had of a stream, in bytes of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// What it received.
    pub received: u64,
    /// What it sent.
    pub sent: u64,
}

/// Why bytes are no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHello {
    /// They are something else.
    Foreign,
    /// They are a hello of another version.
    OtherVersion,
}

const MODES: [(Mode, u8); 4] = [
    (Mode::Stream, 1),
    (Mode::Rr, 2),
    (Mode::Crr, 3),
    (Mode::Idle, 4),
];
const DIRECTIONS: [(Direction, u8); 3] = [
    (Direction::Upload, 1),
    (Direction::Download, 2),
    (Direction::Both, 3),
];
const PAYLOADS: [(Payload, u8); 3] = [
    (Payload::Discarded, 0),
    (Payload::Verified, 1),
    (Payload::Read, 2),
];
const ANSWERS: [(Answer, u8); 3] = [
    (Answer::Welcome, 0),
    (Answer::WrongMode, 1),
    (Answer::OtherVersion, 2),
];

// === impl Hello ===

impl Hello {
    /// As bytes.
    ///
    /// # Panics
    /// For a mix, which is a mode of a run and not of a connection.
    pub fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[9] = code(&MODES, self.mode);
        bytes[10] = code(&DIRECTIONS, self.direction);
        bytes[11] = code(&PAYLOADS, self.payload);
        bytes[12..16].copy_from_slice(&self.request.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.response.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.seed.to_be_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// Anything that is not exactly a hello of this version.
    pub fn decode(bytes: &[u8; HELLO]) -> Result<Self, NoHello> {
        if &bytes[..8] != MAGIC {
            return Err(NoHello::Foreign);
        }
        if bytes[8] != VERSION {
            return Err(NoHello::OtherVersion);
        }
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let hello = Self {
            mode: meaning(&MODES, bytes[9]).ok_or(NoHello::Foreign)?,
            direction: meaning(&DIRECTIONS, bytes[10]).ok_or(NoHello::Foreign)?,
            payload: meaning(&PAYLOADS, bytes[11]).ok_or(NoHello::Foreign)?,
            request: word(12),
            response: word(16),
            seed: u64::from(word(20)) << 32 | u64::from(word(24)),
        };
        // No request and no response would be an endless loop, and the rest is zeros.
        let sound = hello.request > 0 && hello.response > 0 && hello.encode() == *bytes;
        sound.then_some(hello).ok_or(NoHello::Foreign)
    }
}

// === impl Answer ===

impl Answer {
    /// As bytes.
    pub fn encode(self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        bytes[..4].copy_from_slice(&MAGIC[..4]);
        bytes[4] = VERSION;
        bytes[5] = code(&ANSWERS, self);
        bytes
    }

    /// Reads one; `None` if it is none.
    pub fn decode(bytes: &[u8; ANSWER]) -> Option<Self> {
        let answer = meaning(&ANSWERS, bytes[5])?;
        (bytes[..4] == MAGIC[..4] && bytes[6..] == [0, 0]).then_some(answer)
    }
}

// === impl Trailer ===

impl Trailer {
    /// As bytes.
    pub fn encode(self) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        bytes[..8].copy_from_slice(END);
        bytes[8..16].copy_from_slice(&self.received.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    /// Reads one; `None` if it is none.
    pub fn decode(bytes: &[u8; TRAILER]) -> Option<Self> {
        let count = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        (&bytes[..8] == END).then(|| Self {
            received: count(8),
            sent: count(16),
        })
    }
}

fn code<T: PartialEq>(codes: &[(T, u8)], meant: T) -> u8 {
    codes
        .iter()
        .find(|(each, _)| *each == meant)
        .map(|(_, code)| *code)
        .expect("every value that a connection may have has a code")
}

fn meaning<T: Copy>(codes: &[(T, u8)], read: u8) -> Option<T> {
    codes
        .iter()
        .find(|(_, code)| *code == read)
        .map(|(each, _)| *each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: Hello = Hello {
        mode: Mode::Crr,
        direction: Direction::Both,
        payload: Payload::Verified,
        request: 64,
        response: 1 << 20,
        seed: 0x0102_0304_0506_0708,
    };

    #[test]
    fn a_hello_is_read_as_it_was_written() {
        assert_eq!(Hello::decode(&HELLO.encode()), Ok(HELLO));
    }

    #[test]
    fn what_is_no_hello_is_told_apart_from_one_of_another_version() {
        assert_eq!(
            Hello::decode(b"GET / HTTP/1.1\r\nHost: example.\r\n"),
            Err(NoHello::Foreign)
        );
        let mut bytes = HELLO.encode();
        bytes[8] = 9;
        assert_eq!(Hello::decode(&bytes), Err(NoHello::OtherVersion));
        for (at, value) in [(9, 0), (10, 7), (11, 3), (31, 1)] {
            let mut bytes = HELLO.encode();
            bytes[at] = value;
            assert_eq!(Hello::decode(&bytes), Err(NoHello::Foreign), "byte {at}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for answer in [Answer::Welcome, Answer::WrongMode, Answer::OtherVersion] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::decode(b"SSH-2.0-"), None);
    }

    #[test]
    fn a_trailer_is_read_as_it_was_written_and_payload_is_none() {
        let trailer = Trailer {
            received: 1 << 40,
            sent: 77,
        };
        assert_eq!(Trailer::decode(&trailer.encode()), Some(trailer));
        assert_eq!(Trailer::decode(&[0; TRAILER]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_a_hello_or_refused(bytes: [u8; super::HELLO]) {
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }
    }
}
