//! Which sizes of echoes pass. Requests go to the server; towards the client go answers that the server makes itself,
//! or, where such do not pass, those of its kernel to requests of that size.

use super::sizes::between;
use super::trains::SMALL;
use super::{Driver, receiver, sender, unexpected};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{Carrier, Cliff, Harm, Outcome, SizesSeen};
use crate::diagnose::probe::order::{Answer, EchoHarvest, Echoes, End, Order, TooBig};
use crate::diagnose::sequential::{Sequential, Verdict};
use crate::metrics::Direction::{self, ClientToServer, ServerToClient};

/// Echoes at once.
const COUNT: u16 = 16;
/// After so many of one size nothing more is expected of it.
const MOST: u32 = 512;
/// Time between two, in microseconds.
const GAP_US: u32 = 2000;
/// Some hosts and firewalls let only so many pass, so that nothing less is taken for harm.
const HARMED: f64 = 0.5;
/// What is lost of small ones is never taken for less.
const LEAST_BACKGROUND: f64 = 0.01;
/// Where more of the small ones are lost, nothing can be said.
const MOST_BACKGROUND: f64 = 0.2;

/// Which echoes grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Requests,
    /// Answers that the server's end makes.
    Crafted,
    /// Answers of the server's kernel.
    Kernels,
}

