//! The thin I/O around the mangler: reads packets, lets it decide, writes them when they are due.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::counters::{Counters, Overrun};
use super::end::OpenEnd;
use super::heading::{Heading, PerHeading};
use super::mangle::{Delivery, Mangler};
use super::schedule::Schedule;
use super::spec::WireSpec;

/// Packets read from one end before the other has its turn.
const BATCH: usize = 64;

/// The shortest sleep: packets that are due within it leave together. To wake for every packet of
/// a line of 1 Gbit/s, each 12 us, takes twice the processor time, which the hosts then lack.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);

/// A wire with both its ends open. One thread serves both directions: they share the flows, and
/// two cores have the hosts to run as well.
#[derive(Debug)]
pub struct Wire {
    /// Where packets of each heading come *from*; they leave at the other one.
    ends: PerHeading<OpenEnd>,
    mangler: Mangler,
    schedule: PerHeading<Schedule>,
    outcome: PerHeading<Outcome>,
    started: Instant,
    buffers: Buffers,
    /// Reused from packet to packet.
    deliveries: Vec<Delivery>,
}

/// What became of packets after the mangler was done with them.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    delivered: u64,
    refused: u64,
    held: u64,
}

/// Empty buffers to read into, so that a packet costs no allocation.
#[derive(Debug)]
struct Buffers {
    free: Vec<Vec<u8>>,
    size: usize,
}

// === impl Wire ===

impl Wire {
    /// Creates the devices at both ends.
    pub fn open(spec: &WireSpec) -> io::Result<Self> {
        Ok(Self {
            ends: PerHeading {
                a_to_b: OpenEnd::open(&spec.a)?,
                b_to_a: OpenEnd::open(&spec.b)?,
            },
            mangler: Mangler::new(spec),
            schedule: PerHeading::default(),
            outcome: PerHeading::default(),
            started: Instant::now(),
            buffers: Buffers {
                free: Vec::new(),
                size: usize::from(spec.a.mtu.max(spec.b.mtu)),
            },
            deliveries: Vec::new(),
        })
    }

    /// Carries packets until `stop` becomes readable.
    pub fn carry(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        // Timers of this thread are to fire when set, not up to 50 us later.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        loop {
            let mut idle = true;
            for heading in Heading::BOTH {
                idle &= self.read_batch(heading)? < BATCH;
                self.release(heading);
            }
            // A busy wire looks for the stop signal, too, but does not wait for anything.
            let timeout = if idle {
                self.until_next_due()
            } else {
                Some(Duration::ZERO)
            };
            if wait(stop, &self.ends, timeout)? {
                return Ok(());
            }
        }
    }

    /// What happened so far.
    pub fn counters(&mut self) -> io::Result<PerHeading<Counters>> {
        let mut device_drops = PerHeading::<u64>::default();
        for heading in Heading::BOTH {
            device_drops[heading] = self.ends[heading].dropped()?;
        }
        Ok(PerHeading::new(|heading| {
            let outcome = self.outcome[heading];
            Counters {
                delivered: outcome.delivered,
                overrun: Overrun {
                    device: device_drops[heading],
                    held: outcome.held,
                    refused: outcome.refused,
                },
                under_way: self.schedule[heading].len() as u64,
                ..self.mangler.counters(heading)
            }
        }))
    }

    /// Reads what waits at one end, at most a batch of it.
    fn read_batch(&mut self, heading: Heading) -> io::Result<usize> {
        for count in 0..BATCH {
            let mut packet = self.buffers.take();
            let Some(size) = self.ends[heading].tun.read(&mut packet)? else {
                self.buffers.give_back(packet);
                return Ok(count);
            };
            packet.truncate(size);
            let now = self.started.elapsed();
            let mut deliveries = std::mem::take(&mut self.deliveries);
            self.mangler.carry(heading, now, packet, &mut deliveries);
            for delivery in deliveries.drain(..) {
                self.deliver(now, delivery);
            }
            self.deliveries = deliveries;
        }
        Ok(BATCH)
    }

    /// Writes a packet that is due, keeps one that is not.
    fn deliver(&mut self, now: Duration, delivery: Delivery) {
        let Delivery {
            due,
            heading,
            packet,
        } = delivery;
        if due <= now && self.schedule[heading].is_empty() {
            self.write(heading, packet);
        } else if !self.schedule[heading].push(due, packet) {
            self.outcome[heading].held += 1;
        }
    }

    /// Writes the packets that have become due.
    fn release(&mut self, heading: Heading) {
        if self.schedule[heading].is_empty() {
            return;
        }
        let now = self.started.elapsed();
        while let Some(packet) = self.schedule[heading].pop(now) {
            self.write(heading, packet);
        }
    }

    fn write(&mut self, heading: Heading, packet: Vec<u8>) {
        // A device that is down, or a packet that makes no sense to the kernel: no reason to stop.
        match self.ends[heading.back()].tun.write(&packet) {
            Ok(()) => self.outcome[heading].delivered += 1,
            Err(_) => self.outcome[heading].refused += 1,
        }
        self.buffers.give_back(packet);
    }

    /// How long to sleep until a packet is due; `None` if none waits.
    fn until_next_due(&self) -> Option<Duration> {
        let due = Heading::BOTH
            .iter()
            .filter_map(|heading| self.schedule[*heading].next_due())
            .min()?;
        Some(
            due.saturating_sub(self.started.elapsed())
                .max(SHORTEST_SLEEP),
        )
    }
}

/// Waits for a packet at either end, for the timeout, or for the order to stop: `true`.
fn wait(
    stop: BorrowedFd<'_>,
    ends: &PerHeading<OpenEnd>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = [
        PollFd::from_borrowed_fd(stop, PollFlags::IN),
        PollFd::new(&ends.a_to_b.tun, PollFlags::IN),
        PollFd::new(&ends.b_to_a.tun, PollFlags::IN),
    ];
    let timeout = timeout.map(|time| Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

// === impl Buffers ===

impl Buffers {
    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| vec![0; self.size])
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < BATCH {
            buffer.resize(self.size, 0);
            self.free.push(buffer);
        }
    }
}
