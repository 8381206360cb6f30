//! Many segments one after another, and what came of them.

use std::time::Duration;

use super::line::Line;
use super::shape::{self, Shape};
use super::{Driver, receiver, sender, unexpected};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{Faster, TrainSeen, What};
use crate::diagnose::probe::order::{Answer, Harvest, Order, Refusal, Spec, Train, Transit};
use crate::metrics::Direction::{self, ClientToServer, ServerToClient};
use crate::metrics::PerDirection;
use crate::packet::Flags;

/// Small segments show what becomes of any packet. Bytes of the packet.
pub const SMALL: u16 = 100;
/// How many of them: so that 0.3 % of loss are a dozen.
const MANY: u32 = 4000;
/// So few lost ones may be the doing of a busy machine.
const FEW: u32 = 2;
/// How often a train is sent that the tap had no room for.
const TAP_ATTEMPTS: u32 = 3;
/// How often a flow for trains is tried.
const OPENINGS: u32 = 2;
/// What is under way unacknowledged: a firewall that misses the window scale counts on 64 KiB.
const WINDOW: u32 = 32 * 1024;
/// The same on a long way, where little at a time takes too long.
const LONG_WINDOW: u32 = 60_000;
/// From here on a way is long.
const LONG: Duration = Duration::from_millis(20);
/// Late packets are waited for so long.
const SETTLING: Duration = Duration::from_millis(250);
/// On a way as long as this, asking for the harvest takes so long that nothing more is waited for.
const SETTLED_BY_ITSELF: Duration = Duration::from_millis(60);
const WIDE_OPEN: u16 = 0xfff0;
/// How fast packets of all sizes are sent, in kbit/s: alike, so that a way of little bandwidth harms them alike.
pub const KBIT_PER_S: u32 = 8000;
/// From this share of lost segments on it is tried whether slower ones fare better.
const LOSES: f64 = 0.02;
/// By how much slower, and how many segments.
const SLOWER: [(u32, u32); 2] = [(4, 1000), (16, 500)];
/// So few of the share of before are lost where the bandwidth is what was missing.
const FARES_BETTER: f64 = 1.0 / 3.0;

