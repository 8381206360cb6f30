//! A transfer over time, from what the host that opened the connection saw: bytes that were acknowledged. Pure.
//!
//! The receiver's acknowledgements are counted, from the sender's first sequence number on. It is what TCP carries: the
//! file, and what the tool says around it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::matrix::FlowDirection;
use crate::packet::{Flags, Ip, Tcp, ip};

/// What matters of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) flags: Flags,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
}

/// What a capture says of a transfer, packet by packet.
#[derive(Debug)]
pub(super) struct Progress {
    ports: &'static [u16],
    direction: FlowDirection,
    /// A difference that can be seen in a chart: others are not kept.
    visible: u64,
    begun: Option<Duration>,
    /// By who opened them and whom to.
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
    points: Vec<(Duration, u64)>,
    last: Option<(Duration, u64)>,
    reset: Option<Duration>,
}

/// A connection: what was acknowledged last, once the sender's first number is known.
#[derive(Debug, Default)]
struct Flow {
    acknowledged: Option<u32>,
}

/// A transfer over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Carried {
    /// When the first connection was opened, since the epoch.
    pub(super) begun: Duration,
    /// Seconds since then, and how many bytes had been acknowledged by then; it grows in steps.
    pub(super) points: Vec<(f64, u64)>,
    /// The last of them.
    pub(super) last: (f64, u64),
    /// When the first TCP reset was seen.
    pub(super) reset: Option<f64>,
}

/// So many steps of a chart can be told apart.
const STEPS: u64 = 1000;

// === impl Segment ===

impl Segment {
    /// Reads a packet from its IP header on, as far as it is there; none if it is no TCP or too short.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let header = Ip::parse_quoted(packet).ok()?;
        if header.protocol != ip::protocol::TCP {
            return None;
        }
        let tcp = Tcp::parse(packet.get(header.payload..)?).ok()?;
        Some(Self {
            from: (header.source, tcp.source_port()).into(),
            to: (header.destination, tcp.destination_port()).into(),
            flags: tcp.flags(),
            sequence: tcp.sequence(),
            acknowledgement: tcp.acknowledgement(),
        })
    }
}

// === impl Progress ===

impl Progress {
    /// Of a transfer of so many bytes by connections to one of these ports.
    pub(super) fn new(ports: &'static [u16], direction: FlowDirection, bytes: u64) -> Self {
        Self {
            ports,
            direction,
            visible: bytes / STEPS,
            begun: None,
            flows: HashMap::new(),
            points: Vec::new(),
            last: None,
            reset: None,
        }
    }

    /// Sees the next segment. One that is seen twice, on two devices, counts once.
    pub(super) fn sees(&mut self, at: Duration, segment: &Segment) {
        let Segment {
            from, to, flags, ..
        } = *segment;
        let outwards = self.ports.contains(&to.port());
        let (opener, peer) = if outwards { (from, to) } else { (to, from) };
        if !self.ports.contains(&peer.port()) {
            return;
        }
        if outwards && flags.opens() {
            self.begun.get_or_insert(at);
            self.flows.entry((opener, peer)).or_default();
        }
        let Some(flow) = self.flows.get_mut(&(opener, peer)) else {
            return;
        };
        if flags.has(Flags::RST) {
            self.reset.get_or_insert(at);
            return;
        }
        let by_sender = outwards == (self.direction == FlowDirection::Upload);
        if by_sender && flags.has(Flags::SYN) && flow.acknowledged.is_none() {
            flow.acknowledged = Some(segment.sequence.wrapping_add(1));
        }
        let (false, true, Some(before)) = (by_sender, flags.has(Flags::ACK), flow.acknowledged)
        else {
            return;
        };
        let more = segment.acknowledgement.wrapping_sub(before);
        if more > 0 && more < 1 << 31 {
            flow.acknowledged = Some(segment.acknowledgement);
            self.grows(at, more.into());
        }
    }

    fn grows(&mut self, at: Duration, more: u64) {
        let sum = self.last.map_or(0, |(_, sum)| sum) + more;
        self.last = Some((at, sum));
        let kept = self.points.last().map_or(0, |(_, sum)| *sum);
        if sum >= kept + self.visible.max(1) {
            self.points.push((at, sum));
        }
    }

    /// What there was to see; none if no connection was opened.
    pub(super) fn ended(mut self) -> Option<Carried> {
        let begun = self.begun?;
        let since = |at: Duration| at.saturating_sub(begun).as_secs_f64();
        let last = self.last.unwrap_or((begun, 0));
        if self.points.last() != Some(&last) {
            self.points.push(last);
        }
        Some(Carried {
            begun,
            points: self
                .points
                .iter()
                .map(|(at, sum)| (since(*at), *sum))
                .collect(),
            last: (since(last.0), last.1),
            reset: self.reset.map(since),
        })
    }
}

