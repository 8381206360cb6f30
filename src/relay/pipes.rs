//! The bounded pool of pipes.
//!
//! A pipe is limited by *slots*, one for each packet, not by bytes: 64 KiB are 16 slots, about 23 kB of
//! MTU-sized packets a splice. So pipes are large while few are in use, and get smaller as the budget,
//! which all workers share, is used up. A direction takes a pipe when it has bytes to move and gives it
//! back when they are gone. While the receiving side's window is shut the pipe is *parked*: another
//! direction of the same worker that needs one may have its bytes copied out and take it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use super::shortage::{Shortage, Shortages};
use super::worker::REST;

/// What every worker's pipes may come to together.
#[derive(Debug)]
pub struct PipeBudget {
    limit: usize,
    used: AtomicUsize,
}

/// The pipes of one worker.
#[derive(Debug)]
pub struct PipePool {
    budget: Arc<PipeBudget>,
    free: Vec<Pipe>,
    /// Oldest first.
    parked: BTreeMap<Ticket, Parked>,
    /// What was copied out of evicted pipes.
    copied: HashMap<Ticket, Vec<u8>>,
    copied_bytes: usize,
    next_ticket: u64,
    /// Pipes that were wanted and not to be had.
    pub refused: u64,
    /// Pipes whose bytes were copied out because others needed them.
    pub evicted: u64,
    /// What the kernel had run out of when a pipe was wanted.
    pub shortages: Shortages,
    /// Until then it is not asked for one.
    rests_until: Option<Instant>,
    /// Whether what is parked stays in its pipe, whoever needs one.
    keeps_parked: bool,
}

/// Stands for a parked pipe; later tickets were parked later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What comes back for a ticket.
#[derive(Debug)]
pub enum Unparked {
    /// The pipe as it was left.
    Pipe(Pipe),
    /// Its bytes; the pipe went to somebody else.
    Copied(Vec<u8>),
}

/// What a ticket stands for.
#[derive(Debug)]
pub enum Peeked<'a> {
    /// The pipe as it was left.
    Pipe(&'a Pipe),
    /// Its bytes.
    Copied(&'a [u8]),
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    /// Bytes that were put in and not yet taken out.
    pub filled: usize,
    /// Gives the capacity back when the pipe is closed.
    budget: Arc<PipeBudget>,
}

#[derive(Debug)]
struct Parked {
    pipe: Pipe,
    since: Instant,
}

const LARGEST: usize = 1 << 20;
const SMALLEST: usize = 64 << 10;
/// A pipe that has been parked for less than this is about to be wanted again.
const STALLED_AFTER: Duration = Duration::from_millis(200);

// === impl PipeBudget ===

impl PipeBudget {
    /// A budget of `limit` bytes; 0 means no pipes at all.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// Bytes that they may come to.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of pipes that exist now, in use or free.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes as large a share as is sensible: a quarter of what is left, 64 KiB to 1 MiB.
    fn reserve(&self) -> Option<usize> {
        let mut share = 0;
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let left = self.limit.saturating_sub(used);
                share = (left / 4).clamp(SMALLEST, LARGEST);
                // The kernel rounds a pipe up to a power of two; so do we, downwards.
                share = 1 << share.ilog2();
                (share <= left).then_some(used + share)
            })
            .ok()
            .map(|_| share)
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl Pipe ===

impl Pipe {
    /// A new one; nothing if there is no budget for it, or none that is worth having.
    fn open(budget: &Arc<PipeBudget>) -> Result<Option<Self>, Errno> {
        let Some(share) = budget.reserve() else {
            return Ok(None);
        };
        let opened =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).and_then(|(read, write)| {
                // Above the user's soft limit the kernel refuses to enlarge: the pipe stays as it is.
                if share > SMALLEST {
                    let _ = fcntl_setpipe_size(&write, share);
                }
                let capacity = fcntl_getpipe_size(&write)?;
                Ok((read, write, capacity))
            });
        match opened {
            // The kernel gives two pages to a user who is over the soft limit: copying is better then.
            Ok((read, write, capacity)) if capacity >= SMALLEST => {
                budget.release(share.saturating_sub(capacity));
                let budget = budget.clone();
                let capacity = capacity.min(share);
                Ok(Some(Self {
                    read,
                    write,
                    capacity,
                    filled: 0,
                    budget,
                }))
            }
            other => {
                budget.release(share);
                other.map(|_| None)
            }
        }
    }

    /// The most bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Puts bytes into one that is empty, which takes them all.
    #[cfg(test)]
    pub fn pour(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(self.filled, 0, "a pipe is refilled only when it is empty");
        while self.filled < bytes.len() {
            self.filled += rustix::io::write(&self.write, &bytes[self.filled..])?;
        }
        Ok(())
    }

    /// Takes so many bytes out, which are there.
    #[cfg(test)]
    pub fn draw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let moved = rustix::io::read(&self.read, &mut bytes)?;
        assert_eq!(moved, length, "a pipe gives what was put into it");
        self.filled -= moved;
        Ok(bytes)
    }

    /// The end bytes are taken from.
    pub fn read_end(&self) -> &OwnedFd {
        &self.read
    }

    /// The end bytes are put into.
    pub fn write_end(&self) -> &OwnedFd {
        &self.write
    }

    /// Copies everything out of it.
    fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.filled];
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::read(&self.read, &mut bytes[done..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        self.filled = 0;
        Ok(bytes)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.budget.release(self.capacity);
    }
}

