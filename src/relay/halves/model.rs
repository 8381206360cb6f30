//! Legs as the kernel and the runtime make them, without either: bytes arrive and room opens when a test
//! says so, readiness is raised by events and cleared by calls that found nothing, and a waker is called once.
//!
//! What must always hold is asserted where it can first be seen: at the read, at the write, at the FIN.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::super::leg::Leg;
use super::super::pipes::Pipe;

/// Reads with which a direction may bring bytes before others have their turn.
pub const READS_A_TURN: u32 = 8;

/// One stream through the relay.
#[derive(Debug, Default)]
pub struct Stream {
    /// So that no two streams have the same bytes.
    pub salt: u64,
    /// Bytes that have arrived from the sender.
    pub arrived: Cell<u64>,
    /// Of these, bytes that the relay has read.
    pub read: Cell<u64>,
    /// Of these, bytes that the receiver's socket has taken.
    pub delivered: Cell<u64>,
    /// The sender's end has arrived.
    pub ended: Cell<bool>,
    /// The relay has passed the end on.
    pub finished: Cell<bool>,
    /// Reads that brought bytes since its session was polled.
    pub reads: Cell<u32>,
}

/// One socket of a session.
#[derive(Debug)]
pub struct ModelLeg {
    incoming: Rc<Stream>,
    outgoing: Rc<Stream>,
    /// The peer has reset.
    pub broken: Cell<bool>,
    /// What the next call is told of that.
    error: Cell<Option<io::ErrorKind>>,
    /// Room in the send buffer.
    room: Cell<usize>,
    /// The most that one call moves.
    pub most: Cell<usize>,
    /// Calls that a signal interrupts.
    pub interrupts: Cell<u32>,
    /// A byte that can be read and not spliced.
    pub urgent: Cell<Option<u64>>,
    reading: Readiness,
    writing: Readiness,
}

