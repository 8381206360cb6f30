//! A crafted TCP connection to an open port, which delivers nothing to the service behind it: every byte of data leaves
//! a hole of one byte before it, so that the receiver keeps it and answers at once (RFC 5681, 4.2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::came::{Came, Options, Segment, What};
use super::line::Line;
use super::network::{Broken, Fate};
use super::seen::Target;
use crate::packet::craft::{self, Carried, ip_header};
use crate::packet::{Flags, Ip};

/// How long a SYN-ACK is waited for, SYN by SYN.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The window that is announced, not scaled.
const WINDOW: u16 = 0xfff0;
/// The shift that is offered.
const SCALE: u8 = 7;

/// What a SYN offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// All that Linux offers: MSS, SACK-permitted, timestamps, window scale.
    Everything,
    /// MSS alone: without SACK, Linux answers every single segment that leaves a hole.
    MssAlone,
}

/// An open connection.
#[derive(Debug)]
pub struct Flow {
    own: SocketAddr,
    peer: SocketAddr,
    next: u32,
    their_next: u32,
    timestamp: Option<u32>,
    reset: bool,
    /// Its SYN-ACK's options.
    pub offered: Options,
    /// How many bytes the receiver has room for.
    pub room: u32,
    /// Time there and back.
    pub round_trip: Duration,
    /// The last "too big" about a segment of this flow.
    pub too_big: Option<(IpAddr, u32)>,
}

/// What became of a SYN.
#[derive(Debug)]
pub enum Opened {
    /// It was answered.
    Flow(Box<Flow>),
    /// It was reset.
    Closed,
    /// Nothing came.
    Silent,
    /// Somebody says that it cannot be delivered.
    Unreachable(IpAddr),
    /// The host's own rules do not let it leave.
    Forbidden,
}

/// The options of a SYN.
#[must_use]
pub fn syn_options(offer: Offer, mss: u16, timestamp: u32) -> Vec<u8> {
    let mut options = vec![2, 4];
    options.extend(mss.to_be_bytes());
    if offer == Offer::Everything {
        options.extend([4, 2, 8, 10]);
        options.extend(timestamp.to_be_bytes());
        options.extend([0, 0, 0, 0, 1, 3, 3, SCALE]);
    }
    options
}

// === impl Flow ===

