//! What of a capture is TCP, and what is left out and why.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::diagnose::tracking::{Segment, Unseen};
use crate::packet::capture::Packet;
use crate::packet::link::{Carried, LinkType, Travel};

/// Two sightings of a packet that a router has passed on are closer together than this.
const SOON: Duration = Duration::from_millis(50);
/// So many packets are remembered for that; a power of two.
const REMEMBERED: usize = 4_096;

/// Where a packet was seen: conntrack's view is one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The interface of the capture.
    pub interface: usize,
    /// The number of the device, where the capture is of all of them.
    pub device: Option<u32>,
}

/// A segment of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// Which packet of the capture it is, the first being 1.
    pub number: u64,
    /// When, since the epoch.
    pub at: Duration,
    /// Where its record begins in the file.
    pub offset: u64,
    /// Where it was seen.
    pub place: Place,
    /// What the tracker looks at.
    pub segment: Segment,
    /// The IP packet, as far as it was captured.
    pub bytes: &'a [u8],
    /// How long the IP packet was.
    pub length: usize,
}

/// Why a packet of a capture is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// No IP packet.
    NotIp,
    /// Of an interface too many.
    Place,
    /// Its link type is not known.
    UnknownLink(u16),
    /// Another protocol than TCP.
    NotTcp,
    /// A fragment: conntrack looks at the packet that is put together of them.
    Fragment,
    /// The capture holds too little of it.
    Cut,
    /// Its IP header is broken.
    Malformed,
    /// The same packet again, on its way through a router or a switch.
    Copy,
}

/// Numbers the packets of a capture, and sorts out.
pub struct Intake {
    number: u64,
    recent: Vec<Recent>,
}

/// What is remembered of a packet to know a copy of it.
#[derive(Clone, Copy, Default)]
struct Recent {
    /// Of what a router leaves as it is.
    same: u64,
    /// Of what it changes: TTL, addresses of the link, device.
    other: u64,
    at: Duration,
}

// === impl Intake ===

impl Default for Intake {
    fn default() -> Self {
        Self {
            number: 0,
            recent: vec![Recent::default(); REMEMBERED],
        }
    }
}

impl Intake {
    /// How many packets there were.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.number
    }

    /// Looks at the next packet.
    pub fn take<'a>(&mut self, packet: &Packet<'a>) -> Result<Sighting<'a>, LeftOut> {
        self.number += 1;
        if let LinkType::Other(number) = packet.link {
            return Err(LeftOut::UnknownLink(number));
        }
        let frame = packet.link.open(packet.bytes);
        let bytes = match frame.carried {
            Carried::Ip(bytes) => bytes,
            Carried::NotIp => return Err(LeftOut::NotIp),
            Carried::CutShort => return Err(LeftOut::Cut),
        };
        let length = packet.original_length.saturating_sub(frame.heading);
        let segment = Segment::parse(bytes, length).map_err(|why| match why {
            Unseen::NotTcp => LeftOut::NotTcp,
            Unseen::Fragment => LeftOut::Fragment,
            Unseen::Cut { .. } => LeftOut::Cut,
            Unseen::Malformed(_) => LeftOut::Malformed,
        })?;
        let place = Place {
            interface: packet.interface,
            device: frame.device,
        };
        let heading = &packet.bytes[..frame.heading.min(packet.bytes.len())];
        if self.is_copy(packet.at, place, heading, frame.travel, bytes) {
            return Err(LeftOut::Copy);
        }
        Ok(Sighting {
            number: self.number,
            at: packet.at,
            offset: packet.offset,
            place,
            segment,
            bytes,
            length,
        })
    }

    /// Whether the same packet was just seen at the same place with another TTL, VLAN or link address: a switch
    /// or a router shows it before and after. The very same bytes again are a packet of their own.
    fn is_copy(
        &mut self,
        at: Duration,
        place: Place,
        heading: &[u8],
        travel: Option<Travel>,
        bytes: &[u8],
    ) -> bool {
        let headers = &bytes[..bytes.len().min(96)];
        let (ttl, rest) = match headers[0] >> 4 {
            // TTL, and the checksum that goes with it.
            4 => (headers.get(8), [headers.get(2..8), headers.get(12..)]),
            _ => (headers.get(7), [headers.get(1..7), headers.get(8..)]),
        };
        let mut same = DefaultHasher::new();
        (place, rest).hash(&mut same);
        let mut other = DefaultHasher::new();
        (ttl, heading, travel).hash(&mut other);
        let now = Recent {
            same: same.finish(),
            other: other.finish(),
            at,
        };
        let slot = &mut self.recent[now.same as usize % REMEMBERED];
        let before = *slot;
        if before.same == now.same
            && before.other != now.other
            && at.saturating_sub(before.at) < SOON
        {
            return true;
        }
        *slot = now;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(mac: u8, ttl: u8, identification: u8) -> Vec<u8> {
        let mut packet = crate::packet::samples::Segment::default().build();
        packet[5] = identification;
        packet[8] = ttl;
        [&[mac; 12][..], &[8, 0], &packet].concat()
    }

    fn take(intake: &mut Intake, millis: u64, bytes: &[u8]) -> Result<u64, LeftOut> {
        let packet = Packet {
            at: Duration::from_millis(millis),
            link: LinkType::Ethernet,
            interface: 0,
            bytes,
            original_length: bytes.len(),
            offset: 24,
        };
        intake.take(&packet).map(|sighting| sighting.number)
    }

    #[test]
    fn a_packet_seen_before_and_after_a_router_is_looked_at_once() {
        let mut intake = Intake::default();
        assert_eq!(take(&mut intake, 0, &ethernet(1, 64, 7)), Ok(1));
        let passed_on = ethernet(2, 63, 7);
        assert_eq!(take(&mut intake, 1, &passed_on), Err(LeftOut::Copy));
        let much_later = take(&mut intake, 900, &passed_on);
        assert_eq!(much_later, Ok(3));
    }

    #[test]
    fn a_packet_that_comes_twice_by_the_same_way_is_looked_at_twice() {
        let mut intake = Intake::default();
        assert_eq!(take(&mut intake, 0, &ethernet(1, 64, 7)), Ok(1));
        assert_eq!(take(&mut intake, 1, &ethernet(1, 64, 7)), Ok(2));
        assert_eq!(take(&mut intake, 2, &ethernet(2, 64, 8)), Ok(3));
    }

    #[test]
    fn what_is_no_whole_segment_is_left_out_with_the_reason() {
        let mut intake = Intake::default();
        let whole = ethernet(1, 64, 7);
        assert_eq!(take(&mut intake, 0, &whole[..13]), Err(LeftOut::Cut));
        let mut fragment = whole.clone();
        fragment[14 + 6] = 0x20;
        assert_eq!(take(&mut intake, 0, &fragment), Err(LeftOut::Fragment));
        let mut udp = whole.clone();
        udp[14 + 9] = 17;
        assert_eq!(take(&mut intake, 0, &udp), Err(LeftOut::NotTcp));
        let mut arp = whole;
        arp[13] = 6;
        assert_eq!(take(&mut intake, 0, &arp), Err(LeftOut::NotIp));
    }
}
