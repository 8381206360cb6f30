//! What comes to an end, and what leaves its host: whose it is, and who takes it.

use std::time::Duration;

use super::flow::Flow;
use super::{Agent, Job, OUTBOX, single_label};
use crate::diagnose::probe::order::{FlowId, TooBig};
use crate::packet::ip::protocol;
use crate::packet::{Flags, Fragment, Ip, Tcp, icmp};

/// What is late by more than this opens no flow.
const LATE: Duration = Duration::from_secs(3);

// === impl Agent ===

impl Agent {
    /// Takes a packet that came to this host, from its IP header on. What is not the probe's is left alone.
    pub fn incoming(&mut self, now: Duration, packet: &[u8]) {
        self.now = now;
        let Ok(ip) = Ip::parse(packet) else { return };
        if ip.destination != self.between.own || ip.fragment == Fragment::Later {
            return;
        }
        if let Some(told) = self.too_big_of(&ip, packet) {
            self.take_too_big(&told);
        } else if ip.source != self.between.peer {
            // Somebody else's.
        } else if ip.is_icmp() {
            self.echoes.take(&ip, packet);
        } else if ip.protocol == protocol::TCP {
            self.segment(&ip, packet);
        }
    }

    /// Takes a packet that left this host, sent by whomever: where a service of the host answers in our place, and
    /// where the host's own rules answer with a reset. The end's own resets are of flows that it has closed.
    pub fn outgoing(&mut self, now: Duration, packet: &[u8]) {
        self.now = now;
        let Ok(ip) = Ip::parse(packet) else { return };
        if (ip.source, ip.destination) != (self.between.own, self.between.peer)
            || ip.protocol != protocol::TCP
            || ip.fragment != Fragment::Whole
        {
            return;
        }
        let Ok(tcp) = Tcp::parse(&packet[ip.payload..ip.end]) else {
            return;
        };
        let ports = (tcp.source_port(), Some(tcp.destination_port()));
        let is_reset = tcp.flags().has(Flags::RST);
        let is_its = |flow: &&mut Flow| {
            (flow.watched || is_reset) && (flow.own_port, flow.peer_port) == ports
        };
        if let Some(flow) = self.flows.values_mut().find(is_its) {
            flow.overhear(&ip, packet, &tcp);
        }
    }

    fn segment(&mut self, ip: &Ip, packet: &[u8]) {
        let Ok(tcp) = Tcp::parse(&packet[ip.payload..ip.end]) else {
            return;
        };
        let Some(id) = self.flow_of(&tcp) else { return };
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let flags = tcp.flags();
        let is_pure = tcp.payload().is_empty()
            && flags.0 & (Flags::SYN | Flags::RST | Flags::FIN).0 == 0
            && flags.has(Flags::ACK);
        if is_pure && flow.trained {
            if let Some(Job::Train(its, train)) = &mut self.job
                && *its == id
            {
                train.acknowledged(self.now, tcp.acknowledgement());
            }
            return;
        }
        let now_us = self.now.as_micros() as u32;
        let base = &mut self.transit_base;
        let since = |sent_us: u32| {
            let measured = now_us.wrapping_sub(sent_us);
            transit(measured, *base.get_or_insert(measured))
        };
        let ack = flow.take(ip, packet, &tcp, since);
        if let Some(ack) = ack
            && self.outbox.len() < OUTBOX
        {
            let label = single_label(&ack, self.now, 0);
            let packet = flow.build(self.between, &ack, label);
            self.outbox.extend(packet);
        }
    }

    /// The flow that a segment belongs to. The SYN of an unknown one opens the first that waits for it.
    fn flow_of(&mut self, tcp: &Tcp<&[u8]>) -> Option<FlowId> {
        let (own, peer) = (tcp.destination_port(), tcp.source_port());
        let is_its = |flow: &Flow| (flow.own_port, flow.peer_port) == (own, Some(peer));
        if let Some((id, _)) = self.flows.iter().find(|(_, flow)| is_its(flow)) {
            return Some(*id);
        }
        let now = self.now;
        self.closed.retain(|(when, _, _)| now < *when + LATE);
        let is_late = self.closed.iter().any(|(_, o, p)| (*o, *p) == (own, peer));
        if is_late || !tcp.flags().opens() {
            return None;
        }
        let waits = |flow: &Flow| flow.own_port == own && flow.peer_port.is_none();
        let (id, flow) = self.flows.iter_mut().find(|(_, flow)| waits(flow))?;
        flow.peer_port = Some(peer);
        Some(*id)
    }

    /// What a router says of a packet of ours that was too big, and of which protocol that was.
    fn too_big_of(&self, ip: &Ip, packet: &[u8]) -> Option<Told> {
        let at = icmp::quoted(ip, packet)?;
        let message = packet.get(ip.payload..ip.payload + 8)?;
        let mtu = match (ip.protocol, message[0], message[1]) {
            (protocol::ICMP, 3, 4) => u16::from_be_bytes([message[6], message[7]]),
            (protocol::ICMPV6, 2, _) => {
                let mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
                u16::try_from(mtu).unwrap_or(u16::MAX)
            }
            _ => return None,
        };
        let quotation = &packet[at..ip.end];
        let inner = Ip::parse_quoted(quotation).ok()?;
        if (inner.source, inner.destination) != (self.between.own, self.between.peer) {
            return None;
        }
        let own_port = quotation
            .get(inner.payload..inner.payload + 2)
            .map(|port| u16::from_be_bytes([port[0], port[1]]));
        Some(Told {
            is_echo: inner.is_icmp(),
            own_port,
            too_big: TooBig { by: ip.source, mtu },
        })
    }

    fn take_too_big(&mut self, told: &Told) {
        if told.is_echo {
            self.echoes.too_big(told.too_big);
        } else if self
            .flows
            .values()
            .any(|flow| Some(flow.own_port) == told.own_port)
        {
            self.too_big = Some(told.too_big);
        }
    }
}

/// An ICMP error for a packet that was too big.
struct Told {
    is_echo: bool,
    /// The first two bytes of what was quoted after the IP header: TCP's source port.
    own_port: Option<u16>,
    too_big: TooBig,
}

/// A transit time, by the first one that was seen: the difference of clocks that wrap may be anywhere.
fn transit(measured: u32, base: u32) -> i64 {
    i64::from(base) + i64::from(measured.wrapping_sub(base) as i32)
}
