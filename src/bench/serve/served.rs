//! One connection of the server.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::bench::block::{READ_AT_ONCE, RECEIVED_AT_ONCE, SENT_AT_ONCE};
use crate::bench::hello::{ANSWER, Answer, HELLO, Hello, NoHello, TRAILER, Trailer};
use crate::bench::pattern;
use crate::bench::work::{Mode, Payload};

/// How often a connection receives or sends before others have their turn.
const TURN: usize = 4;
/// How much goes out before any payload at most.
pub(super) const AHEAD: usize = ANSWER + TRAILER;

/// One connection.
#[derive(Debug)]
pub(super) struct Served {
    socket: TcpStream,
    state: State,
    /// What goes out before any payload, or after all of it: the answer, and what ends a stream.
    ahead: Vec<u8>,
    /// Payload received, and sent.
    received: u64,
    sent: u64,
    /// Whether it is told when it can send more.
    told_of_room: bool,
    /// Whether the end is known to be behind what there is to read.
    ended: bool,
}

#[derive(Debug)]
enum State {
    /// So much of the hello is there.
    Greeting(Vec<u8>),
    /// Requests are answered; so many bytes of responses are owed.
    Answering { hello: Hello, owed: u64 },
    /// Bytes flow.
    Streaming(Hello),
    /// What is ahead goes out, and then the connection is closed.
    Leaving,
}

/// What is to become of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for its socket.
    Wait,
    /// It can go on at once.
    Again,
    /// It is over.
    Over,
}

/// Why a connection was ended by the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("what came was no hello: it is no `unmangle bench run`")]
    Foreign,
    #[error("wrong payload near byte {0}")]
    Corrupt(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the thread lends a connection.
pub(super) struct Lent<'a> {
    /// Payload to send is in the front, whatever arrives goes there, too.
    pub block: &'a mut [u8],
    /// The only mode that is served, if there is one.
    pub only: Option<Mode>,
}

/// What has arrived.
enum Arrived {
    /// All there was, or nothing.
    All,
    /// There may be more.
    Some,
    End,
}

/// How much of what was to be sent at once has gone.
#[derive(PartialEq, Eq)]
enum Sent {
    Whole,
    Partly,
}

// === impl Served ===

