//! One flow of crafted segments, as one end has it.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::payload::{Content, Label, read};
use super::receiver::{Came, Receiver};
use crate::diagnose::probe::order::{Arrival, Header, Spec};
use crate::packet::craft::{Carried, Segment};
use crate::packet::{Flags, Fragment, Ip, Tcp, checksum};

/// Arrivals that nobody asks for are not kept without end.
const KEPT: usize = 64;
/// No header that can be told is longer.
const LONGEST_HEADER: usize = 256;

/// A flow.
#[derive(Debug)]
pub struct Flow {
    pub own_port: u16,
    /// The server learns it from the SYN: it may have been translated on the way.
    pub peer_port: Option<u16>,
    /// A service of the host answers.
    pub watched: bool,
    pub receiver: Option<Receiver>,
    /// It has sent a train: acknowledgements are no arrivals.
    pub trained: bool,
    /// Where what this end sends next begins, in its own terms.
    next: Option<u32>,
    /// Where what the other sends next begins, in the terms in which it comes.
    peer_next: Option<u32>,
    arrivals: VecDeque<Arrival>,
    overheard: VecDeque<Header>,
}

/// Between whom a flow is.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    pub own: IpAddr,
    pub peer: IpAddr,
}

// === impl Flow ===

impl Flow {
    /// A flow of which nothing has been seen.
    pub fn new(own_port: u16, peer_port: Option<u16>, watched: bool) -> Self {
        Self {
            own_port,
            peer_port,
            watched,
            receiver: None,
            trained: false,
            next: None,
            peer_next: None,
            arrivals: VecDeque::new(),
            overheard: VecDeque::new(),
        }
    }

    /// The packet that a segment is to be; `None` as long as it is not known whom it is for, and where a service
    /// answers.
    pub fn build(&self, between: Between, spec: &Spec, label: Label) -> Option<Vec<u8>> {
        let peer_port = self.peer_port.filter(|_| !self.watched)?;
        let segment = Segment {
            source: (between.own, self.own_port).into(),
            destination: (between.peer, peer_port).into(),
            carried: Carried {
                traffic_class: spec.traffic_class,
                identification: label.number as u16,
                ..Carried::default()
            },
            sequence: spec.sequence,
            acknowledgement: spec.acknowledgement,
            flags: Flags(spec.flags),
            window: spec.window,
            urgent: spec.urgent,
            options: spec.options.0.clone(),
            payload: label.fill(spec.payload.into()),
        };
        Some(segment.build())
    }

    /// A segment of this flow was sent.
    pub fn sent(&mut self, spec: &Spec) {
        let end = end_of(Flags(spec.flags), spec.sequence, spec.payload.into());
        forward(&mut self.next, end);
    }

    /// What resets the flow at the other end and on the way there, in numbers that are within every window.
    pub fn reset(&self) -> Option<Spec> {
        let sequence = match (self.next, self.peer_next) {
            (Some(next), _) => next,
            (None, Some(_)) => 0, // as a port answers that is closed
            (None, None) => return None,
        };
        let acknowledges = self.peer_next.map_or(0, |_| Flags::ACK.0);
        Some(Spec {
            flags: Flags::RST.0 | acknowledges,
            sequence,
            acknowledgement: self.peer_next.unwrap_or(0),
            window: 0,
            ..Spec::default()
        })
    }

    /// Takes a segment that came; the acknowledgement that is due for it, of a train.
    pub fn take(
        &mut self,
        ip: &Ip,
        packet: &[u8],
        tcp: &Tcp<&[u8]>,
        mut since: impl FnMut(u32) -> i64,
    ) -> Option<Spec> {
        let payload = tcp.payload();
        let content = read(payload);
        let checksum_right = checksum::transport_is_right(ip, packet).unwrap_or(false);
        let length = u16::try_from(ip.end).unwrap_or(u16::MAX);
        if checksum_right {
            let end = end_of(tcp.flags(), tcp.sequence(), payload.len() as u32);
            forward(&mut self.peer_next, end);
        }
        if let (Some(receiver), false) = (&mut self.receiver, payload.is_empty()) {
            let transit_us = match content {
                Content::Right(label) => since(label.sent_us),
                _ => 0,
            };
            return receiver.take(&Came {
                content,
                checksum_right,
                sequence: tcp.sequence(),
                length,
                is_first: ip.fragment == Fragment::First,
                headers: (ip.payload + tcp.header_len()) as u16,
                transit_us,
            });
        }
        let end = ip.payload + tcp.header_len();
        if self.arrivals.len() < KEPT && end <= LONGEST_HEADER {
            self.arrivals.push_back(Arrival {
                header: Header(packet[..end].to_vec()),
                length,
                checksum_right,
                payload_right: payload.is_empty() || content != Content::Wrong,
            });
        }
        None
    }

    /// What came next.
    pub fn next_arrival(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
    }

    /// The service sent this, or the host's own rules.
    pub fn overhear(&mut self, ip: &Ip, packet: &[u8], tcp: &Tcp<&[u8]>) {
        let end = ip.payload + tcp.header_len();
        if self.overheard.len() < KEPT && end <= LONGEST_HEADER {
            self.overheard.push_back(Header(packet[..end].to_vec()));
        }
    }

    /// What they sent next.
    pub fn next_overheard(&mut self) -> Option<Header> {
        self.overheard.pop_front()
    }
}

/// Where what follows a segment begins.
fn end_of(flags: Flags, sequence: u32, payload: u32) -> u32 {
    let phantom = u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
    sequence.wrapping_add(payload + phantom)
}

/// Moves a number on, never back.
fn forward(known: &mut Option<u32>, to: u32) {
    if known.is_none_or(|known| (to.wrapping_sub(known) as i32) > 0) {
        *known = Some(to);
    }
}
