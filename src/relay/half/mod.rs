//! One direction of a session: a state machine over the two legs.
//!
//! Short messages go through the worker's one buffer (read, write). A read that fills the buffer means
//! bulk: from then on bytes are spliced through a pipe, until a few splices in a row bring little. What
//! the receiver cannot take at once is kept, and nothing more is read until it is gone, so a direction
//! holds at most a pipe or a buffer full, and an idle one holds nothing.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::flow::Flow;
use super::leg::Leg;
use super::pacing::LOOK_EVERY;
use super::pipes::{Pipe, Ticket, Unparked};
use super::worker::Resources;
use crate::metrics::{Counters, Direction, ListenerId};

/// One direction of a session.
#[derive(Debug)]
pub struct Half {
    listener: ListenerId,
    direction: Direction,
    pace: Pace,
    held: Held,
    end: End,
    /// Its sender broke: an end that is read now is none.
    severed: bool,
    /// Counts its bytes.
    flow: Rc<Flow>,
    message: Option<Message>,
    /// Whether it had nothing to read when it was polled last.
    waits: bool,
    /// Bytes that went to the receiving leg since it was looked at.
    unlooked: usize,
    /// When the session was accepted, until the first bytes of this direction were passed on.
    accepted: Option<Instant>,
}

/// Which of the two legs of a direction failed, and how.
#[derive(Debug)]
pub enum HalfError {
    /// The leg that is read from.
    Read(io::Error),
    /// The leg that is written to.
    Write(io::Error),
}

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Through the shared buffer.
    Short,
    /// Through a pipe; `quiet` counts splices in a row that brought little.
    Bulk { quiet: u8 },
}

/// Bytes that were read and that the receiver has not yet taken.
#[derive(Debug)]
enum Held {
    Nothing,
    Bytes { bytes: Box<[u8]>, sent: usize },
    Parked(Ticket),
}

/// How far the end of the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Read,
    PassedOn,
}

/// Times one message from the wake-up to the last byte, for the histogram of added latency.
#[derive(Debug, Clone, Copy)]
struct Message {
    woken: Instant,
    blocked_since: Option<Instant>,
    blocked: Duration,
}

/// Reads in one wake-up before others get their turn.
const ROUNDS: u32 = 8;
/// A splice below this brought little: it would have fitted into the buffer twice.
const LITTLE: usize = 8 << 10;
/// That many in a row, and the flow has gone quiet.
const QUIET: u8 = 4;

impl Half {
    /// A direction before its first byte, of a session that was accepted for this listener at this time; and what
    /// counts its bytes.
    pub fn new(
        listener: ListenerId,
        direction: Direction,
        flow: Rc<Flow>,
        accepted: Instant,
    ) -> Self {
        Self {
            listener,
            direction,
            pace: Pace::Short,
            held: Held::Nothing,
            end: End::Open,
            severed: false,
            flow,
            message: None,
            waits: false,
            unlooked: LOOK_EVERY,
            accepted: Some(accepted),
        }
    }

    /// Whether it waits for bytes, and would notice if the leg it reads from broke.
    pub fn reads(&self) -> bool {
        self.end == End::Open && matches!(self.held, Held::Nothing)
    }

    /// Whether the end of the stream was read, passed on or not.
    pub fn saw_end(&self) -> bool {
        self.end != End::Open
    }

    /// Whether the stream's bytes and its end have all been passed on.
    pub fn is_done(&self) -> bool {
        self.end == End::PassedOn
    }

