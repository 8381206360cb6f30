//! SYNs with few hops to live: each router at which one ends quotes it as it arrived there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::came::{Came, UNKNOWN_OPTION, What};
use super::flow::{Offer, syn_options};
use super::line::Line;
use super::network::{Broken, Fate};
use super::quote::{Field, Quoted};
use super::seen::Target;
use crate::packet::Flags;
use crate::packet::craft::{Carried, Segment, ip_header};

/// Nobody is further away.
const MOST: u8 = 30;
/// How often a hop is asked.
const TRIES: u32 = 3;
/// After so many that say nothing, one after another, no further one is asked.
const SILENT: usize = 5;
/// How long a hop is waited for.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(1);
/// What the SYN with everything says beside its unknown option: DSCP 10 (AF11), an offer of ECN.
const CLASS: u8 = 10 << 2;

/// Which SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As Linux sends it.
    Plain,
    /// With an option that nobody knows, a DSCP and an offer of ECN.
    Rich,
}

/// The way to the host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Every hop asked, the nearest first.
    pub hops: Vec<Hop>,
    /// After how many hops the host itself answers.
    pub reached: Option<u8>,
    /// What is changed, and where.
    pub changes: Vec<Change>,
    /// Whether the host, or somebody in its name, answers the SYN with everything; `None` if it was not reached at all.
    pub rich_answered: Option<bool>,
}

/// A hop.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// Its number.
    pub hop: u8,
    /// Who it is; `None` if it said nothing.
    pub by: Option<IpAddr>,
    /// How long its answer took.
    pub took: Duration,
    /// The plain SYN as it arrived there.
    pub plain: Option<Quoted>,
    /// The other one.
    pub rich: Option<Quoted>,
}

/// A field that is changed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub field: Field,
    /// As it was sent.
    pub was: String,
    /// As it arrived.
    pub is: String,
    /// The last hop at which it was still as sent; `None` if that is this host.
    pub after: Option<(u8, IpAddr)>,
    /// The first hop at which it was not.
    pub at: (u8, IpAddr),
}

/// One SYN, sent again and again.
struct Probe {
    kind: Kind,
    source: SocketAddr,
    sequence: u32,
    timestamp: u32,
    sent: Quoted,
}

/// What a probe came to at a hop.
enum Outcome {
    Hop(IpAddr, Option<Quoted>),
    Host,
}

/// Follows SYNs to a host, until this time.
///
/// # Errors
/// If the network is gone.
pub fn trace(
    line: &mut Line<'_>,
    target: &Target,
    round_trip: Option<Duration>,
    until: Duration,
) -> Result<Trace, Broken> {
    let probes = [
        Probe::new(line, target, Kind::Plain)?,
        Probe::new(line, target, Kind::Rich)?,
    ];
    let patience = round_trip.map_or(LONGEST, |time| (time * 2).clamp(SHORTEST, LONGEST));
    let mut trace = Trace::default();
    for hop in 1..=MOST {
        let silent = trace.hops.iter().rev().take_while(|hop| hop.by.is_none());
        if line.now() >= until || silent.count() >= SILENT {
            break;
        }
        let mut found = Hop {
            hop,
            by: None,
            took: Duration::ZERO,
            plain: None,
            rich: None,
        };
        let begun = line.now();
        match probes[0].ask(line, target, hop, TRIES, patience)? {
            Some(Outcome::Host) => {
                trace.reached = Some(hop);
                let rich = probes[1].ask(line, target, hop, TRIES, patience)?;
                trace.rich_answered = Some(matches!(rich, Some(Outcome::Host)));
                break;
            }
            Some(Outcome::Hop(by, quoted)) => {
                found.took = line.now().saturating_sub(begun);
                found.by = Some(by);
                found.plain = quoted;
                if let Some(Outcome::Hop(_, quoted)) =
                    probes[1].ask(line, target, hop, TRIES, patience)?
                {
                    found.rich = quoted;
                }
            }
            None => {}
        }
        trace.hops.push(found);
    }
    for probe in &probes {
        probe.reset(line, target)?;
    }
    trace.changes = changes(&trace.hops, &probes.map(|probe| probe.sent));
    Ok(trace)
}

/// What is changed, and between which hops: every field once, where it is first seen to differ.
fn changes(hops: &[Hop], sent: &[Quoted; 2]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut kept: Vec<(Field, (u8, IpAddr))> = Vec::new();
    for hop in hops {
        let Some(by) = hop.by else { continue };
        let here = (hop.hop, by);
        for field in Field::ALL {
            if changes.iter().any(|change| change.field == field) {
                continue;
            }
            let quotes = [&hop.plain, &hop.rich].into_iter().zip(sent);
            let telling = quotes.skip(usize::from(field.only_in_rich()));
            let telling: Vec<(&Quoted, &Quoted)> = telling
                .filter_map(|(quoted, sent)| quoted.as_ref().zip(Some(sent)))
                .filter(|(quoted, _)| quoted.tells(field))
                .collect();
            let difference = telling.iter().find_map(|(quoted, sent)| {
                let mut differences = quoted.differences(sent).into_iter();
                differences.find(|each| each.field == field)
            });
            let after = kept.iter().position(|(each, _)| *each == field);
            match (difference, after) {
                (Some(difference), after) => changes.push(Change {
                    field,
                    was: difference.was,
                    is: difference.is,
                    after: after.map(|at| kept[at].1),
                    at: here,
                }),
                (None, _) if telling.is_empty() => {}
                (None, Some(at)) => kept[at].1 = here,
                (None, None) => kept.push((field, here)),
            }
        }
    }
    changes
}