/// Why there is nothing to be said of a train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untried {
    /// It was not sent.
    Refused(Refusal),
    /// The tap had no room, again and again.
    Missed,
}

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Trains of small segments, each way.
    pub fn loss_trains(&mut self) -> Result<PerDirection<Option<TrainSeen>>, Lost> {
        let mut seen = PerDirection::default();
        let Some(mut line) = self.train_line()? else {
            return Ok(seen);
        };
        for direction in Direction::BOTH {
            match self.loss_train(&mut line, direction)? {
                Ok(train) => *seen.of(direction) = Some(train),
                Err(untried) => self.cannot(format!(
                    "loss and order, {}: {untried}",
                    direction.name().replace('_', " ")
                )),
            }
        }
        self.close(line.id)?;
        Ok(seen)
    }

    /// A flow for trains: without options that a segment would have to carry. `None` where none comes about.
    pub fn train_line(&mut self) -> Result<Option<Line>, Lost> {
        for _ in 0..OPENINGS {
            let mut line = match self.open(self.path.port, false)? {
                Ok(line) => line,
                Err(refusal) => {
                    self.cannot(format!("no flow could be opened for trains: {refusal}"));
                    return Ok(None);
                }
            };
            let headers = if self.path.client.is_ipv4() { 40 } else { 60 };
            let options = shape::mss(self.largest.saturating_sub(headers));
            let syn = Shape {
                flags: Flags::SYN,
                options: options.clone(),
                ..Shape::new(What::Syn, ClientToServer)
            };
            let syn_ack = Shape {
                flags: Flags::SYN | Flags::ACK,
                options,
                ..Shape::new(What::SynAck, ServerToClient)
            };
            if self.step(&mut line, &syn)?
                && self.step(&mut line, &syn_ack)?
                && self.step(&mut line, &Shape::new(What::Ack, ClientToServer))?
            {
                return Ok(Some(line));
            }
            self.close(line.id)?;
        }
        self.cannot("no flow for trains comes about: its handshake is lost".to_owned());
        Ok(None)
    }

    fn loss_train(
        &mut self,
        line: &mut Line,
        direction: Direction,
    ) -> Result<Result<TrainSeen, Untried>, Lost> {
        let first = match self.train(line, direction, SMALL, MANY)? {
            Ok(first) => first,
            Err(untried) => return Ok(Err(untried)),
        };
        if share(&first) >= LOSES && self.slow == 1 {
            return self.slower_train(line, direction, first);
        }
        if !(1..=FEW).contains(&first.harvest.lost(first.sent)) {
            return Ok(Ok(first));
        }
        let second = self.train(line, direction, SMALL, MANY)?;
        Ok(Ok(
            second.map_or(first.clone(), |second| sum(first, &second))
        ))
    }

    /// Many are lost: maybe because the way carries no more. Then all that follows is slower.
    fn slower_train(
        &mut self,
        line: &mut Line,
        direction: Direction,
        first: TrainSeen,
    ) -> Result<Result<TrainSeen, Untried>, Lost> {
        for (slow, count) in SLOWER {
            self.slow = slow;
            let slower = match self.train(line, direction, SMALL, count)? {
                Ok(slower) => slower,
                Err(untried) => return Ok(Err(untried)),
            };
            if share(&slower) <= share(&first) * FARES_BETTER {
                let faster = Faster {
                    kbit_per_s: first.kbit_per_s,
                    sent: first.sent,
                    lost: first.harvest.lost(first.sent),
                };
                let faster = Some(faster);
                return Ok(Ok(TrainSeen { faster, ..slower }));
            }
        }
        self.slow = 1;
        Ok(Ok(first))
    }

    /// Time between two packets of so many bytes, in microseconds.
    pub fn gap_us(&self, length: u16) -> u32 {
        u32::from(length) * 8 * 1000 / KBIT_PER_S * self.slow
    }

    /// Sends a train, and waits until what came of it has come.
    pub fn train(
        &mut self,
        line: &mut Line,
        direction: Direction,
        length: u16,
        count: u32,
    ) -> Result<Result<TrainSeen, Untried>, Lost> {
        for _ in 0..TAP_ATTEMPTS {
            match self.train_once(line, direction, length, count)? {
                Ok(seen) if seen.harvest.missed > 0 => {}
                Ok(seen) => return Ok(Ok(seen)),
                Err(refusal) => return Ok(Err(Untried::Refused(refusal))),
            }
        }
        Ok(Err(Untried::Missed))
    }

    fn train_once(
        &mut self,
        line: &mut Line,
        direction: Direction,
        length: u16,
        count: u32,
    ) -> Result<Result<TrainSeen, Refusal>, Lost> {
        let ack = Spec {
            sequence: line.way(direction.back()).next,
            window: WIDE_OPEN,
            ..Spec::default()
        };
        let number = self.numbers;
        self.numbers = self.numbers.wrapping_add(count);
        let receive = Order::Receive {
            flow: line.id,
            from: number,
            ack,
        };
        if let Err(refusal) = self.done(receiver(direction), receive)? {
            return Ok(Err(refusal));
        }
        let is_long = self.path.round_trip > LONG;
        let train = Train {
            first: Spec {
                flags: (Flags::PSH | Flags::ACK).0,
                sequence: line.way(direction).next,
                acknowledgement: line.way(direction.back()).came,
                window: WIDE_OPEN,
                ..Spec::default()
            },
            number,
            count,
            length,
            window: if is_long { LONG_WINDOW } else { WINDOW },
            patience_us: self.train_patience().as_micros() as u32,
            gap_us: self.gap_us(length),
        };
        let order = Order::Train {
            flow: line.id,
            train,
        };
        let dispatch = match self.ask(sender(direction), order)? {
            Answer::Counted(dispatch) => dispatch,
            Answer::Refused(refusal) => return Ok(Err(refusal)),
            other => return Err(unexpected(sender(direction), &other)),
        };
        let way = line.way_mut(direction);
        way.next = dispatch.next_sequence;
        way.came = way.next.wrapping_add(way.shift.unwrap_or(0));
        let mut harvest = self.harvest(line, direction)?;
        let lost = harvest.lost(dispatch.sent);
        // By now, as much has gone by since the last one as a round trip and a half take.
        let settling = SETTLING.saturating_sub(self.path.round_trip * 3 / 2);
        if lost > 0 && lost < dispatch.sent && self.path.round_trip < SETTLED_BY_ITSELF {
            self.ends.wait(settling);
            harvest = self.harvest(line, direction)?;
        }
        *self.fragmented.of(direction) |= harvest.fragmented > 0;
        Ok(Ok(TrainSeen {
            kbit_per_s: KBIT_PER_S / self.slow,
            faster: None,
            length,
            sent: dispatch.sent,
            harvest,
            too_big: dispatch.too_big,
        }))
    }

    /// What came of the last train.
    pub fn harvest(&mut self, line: &Line, direction: Direction) -> Result<Harvest, Lost> {
        match self.ask(receiver(direction), Order::Harvest { flow: line.id })? {
            Answer::Harvest(harvest) => Ok(harvest),
            other => Err(unexpected(receiver(direction), &other)),
        }
    }

    /// How long a train waits for an acknowledgement.
    fn train_patience(&self) -> Duration {
        (self.path.round_trip * 3 / 2 + Duration::from_millis(300)).max(self.late)
    }
}

/// Which share is lost.
fn share(train: &TrainSeen) -> f64 {
    f64::from(train.harvest.lost(train.sent)) / f64::from(train.sent.max(1))
}

/// Both trains as one.
fn sum(first: TrainSeen, second: &TrainSeen) -> TrainSeen {
    let (a, b) = (&first.harvest, &second.harvest);
    let transit_us = match (a.transit_us, b.transit_us) {
        (Some(a), Some(b)) => Some(Transit {
            least: a.least.min(b.least),
            median: i64::midpoint(a.median, b.median),
            most: a.most.max(b.most),
        }),
        (a, b) => a.or(b),
    };
    let harvest = Harvest {
        arrived: a.arrived + b.arrived,
        duplicated: a.duplicated + b.duplicated,
        reordered: a.reordered + b.reordered,
        truncated: a.truncated + b.truncated,
        truncated_to: a.truncated_to.into_iter().chain(b.truncated_to).min(),
        corrupted: a.corrupted + b.corrupted,
        transit_us,
        missed: 0,
        fragmented: a.fragmented + b.fragmented,
    };
    TrainSeen {
        sent: first.sent + second.sent,
        too_big: second.too_big.or(first.too_big),
        harvest,
        ..first
    }
}

impl std::fmt::Display for Untried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Missed => f.write_str("more came than the host could look at"),
        }
    }
}