    /// Moves bytes from one leg to the other until one of them has to wait; ready when the end of the
    /// stream was passed on.
    pub fn poll(
        &mut self,
        cx: &mut Context,
        from: &impl Leg,
        to: &impl Leg,
        resources: &mut Resources,
    ) -> Poll<Result<(), HalfError>> {
        // Whoever waits is registered already, and is woken by what comes.
        if self.waits && !from.is_readable() {
            return Poll::Pending;
        }
        for _ in 0..ROUNDS {
            ready!(self.poll_deliver(cx, to, resources))?;
            match self.end {
                End::PassedOn => return Poll::Ready(Ok(())),
                End::Read if self.severed => return Poll::Ready(Ok(())),
                End::Read => {
                    to.finish().map_err(HalfError::Write)?;
                    self.end = End::PassedOn;
                    return Poll::Ready(Ok(()));
                }
                End::Open => {}
            }
            match from.poll_readable(cx) {
                Poll::Ready(readable) => readable.map_err(HalfError::Read)?,
                Poll::Pending => {
                    self.waits = true;
                    return Poll::Pending;
                }
            }
            self.begin(resources);
            match self.fill(from, to, resources) {
                Err(HalfError::Read(error)) if is_passing(&error) => self.message = None,
                other => other?,
            }
        }
        // More is waiting, but so are other sessions.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Its sender has broken: what it had sent before can still be read, but the end that then seems to come
    /// is not passed on. An end that was read already was one.
    pub fn sever(&mut self) {
        self.severed = self.end == End::Open;
    }

    /// Gives back what it holds; its bytes are lost. That they have waited is recorded.
    pub fn abandon(&mut self, resources: &mut Resources) {
        if let Some(mut message) = self.message.take() {
            message.unblock();
            if !message.blocked.is_zero() {
                let recorder = resources.recorders.of(self.listener);
                recorder.stall.of(self.direction).record(message.blocked);
            }
        }
        if let Held::Parked(ticket) = std::mem::replace(&mut self.held, Held::Nothing)
            && let Unparked::Pipe(pipe) = resources.pipes.unpark(ticket)
        {
            resources.pipes.give_back(pipe);
        }
    }

    /// Passes on what is held until nothing is.
    fn poll_deliver(
        &mut self,
        cx: &mut Context,
        to: &impl Leg,
        resources: &mut Resources,
    ) -> Poll<Result<(), HalfError>> {
        while !matches!(self.held, Held::Nothing) {
            ready!(to.poll_writable(cx)).map_err(HalfError::Write)?;
            if let Some(message) = &mut self.message {
                message.unblock();
            }
            let held = match std::mem::replace(&mut self.held, Held::Nothing) {
                Held::Parked(ticket) => match resources.pipes.unpark(ticket) {
                    Unparked::Pipe(pipe) => {
                        self.send_pipe(to, pipe, resources)?;
                        continue;
                    }
                    Unparked::Copied(bytes) => (bytes.into_boxed_slice(), 0),
                },
                Held::Bytes { bytes, sent } => (bytes, sent),
                Held::Nothing => continue,
            };
            let (bytes, mut sent) = held;
            let result = self.send_bytes(to, &bytes, &mut sent, resources);
            if sent < bytes.len() {
                self.held = Held::Bytes { bytes, sent };
            }
            result?;
            self.settle(resources);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and passes on as much as the receiver takes.
    fn fill(
        &mut self,
        from: &impl Leg,
        to: &impl Leg,
        resources: &mut Resources,
    ) -> Result<(), HalfError> {
        if self.pace != Pace::Short
            && let Some(pipe) = resources.pipes.take()
            && self.fill_pipe(from, to, pipe, resources)?
        {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut resources.buffer);
        let result = self.fill_buffer(from, to, &mut buffer, resources);
        resources.buffer = buffer;
        result
    }

    fn fill_buffer(
        &mut self,
        from: &impl Leg,
        to: &impl Leg,
        buffer: &mut [u8],
        resources: &mut Resources,
    ) -> Result<(), HalfError> {
        let read = from.try_read(buffer).map_err(HalfError::Read)?;
        if read == 0 {
            self.end = End::Read;
            self.message = None;
            return Ok(());
        }
        self.flow.has_read(read);
        *self.counters(resources).copies(self.direction) += 1;
        if read == buffer.len() && self.pace == Pace::Short {
            self.pace = Pace::Bulk { quiet: 0 };
        } else if read < LITTLE {
            self.pace = Pace::Short;
        }
        let mut sent = 0;
        let result = self.send_bytes(to, &buffer[..read], &mut sent, resources);
        if sent < read {
            self.held = Held::Bytes {
                bytes: buffer[sent..read].into(),
                sent: 0,
            };
        }
        result?;
        self.settle(resources);
        Ok(())
    }

    /// False if what comes next has to be read.
    fn fill_pipe(
        &mut self,
        from: &impl Leg,
        to: &impl Leg,
        mut pipe: Pipe,
        resources: &mut Resources,
    ) -> Result<bool, HalfError> {
        let read = match from.try_splice_in(&mut pipe) {
            Ok(Some(read)) => read,
            Ok(None) => {
                resources.pipes.give_back(pipe);
                return Ok(false);
            }
            Err(error) => {
                resources.pipes.give_back(pipe);
                return Err(HalfError::Read(error));
            }
        };
        if read == 0 {
            resources.pipes.give_back(pipe);
            self.end = End::Read;
            self.message = None;
            return Ok(true);
        }
        self.flow.has_read(read);
        *self.counters(resources).splices(self.direction) += 1;
        self.pace = match self.pace {
            Pace::Bulk { quiet } if read < LITTLE && quiet + 1 >= QUIET => Pace::Short,
            Pace::Bulk { quiet } if read < LITTLE => Pace::Bulk { quiet: quiet + 1 },
            _ => Pace::Bulk { quiet: 0 },
        };
        self.send_pipe(to, pipe, resources).map(|()| true)
    }

    /// Writes bytes until all are gone (`sent` grows) or the receiver has to be waited for.
    fn send_bytes(
        &mut self,
        to: &impl Leg,
        bytes: &[u8],
        sent: &mut usize,
        resources: &mut Resources,
    ) -> Result<(), HalfError> {
        while *sent < bytes.len() {
            match to.try_write(&bytes[*sent..]) {
                Ok(n) => {
                    *sent += n;
                    self.has_passed(n, resources);
                }
                Err(error) if would_block(&error) => {
                    self.look(to, bytes.len() - *sent);
                    self.block();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HalfError::Write(error)),
            }
        }
        Ok(())
    }

    /// Splices a pipe out until it is empty, or parks it.
    fn send_pipe(
        &mut self,
        to: &impl Leg,
        mut pipe: Pipe,
        resources: &mut Resources,
    ) -> Result<(), HalfError> {
        self.look(to, pipe.filled);
        let mut in_part = false;
        while pipe.filled > 0 {
            match to.try_splice_out(&mut pipe) {
                Ok(moved) => {
                    self.has_passed(moved, resources);
                    in_part = true;
                }
                // A splice that moved something before it met a reset tells of the bytes alone, and the kernel tells of a
                // reset but once: what comes next looks as if the peer had ended before.
                Err(error) if in_part && error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(HalfError::Write(io::ErrorKind::ConnectionReset.into()));
                }
                Err(error) if would_block(&error) => {
                    self.block();
                    self.held = Held::Parked(resources.pipes.park(pipe, Instant::now()));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HalfError::Write(error)),
            }
        }
        resources.pipes.give_back(pipe);
        self.settle(resources);
        Ok(())
    }

    /// Counts bytes that the receiver's socket has taken.
    fn has_passed(&self, bytes: usize, resources: &mut Resources) {
        self.flow.has_passed(bytes);
        *self.counters(resources).bytes(self.direction) += bytes as u64;
    }

    /// Looks at a leg that takes so many bytes now, or cannot take them, if it is time to.
    fn look(&mut self, to: &impl Leg, bytes: usize) {
        if self.unlooked >= LOOK_EVERY {
            to.look();
            self.unlooked = 0;
        }
        self.unlooked += bytes;
    }

    fn counters<'a>(&self, resources: &'a mut Resources) -> &'a mut Counters {
        &mut resources.recorders.of(self.listener).counters
    }

