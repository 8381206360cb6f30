//! Waiting for sockets and for the time, to the microsecond.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How many events are taken at once.
const BATCH: usize = 256;

/// An epoll instance; every socket in it has a number.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What is told of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// Whether the other end has sent its last byte, or the connection is broken. Whoever reads less than
    /// there is room for must then read on: of the end nothing is told again.
    pub ended: bool,
}

/// What is to be told of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// That something has arrived.
    Incoming,
    /// That, or that more can be sent.
    Both,
}

// === impl Interest ===

impl Interest {
    fn flags(self) -> EventFlags {
        let incoming = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        match self {
            Self::Incoming => incoming,
            Self::Both => incoming | EventFlags::OUT,
        }
    }
}

// === impl Poller ===

impl Poller {
    /// A new one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(Self::descriptor()?))
    }

    /// The descriptor of one, which can be taken to the thread that will wait.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn descriptor() -> io::Result<OwnedFd> {
        Ok(epoll::create(CreateFlags::CLOEXEC)?)
    }

    /// The one that has this descriptor.
    pub fn of(epoll: OwnedFd) -> Self {
        Self {
            epoll,
            events: Vec::with_capacity(BATCH),
        }
    }

    /// Tells of a socket whenever it *becomes* ready. It is forgotten when it is closed.
    ///
    /// # Errors
    /// Whatever `epoll_ctl` says.
    pub fn watch(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        self.add(socket, number, interest.flags())
    }

    /// The same for a socket that is watched already; if it is ready now, that is told once more.
    ///
    /// # Errors
    /// Whatever `epoll_ctl` says.
    pub fn rewatch(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        let data = EventData::new_u64(number);
        epoll::modify(&self.epoll, socket, data, interest.flags())?;
        Ok(())
    }

    /// Tells one of those who wait of a listener that has connections, for as long as it has any.
    ///
    /// # Errors
    /// Whatever `epoll_ctl` says.
    pub fn watch_shared(&self, listener: impl AsFd, number: u64) -> io::Result<()> {
        self.add(listener, number, EventFlags::IN | EventFlags::EXCLUSIVE)
    }

    fn add(&self, fd: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(number), flags)?;
        Ok(())
    }

    /// Waits for events, at most for `most`, and puts them into `told`.
    ///
    /// # Errors
    /// Whatever `epoll_wait` says; an interruption is none.
    pub fn wait(&mut self, most: Duration, told: &mut Vec<Told>) -> io::Result<()> {
        told.clear();
        // epoll_wait counts milliseconds (its successor with nanoseconds came with Linux 5.11), but an
        // epoll instance can be polled itself, and ppoll counts nanoseconds.
        let most = Timespec::try_from(most).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        if most != Timespec::default() {
            let mut this = [PollFd::new(&self.epoll, PollFlags::IN)];
            match poll(&mut this, Some(&most)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.take(Some(&Timespec::default()), told)
    }

    /// Waits for events for a while that nobody measures: one system call.
    ///
    /// # Errors
    /// Whatever `epoll_wait` says; an interruption is none.
    pub fn wait_roughly(&mut self, most: Duration, told: &mut Vec<Told>) -> io::Result<()> {
        told.clear();
        let most = Timespec::try_from(most.min(Duration::from_secs(1))).unwrap_or_default();
        self.take(Some(&most), told)
    }

    fn take(&mut self, most: Option<&Timespec>, told: &mut Vec<Told>) -> io::Result<()> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), most) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        told.extend(self.events.iter().map(|event| {
            // The struct is packed: its fields are copied, not borrowed.
            let (data, flags) = (event.data, event.flags);
            Told {
                number: data.u64(),
                ended: flags.intersects(ends),
            }
        }));
        Ok(())
    }
}
