//! What the tracker looks at: fields and lengths of one segment. Captures cut packets short, so lengths
//! come from the headers; only the headers have to be there.

use std::net::SocketAddr;

use super::Kind;
use crate::packet::ip::protocol;
use crate::packet::options::OptionWalk;
use crate::packet::{Flags, Fragment, Ip, Malformed, OptionKind};

/// The longest header of a packet that is looked into: IPv6 with extensions, TCP with options.
const HEADERS: usize = 256;

/// A segment, as far as the tracker looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// The conntrack zone; 0 unless rules set one.
    pub zone: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Flags.
    pub flags: Flags,
    /// Bytes after the TCP header, whether the capture has them or not.
    pub payload: u32,
    /// What the options say.
    pub options: OptionsSeen,
    /// What is wrong with it before anything else is looked at.
    pub fault: Option<Fault>,
}

/// What the tracker reads of a segment's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptionsSeen {
    /// Whether there is room for options at all. A SYN without any leaves what an earlier one offered.
    pub any: bool,
    /// The window scale offered, at most 14.
    pub scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// The SACK block that reaches farthest beyond the acknowledgement number, if one does.
    pub sack: Option<SackBlock>,
    /// Whether the capture ends within the options, so that what is after its end is not known.
    pub cut: bool,
}

/// A block of the SACK option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SackBlock {
    /// Which of the option's blocks, the first being 0.
    pub index: u8,
    /// Its first byte.
    pub left: u32,
    /// The byte after its last: what the tracker takes for an acknowledgement.
    pub right: u32,
}

/// What makes a segment INVALID, whatever its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The packet ends within the fixed TCP header.
    Short,
    /// The packet ends within the TCP header, or the header claims under 20 bytes.
    Truncated,
    /// The checksum is wrong. Only whoever has the whole packet can tell, and set this.
    Checksum,
}

/// Why a packet is none that the model can judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// Another protocol.
    #[error("no TCP")]
    NotTcp,
    /// A part of a datagram: the kernel puts it together before it looks.
    #[error("a fragment")]
    Fragment,
    /// The capture holds less than the fixed TCP header.
    #[error("the capture has only {present} bytes of the packet")]
    Cut {
        /// How many bytes the capture holds.
        present: usize,
    },
    /// The IP header is broken.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

// === impl Segment ===

impl Segment {
    /// Reads an IP packet of which `bytes` were captured. `original` is how long it was on the wire, IP
    /// header included; it counts only where the header gives no length, as with segments over 64 KiB
    /// and those that a card still has to cut.
    pub fn parse(bytes: &[u8], original: usize) -> Result<Self, Unseen> {
        if lengthless(bytes) {
            let mut headers = [0; HEADERS];
            let present = bytes.len().min(HEADERS);
            headers[..present].copy_from_slice(&bytes[..present]);
            give_length(&mut headers[..present]);
            return Self::read(&headers[..present], original, original);
        }
        Self::read(bytes, claimed_length(bytes), original)
    }

    /// `length` is the packet's.
    fn read(bytes: &[u8], length: usize, original: usize) -> Result<Self, Unseen> {
        let cut = |error| match error {
            Malformed::CutShort { .. } if bytes.len() < original => Unseen::Cut {
                present: bytes.len(),
            },
            error => Unseen::Malformed(error),
        };
        let ip = Ip::parse_quoted(bytes).map_err(cut)?;
        if ip.protocol != protocol::TCP {
            return Err(Unseen::NotTcp);
        }
        if ip.fragment != Fragment::Whole {
            return Err(Unseen::Fragment);
        }
        let length = length.saturating_sub(ip.payload);
        let tcp = &bytes[ip.payload..ip.end.max(ip.payload)];
        if tcp.len() < 20 {
            return Self::of_short(&ip, tcp, length, bytes.len());
        }
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| (u32::from(word(at)) << 16) | u32::from(word(at + 2));
        let header = usize::from(tcp[12] >> 4) * 4;
        let acknowledgement = long(8);
        Ok(Self {
            source: SocketAddr::new(ip.source, word(0)),
            destination: SocketAddr::new(ip.destination, word(2)),
            zone: 0,
            sequence: long(4),
            acknowledgement,
            window: word(14),
            flags: Flags(tcp[13]),
            payload: u32::try_from(length.saturating_sub(header)).unwrap_or(u32::MAX),
            options: OptionsSeen::read(&tcp[..header.min(tcp.len())], header, acknowledgement),
            fault: (header < 20 || length < header).then_some(Fault::Truncated),
        })
    }

