//! How long a silent flow is remembered: several flows at once, each silent for another time.

use std::time::Duration;

use super::Driver;
use super::line::Line;
use super::shape::{self, Shape};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{IdleSeen, What};
use crate::metrics::Direction::{ClientToServer, ServerToClient};
use crate::packet::Flags;

/// So many times are tried at once at first, each twice the one before.
const DOUBLINGS: u32 = 6;
/// So many between the last that survived and the first that did not: a tenth of it each.
const STEPS: u32 = 10;

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Tries up to this long, and then more closely; twice as long in all. `None` where no flow comes about.
    pub fn idle(&mut self, longest: Duration) -> Result<Option<IdleSeen>, Lost> {
        let times: Vec<_> = (0..=DOUBLINGS)
            .rev()
            .map(|doublings| longest / 2u32.pow(doublings))
            .collect();
        let Some(coarse) = self.silences(&times)? else {
            return Ok(None);
        };
        let Some(forgotten) = coarse.forgotten else {
            return Ok(Some(coarse));
        };
        let width = forgotten - coarse.survived;
        let times: Vec<_> = (1..STEPS)
            .map(|step| coarse.survived + width * step / STEPS)
            .collect();
        let fine = self.silences(&times)?;
        Ok(Some(fine.map_or(coarse, |fine| IdleSeen {
            survived: fine.survived.max(coarse.survived),
            forgotten: fine.forgotten.or(Some(forgotten)),
        })))
    }

    /// Has a flow for each of these times, which grow, until one is forgotten.
    fn silences(&mut self, times: &[Duration]) -> Result<Option<IdleSeen>, Lost> {
        let mut silent = Vec::new();
        for time in times {
            if let Some(line) = self.silent_line()? {
                silent.push((*time, self.ends.now(), line));
            }
        }
        if silent.is_empty() {
            self.cannot("no flow comes about that could be silent".to_owned());
            return Ok(None);
        }
        let mut seen = IdleSeen {
            survived: Duration::ZERO,
            forgotten: None,
        };
        for (time, since, line) in &mut silent {
            if seen.forgotten.is_none() {
                let until = *since + *time;
                self.ends.wait(until.saturating_sub(self.ends.now()));
                let data = Shape::new(What::Data, ClientToServer).with_data(100);
                if self.step(line, &data)? {
                    seen.survived = *time;
                } else {
                    seen.forgotten = Some(*time);
                }
            }
            self.close(line.id)?;
        }
        Ok(Some(seen))
    }

    fn silent_line(&mut self) -> Result<Option<Line>, Lost> {
        let Ok(mut line) = self.open(self.path.port, false)? else {
            return Ok(None);
        };
        let syn = Shape {
            flags: Flags::SYN,
            options: shape::mss(1400),
            ..Shape::new(What::Syn, ClientToServer)
        };
        let syn_ack = Shape {
            flags: Flags::SYN | Flags::ACK,
            options: shape::mss(1400),
            ..Shape::new(What::SynAck, ServerToClient)
        };
        let data = |direction| Shape::new(What::Data, direction).with_data(100);
        let opens = self.step(&mut line, &syn)?
            && self.step(&mut line, &syn_ack)?
            && self.step(&mut line, &Shape::new(What::Ack, ClientToServer))?
            && self.step(&mut line, &data(ClientToServer))?
            && self.step(&mut line, &data(ServerToClient))?;
        if !opens {
            self.close(line.id)?;
        }
        Ok(opens.then_some(line))
    }
}
