//! IPv4 and IPv6 headers: where they end, who sent the packet, what it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, checksum, require, word};

/// Nobody sends more than a handful; a limit keeps a crafted packet from being walked for long.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// IPv6 extension headers that stand between the fixed header and the payload.
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const DESTINATION: u8 = 60;
}

/// What there is to know about the IP part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// The protocol of the payload, extension headers skipped.
    pub protocol: u8,
    /// Whether the payload is all there.
    pub fragment: Fragment,
    /// Where the payload starts.
    pub payload: usize,
    /// Where the packet ends by its own account.
    pub end: usize,
}

/// Which part of a datagram a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first part: the transport header is there, its checksum covers more than is there.
    First,
    /// Another part: it has no transport header.
    Later,
}

// === impl Ip ===

impl Ip {
    /// Reads the headers of a packet; it must be there to its end.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let ip = Self::parse_quoted(bytes)?;
        let claimed = claimed_length(bytes);
        require(bytes, claimed)?;
        Ok(ip)
    }

    /// Reads the headers of a packet that may be cut short, as those quoted in ICMP errors are:
    /// `end` is then where the bytes end.
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => parse_v4(bytes),
            Some(6) => parse_v6(bytes),
            Some(version) => Err(Malformed::Version(version)),
            None => Err(Malformed::CutShort {
                needed: 20,
                present: 0,
            }),
        }
    }

    /// Whether it is IPv4.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Whether the payload starts with a TCP header.
    #[must_use]
    pub fn has_tcp_header(&self) -> bool {
        self.protocol == protocol::TCP && self.fragment != Fragment::Later
    }

    /// Whether it is ICMP or ICMPv6.
    #[must_use]
    pub fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }
}

/// The length a packet claims in its fixed header, which the caller has checked is there.
fn claimed_length(bytes: &[u8]) -> usize {
    match bytes[0] >> 4 {
        4 => usize::from(word(bytes, 2)),
        _ => 40 + usize::from(word(bytes, 4)),
    }
}

fn parse_v4(bytes: &[u8]) -> Result<Ip, Malformed> {
    require(bytes, 20)?;
    let payload = usize::from(bytes[0] & 0x0f) * 4;
    let length = claimed_length(bytes);
    if payload < 20 || payload > length {
        return Err(Malformed::HeaderLength(payload));
    }
    require(bytes, payload)?;
    let more_fragments = bytes[6] & 0x20 != 0;
    let offset = word(bytes, 6) & 0x1fff;
    let address =
        |at: usize| Ipv4Addr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok(Ip {
        source: address(12).into(),
        destination: address(16).into(),
        protocol: bytes[9],
        fragment: Fragment::new(offset, more_fragments),
        payload,
        end: length.min(bytes.len()),
    })
}

fn parse_v6(bytes: &[u8]) -> Result<Ip, Malformed> {
    require(bytes, 40)?;
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    let mut ip = Ip {
        source: address(8).into(),
        destination: address(24).into(),
        protocol: bytes[6],
        fragment: Fragment::Whole,
        payload: 40,
        end: claimed_length(bytes).min(bytes.len()),
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let at = ip.payload;
        let length = match ip.protocol {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                require(&bytes[..ip.end], at + 8)?;
                8 + usize::from(bytes[at + 1]) * 8
            }
            extension::FRAGMENT => {
                require(&bytes[..ip.end], at + 8)?;
                let field = word(bytes, at + 2);
                ip.fragment = Fragment::new(field >> 3, field & 1 != 0);
                8
            }
            _ => return Ok(ip),
        };
        require(&bytes[..ip.end], at + length)?;
        ip.protocol = bytes[at];
        ip.payload = at + length;
        if ip.fragment == Fragment::Later {
            return Ok(ip); // what follows is the middle of something
        }
    }
    Err(Malformed::TooManyExtensions)
}

// === impl Fragment ===

