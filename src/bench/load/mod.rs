//! The client's end: threads that load one address, and what they come to.

mod boundary;
mod clock;
mod connection;
mod link;
mod requester;
mod stream;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::bench::failure::Failures;
use crate::bench::hello::Hello;
use crate::bench::poller::Poller;
use crate::bench::schedule::Schedule;
use crate::bench::tally::{Interval, Tallies};
use crate::bench::work::{Load, Mode, Pace, Peer};
use clock::Clock;
use link::Link;
use requester::Requester;
use stream::Stream;
use worker::{Message, Slot, Worker};

/// Hears when a measurement began, and each of its intervals.
pub type Watcher<'a> = &'a mut dyn FnMut(SystemTime, &Interval);

/// How long after the last connection is made the load begins: every thread has heard of it by then.
const LEAD: Duration = Duration::from_millis(5);

/// Why a load could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine gave no thread, no descriptor for waiting, or took one away.
    #[error("the load generator cannot go on")]
    Machine(#[from] io::Error),
    /// A thread is gone.
    #[error("a thread of the load generator has panicked")]
    Panicked,
}

/// What one measurement has found.
#[derive(Debug)]
pub enum Outcome {
    /// It was made.
    Measured(Measurement),
    /// Connections could not be made, so nothing was measured.
    NotMade {
        /// How many failed, and why.
        failures: Failures,
    },
}

/// One measurement.
#[derive(Debug)]
pub struct Measurement {
    /// When it began, the warm-up left out.
    pub began: SystemTime,
    /// How long it was.
    pub elapsed: Duration,
    /// CPU time of this process in it.
    pub cpu: Duration,
    /// What was done, all threads and intervals together.
    pub tallies: Tallies,
}

/// Loads `to` and tells `watcher` of every interval when it is over. Ends early, with what was measured
/// until then, once `interrupted` is set.
///
/// # Errors
/// The machine does not give what it takes. Whatever goes wrong with a connection is no error but part of
/// the outcome.
pub fn run(
    load: &Load,
    to: SocketAddr,
    interrupted: &AtomicBool,
    watcher: Watcher,
) -> Result<Outcome, Error> {
    let (say, heard) = channel();
    let cut = OnceLock::new();
    let seed = rand::random();
    std::thread::scope(|scope| {
        let mut starts = Vec::new();
        // Made before any connection is: a thread without one could not even count what it lacks.
        let slots = slots(load).into_iter();
        let threads: Vec<(Vec<Slot>, OwnedFd)> = slots
            .map(|slots| Ok((slots, Poller::descriptor()?)))
            .collect::<io::Result<_>>()?;
        for (slots, epoll) in threads {
            let (start, started) = channel();
            starts.push(start);
            let worker = Worker {
                load,
                to,
                seed,
                slots,
                interrupted,
                cut: &cut,
            };
            let say = say.clone();
            std::thread::Builder::new()
                .name("load".to_owned())
                .spawn_scoped(scope, move || worker.run(Poller::of(epoll), &started, &say))?;
        }
        drop(say);
        let conductor = Conductor {
            load,
            heard,
            cut: &cut,
        };
        conductor.conduct(starts, watcher)
    })
}

/// The connections of each thread.
fn slots(load: &Load) -> Vec<Vec<Slot>> {
    let count = load.connections.get();
    let threads = load.threads.get().min(count) as usize;
    let asks = |number: u32| matches!(load.mode.of_connection(number), Mode::Rr | Mode::Crr);
    let asking = (0..count).filter(|number| asks(*number)).count() as u32;
    let mut all: Vec<Vec<Slot>> = (0..threads).map(|_| Vec::new()).collect();
    let mut asked = 0;
    for number in 0..count {
        let mode = load.mode.of_connection(number);
        let hello = (load.peer == Peer::Serve).then_some(Hello {
            mode,
            direction: load.direction,
            payload: load.payload,
            request: load.request.get(),
            response: load.response.get(),
            seed: 0,
        });
        let link = Link::new(mode, number, hello);
        let slot = match mode {
            Mode::Stream | Mode::Mix => Slot::Stream(Stream::new(link)),
            Mode::Rr | Mode::Crr => {
                let schedule = match load.pace {
                    Pace::AsAnswered => None,
                    Pace::PerSecond(rate) => Some(Schedule::new(rate, asking, asked)),
                };
                asked += 1;
                Slot::Requester(Requester::new(link, schedule))
            }
            Mode::Idle => Slot::Requester(Requester::new(link, None)),
        };
        all[number as usize % threads].push(slot);
    }
    all
}

/// Waits for all threads, starts them together, and puts together what they say.
struct Conductor<'a> {
    load: &'a Load,
    heard: Receiver<Message>,
    /// When the run was cut short, if it was.
    cut: &'a OnceLock<Instant>,
}

