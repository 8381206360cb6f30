//! One thread of the load: its connections, its poller, its tallies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::boundary::{Boundary, Mark};
use super::clock::Clock;
use super::link::Link;
use super::requester::Requester;
use super::stream::Stream;
use crate::bench::block::block;
use crate::bench::failure::{Failure, Failures};
use crate::bench::hello::HELLO;
use crate::bench::poller::{Interest, Poller, Told};
use crate::bench::tally::{Tallies, Tally};
use crate::bench::work::{Load, Mode};

/// How often connections that wait for the other end are looked at, and the interrupt.
const SWEEP: Duration = Duration::from_millis(100);
/// How many connections a thread makes at the same time: no listen queue overflows.
const MADE_AT_ONCE: usize = 128;
/// Of how many connections the kernel is asked at the end of an interval.
const SAMPLED: usize = 8;

/// What a thread tells the one that waits for all of them.
#[derive(Debug)]
pub(super) enum Message {
    /// Its connections are made, but for those that failed.
    Ready(Failures),
    /// An interval is over.
    Interval(usize, Tallies),
    /// All is over; the number of the last interval, and what was done in it and after.
    Done(usize, Tallies),
    /// It cannot go on.
    Failed(io::Error),
}

/// What one connection is and where it stands.
#[derive(Debug)]
pub(super) enum Slot {
    Requester(Requester),
    Stream(Stream),
}

/// What a slot wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To be called when its socket has something.
    Wait,
    /// The same, or at this time.
    At(Instant),
    /// To be called again soon.
    Again,
    /// The run to start.
    Ready,
    /// Nothing more.
    Over,
}

/// What a slot may see and use while it goes on.
pub(super) struct Context<'a> {
    pub load: &'a Load,
    pub to: SocketAddr,
    /// None before the run.
    pub clock: Option<Clock>,
    /// The time when somebody looked last.
    pub now: Instant,
    /// When the thread wants to look at the clock.
    pub until: Instant,
    /// Whether this is the only connection of the thread, and calls may wait.
    pub lone: bool,
    pub block: &'a mut [u8],
    tallies: &'a mut Tallies,
    poller: &'a Poller,
    interrupted: &'a AtomicBool,
    slot: u64,
    seed: u64,
}

/// One thread.
pub(super) struct Worker<'a> {
    pub load: &'a Load,
    pub to: SocketAddr,
    /// What all patterns of this run are drawn from.
    pub seed: u64,
    pub slots: Vec<Slot>,
    pub interrupted: &'a AtomicBool,
    /// When the run was cut short, if it was: the first thread to notice the interrupt says so for all.
    pub cut: &'a OnceLock<Instant>,
}

/// What a thread has while it runs.
struct Running<'a> {
    worker: Worker<'a>,
    poller: Poller,
    tallies: Tallies,
    block: Vec<u8>,
    clock: Option<Clock>,
    now: Instant,
    until: Instant,
    lone: bool,
    /// Slots that can go on.
    queue: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    events: Vec<Told>,
}

// === impl Slot ===

impl Slot {
    fn link(&mut self) -> &mut Link {
        match self {
            Self::Requester(requester) => requester.link(),
            Self::Stream(stream) => stream.link(),
        }
    }

    fn prepare(&mut self, cx: &mut Context) -> Result<Next, Failure> {
        match self {
            Self::Requester(requester) => requester.prepare(cx),
            Self::Stream(stream) => stream.prepare(cx),
        }
    }

    fn advance(&mut self, cx: &mut Context) -> Next {
        match self {
            Self::Requester(requester) => requester.advance(cx),
            Self::Stream(stream) => stream.advance(cx),
        }
    }
}

// === impl Context ===

impl Context<'_> {
    /// The times of the run.
    ///
    /// # Panics
    /// Before the run.
    pub fn clock(&self) -> Clock {
        self.clock.expect("the run has started")
    }

    /// Looks at the clock.
    pub fn look(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// Whether no new request is to be sent.
    pub fn is_stopped(&self) -> bool {
        self.clock.is_some_and(|clock| self.now >= clock.stop)
    }

    /// Whether the thread wants to see to other things than its only connection.
    pub fn is_wanted_elsewhere(&self) -> bool {
        self.now >= self.until || self.interrupted.load(Ordering::Relaxed)
    }

    /// The tally of connections that do this.
    pub fn tally(&mut self, mode: Mode) -> &mut Tally {
        self.tallies.mode(mode)
    }

    /// From now on the slot is told of its socket.
    pub fn watch(&self, socket: impl AsFd, interest: Interest) -> io::Result<()> {
        self.poller.watch(socket, self.slot, interest)
    }

    /// The same with another interest.
    pub fn rewatch(&self, socket: impl AsFd, interest: Interest) -> io::Result<()> {
        self.poller.rewatch(socket, self.slot, interest)
    }

    /// The seed of a connection's pattern; no two connections of a run have the same.
    pub fn seed(&self, number: u32, made: u64) -> u64 {
        self.seed ^ (u64::from(number) << 40) ^ made
    }
}

