//! One connection of the load: its socket, its hello, and where in its payload it is.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::block::{READ_AT_ONCE, RECEIVED_AT_ONCE, SENT_AT_ONCE};
use crate::bench::failure::{Failure, Kind};
use crate::bench::hello::{ANSWER, Answer, HELLO, Hello, TRAILER, Trailer};
use crate::bench::pattern;
use crate::bench::work::Payload;
use crate::sys::tcp_info::{TcpInfo, tcp_info};

/// How long a call waits for the only connection of a thread before the thread looks at the clock.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// A connection that is being made, or was.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// What of the hello is yet to be sent; empty for a bare peer.
    hello: Vec<u8>,
    /// What the kernel counts as acknowledged and is no payload: the SYN, and the hello.
    no_payload: u64,
    /// What of the answer has arrived; full for a bare peer.
    answer: Vec<u8>,
    /// Payload sent and received.
    sent: u64,
    received: u64,
    /// The last bytes of a stream that has said its last: what may be the trailer.
    last: Vec<u8>,
    payload: Payload,
    /// The seed of its pattern.
    seed: u64,
    made: Made,
    /// Whether the end is known to be behind what there is to read.
    ended: bool,
}

/// Whether a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    NotYet,
}

/// What a call of receive has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So much payload. Whatever was there has been taken.
    All(u64),
    /// So much payload, and there may be more.
    Some(u64),
    /// The other end sends no more.
    End,
}

// === impl Connection ===

