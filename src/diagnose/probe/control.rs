//! What both ends say to each other: lines of JSON over an ordinary connection, each with one [`Said`] or [`Told`].
//!
//! The connection has to survive the very fault that is looked for. So its messages are small and go one at a time,
//! its segments are short and its windows unscaled; and when it breaks all the same, the client makes another one,
//! says which session it belongs to, and repeats its last order by its number. All of this file is pure.

pub mod client;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::order::{Answer, Order};

/// What both ends have to agree upon.
pub const VERSION: u32 = 1;

/// No line is longer, in bytes.
pub const LONGEST: usize = 4096;

/// What the client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// How each connection begins.
    Hello(Hello),
    /// An order, which may have been said before.
    Ask {
        /// Its number; each new one has the next.
        n: u32,
        /// What is to be done.
        order: Order,
    },
    /// That it is still there.
    Here,
    /// That it needs nothing more.
    Bye,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub unmangle_probe: u32,
    /// Which session it belongs to; a new one has a new number.
    pub session: u64,
    /// Whether there was a connection of this session before.
    pub again: bool,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The answer to a hello.
    Welcome(Welcome),
    /// The other answer to a hello; the connection ends.
    Refused(Refused),
    /// What came of an order.
    Answer {
        /// Its number.
        n: u32,
        /// What came of it.
        answer: Answer,
    },
}

/// What a client is to know of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The port of the crafted flows.
    pub flow_port: u16,
    /// The server's own address.
    pub own: IpAddr,
    /// The client's address, as the server sees it.
    pub peer: IpAddr,
    /// The MTU of the interface that leads to the client.
    pub mtu: u16,
}

/// Why a server does not want to be an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// It is another version.
    #[error(
        "it speaks version {0} of the probe's protocol, this one version {VERSION}: run the same unmangle on both hosts"
    )]
    Version(u32),
    /// A probe of the same client is running.
    #[error("a probe from {0} is running there already: wait until it has ended")]
    Running(IpAddr),
    /// Too many others are.
    #[error("{0} probes are running there already, as many as it allows (--max-sessions)")]
    Busy(usize),
    /// It does not let this client.
    #[error("it does not let {0} in: add it to its --allow")]
    NotAllowed(IpAddr),
    /// There is no session of that number any more.
    #[error("the session has ended there")]
    Ended,
    /// It did not understand.
    #[error("it does not understand: {0}")]
    Garbage(String),
    /// It cannot.
    #[error("it cannot: {0}")]
    Cannot(String),
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// No end of line came.
    #[error("a line of more than {LONGEST} bytes")]
    TooLong,
    /// It is something else.
    #[error("{0}")]
    NoMessage(String),
}

/// Bytes as they come, to whole lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
}

/// The server's memory of orders: none is carried out twice.
#[derive(Debug, Default)]
pub struct Ledger {
    last: Option<(u32, Option<Answer>)>,
}

/// What is to be done with an order that came.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Carry it out.
    New,
    /// It is being carried out: the answer follows.
    UnderWay,
    /// It was carried out: say this again.
    Again(Answer),
    /// It is older than what was asked since; nobody waits for it.
    Stale,
}

/// A message as a line.
#[must_use]
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("plain values can be written as JSON");
    bytes.push(b'\n');
    bytes
}

// === impl Lines ===

impl Lines {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if the whole of it is there.
    ///
    /// # Errors
    /// [`Garbage`] if it is none; nothing sensible follows then.
    pub fn take<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, Garbage> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            return match self.bytes.len() > LONGEST {
                true => Err(Garbage::TooLong),
                false => Ok(None),
            };
        };
        if end > LONGEST {
            return Err(Garbage::TooLong);
        }
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let read = serde_json::from_slice(&line[..end]);
        read.map(Some)
            .map_err(|error| Garbage::NoMessage(error.to_string()))
    }
}

// === impl Ledger ===

impl Ledger {
    /// An order of this number came.
    pub fn came(&mut self, n: u32) -> Step {
        match &self.last {
            Some((last, answer)) if *last == n => match answer {
                Some(answer) => Step::Again(answer.clone()),
                None => Step::UnderWay,
            },
            Some((last, _)) if n < *last => Step::Stale,
            // A client asks nothing new before it has its answer.
            Some((_, None)) => Step::Stale,
            _ => {
                self.last = Some((n, None));
                Step::New
            }
        }
    }