// === impl Worker ===

impl<'a> Worker<'a> {
    /// Makes the connections, waits for the start, and runs to the end. A start that does not come ends it.
    pub fn run(self, poller: Poller, start: &Receiver<Clock>, say: &Sender<Message>) {
        let outcome = Running::new(self, poller).and_then(|mut running| {
            running.prepare()?;
            let failures = running.failures();
            let _ = say.send(Message::Ready(failures));
            match start.recv() {
                Ok(clock) => running.run(clock, say),
                Err(_) => Ok(()),
            }
        });
        if let Err(error) = outcome {
            let _ = say.send(Message::Failed(error));
        }
    }
}

// === impl Running ===

impl<'a> Running<'a> {
    fn new(worker: Worker<'a>, poller: Poller) -> io::Result<Self> {
        // The kernel may wake a thread up to 50 us late, for the sake of others; a schedule wants less.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let now = Instant::now();
        Ok(Self {
            poller,
            tallies: Tallies::of(worker.load.mode),
            block: block(HELLO),
            clock: None,
            now,
            until: now,
            lone: worker.is_lone(),
            queue: VecDeque::new(),
            timers: BinaryHeap::new(),
            events: Vec::new(),
            worker,
        })
    }

    fn with<T>(&mut self, slot: usize, call: impl FnOnce(&mut Slot, &mut Context) -> T) -> T {
        let mut context = Context {
            load: self.worker.load,
            to: self.worker.to,
            clock: self.clock,
            now: self.now,
            until: self.until,
            lone: self.lone,
            block: &mut self.block,
            tallies: &mut self.tallies,
            poller: &self.poller,
            interrupted: self.worker.interrupted,
            slot: slot as u64,
            seed: self.worker.seed,
        };
        let result = call(&mut self.worker.slots[slot], &mut context);
        self.now = context.now;
        result
    }