    /// A packet that itself ends before the TCP header does is one for the tracker; one that the capture
    /// has cut off there is none for the model.
    fn of_short(ip: &Ip, tcp: &[u8], length: usize, present: usize) -> Result<Self, Unseen> {
        if length >= 20 || tcp.len() < 4 {
            return Err(Unseen::Cut { present });
        }
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Ok(Self {
            source: SocketAddr::new(ip.source, word(0)),
            destination: SocketAddr::new(ip.destination, word(2)),
            zone: 0,
            sequence: 0,
            acknowledgement: 0,
            window: 0,
            flags: Flags::default(),
            payload: 0,
            options: OptionsSeen::default(),
            fault: Some(Fault::Short),
        })
    }

    /// What it is by its flags.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::of(self.flags)
    }

    /// The sequence number after its last; SYN and FIN count.
    #[must_use]
    pub fn end(&self) -> u32 {
        let counts = |flag| u32::from(self.flags.has(flag));
        self.sequence
            .wrapping_add(self.payload)
            .wrapping_add(counts(Flags::SYN))
            .wrapping_add(counts(Flags::FIN))
    }
}

/// Whether the header gives no length.
fn lengthless(bytes: &[u8]) -> bool {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => bytes.get(2..4) == Some(&[0, 0]),
        Some(6) => bytes.get(4..6) == Some(&[0, 0]),
        _ => false,
    }
}

/// Writes a length that every header fits in.
fn give_length(headers: &mut [u8]) {
    let at = if headers[0] >> 4 == 4 { 2 } else { 4 };
    headers[at..at + 2].copy_from_slice(&[0xff, 0xff]);
}

fn claimed_length(bytes: &[u8]) -> usize {
    let word = |at: usize| match bytes.get(at..at + 2) {
        Some(word) => usize::from(u16::from_be_bytes([word[0], word[1]])),
        None => 0,
    };
    match bytes.first().map(|first| first >> 4) {
        Some(4) => word(2),
        _ => 40 + word(4),
    }
}

// === impl OptionsSeen ===

impl OptionsSeen {
    /// Reads what is there of a TCP header that is `length` bytes long.
    fn read(header: &[u8], length: usize, acknowledgement: u32) -> Self {
        /// Two NOPs, then timestamps: what nearly every segment has, and nothing to read in it.
        const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
        let mut seen = Self {
            any: length > 20,
            cut: header.len() < length,
            ..Self::default()
        };
        if !seen.any || (length == 32 && header.get(20..24) == Some(&TIMESTAMPS)) {
            return seen;
        }
        let mut walk = OptionWalk::default();
        let mut sack_done = false;
        while let Some(option) = walk.next(header) {
            match option.kind {
                OptionKind::WindowScale => {
                    seen.scale = Some(header[option.at + 2].min(14));
                }
                OptionKind::SackPermitted => seen.sack_permitted = true,
                OptionKind::Sack if !sack_done => {
                    sack_done = true;
                    let blocks = &header[option.at + 2..option.at + option.len];
                    seen.sack = farthest(blocks, acknowledgement);
                }
                _ => {}
            }
        }
        seen
    }
}