/// What the runtime knows of one side of a socket, and who waits for it.
#[derive(Debug, Default)]
struct Readiness {
    ready: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

/// Byte `at` of a stream.
fn byte(salt: u64, at: u64) -> u8 {
    ((at ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

// === impl Readiness ===

impl Readiness {
    fn raise(&self) {
        self.ready.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn clear(&self) {
        self.ready.set(false);
    }

    fn poll(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        if self.ready.get() {
            return Poll::Ready(Ok(()));
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether somebody will be woken by what comes.
    fn is_awaited(&self) -> bool {
        !self.ready.get() && self.waiting.borrow().is_some()
    }
}

// === impl Stream ===

impl Stream {
    fn unread(&self) -> u64 {
        self.arrived.get() - self.read.get()
    }

    /// Whether the relay holds bytes that it has read and not passed on.
    pub fn is_held_up(&self) -> bool {
        self.read.get() > self.delivered.get()
    }

    fn count_read(&self, bytes: usize) {
        assert!(
            !self.is_held_up(),
            "nothing is read while bytes of before are held"
        );
        self.read.set(self.read.get() + bytes as u64);
        self.reads.set(self.reads.get() + 1);
        assert!(
            self.reads.get() <= READS_A_TURN,
            "other sessions have no turn"
        );
    }

    fn count_delivered(&self, bytes: &[u8]) {
        let at = self.delivered.get();
        for (offset, got) in bytes.iter().enumerate() {
            let expected = byte(self.salt, at + offset as u64);
            assert_eq!(*got, expected, "byte {} of the stream", at + offset as u64);
        }
        self.delivered.set(at + bytes.len() as u64);
        assert!(
            self.delivered.get() <= self.read.get(),
            "bytes from nowhere"
        );
    }
}

// === impl ModelLeg ===

impl ModelLeg {
    pub fn new(incoming: &Rc<Stream>, outgoing: &Rc<Stream>) -> Self {
        let leg = Self {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            broken: Cell::new(false),
            error: Cell::new(None),
            room: Cell::new(0),
            most: Cell::new(usize::MAX),
            interrupts: Cell::new(0),
            urgent: Cell::new(None),
            reading: Readiness::default(),
            writing: Readiness::default(),
        };
        // A socket that was just connected is said to be ready, right or wrong.
        leg.reading.raise();
        leg.writing.raise();
        leg
    }

    /// Bytes arrive from the peer, unless it has ended.
    pub fn arrive(&self, bytes: u64) {
        if bytes > 0 && !self.incoming.ended.get() && !self.broken.get() {
            self.incoming
                .arrived
                .set(self.incoming.arrived.get() + bytes);
            self.reading.raise();
        }
    }

    /// The peer's FIN arrives.
    pub fn end(&self) {
        if !self.broken.get() {
            self.incoming.ended.set(true);
            self.reading.raise();
        }
    }

    /// The peer's RST arrives. What arrived before it can still be read (`tcp_reset` leaves the queue).
    pub fn reset(&self) {
        if !self.broken.replace(true) {
            let kind = match self.incoming.ended.get() {
                true => io::ErrorKind::BrokenPipe,
                false => io::ErrorKind::ConnectionReset,
            };
            self.error.set(Some(kind));
            self.reading.raise();
            self.writing.raise();
        }
    }

    /// The peer takes bytes: there is room again. As in the kernel there is an event only if a write had
    /// found none.
    pub fn open(&self, room: usize) {
        let before = self.room.get();
        self.room.set((before + room).min(1 << 20));
        if before == 0 && !self.writing.ready.get() && room > 0 {
            self.writing.raise();
        }
    }

    /// Wakes without a reason, and says that it is ready, which may be wrong.
    pub fn rouse(&self) {
        self.reading.raise();
        self.writing.raise();
    }

    /// What was not yet told of a reset.
    pub fn take_error(&self) -> io::Error {
        let untold = self.error.take();
        untold.unwrap_or(io::ErrorKind::ConnectionReset).into()
    }

    pub fn read_is_awaited(&self) -> bool {
        self.reading.is_awaited()
    }

    pub fn write_is_awaited(&self) -> bool {
        self.writing.is_awaited()
    }

    fn interrupted(&self) -> io::Result<()> {
        match self.interrupts.get() {
            0 => Ok(()),
            more => {
                self.interrupts.set(more - 1);
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }

    /// The next bytes, at most so many; none at the end.
    fn give(&self, room: usize) -> io::Result<Vec<u8>> {
        self.interrupted()?;
        let stream = &self.incoming;
        let mut now = stream.unread().min(room.min(self.most.get()) as u64);
        let at = stream.read.get();
        match self.urgent.get() {
            // The call stops before it; the next one goes past it.
            Some(urgent) if at < urgent => now = now.min(urgent - at),
            Some(_) => self.urgent.set(None),
            None => {}
        }
        if now > 0 {
            stream.count_read(now as usize);
            return Ok((at..at + now).map(|at| byte(stream.salt, at)).collect());
        }
        if let Some(kind) = self.error.take() {
            return Err(kind.into());
        }
        if self.broken.get() || stream.ended.get() {
            return Ok(Vec::new());
        }
        self.reading.clear();
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// How much of so many bytes is taken now.
    fn take(&self, offered: usize) -> io::Result<usize> {
        self.interrupted()?;
        assert!(offered > 0, "a write of nothing");
        assert!(!self.outgoing.finished.get(), "bytes after the end");
        if self.broken.get() {
            let untold = self.error.take();
            return Err(untold.unwrap_or(io::ErrorKind::BrokenPipe).into());
        }
        let now = offered.min(self.room.get()).min(self.most.get());
        if now == 0 {
            self.writing.clear();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.set(self.room.get() - now);
        Ok(now)
    }
}

impl Leg for ModelLeg {
    fn look(&self) {}

    fn poll_readable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        self.reading.poll(cx)
    }

    fn is_readable(&self) -> bool {
        self.reading.ready.get()
    }

    fn poll_writable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        self.writing.poll(cx)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.give(buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        let settled = self.broken.get() || self.incoming.ended.get();
        // As `TcpLeg`: a read that empties the socket saves the next one, an end is not forgotten.
        if bytes.len() < buffer.len() && self.incoming.unread() == 0 && !settled {
            self.reading.clear();
        }
        Ok(bytes.len())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.take(bytes.len())?;
        self.outgoing.count_delivered(&bytes[..taken]);
        Ok(taken)
    }

    fn try_splice_in(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        if self.urgent.get() == Some(self.incoming.read.get()) && self.incoming.unread() > 0 {
            return Ok(None);
        }
        let bytes = self.give(pipe.capacity())?;
        pipe.pour(&bytes)?;
        Ok(Some(bytes.len()))
    }

    fn try_splice_out(&self, pipe: &mut Pipe) -> io::Result<usize> {
        let bytes = pipe.draw(self.take(pipe.filled)?)?;
        self.outgoing.count_delivered(&bytes);
        Ok(bytes.len())
    }

    fn finish(&self) -> io::Result<()> {
        let stream = &self.outgoing;
        assert!(!stream.finished.replace(true), "the end is passed on once");
        assert!(stream.ended.get(), "an end that did not come");
        assert_eq!(
            stream.delivered.get(),
            stream.arrived.get(),
            "an end before the last byte"
        );
        Ok(())
    }
}