    /// Makes every connection that stays, some at a time. What fails is counted.
    fn prepare(&mut self) -> io::Result<()> {
        let mut done = vec![false; self.worker.slots.len()];
        let mut next = 0;
        let mut under_way = 0;
        let (mut made, mut failed) = (0, 0);
        let mut swept = Instant::now();
        loop {
            self.now = Instant::now();
            if self.worker.interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            while under_way < MADE_AT_ONCE
                && (made > 0 || failed < MADE_AT_ONCE)
                && next < self.worker.slots.len()
            {
                self.queue.push_back(next);
                under_way += 1;
                next += 1;
            }
            while let Some(slot) = self.queue.pop_front() {
                // What is made may still hear of its socket.
                if done[slot] {
                    continue;
                }
                done[slot] = match self.with(slot, Slot::prepare) {
                    Ok(Next::Ready) => {
                        made += 1;
                        true
                    }
                    Ok(_) => false,
                    Err(failure) => {
                        self.with(slot, |slot, cx| slot.link().fail(cx, failure));
                        failed += 1;
                        true
                    }
                };
                under_way -= usize::from(done[slot]);
            }
            // Where nobody answers, the others need not be tried.
            let is_hopeless = made == 0 && failed >= MADE_AT_ONCE;
            if under_way == 0 {
                if is_hopeless || next == self.worker.slots.len() {
                    return Ok(());
                }
                continue;
            }
            self.poller.wait_roughly(SWEEP, &mut self.events)?;
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.enqueue_unmade();
            } else {
                self.enqueue_told();
            }
        }
    }

    fn run(&mut self, clock: Clock, say: &Sender<Message>) -> io::Result<()> {
        let mut over = vec![false; self.worker.slots.len()];
        let mut left = over.len();
        let mut boundary = Boundary::new(clock, self.worker.load.interval);
        let mut swept = clock.start;
        self.clock = Some(clock);
        self.sleep_until(clock.start);
        self.queue = (0..left).collect();
        while left > 0 {
            self.now = Instant::now();
            if self.worker.interrupted.load(Ordering::Relaxed) {
                let at = *self.worker.cut.get_or_init(|| self.now);
                let cut = boundary.clock.cut(at);
                boundary.clock = cut;
                self.clock = Some(cut);
            }
            while let Some(mark) = boundary.pass(self.now) {
                self.mark(mark, say);
            }
            if self.now.duration_since(swept) >= SWEEP {
                swept = self.now;
                self.enqueue_unmade();
            }
            while let Some(Reverse((at, slot))) = self.timers.peek().copied()
                && at <= self.now
            {
                self.timers.pop();
                self.queue.push_back(slot);
            }
            let give_up = self.now >= boundary.clock.give_up;
            self.until = boundary.next().min(swept + SWEEP);
            for _ in 0..self.queue.len() {
                let Some(slot) = self.queue.pop_front() else {
                    break;
                };
                if over[slot] {
                    continue;
                }
                match self.with(slot, Slot::advance) {
                    Next::Over => {
                        over[slot] = true;
                        left -= 1;
                    }
                    Next::Again => self.queue.push_back(slot),
                    Next::At(at) => self.timers.push(Reverse((at, slot))),
                    Next::Wait | Next::Ready => {}
                }
            }
            if give_up {
                break;
            }
            let waits_in_calls = self.lone && !self.queue.is_empty();
            if left > 0 && !waits_in_calls {
                self.wait()?;
            }
        }
        let sampled: Vec<usize> = (0..self.worker.slots.len()).collect();
        self.sample(&sampled);
        let last = boundary.last();
        let tallies = std::mem::replace(&mut self.tallies, Tallies::of(self.worker.load.mode));
        let _ = say.send(Message::Done(last, tallies));
        Ok(())
    }

    /// Waits until something happens or is due, and puts the slots that are told of into the queue.
    fn wait(&mut self) -> io::Result<()> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let most = match self.queue.is_empty() {
            true => timer
                .map_or(self.until, |at| at.min(self.until))
                .saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        };
        match timer {
            Some(_) => self.poller.wait(most, &mut self.events)?,
            None => self.poller.wait_roughly(most, &mut self.events)?,
        }
        self.enqueue_told();
        Ok(())
    }

    fn enqueue_told(&mut self) {
        for told in &self.events {
            let slot = told.number as usize;
            if told.ended {
                self.worker.slots[slot].link().see_end();
            }
            self.queue.push_back(slot);
        }
    }

    /// Connections that are being made may take too long: that is no event.
    fn enqueue_unmade(&mut self) {
        for (number, slot) in self.worker.slots.iter_mut().enumerate() {
            if slot.link().is_being_made() {
                self.queue.push_back(number);
            }
        }
        self.enqueue_told();
        self.events.clear();
    }

    fn mark(&mut self, mark: Mark, say: &Sender<Message>) {
        match mark {
            Mark::Measured => {
                self.mark_streams(false);
                for slot in &mut self.worker.slots {
                    slot.link().begin_to_count();
                }
            }
            Mark::Interval(number) => {
                self.mark_streams(true);
                let sampled: Vec<usize> = (0..self.worker.slots.len().min(SAMPLED)).collect();
                self.sample(&sampled);
                let fresh = Tallies::of(self.worker.load.mode);
                let tallies = std::mem::replace(&mut self.tallies, fresh);
                let _ = say.send(Message::Interval(number, tallies));
            }
            Mark::Stop => {
                self.mark_streams(true);
                self.queue = (0..self.worker.slots.len()).collect();
            }
            Mark::GiveUp => self.queue = (0..self.worker.slots.len()).collect(),
        }
    }

    fn mark_streams(&mut self, told: bool) {
        for slot in &mut self.worker.slots {
            if let Slot::Stream(stream) = slot {
                let tally = told.then(|| self.tallies.mode(Mode::Stream));
                stream.mark(tally);
            }
        }
    }

    /// Asks the kernel about connections that stay; streams are asked when they are marked.
    fn sample(&mut self, slots: &[usize]) {
        for slot in slots {
            if let Slot::Requester(requester) = &mut self.worker.slots[*slot] {
                let link = requester.link();
                link.sample(self.tallies.mode(link.mode()));
            }
        }
    }

    fn sleep_until(&mut self, start: Instant) {
        std::thread::sleep(start.saturating_duration_since(Instant::now()));
        self.now = Instant::now();
    }

    fn failures(&self) -> Failures {
        let mut failures = Failures::default();
        for (_, tally) in self.tallies.iter() {
            failures.add(&tally.failures);
        }
        failures
    }
}

impl Worker<'_> {
    /// Whether its only connection can wait in the kernel: it has one thing to do at a time.
    fn is_lone(&self) -> bool {
        use crate::bench::work::{Direction, Pace};
        let one_at_a_time = match self.load.mode {
            Mode::Rr => self.load.pace == Pace::AsAnswered,
            Mode::Stream => self.load.direction == Direction::Download,
            _ => false,
        };
        self.slots.len() == 1 && one_at_a_time
    }
}