    /// The order that is under way has come to this; its number.
    pub fn done(&mut self, answer: &Answer) -> Option<u32> {
        let (n, kept) = self.last.as_mut()?;
        *kept = Some(answer.clone());
        Some(*n)
    }

    /// Whether an order is under way.
    #[must_use]
    pub fn busy(&self) -> bool {
        matches!(self.last, Some((_, None)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::order::{Arrival, FlowId, Header, Spec};
    use super::*;

    fn read_all(lines: &mut Lines) -> Result<Vec<Said>, Garbage> {
        let mut said = Vec::new();
        while let Some(message) = lines.take()? {
            said.push(message);
        }
        Ok(said)
    }

    fn ask() -> Said {
        Said::Ask {
            n: 7,
            order: Order::Await {
                flow: FlowId(3),
                patience_ms: 500,
            },
        }
    }

    #[test]
    fn messages_that_come_in_pieces_are_put_together() {
        let hello = Said::Hello(Hello {
            unmangle_probe: VERSION,
            session: u64::MAX,
            again: true,
        });
        let bytes = [line(&hello), line(&ask()), line(&Said::Here)].concat();
        for piece in [1, 2, 3, 7, 50, bytes.len()] {
            let (mut lines, mut said) = (Lines::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                lines.push(piece);
                said.extend(read_all(&mut lines).unwrap());
            }
            assert_eq!(said, [hello.clone(), ask(), Said::Here]);
        }
    }

    #[test]
    fn a_line_without_end_is_given_up_before_it_fills_the_memory() {
        let mut lines = Lines::default();
        lines.push(&[b'x'; LONGEST]);
        assert_eq!(read_all(&mut lines), Ok(vec![]));
        lines.push(b"x");
        assert_eq!(read_all(&mut lines), Err(Garbage::TooLong));
        lines.push(b"\n");
        assert_eq!(read_all(&mut lines), Err(Garbage::TooLong));
    }

    #[test]
    fn what_is_no_message_is_an_error_that_says_where() {
        let mut lines = Lines::default();
        lines.push(b"GET / HTTP/1.1\r\n\r\n");
        let error = read_all(&mut lines).unwrap_err().to_string();
        assert!(error.contains("line 1 column 1"), "{error}");
    }

    #[test]
    fn every_message_fits_into_one_segment_of_the_control_connection() {
        let header = Header(vec![0xff; 120]);
        let arrival = Arrival {
            header,
            length: u16::MAX,
            checksum_right: false,
            payload_right: false,
        };
        let answer = Answer::Arrived(Some(arrival));
        let told = Told::Answer {
            n: u32::MAX,
            answer,
        };
        let segment = Spec {
            flags: u8::MAX,
            sequence: u32::MAX,
            acknowledgement: u32::MAX,
            window: u16::MAX,
            urgent: u16::MAX,
            options: Header(vec![0xff; 40]),
            payload: u16::MAX,
            traffic_class: u8::MAX,
        };
        let order = Order::Send {
            flow: FlowId(u16::MAX),
            segment,
        };
        let said = Said::Ask { n: u32::MAX, order };
        for bytes in [line(&told), line(&said)] {
            assert!(bytes.len() <= 500, "{}", bytes.len());
        }
    }

    #[test]
    fn no_order_is_carried_out_twice() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.came(1), Step::New);
        assert!(ledger.busy());
        assert_eq!(ledger.came(1), Step::UnderWay);
        assert_eq!(ledger.done(&Answer::Done), Some(1));
        assert!(!ledger.busy());
        assert_eq!(ledger.came(1), Step::Again(Answer::Done));
        assert_eq!(ledger.came(2), Step::New);
        // A repetition that was under way while the next order overtook it.
        assert_eq!(ledger.came(1), Step::Stale);
        assert_eq!(ledger.came(3), Step::Stale);
        assert_eq!(ledger.done(&Answer::Arrived(None)), Some(2));
        assert_eq!(ledger.came(2), Step::Again(Answer::Arrived(None)));
    }

    proptest! {
        #[test]
        fn any_bytes_can_come(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut lines = Lines::default();
            lines.push(&bytes);
            let _ = read_all(&mut lines);
        }
    }
}