impl Fragment {
    fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

/// Edits the byte that holds DSCP (upper six bits) and ECN (lower two): IPv4's type of service, IPv6's
/// traffic class (RFC 2474, RFC 3168). IPv4's header checksum stays as right, or as wrong, as it was.
///
/// # Panics
/// If `packet` is not one that [`Ip::parse`] takes.
pub fn edit_traffic_class(packet: &mut [u8], edit: impl FnOnce(u8) -> u8) {
    let first = word(packet, 0);
    let is_v4 = first >> 12 == 4;
    // IPv4: version, header length, then the byte. IPv6: version, the byte, then the flow label.
    let shift = if is_v4 { 0 } else { 4 };
    let edited = edit((first >> shift) as u8);
    let new = ((first & !(0xff << shift)) | (u16::from(edited) << shift)).to_be_bytes();
    if is_v4 {
        let checksum = checksum::adjusted(word(packet, 10), 0, &packet[..2], &new);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    packet[..2].copy_from_slice(&new);
}

/// Cuts a packet to `size` bytes and makes lengths and checksums fit. `false`, and nothing is
/// done, where a cut would leave no payload at all.
pub fn truncate(packet: &mut Vec<u8>, size: usize) -> bool {
    let Ok(ip) = Ip::parse(packet) else {
        return false;
    };
    if size <= ip.payload || size >= ip.end {
        return false;
    }
    packet.truncate(size);
    if ip.is_v4() {
        packet[2..4].copy_from_slice(&(size as u16).to_be_bytes());
        checksum::refresh_ipv4_header(&mut packet[..ip.payload]);
    } else {
        packet[4..6].copy_from_slice(&((size - 40) as u16).to_be_bytes());
    }
    let ip = Ip { end: size, ..ip };
    if ip.protocol == protocol::UDP && ip.fragment != Fragment::Later && size >= ip.payload + 8 {
        let length = (size - ip.payload) as u16;
        packet[ip.payload + 4..ip.payload + 6].copy_from_slice(&length.to_be_bytes());
    }
    checksum::refresh_transport(&ip, packet);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    #[test]
    fn both_families_tell_who_sent_what_to_whom() {
        for family in samples::FAMILIES {
            let packet = samples::Segment {
                family,
                payload: 10,
                ..Default::default()
            }
            .build();
            let ip = Ip::parse(&packet).unwrap();
            assert_eq!(ip.source, samples::client(family));
            assert_eq!(ip.destination, samples::server(family));
            assert_eq!((ip.protocol, ip.fragment), (protocol::TCP, Fragment::Whole));
            assert_eq!(ip.end, packet.len());
        }
    }

    #[test]
    fn extension_headers_are_skipped() {
        let mut packet = samples::Segment {
            family: samples::Family::V6,
            ..Default::default()
        }
        .build();
        let hop_by_hop = [protocol::TCP, 0, 1, 4, 0, 0, 0, 0];
        packet.splice(40..40, hop_by_hop);
        packet[6] = 0;
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        let ip = Ip::parse(&packet).unwrap();
        assert_eq!((ip.protocol, ip.payload), (protocol::TCP, 48));
        assert_eq!(checksum::transport_is_right(&ip, &packet), Some(true));
    }

    #[test]
    fn later_fragments_have_no_tcp_header() {
        let mut packet = samples::Segment {
            payload: 64,
            ..Default::default()
        }
        .build();
        packet[6] = 0x20;
        assert_eq!(Ip::parse(&packet).unwrap().fragment, Fragment::First);
        packet[7] = 8;
        assert!(!Ip::parse(&packet).unwrap().has_tcp_header());
    }

    #[test]
    fn a_truncated_packet_is_whole_and_its_checksums_right() {
        for family in samples::FAMILIES {
            let mut packet = samples::Segment {
                family,
                payload: 1000,
                ..Default::default()
            }
            .build();
            assert!(truncate(&mut packet, 300));
            let ip = Ip::parse(&packet).unwrap();
            assert_eq!((packet.len(), ip.end), (300, 300));
            assert_eq!(checksum::transport_is_right(&ip, &packet), Some(true));
            if ip.is_v4() {
                assert_eq!(checksum::Sum::default().bytes(&packet[..20]).checksum(), 0);
            }
        }
    }

    proptest! {
        #[test]
        fn an_edited_traffic_class_changes_nothing_beside_itself(v6: bool, before: u8, after: u8) {
            let family = if v6 { samples::Family::V6 } else { samples::Family::V4 };
            let build = |traffic_class| samples::Segment { family, traffic_class, ..Default::default() }.build();
            let mut packet = build(before);
            edit_traffic_class(&mut packet, |found| {
                assert_eq!(found, before);
                after
            });
            prop_assert_eq!(packet, build(after));
        }

        #[test]
        fn bytes_from_a_stranger_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x40 | (*first & 0x0f) };
            }
            if let Ok(ip) = Ip::parse_quoted(&bytes) {
                prop_assert!(ip.payload <= bytes.len() && ip.end <= bytes.len());
            }
            if let Ok(ip) = Ip::parse(&bytes) {
                prop_assert!(ip.payload <= ip.end);
                checksum::refresh_transport(&ip, &mut bytes);
            }
            truncate(&mut bytes, 50);
        }
    }
}