// === impl Carried ===

impl Carried {
    /// The bytes that had been acknowledged by then.
    pub(super) fn by(&self, seconds: f64) -> u64 {
        let before = self.points.iter().take_while(|(at, _)| *at <= seconds);
        before.last().map_or(0, |(_, sum)| *sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FlowDirection::{Download, Upload};

    const PORTS: &[u16] = &[22];
    const SYN_ACK: Flags = Flags(0x12);

    /// Segments of one connection: when in milliseconds, whether the opener sends it, flags, numbers.
    fn seen(direction: FlowDirection, segments: &[(u64, bool, Flags, u32, u32)]) -> Progress {
        let (opener, peer) = ("192.0.2.2:4711", "198.51.100.2:22");
        let [opener, peer]: [SocketAddr; 2] = [opener, peer].map(|text| text.parse().unwrap());
        let mut progress = Progress::new(PORTS, direction, 10_000);
        for (at, outwards, flags, sequence, acknowledgement) in segments {
            let (from, to) = if *outwards {
                (opener, peer)
            } else {
                (peer, opener)
            };
            let segment = Segment {
                from,
                to,
                flags: *flags,
                sequence: *sequence,
                acknowledgement: *acknowledgement,
            };
            progress.sees(Duration::from_millis(1000 + at), &segment);
        }
        progress
    }

    #[test]
    fn an_upload_is_what_the_peer_acknowledges_and_a_download_what_the_opener_does() {
        let segments = [
            (0, true, Flags::SYN, u32::MAX - 9, 0),
            (1, false, SYN_ACK, 500, u32::MAX - 8),
            (2, true, Flags::ACK, u32::MAX - 8, 501),
            (5, false, Flags::ACK, 501, 991),
            (7, true, Flags::ACK, 991, 701),
            // Seen again on another device, and an old one.
            (7, true, Flags::ACK, 991, 701),
            (8, true, Flags::ACK, 991, 601),
        ];
        let upload = seen(Upload, &segments).ended().unwrap();
        assert_eq!(upload.begun, Duration::from_secs(1));
        assert_eq!(upload.points, [(0.005, 1000)]);
        let download = seen(Download, &segments).ended().unwrap();
        assert_eq!(download.points, [(0.007, 200)]);
        assert_eq!((download.by(0.0069), download.by(0.007)), (0, 200));
    }

    #[test]
    fn only_what_can_be_seen_is_kept_and_the_last_point_always() {
        let mut segments = vec![(0, true, Flags::SYN, 0, 0), (0, false, SYN_ACK, 0, 1)];
        segments.extend((1..=25).map(|step| (step, false, Flags::ACK, 1, 1 + step as u32)));
        let carried = seen(Upload, &segments).ended().unwrap();
        assert_eq!(carried.points, [(0.01, 10), (0.02, 20), (0.025, 25)]);
        assert_eq!(carried.last, (0.025, 25));
    }

    #[test]
    fn the_first_reset_is_told_and_its_number_is_no_progress() {
        let segments = [
            (0, true, Flags::SYN, 0, 0),
            (1, false, SYN_ACK, 0, 1),
            (3, false, Flags::RST | Flags::ACK, 1, 900),
            (9, true, Flags::RST, 1, 0),
        ];
        let carried = seen(Upload, &segments).ended().unwrap();
        assert_eq!((carried.reset, carried.last), (Some(0.003), (0.0, 0)));
    }

    #[test]
    fn what_is_no_connection_of_the_tool_is_left_out() {
        assert!(seen(Upload, &[(1, false, SYN_ACK, 0, 1)]).ended().is_none());
        let mut progress = Progress::new(&[873], Upload, 1);
        let [from, to] = ["192.0.2.2:4711", "198.51.100.2:22"].map(|text| text.parse().unwrap());
        let flags = Flags::SYN;
        let segment = Segment {
            from,
            to,
            flags,
            sequence: 0,
            acknowledgement: 0,
        };
        progress.sees(Duration::ZERO, &segment);
        assert!(progress.ended().is_none());
    }

    #[test]
    fn a_packet_that_is_cut_off_behind_its_headers_is_read_and_one_within_them_is_not() {
        let mut packet = vec![
            0x45, 0, 5, 220, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 2, 198, 51, 100, 2,
        ];
        packet.extend([
            0x12, 0x67, 0, 22, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
        ]);
        let segment = Segment::read(&packet).unwrap();
        assert_eq!((segment.sequence, segment.acknowledgement), (7, 9));
        assert_eq!(segment.to, "198.51.100.2:22".parse().unwrap());
        assert_eq!(Segment::read(&packet[..39]), None);
        packet[9] = 17;
        assert_eq!(Segment::read(&packet), None);
    }
}
