//! Echoes: sent one after another, and counted where they come.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::payload::{Content, Kind, Label, read};
use crate::diagnose::probe::order::{Dispatch, EchoHarvest, Echoes, TooBig};
use crate::packet::craft::{Carried, Echo, ip_header};
use crate::packet::{Fragment, Ip, checksum};

/// An echo header is this long.
const ECHO: usize = 8;

/// Echoes that are being sent.
#[derive(Debug)]
pub struct Sender {
    echoes: Echoes,
    sent: u16,
    next_at: Duration,
}

/// Echoes that came.
#[derive(Debug, Default)]
pub struct Counter {
    seen: HashSet<(bool, u16, u16)>,
    harvest: EchoHarvest,
}

// === impl Sender ===

impl Sender {
    /// Echoes to be sent from now on.
    pub fn new(echoes: Echoes, now: Duration) -> Self {
        Self {
            echoes,
            sent: 0,
            next_at: now,
        }
    }

    /// The next one, if it is due.
    pub fn poll(&mut self, now: Duration, own: IpAddr, peer: IpAddr) -> Option<Vec<u8>> {
        if self.is_done() || now < self.next_at {
            return None;
        }
        let sequence = self.echoes.sequence.wrapping_add(self.sent);
        let label = Label {
            kind: Kind::Echo,
            number: u32::from(self.echoes.identifier) << 16 | u32::from(sequence),
            sent_us: now.as_micros() as u32,
            length: self.echoes.length,
        };
        let echo = Echo {
            source: own,
            destination: peer,
            carried: Carried {
                identification: sequence,
                ..Carried::default()
            },
            reply: self.echoes.reply,
            identifier: self.echoes.identifier,
            sequence,
            payload: label.fill(usize::from(self.echoes.length) - ip_header(own) - ECHO),
        };
        self.sent += 1;
        self.next_at = now + Duration::from_micros(self.echoes.gap_us.into());
        Some(echo.build())
    }

    /// When the next one is to be sent.
    pub fn due(&self) -> Duration {
        self.next_at
    }

    /// Whether all are sent.
    pub fn is_done(&self) -> bool {
        self.sent == self.echoes.count
    }

    /// What was sent.
    pub fn dispatch(&self, too_big: Option<TooBig>) -> Dispatch {
        Dispatch {
            sent: self.sent.into(),
            too_big,
            next_sequence: self.echoes.sequence.wrapping_add(self.sent).into(),
        }
    }
}

// === impl Counter ===

impl Counter {
    /// Takes an ICMP message from the other end; whatever is no echo of the probe is left alone.
    pub fn take(&mut self, ip: &Ip, packet: &[u8]) {
        let message = &packet[ip.payload..ip.end];
        let Some((header, payload)) = message.split_first_chunk::<ECHO>() else {
            return;
        };
        let reply = match (ip.is_v4(), header[0], header[1]) {
            (true, 8, 0) | (false, 128, 0) => false,
            (true, 0, 0) | (false, 129, 0) => true,
            _ => return,
        };
        let Content::Right(label) = read(payload) else {
            return; // somebody's ping, or nothing that can be counted
        };
        if label.kind != Kind::Echo {
            return;
        }
        // The rest of it comes by itself, and is put together behind the tap.
        let is_first = ip.fragment == Fragment::First;
        let length = u16::try_from(ip.end).unwrap_or(u16::MAX);
        if length < label.length && !is_first {
            let least = self.harvest.truncated_to.unwrap_or(u16::MAX);
            self.harvest.truncated_to = Some(least.min(length));
            return;
        }
        let is_right = is_first || checksum::transport_is_right(ip, packet) == Some(true);
        let [_, _, _, _, i0, i1, s0, s1] = *header;
        let echo = (
            reply,
            u16::from_be_bytes([i0, i1]),
            u16::from_be_bytes([s0, s1]),
        );
        if !is_right || self.seen.len() > usize::from(u16::MAX) || !self.seen.insert(echo) {
            return;
        }
        self.harvest.fragmented += u32::from(is_first);
        if reply {
            self.harvest.replies += 1;
        } else {
            self.harvest.requests += 1;
        }
    }

    /// A router says that an echo was too big.
    pub fn too_big(&mut self, told: TooBig) {
        self.harvest.too_big = Some(told);
    }

    /// How many came.
    pub fn count(&self) -> u32 {
        self.harvest.requests + self.harvest.replies
    }

    /// What a router said.
    pub fn told(&self) -> Option<TooBig> {
        self.harvest.too_big
    }

    /// What came; from now on it is counted anew.
    pub fn harvest(&mut self) -> EchoHarvest {
        std::mem::take(self).harvest
    }
}