impl Conductor<'_> {
    fn conduct(self, starts: Vec<Sender<Clock>>, watcher: Watcher) -> Result<Outcome, Error> {
        let threads = starts.len();
        let mut failures = Failures::default();
        for _ in 0..threads {
            match self.hear(None)? {
                Some(Message::Ready(of_one)) => failures.add(&of_one),
                Some(Message::Failed(error)) => return Err(error.into()),
                _ => return Err(Error::Panicked),
            }
        }
        if failures.total() > 0 {
            return Ok(Outcome::NotMade { failures });
        }
        let clock = Clock::new(Instant::now() + LEAD, self.load);
        let until_measured = clock.measured.duration_since(Instant::now());
        let began = SystemTime::now() + until_measured;
        for start in &starts {
            let _ = start.send(clock);
        }
        let mut cpu = Cpu::default();
        let mut pieces = Pieces::new(self.load, threads, began);
        let mut done = 0;
        while done < threads {
            let next = match (cpu.from, cpu.to) {
                (None, _) => Some(clock.measured),
                (_, None) => Some(clock.stop),
                _ => None,
            };
            match self.hear(next)? {
                None => cpu.look(),
                Some(Message::Interval(number, tallies)) => pieces.add(number, &tallies, watcher),
                Some(Message::Done(number, tallies)) => {
                    done += 1;
                    // A run that was interrupted ended before its time.
                    pieces.duration = self.measured(clock);
                    pieces.add(number, &tallies, watcher);
                }
                Some(Message::Failed(error)) => return Err(error.into()),
                Some(Message::Ready(_)) => {}
            }
        }
        pieces.finish(watcher);
        Ok(Outcome::Measured(Measurement {
            began,
            elapsed: pieces.duration,
            cpu: cpu.spent(),
            tallies: pieces.total,
        }))
    }

    /// How long is measured, as far as is known.
    fn measured(&self, clock: Clock) -> Duration {
        let stop = self
            .cut
            .get()
            .map_or(clock.stop, |cut| clock.stop.min(*cut));
        stop.saturating_duration_since(clock.measured)
    }

    /// The next message; `None` when `until` has come before it.
    fn hear(&self, until: Option<Instant>) -> Result<Option<Message>, Error> {
        let heard = match until {
            Some(until) => {
                let most = until.saturating_duration_since(Instant::now());
                self.heard.recv_timeout(most)
            }
            None => self
                .heard
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        };
        match heard {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Panicked),
        }
    }
}

/// CPU time of this process at the beginning and the end of the measurement.
#[derive(Default)]
struct Cpu {
    from: Option<Duration>,
    to: Option<Duration>,
}

impl Cpu {
    fn look(&mut self) {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        let now = Duration::try_from(now).unwrap_or_default();
        match self.from {
            None => self.from = Some(now),
            Some(_) => self.to = Some(now),
        }
    }

    fn spent(mut self) -> Duration {
        if self.to.is_none() {
            self.look();
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) => to.saturating_sub(from),
            _ => Duration::ZERO,
        }
    }
}

/// Intervals, told in order when every thread has told its part.
struct Pieces {
    mode: Mode,
    interval: Duration,
    /// How long is measured.
    duration: Duration,
    threads: usize,
    began: SystemTime,
    /// The intervals that are not complete, from `told` on.
    open: Vec<(usize, Tallies)>,
    told: usize,
    total: Tallies,
}

impl Pieces {
    fn new(load: &Load, threads: usize, began: SystemTime) -> Self {
        Self {
            mode: load.mode,
            interval: load.interval,
            duration: load.duration,
            threads,
            began,
            open: Vec::new(),
            told: 0,
            total: Tallies::of(load.mode),
        }
    }

    fn add(&mut self, number: usize, tallies: &Tallies, watcher: Watcher) {
        self.total.add(tallies);
        let index = number.saturating_sub(self.told);
        while self.open.len() <= index {
            self.open.push((0, Tallies::of(self.mode)));
        }
        let (heard, sum) = &mut self.open[index];
        *heard += 1;
        sum.add(tallies);
        while self
            .open
            .first()
            .is_some_and(|(heard, _)| *heard == self.threads)
        {
            self.tell(watcher);
        }
    }

    /// What is left when all threads are done: of a run that was cut short.
    fn finish(&mut self, watcher: Watcher) {
        while !self.open.is_empty() {
            self.tell(watcher);
        }
    }

    fn tell(&mut self, watcher: Watcher) {
        let (_, tallies) = self.open.remove(0);
        let from = self.interval * u32::try_from(self.told).unwrap_or(u32::MAX);
        let length = self.interval.min(self.duration.saturating_sub(from));
        self.told += 1;
        // A run that was cut short as one began, or before anything was measured.
        if length.is_zero() {
            return;
        }
        let interval = Interval {
            from,
            length,
            tallies,
        };
        watcher(self.began, &interval);
    }
}

/// Seconds since 1970.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
