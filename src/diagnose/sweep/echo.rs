//! The largest echo that is answered, as `ping -M do -s` finds it by hand.

use std::time::Duration;

use super::came::{Came, What};
use super::line::Line;
use super::network::{Broken, Fate};
use super::search::{Between, Tried, bisect};
use super::seen::{Cliff, Harm, Sizes, Target};
use crate::packet::Ip;
use crate::packet::craft::{Carried, Echo, ip_header};

/// An ICMP header is this long.
const HEADER: u16 = 8;
/// How many are sent at once, one round after another, until one is answered.
const ROUNDS: [u16; 3] = [2, 3, 4];
/// Between two of a round.
const GAP: Duration = Duration::from_millis(5);
/// How long an answer is waited for before it is known how long one takes.
const FIRST: Duration = Duration::from_secs(1);
const LEAST: Duration = Duration::from_millis(200);

/// Sends echoes, and remembers how long answers take.
pub struct Echoes {
    target: Target,
    identifier: u16,
    sequence: u16,
    patience: Duration,
    until: Duration,
}

/// What became of echoes of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Became {
    Answered,
    Cut(u16),
    TooBig(std::net::IpAddr, u32),
    Nothing,
    Forbidden,
}

/// What `ping -s` is told for a packet of so many bytes.
#[must_use]
pub fn ping_size(target: &Target, packet: u16) -> u16 {
    packet.saturating_sub(ip_header(target.host) as u16 + HEADER)
}

// === impl Echoes ===

impl Echoes {
    /// Echoes to a host, until this time. The identifier should be nobody else's.
    #[must_use]
    pub fn to(target: Target, identifier: u16, until: Duration) -> Self {
        Self {
            target,
            identifier,
            sequence: 0,
            patience: FIRST,
            until,
        }
    }

    /// Finds the cliff.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn sweep(&mut self, line: &mut Line<'_>) -> Result<Sizes, Broken> {
        let smallest = ip_header(self.target.host) as u16 + 44;
        let longest = self.target.longest;
        match self.send(line, smallest)? {
            Became::Answered => {}
            Became::Forbidden => {
                return Ok(Sizes::Untold(
                    "this host's own rules let no ping leave".into(),
                ));
            }
            _ => return Ok(Sizes::Silent),
        }
        let mut became = self.send(line, longest)?;
        if became == Became::Answered {
            return Ok(Sizes::Whole(longest));
        }
        let range = Between {
            passes: smallest,
            harmed: longest,
        };
        let between = bisect(range, |size| {
            if line.now() >= self.until {
                return Ok(Tried::Unknown);
            }
            Ok(match self.send(line, size)? {
                Became::Answered => Tried::Passes,
                harm => {
                    became = harm;
                    Tried::Harmed
                }
            })
        })?;
        let harm = match became {
            Became::Cut(to) => Harm::Cut(to),
            Became::TooBig(by, mtu) => Harm::TooBig(by, mtu),
            _ => Harm::Lost(1.0, 0.0),
        };
        Ok(Sizes::Cliff(Cliff { between, harm }))
    }

    /// Sends some of a size until one is answered.
    fn send(&mut self, line: &mut Line<'_>, size: u16) -> Result<Became, Broken> {
        let first = self.sequence.wrapping_add(1);
        let mut became = Became::Nothing;
        for count in ROUNDS {
            let begun = line.now();
            for _ in 0..count {
                self.sequence = self.sequence.wrapping_add(1);
                match line.send(&self.echo(size))? {
                    Fate::Sent => {}
                    Fate::TooLong => return Ok(Became::Nothing),
                    Fate::Forbidden => return Ok(Became::Forbidden),
                }
                let until = line.now() + GAP;
                if let Some(answer) = self.wait(line, size, first, until)? {
                    became = answer;
                    break;
                }
            }
            if became == Became::Nothing {
                let until = line.now() + self.patience;
                became = self
                    .wait(line, size, first, until)?
                    .unwrap_or(Became::Nothing);
            }
            if became == Became::Answered {
                let took = line.now().saturating_sub(begun);
                self.patience = self.patience.min((took * 4).max(LEAST));
            }
            if became != Became::Nothing {
                break;
            }
        }
        Ok(became)
    }

    fn echo(&self, size: u16) -> Vec<u8> {
        let header = ip_header(self.target.host) as u16 + HEADER;
        let echo = Echo {
            source: self.target.own,
            destination: self.target.host,
            carried: Carried {
                identification: self.sequence,
                ..Carried::default()
            },
            reply: false,
            identifier: self.identifier,
            sequence: self.sequence,
            payload: vec![0x55; usize::from(size - header)],
        };
        echo.build()
    }

    fn wait(
        &self,
        line: &mut Line<'_>,
        size: u16,
        first: u16,
        until: Duration,
    ) -> Result<Option<Became>, Broken> {
        while let Some(came) = line.next(until)? {
            match came {
                Came::Echo(reply)
                    if reply.from == self.target.host
                        && reply.identifier == self.identifier
                        && reply.sequence.wrapping_sub(first) < 1000 =>
                {
                    return Ok(Some(match u16::try_from(reply.length) {
                        Ok(length) if length < size => Became::Cut(length),
                        _ => Became::Answered,
                    }));
                }
                Came::Error(error) => {
                    if let What::TooBig(mtu) = error.what
                        && self.quotes(&error.quote)
                    {
                        return Ok(Some(Became::TooBig(error.by, mtu)));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether a quotation is of one of these echoes.
    fn quotes(&self, quote: &[u8]) -> bool {
        Ip::parse_quoted(quote).is_ok_and(|ip| {
            ip.is_icmp()
                && ip.destination == self.target.host
                && quote.get(ip.payload + 4..ip.payload + 6)
                    == Some(&self.identifier.to_be_bytes()[..])
        })
    }
}