    /// The receiver has to be waited for: that is its delay, not the relay's.
    fn block(&mut self) {
        if let Some(message) = &mut self.message {
            message.blocked_since.get_or_insert_with(Instant::now);
        }
    }

    /// Times what is read now, unless it goes on with what is timed already.
    fn begin(&mut self, resources: &mut Resources) {
        let waited = std::mem::take(&mut self.waits);
        if let Some(wake) = &resources.wake
            && self.message.is_none()
        {
            let woken = match waited {
                true => wake.awaited(),
                false => wake.next(),
            };
            self.message = Some(Message::begun(woken));
        }
    }

    /// Records the message if its last byte was accepted.
    fn settle(&mut self, resources: &mut Resources) {
        if !matches!(self.held, Held::Nothing) {
            return;
        }
        let Some(message) = self.message.take() else {
            return;
        };
        let now = match &mut resources.wake {
            Some(wake) => wake.end(),
            None => return,
        };
        let whole = now.saturating_duration_since(message.woken);
        let added = whole.saturating_sub(message.blocked);
        resources
            .recorders
            .added(self.listener, self.direction, added);
        if let Some(accepted) = self.accepted.take() {
            let since = now.saturating_duration_since(accepted);
            let recorder = resources.recorders.of(self.listener);
            recorder.first_byte.of(self.direction).record(since);
        }
        if !message.blocked.is_zero() {
            let recorder = resources.recorders.of(self.listener);
            recorder.stall.of(self.direction).record(message.blocked);
        }
    }
}

// === impl Message ===

impl Message {
    fn begun(woken: Instant) -> Self {
        Self {
            woken,
            blocked_since: None,
            blocked: Duration::ZERO,
        }
    }

    fn unblock(&mut self) {
        if let Some(since) = self.blocked_since.take() {
            self.blocked += since.elapsed();
        }
    }
}

/// Whether the same call may succeed later.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

mod noted;
#[cfg(test)]
mod tests;