// === impl PipePool ===

impl PipePool {
    /// How many pipes hold bytes that wait for their receiver.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// How many pipes wait for somebody who needs one.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// A pool without pipes.
    pub fn new(budget: Arc<PipeBudget>) -> Self {
        Self {
            budget,
            free: Vec::new(),
            parked: BTreeMap::new(),
            copied: HashMap::new(),
            copied_bytes: 0,
            next_ticket: 0,
            refused: 0,
            evicted: 0,
            shortages: Shortages::default(),
            rests_until: None,
            keeps_parked: false,
        }
    }

    /// Whether what is parked stays in its pipe from now on, whoever needs one.
    pub fn keep_parked(&mut self, keeps: bool) {
        self.keeps_parked = keeps;
    }

    /// What a ticket stands for; nothing at all if it was used.
    pub fn peek(&self, ticket: Ticket) -> Peeked<'_> {
        match self.parked.get(&ticket) {
            Some(Parked { pipe, .. }) => Peeked::Pipe(pipe),
            None => Peeked::Copied(self.copied.get(&ticket).map_or(&[], Vec::as_slice)),
        }
    }

    /// Parks a pipe of another process, whatever the budget, by the end that bytes are taken from and the end they are
    /// put into.
    ///
    /// # Errors
    /// If there are not so many bytes in it.
    pub fn adopt(&mut self, [read, write]: [OwnedFd; 2], filled: u64) -> io::Result<Ticket> {
        if rustix::io::ioctl_fionread(&read)? != filled {
            let what = "a pipe does not hold what was noted";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let capacity = fcntl_getpipe_size(&write)?;
        self.budget.used.fetch_add(capacity, Ordering::Relaxed);
        let pipe = Pipe {
            read,
            write,
            capacity,
            filled: filled as usize,
            budget: self.budget.clone(),
        };
        Ok(self.park(pipe, Instant::now()))
    }

    /// An empty pipe: a free one, a new one, or one whose reader has stalled; `None` means copy.
    pub fn take(&mut self) -> Option<Pipe> {
        let pipe = self
            .free
            .pop()
            .or_else(|| self.open())
            .or_else(|| self.evict());
        if pipe.is_none() {
            self.refused += 1;
        }
        pipe
    }

    /// A new pipe, if one can be had. A kernel that had none is not asked again for a while.
    fn open(&mut self) -> Option<Pipe> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match Pipe::open(&self.budget) {
            Ok(pipe) => {
                self.rests_until = None;
                pipe
            }
            Err(error) => {
                if let Some(shortage) = Shortage::of(error) {
                    self.shortages.add(shortage);
                }
                self.rests_until = Some(Instant::now() + REST);
                None
            }
        }
    }

    /// Takes an empty pipe back. One that still holds bytes is closed.
    pub fn give_back(&mut self, pipe: Pipe) {
        // Two free ones a worker are enough for what one wake-up uses; the rest is others' budget.
        if pipe.filled == 0 && self.free.len() < 2 {
            self.free.push(pipe);
        }
    }

    /// Keeps a pipe whose receiver cannot take its bytes now.
    pub fn park(&mut self, pipe: Pipe, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.parked.insert(ticket, Parked { pipe, since: now });
        ticket
    }

    /// What was parked under a ticket, which is good for one time.
    pub fn unpark(&mut self, ticket: Ticket) -> Unparked {
        if let Some(Parked { pipe, .. }) = self.parked.remove(&ticket) {
            return Unparked::Pipe(pipe);
        }
        let bytes = self.copied.remove(&ticket).unwrap_or_default();
        self.copied_bytes -= bytes.len();
        Unparked::Copied(bytes)
    }

    /// As if everything that is parked had been for so much longer.
    #[cfg(test)]
    pub fn age(&mut self, by: Duration) {
        for parked in self.parked.values_mut() {
            parked.since = parked
                .since
                .checked_sub(by)
                .expect("the host runs for longer");
        }
    }

    /// Whether nobody's bytes are in it.
    #[cfg(test)]
    pub fn is_at_rest(&self) -> bool {
        self.parked.is_empty() && self.copied.is_empty() && self.copied_bytes == 0
    }

    /// Empties the pipe that has been parked the longest, if its reader has stalled. What is copied out
    /// may come to as much memory as the pipes' budget, and no more.
    fn evict(&mut self) -> Option<Pipe> {
        if self.keeps_parked {
            return None;
        }
        let oldest = self.parked.first_entry()?;
        let room = self.budget.limit.saturating_sub(self.copied_bytes);
        let Parked { pipe, since } = oldest.get();
        if pipe.filled > room || since.elapsed() < STALLED_AFTER {
            return None;
        }
        let (ticket, Parked { mut pipe, .. }) = oldest.remove_entry();
        // A pipe gives what was put into it; if it ever did not, the session must not go on.
        let bytes = pipe.empty().expect("a pipe gives what was put into it");
        self.copied_bytes += bytes.len();
        self.copied.insert(ticket, bytes);
        self.evicted += 1;
        Some(pipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn pipes_shrink_as_the_budget_is_used_up_and_then_are_refused() {
        let budget = PipeBudget::new(2 * MIB);
        let mut pool = PipePool::new(budget.clone());
        let pipes: Vec<Pipe> = std::iter::from_fn(|| pool.take()).collect();
        assert!(
            pipes
                .windows(2)
                .all(|pair| pair[0].capacity() >= pair[1].capacity())
        );
        assert!(pipes.len() > 2, "{}", pipes.len());
        assert!(budget.used() <= 2 * MIB);
        assert_eq!(pool.refused, 1);
        drop(pipes);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_pipe_that_is_given_back_is_used_again() {
        let budget = PipeBudget::new(MIB);
        let mut pool = PipePool::new(budget.clone());
        let pipe = pool.take().unwrap();
        let used = budget.used();
        pool.give_back(pipe);
        let _again = pool.take().unwrap();
        assert_eq!(budget.used(), used);
    }

    #[test]
    fn a_pipe_that_still_holds_bytes_is_never_handed_to_another() {
        let mut pool = PipePool::new(PipeBudget::new(MIB));
        let mut pipe = pool.take().unwrap();
        pipe.pour(b"of a session that was reset").unwrap();
        pool.give_back(pipe);
        assert_eq!(pool.take().unwrap().filled, 0);
    }

    #[test]
    fn a_stalled_pipe_is_evicted_and_its_bytes_come_back_with_the_ticket() {
        let mut pool = PipePool::new(PipeBudget::new(SMALLEST));
        let mut pipe = pool.take().unwrap();
        pipe.pour(b"held up").unwrap();
        let long_ago = Instant::now().checked_sub(STALLED_AFTER * 2).unwrap();
        let ticket = pool.park(pipe, long_ago);
        let other = pool.take().expect("the stalled pipe is emptied for us");
        assert_eq!((other.filled, pool.evicted), (0, 1));
        match pool.unpark(ticket) {
            Unparked::Copied(bytes) => assert_eq!(bytes, b"held up"),
            Unparked::Pipe(_) => panic!("its pipe went to another"),
        }
    }

    #[test]
    fn a_pipe_that_was_parked_just_now_is_left_alone() {
        let mut pool = PipePool::new(PipeBudget::new(SMALLEST));
        let mut pipe = pool.take().unwrap();
        pipe.pour(b"busy").unwrap();
        let ticket = pool.park(pipe, Instant::now());
        assert!(pool.take().is_none());
        assert!(matches!(pool.unpark(ticket), Unparked::Pipe(pipe) if pipe.filled == 4));
    }

    #[test]
    fn no_budget_means_no_pipes() {
        assert!(PipePool::new(PipeBudget::new(0)).take().is_none());
    }
}
