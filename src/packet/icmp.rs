//! ICMP errors: built for a packet that was too big, and the packet quoted inside one.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};

use super::ip::{Fragment, protocol};
use super::{Ip, checksum};

/// An ICMP header is this long before it quotes.
const HEADER: usize = 8;
/// An error for IPv4 is at most this long (RFC 1812), headers and quotation.
const LARGEST_V4: usize = 576;
/// An error for IPv6 fits the smallest MTU (RFC 4443).
const LARGEST_V6: usize = 1280;
const HOPS: u8 = 64;

/// The answer to a packet larger than `mtu`: "fragmentation needed" or "packet too big", to its
/// sender. It comes in the name of the packet's destination, since a wire has no address.
///
/// `None` where no answer is due: to ICMP errors, and to fragments that lack the header.
#[must_use]
pub fn too_big(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let ip = Ip::parse(packet).ok()?;
    if ip.fragment == Fragment::Later || quoted(&ip, packet).is_some() {
        return None;
    }
    let mut answer = Vec::new();
    match (ip.destination, ip.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            let quotation = &packet[..ip.end.min(LARGEST_V4 - 20 - HEADER)];
            PacketBuilder::ipv4(from.octets(), to.octets(), HOPS)
                .icmpv4(Icmpv4Type::DestinationUnreachable(kind))
                .write(&mut answer, quotation)
                .ok()?;
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let quotation = &packet[..ip.end.min(LARGEST_V6 - 40 - HEADER)];
            PacketBuilder::ipv6(from.octets(), to.octets(), HOPS)
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.into() })
                .write(&mut answer, quotation)
                .ok()?;
        }
        _ => return None,
    }
    Some(answer)
}

/// Where the packet quoted in an ICMP error starts; `None` for everything but errors.
#[must_use]
pub fn quoted(ip: &Ip, packet: &[u8]) -> Option<usize> {
    if ip.fragment == Fragment::Later {
        return None;
    }
    let kind = *packet.get(ip.payload)?;
    let is_error = match ip.protocol {
        protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => (1..=4).contains(&kind),
        _ => false,
    };
    (is_error && ip.payload + HEADER < ip.end).then_some(ip.payload + HEADER)
}

/// Lets `edit` change the packet quoted in an ICMP error, shown with where its headers are, and
/// makes the checksum of the error right again. Does nothing to other packets.
pub fn edit_quoted(ip: &Ip, packet: &mut [u8], edit: impl FnOnce(&Ip, &mut [u8])) {
    let Some(at) = quoted(ip, packet) else { return };
    let quotation = &mut packet[at..ip.end];
    let Ok(inner) = Ip::parse_quoted(quotation) else {
        return;
    };
    edit(&inner, quotation);
    checksum::refresh_transport(ip, packet);
}

#[cfg(test)]
mod tests {
    use super::super::{Tcp, samples};
    use super::*;

    #[test]
    fn the_sender_of_a_large_packet_is_told_the_size_that_fits() {
        for family in samples::FAMILIES {
            let packet = samples::Segment {
                family,
                payload: 1400,
                ..Default::default()
            }
            .build();
            let answer = too_big(&packet, 1300).unwrap();
            let ip = Ip::parse(&answer).unwrap();
            assert_eq!(ip.destination, samples::client(family));
            assert_eq!(checksum::transport_is_right(&ip, &answer), Some(true));
            assert_eq!(
                answer[ip.payload + 6..ip.payload + 8],
                1300u16.to_be_bytes()
            );
            assert!(answer.len() <= if ip.is_v4() { 576 } else { 1280 });
            let at = quoted(&ip, &answer).unwrap();
            assert_eq!(answer[at..], packet[..answer.len() - at]);
        }
    }

    #[test]
    fn an_error_is_never_answered_by_an_error() {
        let packet = samples::Segment {
            payload: 1400,
            ..Default::default()
        }
        .build();
        let answer = too_big(&packet, 1300).unwrap();
        assert_eq!(too_big(&answer, 100), None);
    }

    #[test]
    fn a_quoted_segment_can_be_edited_and_the_error_stays_right() {
        for family in samples::FAMILIES {
            let packet = samples::Segment {
                family,
                payload: 1400,
                sequence: 7,
                ..Default::default()
            }
            .build();
            let mut answer = too_big(&packet, 1300).unwrap();
            let ip = Ip::parse(&answer).unwrap();
            edit_quoted(&ip, &mut answer, |inner, quotation| {
                super::super::tcp::shift_quoted(&mut quotation[inner.payload..], 10, 0);
            });
            assert_eq!(checksum::transport_is_right(&ip, &answer), Some(true));
            let at = quoted(&ip, &answer).unwrap();
            let inner = Ip::parse_quoted(&answer[at..]).unwrap();
            assert_eq!(
                Tcp::parse(&answer[at + inner.payload..])
                    .unwrap()
                    .sequence(),
                17
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_quotation_from_a_stranger_never_panics(
            v6: bool,
            quotation in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        ) {
            let family = if v6 { samples::Family::V6 } else { samples::Family::V4 };
            let packet = samples::Segment { family, payload: 1400, ..Default::default() }.build();
            let mut answer = too_big(&packet, 1300).unwrap();
            let ip = Ip::parse(&answer).unwrap();
            let at = quoted(&ip, &answer).unwrap();
            answer[at..at + quotation.len()].copy_from_slice(&quotation);
            edit_quoted(&ip, &mut answer, |inner, quotation| {
                super::super::tcp::shift_quoted(&mut quotation[inner.payload..], 10, 1);
            });
        }
    }
}
