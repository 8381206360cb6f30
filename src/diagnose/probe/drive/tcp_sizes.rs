//! Which sizes of TCP segments pass: trains of the largest size against small ones, and halves from there.

use std::time::Duration;

use super::Driver;
use super::line::Line;
use super::sizes::{Background, Kind, LEAST_DELAY_US, Open, Sized, between};
use super::trains::{SMALL, Untried};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{Carrier, Cliff, Outcome, SizesSeen, TrainSeen};
use crate::metrics::{Direction, PerDirection};

/// What all is lost of within so few packets is not tried with more.
const FIRST: u32 = 8;
/// The longest train.
const MOST_AT_ONCE: u32 = 400;
/// After so many of one size nothing more is expected of it.
const MOST: u32 = 8000;
/// How often a search whose end does not hold is made anew.
const SEARCHES: u32 = 2;
/// What is late by more is lost.
const LATEST: Duration = Duration::from_secs(2);

/// A search in one direction.
struct Search {
    direction: Direction,
    line: Line,
    background: Background,
    /// What counts as a delay.
    delay_us: i64,
    /// How many of a size are sent at first.
    first: u32,
    /// Sizes at which others had a limit, the next one last: a firewall has one for both ways, as a rule.
    hints: Vec<u16>,
    packets: u32,
}

/// Both sides of a limit.
fn hints_of(seen: &SizesSeen) -> Vec<u16> {
    match &seen.outcome {
        Outcome::Cliff(cliff) => vec![cliff.passes, cliff.harmed],
        Outcome::EverySize | Outcome::None | Outcome::Unclear(_) => Vec::new(),
    }
}

/// What is known of one size.
struct Tried {
    seen: Sized,
    kind: Option<Kind>,
}

/// Why a search ends without a result.
enum Stuck {
    Lost(Lost),
    Because(String),
}

impl From<Lost> for Stuck {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Both directions, where a train of small segments was seen.
    pub fn tcp_sizes(
        &mut self,
        trains: &PerDirection<Option<TrainSeen>>,
        echoes: &[SizesSeen],
    ) -> Result<Vec<SizesSeen>, Lost> {
        let mut sizes: Vec<SizesSeen> = Vec::new();
        let small = [&trains.client_to_server, &trains.server_to_client];
        for (direction, small) in Direction::BOTH.into_iter().zip(small) {
            let Some(small) = small else { continue };
            let Some(line) = self.train_line()? else {
                continue;
            };
            let mut search = Search {
                direction,
                line,
                background: Background::of(small),
                delay_us: LEAST_DELAY_US,
                first: FIRST,
                hints: echoes.iter().chain(&sizes).flat_map(hints_of).collect(),
                packets: 0,
            };
            let outcome = match self.search(&mut search) {
                Ok(outcome) => outcome,
                Err(Stuck::Because(why)) => Outcome::Unclear(why),
                Err(Stuck::Lost(lost)) => return Err(lost),
            };
            self.close(search.line.id)?;
            self.late = Duration::ZERO;
            sizes.push(SizesSeen {
                carrier: Carrier::Tcp,
                direction,
                largest: self.largest,
                outcome,
                packets: search.packets,
            });
        }
        Ok(sizes)
    }