impl Served {
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            state: State::Greeting(Vec::new()),
            ahead: Vec::new(),
            received: 0,
            sent: 0,
            told_of_room: false,
            ended: false,
        })
    }

    /// Payload received and sent so far.
    pub fn moved(&self) -> u64 {
        self.received + self.sent
    }

    /// Goes on as far as it can, or until others should have their turn.
    pub fn advance(&mut self, lent: &mut Lent) -> Result<Step, Trouble> {
        // Whatever comes after the socket was found empty will be told.
        let mut is_empty = false;
        for _ in 0..TURN {
            let is_full = self.send(lent)? == Sent::Partly;
            if self.ahead.is_empty() && matches!(self.state, State::Leaving) {
                shutdown(&self.socket, Shutdown::Write).map_err(io::Error::from)?;
                return Ok(Step::Over);
            }
            // Who does not take its responses is not asked for more requests.
            let receives = !is_empty && (self.is_streaming() || !self.is_owed());
            if receives {
                match self.receive(lent)? {
                    Arrived::End => {
                        if self.end() == Step::Over {
                            return Ok(Step::Over);
                        }
                    }
                    Arrived::All => is_empty = true,
                    Arrived::Some => {}
                }
            } else if is_full || !self.is_owed() {
                return Ok(Step::Wait);
            }
        }
        Ok(Step::Again)
    }

    /// The client has sent its last byte, or the connection is broken.
    pub fn see_end(&mut self) {
        self.ended = true;
    }

    /// Whether it has to be told, from now on, when it can send more; says so once.
    pub fn waits_for_room(&mut self) -> bool {
        let now = self.is_owed() && !self.told_of_room;
        self.told_of_room |= now;
        now
    }

    fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    /// Whether there is something to send.
    fn is_owed(&self) -> bool {
        !self.ahead.is_empty() || self.owed() > 0
    }

    /// How much payload is to be sent.
    fn owed(&self) -> u64 {
        match &self.state {
            State::Answering { owed, .. } => *owed,
            State::Streaming(hello) if hello.direction.down() => u64::MAX,
            _ => 0,
        }
    }

    /// Sends what is ahead, and payload behind it.
    fn send(&mut self, lent: &mut Lent) -> Result<Sent, Trouble> {
        let owed = self.owed();
        let ahead = self.ahead.len();
        if ahead == 0 && owed == 0 {
            return Ok(Sent::Whole);
        }
        let length = usize::try_from(owed)
            .unwrap_or(usize::MAX)
            .min(SENT_AT_ONCE);
        let bytes = &mut lent.block[AHEAD - ahead..AHEAD + length];
        bytes[..ahead].copy_from_slice(&self.ahead);
        if let Some(seed) = self.verified() {
            pattern::fill(seed, self.sent, &mut bytes[ahead..]);
        }
        let went = match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(went) => went,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Sent::Partly),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        self.ahead.drain(..went.min(ahead));
        let payload = went.saturating_sub(ahead) as u64;
        self.sent += payload;
        if let State::Answering { owed, .. } = &mut self.state {
            *owed -= payload;
        }
        Ok(match went == ahead + length {
            true => Sent::Whole,
            false => Sent::Partly,
        })
    }

    fn receive(&mut self, lent: &mut Lent) -> Result<Arrived, Trouble> {
        let discards = match &self.state {
            State::Streaming(hello) => hello.payload == Payload::Discarded,
            _ => false,
        };
        let (flags, length) = match discards {
            true => (RecvFlags::TRUNC, RECEIVED_AT_ONCE),
            false => (RecvFlags::empty(), READ_AT_ONCE),
        };
        let got = match recv(&self.socket, &mut lent.block[..length], flags) {
            Ok((_, 0)) => return Ok(Arrived::End),
            Ok((_, got)) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Arrived::All),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        self.take(got, lent)?;
        Ok(match got == length || self.ended {
            true => Arrived::Some,
            false => Arrived::All,
        })
    }

    /// Takes the first `got` bytes of the block.
    fn take(&mut self, got: usize, lent: &mut Lent) -> Result<(), Trouble> {
        let mut from = 0;
        if let State::Greeting(hello) = &mut self.state {
            from = got.min(HELLO - hello.len());
            hello.extend_from_slice(&lent.block[..from]);
            if let Ok(hello) = <[u8; HELLO]>::try_from(hello.as_slice()) {
                self.greet(&hello, lent.only)?;
            }
        }
        let payload = got - from;
        if let Some(seed) = self.verified() {
            pattern::check(seed, self.received, &lent.block[from..got])
                .map_err(Trouble::Corrupt)?;
        }
        if let State::Answering { hello, owed } = &mut self.state {
            let request = u64::from(hello.request);
            let answered = self.received / request;
            let complete = (self.received + payload as u64) / request - answered;
            *owed += complete * u64::from(hello.response);
        }
        self.received += payload as u64;
        Ok(())
    }

    fn greet(&mut self, hello: &[u8; HELLO], only: Option<Mode>) -> Result<(), Trouble> {
        let answer = match Hello::decode(hello) {
            Err(NoHello::Foreign) => return Err(Trouble::Foreign),
            Err(NoHello::OtherVersion) => Answer::OtherVersion,
            Ok(hello) if only.is_some_and(|only| only != hello.mode) => Answer::WrongMode,
            Ok(hello) => {
                self.state = match hello.mode {
                    Mode::Stream => State::Streaming(hello),
                    _ => State::Answering { hello, owed: 0 },
                };
                Answer::Welcome
            }
        };
        if answer != Answer::Welcome {
            self.state = State::Leaving;
        }
        self.ahead = answer.encode().to_vec();
        Ok(())
    }

    /// The client sends no more.
    fn end(&mut self) -> Step {
        match &self.state {
            State::Streaming(_) => {
                let trailer = Trailer {
                    received: self.received,
                    sent: self.sent,
                };
                self.ahead.extend(trailer.encode());
                self.state = State::Leaving;
                Step::Again
            }
            _ => Step::Over,
        }
    }

    fn verified(&self) -> Option<u64> {
        match &self.state {
            State::Answering { hello, .. } | State::Streaming(hello)
                if hello.payload == Payload::Verified =>
            {
                Some(hello.seed)
            }
            _ => None,
        }
    }

    /// Ends it by a reset: the client is to know that something is wrong.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsFd for Served {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
