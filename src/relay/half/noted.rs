//! A direction that goes on in another process.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use super::{End, Half, Held, Pace};
use crate::metrics::{Direction, ListenerId};
use crate::relay::flow::Flow;
use crate::relay::parcel::{NotedEnd, NotedHalf, NotedHeld};
use crate::relay::pipes::{Peeked, Pipe, PipePool};

impl Half {
    /// Leaves it as it is between two wake-ups: what comes next is looked for anew. A message that is under way is not
    /// timed to its end.
    pub fn pause(&mut self) {
        self.waits = false;
        self.message = None;
    }

    /// What another process needs to go on, and the pipe that it holds.
    pub fn note<'a>(&'a self, pipes: &'a PipePool) -> (NotedHalf, Option<&'a Pipe>) {
        let (held, pipe) = match &self.held {
            Held::Nothing => (NotedHeld::Nothing, None),
            Held::Bytes { bytes, sent } => (NotedHeld::Bytes(bytes[*sent..].to_vec()), None),
            Held::Parked(ticket) => match pipes.peek(*ticket) {
                Peeked::Pipe(pipe) => (NotedHeld::Pipe(pipe.filled as u64), Some(pipe)),
                Peeked::Copied(bytes) => (NotedHeld::Bytes(bytes.to_vec()), None),
            },
        };
        let counted = self.flow.counted();
        let noted = NotedHalf {
            read: counted.read,
            passed: counted.passed,
            bulk: self.pace != Pace::Short,
            begun: self.accepted.is_none(),
            end: match self.end {
                End::Open => NotedEnd::Open,
                End::Read => NotedEnd::Read,
                End::PassedOn => NotedEnd::PassedOn,
            },
            held,
        };
        (noted, pipe)
    }

    /// A direction of another process, of a session that was accepted at this time; `pipe` are the ends of the pipe
    /// that it holds: where bytes are taken from, and where they are put into.
    ///
    /// # Errors
    /// If what it holds is not what was noted: then bytes would be lost, or be others.
    pub fn carried_on(
        (listener, direction): (ListenerId, Direction),
        (flow, accepted): (Rc<Flow>, Instant),
        noted: NotedHalf,
        pipe: Option<[OwnedFd; 2]>,
        pipes: &mut PipePool,
    ) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let held = match (noted.held, pipe) {
            (NotedHeld::Nothing, None) => Held::Nothing,
            (NotedHeld::Bytes(bytes), None) if bytes.is_empty() => Held::Nothing,
            (NotedHeld::Bytes(bytes), None) => Held::Bytes {
                bytes: bytes.into(),
                sent: 0,
            },
            (NotedHeld::Pipe(filled), Some(ends)) => Held::Parked(pipes.adopt(ends, filled)?),
            _ => return Err(wrong("a pipe is missing, or is one too many")),
        };
        let holds = match &held {
            Held::Nothing => 0,
            Held::Bytes { bytes, .. } => bytes.len() as u64,
            Held::Parked(ticket) => match pipes.peek(*ticket) {
                Peeked::Pipe(pipe) => pipe.filled as u64,
                Peeked::Copied(bytes) => bytes.len() as u64,
            },
        };
        if noted.read.checked_sub(noted.passed) != Some(holds) {
            return Err(wrong("what is held is not what was read and not passed on"));
        }
        flow.is_at(noted.read, noted.passed);
        let mut half = Self::new(listener, direction, flow, accepted);
        half.held = held;
        half.accepted = (!noted.begun).then_some(accepted);
        half.pace = match noted.bulk {
            true => Pace::Bulk { quiet: 0 },
            false => Pace::Short,
        };
        half.end = match noted.end {
            NotedEnd::Open => End::Open,
            NotedEnd::Read => End::Read,
            NotedEnd::PassedOn => End::PassedOn,
        };
        Ok(half)
    }
}