    fn search(&mut self, search: &mut Search) -> Result<Outcome, Stuck> {
        if search.background.lost == search.background.sent {
            return Ok(Outcome::None);
        }
        for _ in 0..SEARCHES {
            search.delay_us = LEAST_DELAY_US;
            let first = self.size(search, self.largest)?;
            let Some(kind) = first.kind else {
                return Ok(Outcome::EverySize);
            };
            let whole_delay = first.seen.delay_us(&search.background).unwrap_or(0);
            if kind == Kind::Delayed {
                search.delay_us = (whole_delay / 2).max(LEAST_DELAY_US / 2);
            }
            if first.seen.is_partial() && self.slow > 1 {
                return Err(Stuck::Because(
                    "the way carries too little to send as many packets as would tell".to_owned(),
                ));
            }
            if first.seen.is_partial() {
                search.first = MOST_AT_ONCE;
            }
            let (passes, harmed) = self.halve(search)?;
            // Looked at once more: one disturbance on the way is no harm.
            let good = self.size(search, passes)?;
            let bad = self.size(search, harmed)?;
            let (None, Some(kind)) = (good.kind, bad.kind) else {
                continue;
            };
            let delay = |tried: &Tried| tried.seen.delay_us(&search.background).unwrap_or(0);
            let jump = delay(&bad) - delay(&good);
            if kind == Kind::Delayed && jump < search.delay_us {
                return Ok(Outcome::EverySize); // larger packets take longer, and none of them by far
            }
            let mut seen = bad.seen;
            if kind == Kind::Lost || kind == Kind::Truncated {
                seen.add(&first.seen);
            }
            return Ok(Outcome::Cliff(Cliff {
                passes,
                harmed,
                harm: seen.harm(kind, &search.background),
                told: seen.told.or(first.seen.told),
            }));
        }
        Err(Stuck::Because(
            "the same size passes once and does not the next time".to_owned(),
        ))
    }

    /// The largest size that passes and the smallest that does not.
    fn halve(&mut self, search: &mut Search) -> Result<(u16, u16), Stuck> {
        let (mut passes, mut harmed) = (SMALL, self.largest);
        let mut hints = search.hints.clone();
        while let Some(middle) = between(passes, harmed) {
            let is_between = |size: &u16| (passes + 1..harmed).contains(size);
            let size = hints.pop().filter(is_between).unwrap_or(middle);
            match self.size(search, size)?.kind {
                None => passes = size,
                Some(_) => harmed = size,
            }
        }
        Ok((passes, harmed))
    }

    /// Sends one size until something can be said of it.
    fn size(&mut self, search: &mut Search, size: u16) -> Result<Tried, Stuck> {
        let too_many = || Stuck::Because("too many small segments are lost".to_owned());
        let mut seen = Sized::new(&search.background).ok_or_else(too_many)?;
        let mut count = search.first;
        while seen.sent < MOST {
            let mut train = self.count(search, size, count)?;
            if train.harvest.arrived == 0 && train.harvest.truncated == 0 {
                train = self.after_total_loss(search, train)?;
            }
            seen.observe(&train);
            match seen.verdict(&search.background, search.delay_us) {
                Ok(kind) => return Ok(Tried { seen, kind }),
                Err(Open(needed)) => count = needed.clamp(64, MOST_AT_ONCE),
            }
        }
        Err(Stuck::Because(format!(
            "{} packets of {size} bytes were not enough to tell",
            seen.sent
        )))
    }

    fn count(&mut self, search: &mut Search, size: u16, count: u32) -> Result<TrainSeen, Stuck> {
        search.packets += count;
        match self.train(&mut search.line, search.direction, size, count)? {
            Ok(train) => Ok(train),
            Err(Untried::Missed) => Err(Stuck::Because(Untried::Missed.to_string())),
            Err(Untried::Refused(refusal)) => Err(Stuck::Because(format!(
                "packets of {size} bytes were not sent: {refusal}"
            ))),
        }
    }

    /// A whole train is lost: maybe it is only late, maybe the flow is dead, and the size is not what did it.
    fn after_total_loss(
        &mut self,
        search: &mut Search,
        train: TrainSeen,
    ) -> Result<TrainSeen, Stuck> {
        if self.late.is_zero() {
            self.ends.wait(LATEST);
            let harvest = self.harvest(&search.line, search.direction)?;
            self.late = Duration::from_nanos(1);
            if let Some(transit) = harvest.transit_us {
                let late = transit.most - search.background.median_us();
                self.late = Duration::from_micros(u64::try_from(late).unwrap_or(0)) * 2;
                return Ok(TrainSeen { harvest, ..train });
            }
        }
        for _ in 0..2 {
            let small = self.count(search, SMALL, FIRST)?;
            if small.harvest.arrived > 0 {
                return Ok(train);
            }
            self.close(search.line.id)?;
            let died = || Stuck::Because("flows die, and no new one comes about".to_owned());
            search.line = self.train_line()?.ok_or_else(died)?;
        }
        Err(Stuck::Because("small segments stopped passing".to_owned()))
    }
}