// === impl Probe ===

impl Probe {
    fn new(line: &mut Line<'_>, target: &Target, kind: Kind) -> Result<Self, Broken> {
        let mut probe = Self {
            kind,
            source: (target.own, line.port()?).into(),
            sequence: rand::random(),
            timestamp: rand::random::<u32>() >> 1,
            sent: Quoted::nothing((target.own, 0).into()),
        };
        let packet = probe.packet(target, 1, 0);
        probe.sent = Quoted::read(&packet).expect("it was just made");
        Ok(probe)
    }

    fn packet(&self, target: &Target, hops: u8, identification: u16) -> Vec<u8> {
        let mss = target.longest - ip_header(target.host) as u16 - 20;
        let mut options = syn_options(Offer::Everything, mss, self.timestamp);
        let (mut flags, mut traffic_class) = (Flags::SYN, 0);
        if self.kind == Kind::Rich {
            options.extend([UNKNOWN_OPTION, 4, 0x75, 0x6d]);
            flags = flags | Flags::ECE | Flags::CWR;
            traffic_class = CLASS;
        }
        let syn = Segment {
            source: self.source,
            destination: (target.host, target.port).into(),
            carried: Carried {
                hops,
                traffic_class,
                identification,
            },
            sequence: self.sequence,
            acknowledgement: 0,
            flags,
            window: 0xfaf0,
            urgent: 0,
            options,
            payload: Vec::new(),
        };
        syn.build()
    }

    fn ask(
        &self,
        line: &mut Line<'_>,
        target: &Target,
        hops: u8,
        tries: u32,
        patience: Duration,
    ) -> Result<Option<Outcome>, Broken> {
        // IPv4 tells by it which hop's answer comes late.
        let identification = 0x7500 | u16::from(hops);
        for _ in 0..tries {
            if line.send(&self.packet(target, hops, identification))? != Fate::Sent {
                return Ok(None);
            }
            let until = line.now() + patience;
            while let Some(came) = line.next(until)? {
                match came {
                    Came::Segment(segment)
                        if segment.from == target.host
                            && segment.source_port == target.port
                            && segment.destination_port == self.source.port() =>
                    {
                        return Ok(Some(Outcome::Host));
                    }
                    Came::Error(error) if error.what == What::HopsOut => {
                        let quoted = Quoted::read(&error.quote);
                        if let Some(quoted) = quoted.filter(|quoted| self.is_quoted(quoted))
                            && quoted.identification.is_none_or(|id| id == identification)
                        {
                            return Ok(Some(Outcome::Hop(error.by, Some(quoted))));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Either may have been changed on the way, hardly both.
    fn is_quoted(&self, quoted: &Quoted) -> bool {
        quoted.source.port() == self.source.port() || quoted.sequence == self.sequence
    }

    fn reset(&self, line: &mut Line<'_>, target: &Target) -> Result<(), Broken> {
        let segment = Segment {
            source: self.source,
            destination: (target.host, target.port).into(),
            carried: Carried::default(),
            sequence: self.sequence.wrapping_add(1),
            acknowledgement: 0,
            flags: Flags::RST,
            window: 0,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        };
        line.send(&segment.build()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(options: Vec<u8>) -> Vec<u8> {
        let segment = Segment {
            source: ([10, 0, 0, 1], 4000).into(),
            destination: ([10, 0, 0, 2], 22).into(),
            carried: Carried::default(),
            sequence: 5,
            acknowledgement: 0,
            flags: Flags::SYN,
            window: 9,
            urgent: 0,
            options,
            payload: Vec::new(),
        };
        segment.build()
    }

    fn hop(hop: u8, quote: Option<&[u8]>) -> Hop {
        Hop {
            hop,
            by: quote.map(|_| [10, 0, 1, hop].into()),
            took: Duration::ZERO,
            plain: quote.and_then(Quoted::read),
            rich: None,
        }
    }

    #[test]
    fn a_change_is_between_the_last_hop_that_tells_it_unchanged_and_the_first_that_tells_it_changed()
     {
        let (whole, stripped) = (syn(vec![4, 2, 1, 1]), syn(vec![1; 4]));
        let sent = Quoted::read(&whole).unwrap();
        let sent = [sent.clone(), sent];
        // The third quotes too little to tell, the second and the fourth nothing.
        let hops = [
            hop(1, Some(&whole)),
            hop(2, None),
            hop(3, Some(&stripped[..28])),
            hop(4, None),
            hop(5, Some(&stripped)),
            hop(6, Some(&stripped)),
        ];
        let found = changes(&hops, &sent);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].field, Field::SackPermitted);
        assert_eq!(found[0].after, Some((1, [10, 0, 1, 1].into())));
        assert_eq!(found[0].at, (5, [10, 0, 1, 5].into()));
        let found = changes(&hops[4..], &sent);
        assert_eq!(found[0].after, None, "between this host and that hop");
        assert_eq!(changes(&hops[..4], &sent), []);
    }
}
