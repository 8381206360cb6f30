//! What is remembered of one connection: numbers, and its first findings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::told::{FlowTold, Number};
use super::{Finding, Sighting, words};
use crate::diagnose::tracking::{
    Bound, By, Ignored, Invalid, Kernel, Liberal, Segment, Verdict, Way,
};
use crate::packet::{Flags, Ip, Offer, Tcp};

/// So many findings of a connection are told; the others are counted.
const TOLD: usize = 20;
/// Above this a packet was not cut to size yet when it was captured.
const ON_THE_WIRE: usize = 1_500;
/// So far beyond what was sent no number gets by a packet that was missed.
pub(super) const FAR: u32 = 16 << 20;

/// One connection at one place.
pub(super) struct Story {
    pub(super) place: usize,
    pub(super) opener: SocketAddr,
    pub(super) answerer: SocketAddr,
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) invalid: u64,
    pub(super) liberal: u64,
    pub(super) ignored: u64,
    /// Where the sequence numbers of each way begin.
    pub(super) isn: [Option<u32>; 2],
    /// What each end offers.
    pub(super) offers: [Option<Offer>; 2],
    pub(super) oversized: u64,
    pub(super) cut_options: u64,
    pub(super) causes: Causes,
    pub(super) bounds: BTreeMap<&'static str, u64>,
    pub(super) findings: Vec<Finding>,
}

/// What the INVALID packets have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Causes {
    /// SACK blocks far beyond what was sent, where the acknowledgement number was right.
    pub(super) foreign_sack: u64,
    /// Other numbers acknowledged that were not sent.
    pub(super) unseen_ack: u64,
    /// Data over the window.
    pub(super) over_window: u64,
    /// The same, where only one side offered window scale.
    pub(super) over_unscaled_window: u64,
}

// === impl Story ===

impl Story {
    pub(super) fn new(place: usize, sighting: &Sighting<'_>, way: Way) -> Self {
        let segment = &sighting.segment;
        let [opener, answerer] = match way {
            Way::Original => [segment.source, segment.destination],
            Way::Reply => [segment.destination, segment.source],
        };
        Self {
            place,
            opener,
            answerer,
            first: sighting.at,
            last: sighting.at,
            packets: 0,
            bytes: 0,
            invalid: 0,
            liberal: 0,
            ignored: 0,
            isn: [None; 2],
            offers: [None; 2],
            oversized: 0,
            cut_options: 0,
            causes: Causes::default(),
            bounds: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// Takes down a packet and its verdict; `begin` is when the capture began. Whether a finding was put in words, for
    /// which there must be room.
    pub(super) fn note(
        &mut self,
        sighting: &Sighting<'_>,
        way: Way,
        verdict: &Verdict,
        (begin, kernel): (Duration, Kernel),
        is_room: bool,
    ) -> bool {
        let segment = &sighting.segment;
        self.packets += 1;
        self.last = self.last.max(sighting.at);
        self.bytes += u64::from(segment.payload);
        self.oversized += u64::from(sighting.length > ON_THE_WIRE && segment.payload > 0);
        self.cut_options += u64::from(segment.options.cut);
        // A stray SYN, which the tracker does not believe, begins nothing.
        let is_believed = matches!(verdict, Verdict::New(_) | Verdict::Tracked { .. });
        if segment.flags.has(Flags::SYN) && (is_believed || self.isn[way as usize].is_none()) {
            self.isn[way as usize] = Some(segment.sequence);
            self.offers[way as usize] = offer(sighting.bytes);
        }
        match verdict {
            Verdict::Invalid(invalid) => {
                self.blame(sighting, invalid);
                if is_room && self.findings.len() < TOLD {
                    let finding = words::finding(self, sighting, way, invalid, begin, kernel);
                    self.findings.push(finding);
                    return true;
                }
            }
            Verdict::Ignored(Ignored { .. }) => self.ignored += 1,
            Verdict::New(_) | Verdict::Tracked { .. } => {}
        }
        false
    }

    fn blame(&mut self, sighting: &Sighting<'_>, invalid: &Invalid) {
        self.invalid += 1;
        self.liberal += u64::from(invalid.liberal == Liberal::Pass);
        *self.bounds.entry(invalid.bound.name()).or_default() += 1;
        let hosts_agree = self.scale_agrees();
        let causes = &mut self.causes;
        match (invalid.bound, invalid.measured) {
            (Bound::AckOverSeen, Some(measured)) => {
                let by_sack = matches!(measured.by, By::Sack(_));
                let ack_is_right = ack_is_right(&sighting.segment, invalid);
                match by_sack && ack_is_right && measured.out_by > FAR {
                    true => causes.foreign_sack += 1,
                    false => causes.unseen_ack += 1,
                }
            }
            (Bound::SeqOverWindow, _) => {
                causes.over_window += 1;
                let moment = &invalid.moment;
                let agree = moment.sender.scale_offered == moment.receiver.scale_offered;
                causes.over_unscaled_window += u64::from(!hosts_agree || !agree);
            }
            _ => {}
        }
    }

    /// Whether both ends or none offered window scale, as far as was seen.
    pub(super) fn scale_agrees(&self) -> bool {
        match self.offers {
            [Some(one), Some(other)] => one.window_scale.is_some() == other.window_scale.is_some(),
            _ => true,
        }
    }

    /// A number of the sequence space of one way.
    pub(super) fn number(&self, way: Way, raw: u32) -> Number {
        let relative = self.isn[way as usize].map(|isn| raw.wrapping_sub(isn));
        Number { raw, relative }
    }

    /// What is told of it.
    pub(super) fn told(self, flow: u64, interface: Option<String>, begin: Duration) -> FlowTold {
        let notes = words::notes(&self);
        let cure = words::cure(&self);
        FlowTold {
            flow,
            interface,
            opener: self.opener.to_string(),
            answerer: self.answerer.to_string(),
            packets: self.packets,
            bytes: self.bytes,
            begins_s: self.first.saturating_sub(begin).as_secs_f64(),
            ends_s: self.last.saturating_sub(begin).as_secs_f64(),
            invalid: self.invalid,
            liberal_would_pass: self.liberal,
            ignored: self.ignored,
            notes,
            findings: self.findings,
            cure,
        }
    }
}

/// Whether the acknowledgement number itself is of what was sent.
pub(super) fn ack_is_right(segment: &Segment, invalid: &Invalid) -> bool {
    let beyond = segment
        .acknowledgement
        .wrapping_sub(invalid.moment.receiver.end);
    beyond == 0 || beyond > i32::MAX as u32
}

/// What a SYN offers, of which perhaps only the beginning was captured.
fn offer(packet: &[u8]) -> Option<Offer> {
    let ip = Ip::parse_quoted(packet).ok()?;
    let segment = Tcp::parse(packet.get(ip.payload..ip.end)?).ok()?;
    Some(Offer::of_options(segment.options()))
}