impl Connection {
    /// Begins to connect. With no hello the other end is taken for a bare server.
    pub fn begin(
        to: SocketAddr,
        hello: Option<Hello>,
        payload: Payload,
        seed: u64,
    ) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let made = match socket.connect(&to.into()) {
            Ok(()) => Made::Yes,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Made::NotYet,
            Err(error) => return Err(error),
        };
        Ok(Self {
            socket,
            hello: hello.map_or_else(Vec::new, |hello| hello.encode().to_vec()),
            no_payload: 1 + hello.map_or(0, |_| HELLO as u64),
            answer: match hello {
                Some(_) => Vec::with_capacity(ANSWER),
                None => vec![0; ANSWER],
            },
            sent: 0,
            received: 0,
            last: Vec::new(),
            payload,
            seed,
            made,
            ended: false,
        })
    }

    /// Whether it is made by now.
    pub fn made(&mut self) -> Result<Made, Failure> {
        if self.made == Made::NotYet {
            self.made = self.ask_whether_made()?;
        }
        Ok(self.made)
    }

    fn ask_whether_made(&self) -> Result<Made, Failure> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error.into());
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(Made::Yes),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(Made::NotYet),
            Err(error) => Err(error.into()),
        }
    }

    /// From now on calls wait in the kernel, each for at most [`GLANCE`].
    pub fn wait_in_calls(&self) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(GLANCE))?;
        self.socket.set_write_timeout(Some(GLANCE))
    }

    /// Sends the hello, if it has not been sent, and then up to `want` bytes of payload from `block`, as
    /// many as go at once. Returns how much payload went.
    pub fn send(&mut self, want: u64, block: &mut [u8]) -> Result<u64, Failure> {
        let ahead = self.hello.len();
        let length = usize::try_from(want).unwrap_or(usize::MAX);
        let length = length.min(SENT_AT_ONCE);
        let bytes = &mut block[HELLO - ahead..HELLO + length];
        if bytes.is_empty() {
            return Ok(0);
        }
        bytes[..ahead].copy_from_slice(&self.hello);
        if self.payload == Payload::Verified {
            pattern::fill(self.seed, self.sent, &mut bytes[ahead..]);
        }
        let went = match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(went) => went,
            Err(error) => return none_if_waiting(error),
        };
        let of_hello = went.min(ahead);
        self.hello.drain(..of_hello);
        let payload = (went - of_hello) as u64;
        self.sent += payload;
        Ok(payload)
    }

    /// Whether the hello has left and the answer has come.
    pub fn is_welcome(&self) -> bool {
        self.hello.is_empty() && self.answer.len() == ANSWER
    }

    /// Receives the answer, if it has not come, and payload of up to `want` bytes; what is to
    /// be discarded is thrown away unread.
    pub fn receive(&mut self, want: u64, block: &mut [u8]) -> Result<Received, Failure> {
        let missing = ANSWER - self.answer.len();
        let length = usize::try_from(want).unwrap_or(usize::MAX);
        let length = length.saturating_add(missing).min(block.len());
        if length == 0 {
            return Ok(Received::All(0));
        }
        let (flags, most) = match (missing, self.payload) {
            (0, Payload::Discarded) => (RecvFlags::TRUNC, RECEIVED_AT_ONCE),
            _ => (RecvFlags::empty(), READ_AT_ONCE),
        };
        let length = length.min(most);
        let got = match recv(&self.socket, &mut block[..length], flags) {
            Ok((_, 0)) => return Ok(Received::End),
            Ok((_, got)) => got,
            Err(error) => return none_if_waiting(error).map(Received::All),
        };
        let (answer, payload) = block[..got].split_at(missing.min(got));
        if missing > 0 {
            self.answer.extend_from_slice(answer);
            self.judge_answer()?;
        }
        self.take(payload)?;
        let brought = payload.len() as u64;
        Ok(match got == length || self.ended {
            true => Received::Some(brought),
            false => Received::All(brought),
        })
    }

    /// Takes what comes after we have said that we send no more. What may be the trailer is kept back, and is it
    /// if nothing follows.
    pub fn receive_rest(&mut self, block: &mut [u8]) -> Result<Received, Failure> {
        let kept = self.last.len();
        block[..kept].copy_from_slice(&self.last);
        let got = match recv(&self.socket, &mut block[kept..], RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(Received::End),
            Ok((_, got)) => got,
            Err(error) => return none_if_waiting(error).map(Received::All),
        };
        let is_full = kept + got == block.len();
        let brought = (kept + got).saturating_sub(TRAILER);
        let (payload, last) = block[..kept + got].split_at(brought);
        self.take(payload)?;
        self.last = last.to_vec();
        Ok(match is_full || self.ended {
            true => Received::Some(brought as u64),
            false => Received::All(brought as u64),
        })
    }

    /// What the server has said last.
    pub fn trailer(&self) -> Option<Trailer> {
        let last = <&[u8; TRAILER]>::try_from(self.last.as_slice()).ok()?;
        Trailer::decode(last)
    }

    /// Counts payload that has arrived, and compares it if that is wanted.
    fn take(&mut self, payload: &[u8]) -> Result<(), Failure> {
        if self.payload == Payload::Verified {
            pattern::check(self.seed, self.received, payload).map_err(|at| {
                Failure::new(Kind::Corrupt, format!("wrong payload near byte {at}"))
            })?;
        }
        self.received += payload.len() as u64;
        Ok(())
    }

    /// Whether the answer, once it is there, is a welcome.
    fn judge_answer(&self) -> Result<(), Failure> {
        let Ok(answer) = <&[u8; ANSWER]>::try_from(self.answer.as_slice()) else {
            return Ok(());
        };
        let (kind, what) = match Answer::decode(answer) {
            Some(Answer::Welcome) => return Ok(()),
            Some(Answer::WrongMode) => (
                Kind::WrongMode,
                "the server was started for another mode".to_owned(),
            ),
            Some(Answer::OtherVersion) => (
                Kind::WrongMode,
                "the server is of another version".to_owned(),
            ),
            None => (
                Kind::NotServe,
                format!(
                    "the other end says {:?}: it is no `unmangle bench serve`",
                    String::from_utf8_lossy(&self.answer)
                ),
            ),
        };
        Err(Failure::new(kind, what))
    }

    /// Says that no more is sent.
    pub fn finish(&self) -> Result<(), Failure> {
        Ok(shutdown(&self.socket, Shutdown::Write).map_err(io::Error::from)?)
    }

    /// The other end has sent its last byte, or the connection is broken: there is always one more thing to
    /// receive, which is that.
    pub fn see_end(&mut self) {
        self.ended = true;
    }

    /// Payload sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Payload received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Payload that the next kernel on the way has acknowledged.
    pub fn acknowledged(&self) -> io::Result<u64> {
        Ok(self.info()?.acknowledged.saturating_sub(self.no_payload))
    }

    /// What the kernel knows of it.
    pub fn info(&self) -> io::Result<TcpInfo> {
        tcp_info(&self.socket)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The other end closed where it should have said something.
pub(super) fn closed_early() -> Failure {
    Failure::new(
        Kind::ClosedEarly,
        "the other end closed the connection without an answer",
    )
}

/// A call that would have had to wait has done nothing, and that is no failure.
fn none_if_waiting(error: rustix::io::Errno) -> Result<u64, Failure> {
    use rustix::io::Errno;
    match error {
        Errno::AGAIN | Errno::INTR => Ok(0),
        other => Err(io::Error::from(other).into()),
    }
}
