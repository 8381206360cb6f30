//! Packets that a rule has logged, as the kernel hands them out (nfnetlink_log): the messages that ask for them
//! and those that bring them. Netlink numbers are in the machine's own byte order, what is inside is not.

use std::net::SocketAddr;

use super::{Ip, Offer, Tcp};

/// The netlink group that the relay's rules log to: "UM" in ASCII, as are its other numbers.
pub const GROUP: u16 = 0x554d;
/// Every header of a segment, and a bit more.
pub const MOST: u32 = 128;

/// What is seen of a segment that was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its DSCP, 0 to 63.
    pub dscp: u8,
    /// What it offers, if it opens a connection.
    pub offer: Option<Offer>,
}

/// Why a segment was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// It is of one of the relay's legs, or opens one.
    Leg(Seen),
    /// It is of a connection that nobody here knows.
    Stranger {
        /// Which end sent it.
        by: SentBy,
        /// From where.
        from: SocketAddr,
        /// To where.
        to: SocketAddr,
    },
}

/// Which end of a connection sent a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentBy {
    /// The one that opened it.
    Opener,
    /// The one at whose port it was opened.
    Acceptor,
}

/// Sizes and numbers of linux/netlink.h and linux/netfilter/nfnetlink_log.h.
mod wire {
    /// Of `struct nlmsghdr`.
    pub const HEADER: usize = 16;
    /// Of `struct nfgenmsg`, which follows it.
    pub const GENERAL: usize = 4;
    /// `NLMSG_ERROR`.
    pub const ERROR: u16 = 2;
    /// A packet of the subsystem ULOG (4).
    pub const PACKET: u16 = 4 << 8;
    /// Its configuration.
    pub const CONFIG: u16 = 4 << 8 | 1;
    /// `NLM_F_REQUEST | NLM_F_ACK`.
    pub const REQUEST: u16 = 1 | 4;
    /// `NFULA_PAYLOAD`.
    pub const PAYLOAD: u16 = 9;
    /// `NFULA_PREFIX`.
    pub const PREFIX: u16 = 10;
}

// === impl SentBy ===

impl SentBy {
    /// Both ends.
    pub const BOTH: [Self; 2] = [Self::Opener, Self::Acceptor];

    /// What the rules log a stranger of this end with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Opener => "stranger opener",
            Self::Acceptor => "stranger acceptor",
        }
    }

    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

/// Asks for the packets of a group, each cut off after `most` bytes.
#[must_use]
pub fn bind(group: u16, most: u32) -> Vec<u8> {
    // NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND; NFULA_CFG_MODE: NFULNL_COPY_PACKET.
    let command = attribute(1, &[1]);
    let [a, b, c, d] = most.to_be_bytes();
    let mode = attribute(2, &[a, b, c, d, 2, 0]);
    // NFULA_CFG_QTHRESH: each comes at once, not with a hundred others or after a second.
    let at_once = attribute(5, &[0, 0, 0, 1]);
    let body = [&[0, 0][..], &group.to_be_bytes(), &command, &mode, &at_once].concat();
    let mut message = Vec::with_capacity(wire::HEADER + body.len());
    message.extend(((wire::HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(wire::CONFIG.to_ne_bytes());
    message.extend(wire::REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// An attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len() + 3);
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The answer to [`bind`]: 0, or what the kernel has against it.
#[must_use]
pub fn answer(datagram: &[u8]) -> Option<i32> {
    let (kind, body) = messages(datagram).next()?;
    let code = body.get(..4)?.try_into().ok()?;
    (kind == wire::ERROR).then(|| -i32::from_ne_bytes(code))
}

/// The TCP segments of a datagram; whatever else is there is left out.
pub fn segments(datagram: &[u8]) -> impl Iterator<Item = Logged> {
    messages(datagram)
        .filter(|(kind, _)| *kind == wire::PACKET)
        .filter_map(|(_, body)| {
            let mut by = None;
            let mut packet = None;
            for (kind, value) in attributes(body.get(wire::GENERAL..)?) {
                match kind {
                    wire::PAYLOAD => packet = Some(value),
                    wire::PREFIX => by = stranger(text(value)),
                    _ => {}
                }
            }
            let seen = seen(packet?)?;
            Some(match by {
                Some(by) => Logged::Stranger {
                    by,
                    from: seen.from,
                    to: seen.to,
                },
                None => Logged::Leg(seen),
            })
        })
}

/// Whose stranger was logged with these words, if it was one.
fn stranger(words: &[u8]) -> Option<SentBy> {
    let is_said = |by: &SentBy| by.prefix().as_bytes() == words;
    SentBy::BOTH.into_iter().find(is_said)
}

/// What the packets of a datagram were logged with; those without such a text are left out.
pub fn prefixes(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    messages(datagram)
        .filter(|(kind, _)| *kind == wire::PACKET)
        .filter_map(|(_, body)| {
            attributes(body.get(wire::GENERAL..)?)
                .find_map(|(kind, value)| (kind == wire::PREFIX).then_some(value))
        })
        .map(text)
}

/// A string that ends like one of C.
fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Kind and body of each message.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let length = |at: &[u8]| {
        let length = at.get(..4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(length)).ok()
    };
    parts(datagram, wire::HEADER, length)
        .map(|message| (native(message, 4), &message[wire::HEADER..]))
}

fn attribute_length(at: &[u8]) -> Option<usize> {
    (at.len() >= 4).then(|| native(at, 0).into())
}

/// Kind and value of each attribute.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    parts(bytes, 4, attribute_length).map(|attribute| (native(attribute, 2), &attribute[4..]))
}

/// Cuts bytes into parts that begin with their length and are padded to a multiple of four.
fn parts(
    mut rest: &[u8],
    least: usize,
    length: impl Fn(&[u8]) -> Option<usize>,
) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = length(rest).filter(|length| (least..=rest.len()).contains(length))?;
        let part = &rest[..length];
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(part)
    })
}