/// The block whose right edge lies farthest beyond `acknowledgement`.
fn farthest(blocks: &[u8], acknowledgement: u32) -> Option<SackBlock> {
    let mut reached = acknowledgement;
    let mut found = None;
    for (index, block) in blocks.chunks_exact(8).enumerate() {
        let long = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        if super::window::after(long(4), reached) {
            reached = long(4);
            found = Some(SackBlock {
                index: index as u8,
                left: long(0),
                right: long(4),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::samples;

    fn sack(edges: &[(u32, u32)]) -> Vec<u8> {
        let mut options = vec![1, 1, 5, 2 + 8 * edges.len() as u8];
        for (left, right) in edges {
            options.extend(left.to_be_bytes());
            options.extend(right.to_be_bytes());
        }
        options
    }

    #[test]
    fn a_packet_that_the_capture_has_cut_keeps_its_length() {
        for family in samples::FAMILIES {
            let packet = samples::Segment {
                family,
                payload: 1000,
                options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                ..Default::default()
            }
            .build();
            let whole = Segment::parse(&packet, packet.len()).unwrap();
            assert_eq!((whole.payload, whole.end()), (1000, 2000));
            let headers = packet.len() - 1000;
            let cut = Segment::parse(&packet[..headers], packet.len()).unwrap();
            assert_eq!(cut, whole);
            let within = Segment::parse(&packet[..headers - 4], packet.len()).unwrap();
            assert!(within.options.cut, "{within:?}");
            let nothing = Segment::parse(&packet[..headers - 14], packet.len());
            let present = headers - 14;
            assert_eq!(nothing, Err(Unseen::Cut { present }));
        }
    }

    #[test]
    fn a_segment_too_long_for_its_ip_header_has_the_length_of_the_capture() {
        for family in samples::FAMILIES {
            let mut packet = samples::Segment {
                family,
                payload: 10,
                ..Default::default()
            }
            .build();
            let at = if family == samples::Family::V4 { 2 } else { 4 };
            packet[at..at + 2].fill(0);
            let segment = Segment::parse(&packet, 100_000 + packet.len()).unwrap();
            assert_eq!(segment.payload, 100_010);
            assert_eq!(segment.fault, None);
        }
    }

    #[test]
    fn a_jumbo_option_before_the_tcp_header_is_skipped() {
        let mut packet = samples::Segment {
            family: samples::Family::V6,
            ..Default::default()
        }
        .build();
        packet.splice(40..40, [6, 0, 0xc2, 4, 0, 1, 0x86, 0xa0]);
        packet[6] = 0;
        packet[4..6].fill(0);
        let segment = Segment::parse(&packet, 100_000).unwrap();
        assert_eq!(segment.payload, 100_000 - 40 - 8 - 20);
    }

    #[test]
    fn of_several_sack_blocks_the_one_that_reaches_farthest_counts() {
        let options = sack(&[(6_000, 7_000), (8_000, 9_000), (7_500, 7_600)]);
        let packet = samples::Segment {
            options,
            ..Default::default()
        }
        .build();
        let segment = Segment::parse(&packet, packet.len()).unwrap();
        let block = SackBlock {
            index: 1,
            left: 8_000,
            right: 9_000,
        };
        assert_eq!(segment.options.sack, Some(block));
    }

    #[test]
    fn a_block_of_what_is_acknowledged_already_is_none() {
        let packet = samples::Segment {
            options: sack(&[(4_000, 5_000)]),
            ..Default::default()
        }
        .build();
        let segment = Segment::parse(&packet, packet.len()).unwrap();
        assert_eq!(segment.options.sack, None);
    }

    #[test]
    fn a_scale_beyond_fourteen_counts_as_fourteen() {
        let packet = samples::Segment {
            options: vec![3, 3, 200, 4, 2, 0, 0, 0],
            ..Default::default()
        }
        .build();
        let options = Segment::parse(&packet, packet.len()).unwrap().options;
        assert_eq!(options.scale, Some(14));
        assert!(options.any && options.sack_permitted);
    }

    #[test]
    fn a_header_longer_than_its_packet_is_a_fault_and_a_fragment_is_no_segment() {
        let mut packet = samples::Segment::default().build();
        packet[20 + 12] = 0xf0;
        let segment = Segment::parse(&packet, packet.len()).unwrap();
        assert_eq!(segment.fault, Some(Fault::Truncated));
        packet[20 + 12] = 0x10;
        let segment = Segment::parse(&packet, packet.len()).unwrap();
        assert_eq!(segment.fault, Some(Fault::Truncated));
        packet[6] = 0x20;
        let length = packet.len();
        assert_eq!(Segment::parse(&packet, length), Err(Unseen::Fragment));
        packet[9] = 17;
        assert_eq!(Segment::parse(&packet, length), Err(Unseen::NotTcp));
        let mut short = samples::Segment::default().build();
        short.truncate(30);
        short[2..4].copy_from_slice(&30u16.to_be_bytes());
        let segment = Segment::parse(&short, 30).unwrap();
        assert_eq!(segment.fault, Some(Fault::Short));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_a_segment(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            v6: bool,
            lengthless: bool,
            original in 0usize..200_000,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let protocol = if v6 { 6 } else { 9 };
            if let Some(byte) = bytes.get_mut(protocol) {
                *byte = 6;
            }
            if let (true, Some(length)) = (lengthless, bytes.get_mut(2..6)) {
                length.fill(0);
            }
            let _ = Segment::parse(&bytes, original);
        }
    }
}
