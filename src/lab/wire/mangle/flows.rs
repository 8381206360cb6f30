//! What a stateful firewall remembers of TCP flows: their shifts, and when they were last heard of.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use super::Dice;
use super::isn::{FlowShift, SegmentShift};
use super::scope::Covered;
use crate::lab::wire::heading::{Heading, PerHeading};
use crate::lab::wire::spec::{Isn, WireSpec};
use crate::packet::{Flags, Ip, Tcp, icmp, tcp};

/// Every flow seen so far. Entries are never thrown away: a lab has few tuples, and a new
/// connection takes the entry of the old one.
#[derive(Debug)]
pub struct Flows {
    isn: PerHeading<Option<Isn>>,
    forget_idle_after: PerHeading<Option<Duration>>,
    known: HashMap<Tuple, Flow>,
    dice: Dice,
}

/// A flow's two ends, the one on side `a` first: the same for packets of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Tuple {
    a: (IpAddr, u16),
    b: (IpAddr, u16),
}

#[derive(Debug, Default)]
struct Flow {
    shift: PerHeading<Option<FlowShift>>,
    last_heard: Duration,
    forgotten: bool,
}

// === impl Flows ===

impl Flows {
    /// No flow is known yet.
    pub fn new(spec: &WireSpec, dice: Dice) -> Self {
        Self {
            isn: PerHeading {
                a_to_b: spec.a_to_b.isn,
                b_to_a: spec.b_to_a.isn,
            },
            forget_idle_after: PerHeading {
                a_to_b: spec.a_to_b.forget_idle_after,
                b_to_a: spec.b_to_a.forget_idle_after,
            },
            known: HashMap::new(),
            dice,
        }
    }

    /// Takes note of a segment and says what it is shifted by; `None` if its flow is forgotten and
    /// this does not open it anew. A flow that was not seen opening passes as it is, and so does one
    /// that is not covered.
    pub fn track<B: AsRef<[u8]>>(
        &mut self,
        heading: Heading,
        now: Duration,
        ip: &Ip,
        tcp: &Tcp<B>,
        covered: Covered,
    ) -> Option<SegmentShift> {
        let shifts = self.isn != PerHeading::default();
        let forgets = self.forget_idle_after != PerHeading::default();
        if !shifts && !forgets {
            return Some(SegmentShift::default()); // stateless wires never look a flow up
        }
        let tuple = Tuple::new(heading, ip, tcp.source_port(), tcp.destination_port());
        let is_syn = tcp.flags().has(Flags::SYN);
        let flow = match self.known.entry(tuple) {
            Entry::Occupied(entry) => entry.into_mut(),
            // Without idle times only flows that are seen opening are of interest.
            Entry::Vacant(_) if !is_syn && !forgets => return Some(SegmentShift::default()),
            Entry::Vacant(entry) => entry.insert(Flow {
                last_heard: now,
                ..Flow::default()
            }),
        };

        if let Some(limit) = self.forget_idle_after[heading].filter(|_| covered.own) {
            flow.forgotten |= now.saturating_sub(flow.last_heard) > limit;
            if flow.forgotten && !tcp.flags().opens() {
                return None;
            }
        }
        if tcp.flags().opens() {
            flow.forgotten = false;
        }
        flow.last_heard = now;
        if is_syn && covered.own && self.isn[heading].is_some() {
            flow.shift[heading] = Some(FlowShift::for_syn(
                flow.shift[heading],
                tcp.sequence(),
                &mut self.dice,
            ));
        }
        Some(flow.segment_shift(heading, &self.isn))
    }

    /// Undoes the shifts in a TCP segment that an ICMP error quotes: its sender must find the
    /// sequence number it sent, or it takes the error for a forgery.
    pub fn restore_quoted(&self, heading: Heading, ip: &Ip, packet: &mut [u8]) {
        if self.isn == PerHeading::default() {
            return;
        }
        icmp::edit_quoted(ip, packet, |inner, quotation| {
            let end = inner.end;
            let segment = &mut quotation[inner.payload.min(end)..end];
            let (true, Some(&[a, b, c, d])) = (inner.has_tcp_header(), segment.first_chunk())
            else {
                return;
            };
            // What is quoted travelled the other way.
            let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            let tuple = Tuple::new(heading.back(), inner, ports[0], ports[1]);
            let Some(flow) = self.known.get(&tuple) else {
                return;
            };
            let shift = flow.segment_shift(heading.back(), &self.isn);
            tcp::shift_quoted(
                segment,
                shift.sequence.wrapping_neg(),
                shift.acknowledgement,
            );
        });
    }
}

// === impl Flow ===

impl Flow {
    /// What a segment of this flow that travels this way is shifted by.
    fn segment_shift(&self, heading: Heading, isn: &PerHeading<Option<Isn>>) -> SegmentShift {
        let by = |heading| self.shift[heading].map_or(0, |shift| shift.by);
        SegmentShift {
            sequence: by(heading),
            acknowledgement: by(heading.back()),
            translate_sack: isn[heading.back()].is_some_and(|isn| isn.translate_sack),
        }
    }
}

// === impl Tuple ===

impl Tuple {
    fn new(heading: Heading, ip: &Ip, source_port: u16, destination_port: u16) -> Self {
        let source = (ip.source, source_port);
        let destination = (ip.destination, destination_port);
        match heading {
            Heading::AToB => Self {
                a: source,
                b: destination,
            },
            Heading::BToA => Self {
                a: destination,
                b: source,
            },
        }
    }
}
