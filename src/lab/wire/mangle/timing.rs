//! When a packet is due at the far end: rate, delay, jitter, reordering.

use std::time::Duration;

use rand::RngExt;

use super::{Dice, fate};
use crate::lab::wire::spec::Direction;

/// The queue in front of a limited rate holds this much time of it, or this many full packets if
/// that is more.
const QUEUE_TIME: Duration = Duration::from_millis(200);
const QUEUE_PACKETS: u64 = 1000;

/// The clockwork of one direction.
#[derive(Debug)]
pub struct Timing {
    rate: Option<Rate>,
    delay: Duration,
    jitter: Duration,
    reorder: f64,
    reorder_by: Duration,
    /// No packet that keeps its place is due before this.
    latest: Duration,
    /// Packets that others may have overtaken by chance.
    pub held_back: u64,
}

/// A line of limited speed with a queue in front of it.
#[derive(Debug)]
struct Rate {
    bits_per_s: u64,
    /// The longest that the line may be busy before a packet finds the queue full.
    longest_queue: Duration,
    busy_until: Duration,
}

// === impl Timing ===

impl Timing {
    /// A wire that has carried nothing yet; `mtu` is the size of a full packet.
    pub fn new(spec: &Direction, mtu: u16) -> Self {
        Self {
            rate: spec
                .rate_bits_per_s
                .map(|bits_per_s| Rate::new(bits_per_s, mtu)),
            delay: spec.delay,
            jitter: spec.jitter,
            reorder: spec.reorder,
            reorder_by: spec.reorder_by,
            latest: Duration::ZERO,
            held_back: 0,
        }
    }

    /// When a packet of `size` bytes that enters at `now` is due; `None` if the queue is full.
    /// Time it is `held_back` for lets others overtake it, as reordering does.
    pub fn due(
        &mut self,
        now: Duration,
        size: usize,
        held_back: Duration,
        dice: &mut Dice,
    ) -> Option<Duration> {
        let sent = match &mut self.rate {
            Some(rate) => rate.send(now, size)?,
            None => now,
        };
        let due = sent + self.delay + up_to(self.jitter, dice);
        self.latest = self.latest.max(due);
        let mut late = held_back;
        if fate::happens(dice, self.reorder) {
            late += up_to(self.reorder_by, dice);
            self.held_back += 1;
        }
        Some(self.latest + late)
    }
}

/// Evenly distributed, both ends included.
fn up_to(longest: Duration, dice: &mut Dice) -> Duration {
    if longest.is_zero() {
        return Duration::ZERO;
    }
    Duration::from_nanos(dice.random_range(0..=nanos(longest)))
}

/// Five centuries are enough.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Rate ===

impl Rate {
    fn new(bits_per_s: u64, mtu: u16) -> Self {
        let mut rate = Self {
            bits_per_s: bits_per_s.max(1),
            longest_queue: QUEUE_TIME,
            busy_until: Duration::ZERO,
        };
        rate.longest_queue = QUEUE_TIME.max(rate.time_for(QUEUE_PACKETS * u64::from(mtu)));
        rate
    }

    /// When the last bit of a packet has been sent; `None` if it does not fit the queue.
    fn send(&mut self, now: Duration, size: usize) -> Option<Duration> {
        let start = self.busy_until.max(now);
        let end = start + self.time_for(size as u64);
        if start > now && end - now > self.longest_queue {
            return None;
        }
        self.busy_until = end;
        Some(end)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_s);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