/// The 16-bit number at `at`, in the machine's order; the caller has checked the length.
fn native(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// What is seen of a packet, which may be cut off after its headers.
fn seen(packet: &[u8]) -> Option<Seen> {
    let ip = Ip::parse_quoted(packet).ok()?;
    if !ip.has_tcp_header() {
        return None;
    }
    let segment = Tcp::parse(packet.get(ip.payload..)?).ok()?;
    // The traffic class of IPv6 begins four bits later than the type of service of IPv4.
    let class = match ip.is_v4() {
        true => packet[1],
        false => packet[0] << 4 | packet[1] >> 4,
    };
    Some(Seen {
        from: SocketAddr::new(ip.source, segment.source_port()),
        to: SocketAddr::new(ip.destination, segment.destination_port()),
        dscp: class >> 2,
        offer: segment
            .flags()
            .opens()
            .then(|| Offer::of_options(segment.options())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Flags;
    use super::super::samples::{self, FAMILIES, Family, Segment};
    use super::*;

    /// A datagram that brings packets.
    fn datagram(packets: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for packet in packets {
            let mark = attribute(3, &[0, 0, 0, 7]);
            let body = [
                &[2, 0, 0x55, 0x4d][..],
                &mark,
                &attribute(wire::PAYLOAD, packet),
            ]
            .concat();
            bytes.extend(((wire::HEADER + body.len()) as u32).to_ne_bytes());
            bytes.extend(wire::PACKET.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
        }
        bytes
    }

    #[test]
    fn what_was_logged_is_read_though_it_is_cut_off() {
        for family in FAMILIES {
            let mut packet = Segment {
                family,
                flags: Flags::SYN,
                options: vec![2, 4, 5, 180],
                ..Segment::default()
            }
            .build();
            let data = Segment {
                family,
                payload: 900,
                ..Segment::default()
            }
            .build();
            // DSCP 0x12 (AF21) and both bits of ECN.
            match family {
                Family::V4 => packet[1] = 0x4b,
                Family::V6 => packet[..2].copy_from_slice(&[0x64, 0xb0]),
            }
            let datagram = datagram(&[&packet, &data[..100]]);
            let seen: Vec<_> = segments(&datagram).collect();
            let from = SocketAddr::new(samples::client(family), 40_000);
            let to = SocketAddr::new(samples::server(family), 22);
            let offer = Offer {
                mss: Some(1460),
                ..Offer::default()
            };
            let expected = [(0x12, Some(offer)), (0, None)].map(|(dscp, offer)| {
                Logged::Leg(Seen {
                    from,
                    to,
                    dscp,
                    offer,
                })
            });
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_request_is_as_the_kernels_headers_say() {
        let message = bind(0x554d, 128);
        assert_eq!(message.len(), 48);
        assert_eq!(message[..4], 48_u32.to_ne_bytes());
        assert_eq!(message[16..20], [0, 0, 0x55, 0x4d]);
        assert_eq!(message[20..22], 5_u16.to_ne_bytes());
        assert_eq!(message[24..28], [1, 0, 0, 0]);
        assert_eq!(message[32..38], [0, 0, 0, 128, 2, 0]);
    }

    #[test]
    fn what_packets_were_logged_with_is_read_up_to_its_end() {
        let mut bytes = datagram(&[]);
        for text in [&b"nf_ct_proto_6: invalid rst \0"[..], b"no end"] {
            let body = [&[2, 0, 0, 0][..], &attribute(wire::PREFIX, text)].concat();
            bytes.extend(((wire::HEADER + body.len()) as u32).to_ne_bytes());
            bytes.extend(wire::PACKET.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
        }
        let texts: Vec<_> = prefixes(&bytes).collect();
        assert_eq!(texts, [&b"nf_ct_proto_6: invalid rst "[..], b"no end"]);
        assert_eq!(prefixes(&datagram(&[&[0; 40]])).count(), 0);
    }

    #[test]
    fn a_stranger_is_told_with_the_end_that_sent_it() {
        let packet = Segment::default().build();
        let family = Segment::default().family;
        let from = SocketAddr::new(samples::client(family), 40_000);
        let to = SocketAddr::new(samples::server(family), 22);
        for by in SentBy::BOTH {
            let prefix = [by.prefix().as_bytes(), &[0]].concat();
            let body = [
                &[2, 0, 0x55, 0x4d][..],
                &attribute(wire::PREFIX, &prefix),
                &attribute(wire::PAYLOAD, &packet),
            ]
            .concat();
            let mut bytes = Vec::new();
            bytes.extend(((wire::HEADER + body.len()) as u32).to_ne_bytes());
            bytes.extend(wire::PACKET.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            let told: Vec<_> = segments(&bytes).collect();
            assert_eq!(told, [Logged::Stranger { by, from, to }]);
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_number() {
        let mut message = Vec::new();
        message.extend(36_u32.to_ne_bytes());
        message.extend(wire::ERROR.to_ne_bytes());
        message.extend([0; 10]);
        message.extend((-16_i32).to_ne_bytes());
        message.extend([0; 16]);
        assert_eq!(answer(&message), Some(16));
        assert_eq!(answer(&datagram(&[])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_messages(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(segments(&bytes).count() <= bytes.len() / wire::HEADER);
            prop_assert!(prefixes(&bytes).count() <= bytes.len() / wire::HEADER);
            let _ = answer(&bytes);
        }
    }
}