impl Flow {
    /// Opens one.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn open(line: &mut Line<'_>, target: &Target, offer: Offer) -> Result<Opened, Broken> {
        let sequence = rand::random::<u32>();
        let timestamp = rand::random::<u32>() >> 1;
        let mut flow = Self {
            own: (target.own, line.port()?).into(),
            peer: (target.host, target.port).into(),
            next: sequence.wrapping_add(1),
            their_next: 0,
            timestamp: None,
            reset: false,
            offered: Options::default(),
            room: 0,
            round_trip: Duration::ZERO,
            too_big: None,
        };
        let mss = target.longest - ip_header(target.host) as u16 - 20;
        let mut unreachable = None;
        // A late answer may be one to an earlier SYN: the time is rather taken too long than too short.
        let first = line.now();
        for patience in PATIENCE {
            let begun = line.now();
            let options = syn_options(offer, mss, timestamp);
            let syn = flow.segment(Flags::SYN, sequence, options, 0);
            match line.send(&syn)? {
                Fate::Sent => {}
                Fate::TooLong | Fate::Forbidden => return Ok(Opened::Forbidden),
            }
            while let Some(came) = line.next(begun + patience)? {
                match came {
                    Came::Segment(segment) if flow.is_ours(&segment) => {
                        if segment.flags.has(Flags::RST) {
                            return Ok(Opened::Closed);
                        }
                        let answers = segment.flags.has(Flags::SYN | Flags::ACK)
                            && segment.acknowledgement == flow.next;
                        if answers {
                            flow.round_trip = line.now().saturating_sub(first);
                            flow.establish(line, segment, timestamp)?;
                            return Ok(Opened::Flow(Box::new(flow)));
                        }
                    }
                    Came::Error(error)
                        if error.what == What::Unreachable && flow.quotes(&error.quote) =>
                    {
                        unreachable = Some(error.by);
                    }
                    _ => {}
                }
            }
        }
        Ok(unreachable.map_or(Opened::Silent, Opened::Unreachable))
    }

    fn establish(
        &mut self,
        line: &mut Line<'_>,
        answer: Segment,
        timestamp: u32,
    ) -> Result<(), Broken> {
        self.their_next = answer.sequence.wrapping_add(1);
        self.timestamp = answer.options.timestamps.is_some().then_some(timestamp);
        // A window in a SYN-ACK is never scaled (RFC 7323, 2.2).
        self.room = answer.window.into();
        self.offered = answer.options;
        let next = self.next;
        let options = self.options(answer_value(&self.offered));
        let ack = self.segment(Flags::ACK, next, options, 0);
        line.send(&ack).map(drop)
    }

    /// What was echoed of our timestamp, and what it was.
    #[must_use]
    pub fn echoed(&self) -> Option<(u32, u32)> {
        let (_, echo) = self.offered.timestamps?;
        Some((echo, self.timestamp?))
    }

    /// Bytes of IP and TCP header of each segment with data.
    #[must_use]
    pub fn headers(&self) -> u16 {
        let options = if self.timestamp.is_some() { 12 } else { 0 };
        ip_header(self.peer.ip()) as u16 + 20 + options
    }

    /// The longest packet that a sender makes of this flow: what the peer's MSS allows, and what it has room for.
    #[must_use]
    pub fn longest(&self) -> u16 {
        let mss = self.offered.mss.unwrap_or(536);
        let headers = ip_header(self.peer.ip()) as u32 + 20;
        let room = u32::from(self.headers()) + self.room.saturating_sub(2);
        (u32::from(mss) + headers)
            .min(room)
            .min(u16::MAX.into())
            .try_into()
            .unwrap_or(u16::MAX)
    }

    /// Sends data in a packet of so many bytes; a hole of one byte is before it.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn send(&mut self, line: &mut Line<'_>, size: u16) -> Result<Fate, Broken> {
        let payload = usize::from(size - self.headers());
        let options = self.options(answer_value(&self.offered));
        let sequence = self.hole_end();
        let packet = self.segment(Flags::ACK | Flags::PSH, sequence, options, payload);
        line.send(&packet)
    }

    /// Where the data of every segment begins.
    #[must_use]
    pub fn hole_end(&self) -> u32 {
        self.next.wrapping_add(1)
    }

    /// The next acknowledgement of what leaves a hole, before this time.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn answer(
        &mut self,
        line: &mut Line<'_>,
        until: Duration,
    ) -> Result<Option<Segment>, Broken> {
        while let Some(came) = line.next(until)? {
            match came {
                Came::Segment(segment) if self.is_ours(&segment) => {
                    if segment.flags.has(Flags::RST) {
                        self.reset = true;
                        return Ok(None);
                    }
                    let taken = segment.payload as u32 + u32::from(segment.flags.has(Flags::FIN));
                    if taken > 0 && segment.sequence == self.their_next {
                        self.their_next = self.their_next.wrapping_add(taken);
                    }
                    let answers = taken == 0
                        && segment.flags.has(Flags::ACK)
                        && !segment.flags.has(Flags::SYN)
                        && segment.acknowledgement == self.next;
                    if answers {
                        return Ok(Some(segment));
                    }
                }
                Came::Error(error) => {
                    if let What::TooBig(mtu) = error.what
                        && self.quotes(&error.quote)
                    {
                        self.too_big = Some((error.by, mtu));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether it was reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// Resets it.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn close(self, line: &mut Line<'_>) -> Result<(), Broken> {
        let packet = self.segment(Flags::RST | Flags::ACK, self.next, Vec::new(), 0);
        line.send(&packet).map(drop)
    }

    fn options(&mut self, echo: u32) -> Vec<u8> {
        let Some(value) = &mut self.timestamp else {
            return Vec::new();
        };
        let mut options = vec![1, 1, 8, 10];
        options.extend(value.to_be_bytes());
        options.extend(echo.to_be_bytes());
        options
    }

    fn segment(&self, flags: Flags, sequence: u32, options: Vec<u8>, payload: usize) -> Vec<u8> {
        let segment = craft::Segment {
            source: self.own,
            destination: self.peer,
            carried: Carried {
                identification: rand::random(),
                ..Carried::default()
            },
            sequence,
            acknowledgement: if flags.has(Flags::ACK) {
                self.their_next
            } else {
                0
            },
            flags,
            window: WINDOW,
            urgent: 0,
            options,
            payload: vec![0x55; payload],
        };
        segment.build()
    }

    fn is_ours(&self, segment: &Segment) -> bool {
        segment.from == self.peer.ip()
            && segment.source_port == self.peer.port()
            && segment.destination_port == self.own.port()
    }

    /// Whether a quotation is of this flow.
    fn quotes(&self, quote: &[u8]) -> bool {
        Ip::parse_quoted(quote).is_ok_and(|ip| {
            ip.has_tcp_header()
                && ip.destination == self.peer.ip()
                && quote.get(ip.payload..ip.payload + 2) == Some(&self.own.port().to_be_bytes()[..])
        })
    }
}

/// The timestamp that is to be echoed.
fn answer_value(offered: &Options) -> u32 {
    offered.timestamps.map_or(0, |(value, _)| value)
}