/// What was seen of one size.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sent: u32,
    lost: u32,
    truncated_to: Option<u16>,
    told: Option<TooBig>,
}

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Both directions.
    pub fn icmp_sizes(&mut self) -> Result<Vec<SizesSeen>, Lost> {
        let mut sizes = Vec::new();
        if self.path.server != self.path.server_own {
            let text = "echoes: the server's address is translated, and whoever translates it may answer them";
            self.cannot(text.to_owned());
            return Ok(sizes);
        }
        for direction in Direction::BOTH {
            let mut packets = 0;
            let Some(outcome) = self.echoes_pass(direction, &mut packets)? else {
                continue;
            };
            sizes.push(SizesSeen {
                carrier: Carrier::Icmp,
                direction,
                largest: self.largest,
                outcome,
                packets,
            });
        }
        Ok(sizes)
    }

    fn echoes_pass(
        &mut self,
        direction: Direction,
        packets: &mut u32,
    ) -> Result<Option<Outcome>, Lost> {
        let mut manner = match direction {
            ClientToServer => Manner::Requests,
            ServerToClient => Manner::Crafted,
        };
        let Some(mut small) = self.echo_twice(manner, SMALL, packets)? else {
            return Ok(None);
        };
        if small.lost == small.sent && manner == Manner::Crafted {
            manner = Manner::Kernels;
            let Some(answers) = self.echo_twice(manner, SMALL, packets)? else {
                return Ok(None);
            };
            small = answers;
        }
        if small.lost == small.sent {
            return Ok(Some(Outcome::None));
        }
        let background = f64::from(small.lost) / f64::from(small.sent);
        if background > MOST_BACKGROUND {
            let text = "many small echoes are lost, maybe because only so many may pass";
            return Ok(Some(Outcome::Unclear(text.to_owned())));
        }
        let largest = self.largest;
        let (harmed, mut last) = self.echo_size(manner, largest, background, packets)?;
        if !harmed {
            return Ok(Some(Outcome::EverySize));
        }
        let (mut passes, mut harmed) = (SMALL, largest);
        while let Some(size) = between(passes, harmed) {
            let (is_harmed, seen) = self.echo_size(manner, size, background, packets)?;
            if is_harmed {
                harmed = size;
                last = Seen {
                    told: seen.told.or(last.told),
                    ..seen
                };
            } else {
                passes = size;
            }
        }
        let harm = match last.truncated_to {
            Some(to) => Harm::Truncated { to },
            None => Harm::Lost {
                share: f64::from(last.lost) / f64::from(last.sent),
                background,
            },
        };
        Ok(Some(Outcome::Cliff(Cliff {
            passes,
            harmed,
            harm,
            told: last.told,
        })))
    }

    /// Sends one size until something can be said of it: whether it is harmed.
    fn echo_size(
        &mut self,
        manner: Manner,
        size: u16,
        background: f64,
        packets: &mut u32,
    ) -> Result<(bool, Seen), Lost> {
        let mut all = Seen::default();
        let mut test = Sequential::between(background.max(LEAST_BACKGROUND), HARMED);
        while all.sent < MOST {
            let Some(seen) = self.echo(manner, size, packets)? else {
                break;
            };
            all.add(&seen);
            let Some(test) = &mut test else { break };
            test.observe(seen.sent, seen.lost);
            match test.verdict() {
                Verdict::AsBackground => return Ok((false, all)),
                Verdict::Harmed => return Ok((true, all)),
                Verdict::Open => {}
            }
        }
        Ok((all.lost * 2 > all.sent, all))
    }

    fn echo_twice(
        &mut self,
        manner: Manner,
        size: u16,
        packets: &mut u32,
    ) -> Result<Option<Seen>, Lost> {
        let Some(mut seen) = self.echo(manner, size, packets)? else {
            return Ok(None);
        };
        if let Some(again) = self.echo(manner, size, packets)? {
            seen.add(&again);
        }
        Ok(Some(seen))
    }

    /// Sends some echoes of one size, and counts them where they come. `None` where they are not sent.
    fn echo(&mut self, manner: Manner, size: u16, packets: &mut u32) -> Result<Option<Seen>, Lost> {
        let direction = match manner {
            Manner::Requests => ClientToServer,
            Manner::Crafted | Manner::Kernels => ServerToClient,
        };
        let identifier = self.random() as u16;
        if manner == Manner::Crafted {
            // A firewall lets answers in only where there was a request.
            let request = self.echoes(false, identifier, SMALL);
            if self.send_echoes(End::Client, request)?.is_none() {
                return Ok(None);
            }
            self.echo_harvest(End::Client, COUNT.into())?;
        }
        let (from, to) = match manner {
            Manner::Kernels => (End::Client, End::Client),
            _ => (sender(direction), receiver(direction)),
        };
        self.echo_harvest(to, 0)?; // what is late of earlier ones does not count
        let sending = self.echoes(manner == Manner::Crafted, identifier, size);
        let Some(told_early) = self.send_echoes(from, sending)? else {
            return Ok(None);
        };
        *packets += u32::from(COUNT);
        let harvest = self.echo_harvest(to, COUNT.into())?;
        *self.fragmented.of(direction) |= harvest.fragmented > 0;
        let came = match manner {
            Manner::Requests => harvest.requests,
            Manner::Crafted | Manner::Kernels => harvest.replies,
        };
        let told_late = if from == to {
            harvest.too_big
        } else {
            self.echo_harvest(from, 0)?.too_big
        };
        Ok(Some(Seen {
            sent: COUNT.into(),
            lost: u32::from(COUNT).saturating_sub(came),
            truncated_to: harvest.truncated_to,
            told: told_early.0.or(told_late),
        }))
    }

    fn echoes(&self, reply: bool, identifier: u16, length: u16) -> Echoes {
        Echoes {
            reply,
            identifier,
            sequence: 1,
            count: COUNT,
            length,
            gap_us: self.gap_us(length).max(GAP_US),
        }
    }

    fn send_echoes(&mut self, from: End, echoes: Echoes) -> Result<Option<Told>, Lost> {
        let length = echoes.length;
        match self.ask(from, Order::Echo { echoes })? {
            Answer::Counted(dispatch) => Ok(Some(Told(dispatch.too_big))),
            Answer::Refused(refusal) => {
                self.cannot(format!("echoes of {length} bytes were not sent: {refusal}"));
                Ok(None)
            }
            other => Err(unexpected(from, &other)),
        }
    }

    fn echo_harvest(&mut self, end: End, expected: u32) -> Result<EchoHarvest, Lost> {
        let patience_ms = if expected == 0 { 0 } else { self.patience_ms() };
        let order = Order::EchoHarvest {
            expected,
            patience_ms,
        };
        match self.ask(end, order)? {
            Answer::Echoes(harvest) => Ok(harvest),
            other => Err(unexpected(end, &other)),
        }
    }
}

/// What a router said of echoes, if one did.
struct Told(Option<TooBig>);

// === impl Seen ===

impl Seen {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.truncated_to = other.truncated_to.or(self.truncated_to);
        self.told = other.told.or(self.told);
    }
}
