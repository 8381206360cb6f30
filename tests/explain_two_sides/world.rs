//! Two hosts and the lab's firewall between them, on a clock of their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use unmangle::lab::wire::{Delivery, Heading, Mangler, WireSpec};
use unmangle::packet::{Flags, Ip, Options, Tcp, TcpOption};

use crate::captures::{Segment, offer, stamped};

const SEGMENTS: u32 = 400;
/// The server behind its capture never gets this one, so that it sends SACK blocks.
const MISSED: u32 = 100;
/// Before this one the client is silent.
const AFTER_SILENCE: u32 = 300;
const SILENCE: Duration = Duration::from_secs(30);
const CLIENT_ISN: u32 = 4_294_900_000;
const SERVER_ISN: u32 = 77_000;
/// By so much the server's clock is ahead.
pub const AHEAD: Duration = Duration::from_millis(1_500);

/// Two hosts, what each of them captures, and the firewall between them.
pub struct World {
    mangler: Mangler,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    counted: u64,
    captured: [Vec<(Duration, Vec<u8>)>; 2],
    /// What the server has of the client's bytes, by its own numbers.
    ranges: BTreeMap<u32, u32>,
    server: Host,
    client: Host,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(u32),
    Arrives(bool, Vec<u8>),
}

#[derive(Default)]
struct Host {
    next: u32,
    acknowledges: u32,
    sack_permitted: bool,
    stamp: u32,
    identification: u16,
}

impl World {
    pub fn new(spec: &WireSpec) -> Self {
        let mut world = Self {
            mangler: Mangler::new(spec),
            events: BinaryHeap::new(),
            counted: 0,
            captured: [Vec::new(), Vec::new()],
            ranges: BTreeMap::new(),
            server: Host {
                next: SERVER_ISN,
                ..Host::default()
            },
            client: Host {
                next: CLIENT_ISN,
                ..Host::default()
            },
        };
        let mut at = Duration::from_secs(1);
        for n in 0..SEGMENTS {
            at += Duration::from_millis(2);
            if n == AFTER_SILENCE {
                at += SILENCE;
            }
            world.push(at, Event::Send(n));
        }
        world
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.counted += 1;
        self.events.push(Reverse((at, self.counted, event)));
    }

    /// What the client and the server captured.
    pub fn run(mut self) -> [Vec<(Duration, Vec<u8>)>; 2] {
        let syn = Segment {
            flags: "S",
            options: offer(1, 0),
            ..Segment::default()
        };
        self.send(Duration::from_millis(1), syn);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            match event {
                Event::Send(n) => self.data(at, n),
                Event::Arrives(at_server, packet) => self.arrives(at, at_server, packet),
            }
        }
        self.captured
    }

    fn data(&mut self, at: Duration, n: u32) {
        let options = stamped(self.client.stamp, 5, &[]);
        // Some of them are small.
        let payload = if n.is_multiple_of(4) { 200 } else { 1_400 };
        let segment = Segment {
            flags: "PA",
            payload,
            options,
            ..Segment::default()
        };
        self.send(at, segment);
    }

    /// Fills in what the host knows, captures it, and gives it to the wire.
    fn send(&mut self, at: Duration, mut segment: Segment) {
        let host = match segment.from_server {
            true => &mut self.server,
            false => &mut self.client,
        };
        segment.sequence = host.next;
        segment.acknowledgement = if segment.flags == "S" {
            0
        } else {
            host.acknowledges
        };
        host.identification += 1;
        host.stamp += 1;
        segment.identification = host.identification;
        host.next = host
            .next
            .wrapping_add(segment.payload as u32 + u32::from(segment.flags.contains('S')));
        let packet = segment.build();
        self.capture(at, segment.from_server, &packet);
        let heading = if segment.from_server {
            Heading::BToA
        } else {
            Heading::AToB
        };
        let mut out = Vec::new();
        self.mangler.carry(heading, at, packet, &mut out);
        for Delivery {
            due,
            heading,
            packet,
        } in out
        {
            let due = due.max(at) + Duration::from_micros(500);
            self.push(due, Event::Arrives(heading == Heading::AToB, packet));
        }
    }

    fn capture(&mut self, at: Duration, at_server: bool, packet: &[u8]) {
        let at = at + if at_server { AHEAD } else { Duration::ZERO };
        self.captured[usize::from(at_server)]
            .push((at + Duration::from_secs(1_000), packet.to_vec()));
    }

    fn arrives(&mut self, at: Duration, at_server: bool, packet: Vec<u8>) {
        self.capture(at, at_server, &packet);
        let ip = Ip::parse(&packet).unwrap();
        let Ok(tcp) = Tcp::parse(&packet[ip.payload..ip.end]) else {
            return;
        };
        if !ip.has_tcp_header() {
            return;
        }
        let end = tcp.sequence().wrapping_add(tcp.payload().len() as u32);
        if tcp.flags().has(Flags::SYN) {
            let host = if at_server {
                &mut self.server
            } else {
                &mut self.client
            };
            host.acknowledges = end.wrapping_add(1);
            host.sack_permitted =
                Options::new(tcp.header()).any(|option| option == TcpOption::SackPermitted);
            let at = at + Duration::from_micros(10);
            match at_server {
                true => self.send(
                    at,
                    Segment {
                        from_server: true,
                        flags: "SA",
                        options: offer(5, 1),
                        ..Segment::default()
                    },
                ),
                false => self.send(
                    at,
                    Segment {
                        options: stamped(2, 5, &[]),
                        ..Segment::default()
                    },
                ),
            }
            return;
        }
        match at_server {
            true if !tcp.payload().is_empty() => self.answer(at, tcp.sequence(), end),
            false if !tcp.payload().is_empty() => self.client.acknowledges = end,
            _ => {}
        }
    }

    /// The server has got data: it says what it has, and sometimes more.
    fn answer(&mut self, at: Duration, begin: u32, end: u32) {
        let missed = self.server.acknowledges;
        let count = self.counted_data();
        if count != MISSED && end.wrapping_sub(missed) < 1 << 31 {
            self.ranges
                .insert(begin.wrapping_sub(missed), end.wrapping_sub(missed));
        }
        // From the front as far as there is no gap.
        let mut reached = 0;
        while let Some(end) = self.ranges.remove(&reached) {
            reached = end;
        }
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        let ranges: BTreeMap<u32, u32> = self
            .ranges
            .iter()
            .map(|(begin, end)| (begin.wrapping_sub(reached), end.wrapping_sub(reached)))
            .collect();
        self.server.acknowledges = missed.wrapping_add(reached);
        for (begin, end) in &ranges {
            let at = |offset: u32| self.server.acknowledges.wrapping_add(offset);
            match blocks.last_mut() {
                Some(last) if last.1 == at(*begin) => last.1 = at(*end),
                _ => blocks.push((at(*begin), at(*end))),
            }
        }
        self.ranges = ranges;
        if !self.server.sack_permitted {
            blocks.clear();
        }
        let payload = if count.is_multiple_of(20) { 100 } else { 0 };
        let options = stamped(self.server.stamp, 9, &blocks);
        let segment = Segment {
            from_server: true,
            options,
            payload,
            ..Segment::default()
        };
        self.send(at + Duration::from_micros(10), segment);
    }

    /// Data segments that have come to the server.
    fn counted_data(&self) -> u32 {
        let data = self.captured[1]
            .iter()
            .filter(|(_, packet)| packet.len() > 200);
        data.count() as u32
    }
}
