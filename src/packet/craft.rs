//! Packets made to order: a TCP segment or an echo, whole, with its checksums right.

use std::net::{IpAddr, SocketAddr};

use super::ip::protocol;
use super::{Flags, Ip, checksum};

/// A TCP header without options is this long.
const TCP: usize = 20;
/// An ICMP echo header is this long.
const ECHO: usize = 8;

/// What the IP header of a packet says beside its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Time to live, or hop limit.
    pub hops: u8,
    /// DSCP in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// IPv4's identification; IPv6 has none.
    pub identification: u16,
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who sends it.
    pub source: SocketAddr,
    /// Whom it is for; of the source's family.
    pub destination: SocketAddr,
    /// What its IP header says.
    pub carried: Carried,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; zero without the ACK flag.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: Flags,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer; zero without the URG flag.
    pub urgent: u16,
    /// Options, at most 40 bytes; padded with NOPs to a multiple of four.
    pub options: Vec<u8>,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// An ICMP or ICMPv6 echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for; of the source's family.
    pub destination: IpAddr,
    /// What its IP header says.
    pub carried: Carried,
    /// Whether it is an answer.
    pub reply: bool,
    /// Whose it is.
    pub identifier: u16,
    /// Which of them.
    pub sequence: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            hops: 64,
            traffic_class: 0,
            identification: 0,
        }
    }
}

/// How long the IP header is that a packet of this family begins with.
#[must_use]
pub fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

// === impl Segment ===

impl Segment {
    /// The packet, IP header first, never to be fragmented.
    ///
    /// # Panics
    /// If the families differ, there are more than 40 bytes of options, or it would be longer than 65535 bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let options = self.options.len().next_multiple_of(4);
        assert!(options <= 40, "no header has room for more");
        let mut segment = Vec::with_capacity(TCP + options + self.payload.len());
        segment.extend(self.source.port().to_be_bytes());
        segment.extend(self.destination.port().to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        segment.push(((TCP + options) / 4) as u8 * 16);
        segment.push(self.flags.0);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(self.urgent.to_be_bytes());
        segment.extend(&self.options);
        segment.resize(TCP + options, 1);
        segment.extend(&self.payload);
        let addresses = (self.source.ip(), self.destination.ip());
        packet(addresses, self.carried, protocol::TCP, &segment)
    }
}

// === impl Echo ===

impl Echo {
    /// The packet, IP header first, never to be fragmented.
    ///
    /// # Panics
    /// If the families differ, or it would be longer than 65535 bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let (protocol, kind) = match (self.source.is_ipv4(), self.reply) {
            (true, false) => (protocol::ICMP, 8),
            (true, true) => (protocol::ICMP, 0),
            (false, false) => (protocol::ICMPV6, 128),
            (false, true) => (protocol::ICMPV6, 129),
        };
        let mut message = Vec::with_capacity(ECHO + self.payload.len());
        message.extend([kind, 0, 0, 0]);
        message.extend(self.identifier.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(&self.payload);
        packet(
            (self.source, self.destination),
            self.carried,
            protocol,
            &message,
        )
    }
}

fn packet(
    (source, destination): (IpAddr, IpAddr),
    carried: Carried,
    protocol: u8,
    message: &[u8],
) -> Vec<u8> {
    let header = ip_header(source);
    let total = u16::try_from(header + message.len()).expect("an IP packet is no longer");
    let mut packet = Vec::with_capacity(usize::from(total));
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, carried.traffic_class]);
            packet.extend(total.to_be_bytes());
            packet.extend(carried.identification.to_be_bytes());
            packet.extend([0x40, 0, carried.hops, protocol, 0, 0]); // don't fragment
            packet.extend(source.octets());
            packet.extend(destination.octets());
            checksum::refresh_ipv4_header(&mut packet);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([
                0x60 | carried.traffic_class >> 4,
                carried.traffic_class << 4,
                0,
                0,
            ]);
            packet.extend((message.len() as u16).to_be_bytes());
            packet.extend([protocol, carried.hops]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => panic!("one family at a time"),
    }
    packet.extend(message);
    let ip = Ip::parse(&packet).expect("it was just made");
    checksum::refresh_transport(&ip, &mut packet);
    packet
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::super::samples::{self, FAMILIES};
    use super::*;

    #[test]
    fn a_segment_says_what_it_was_told_to_by_another_hands_reading() {
        for family in FAMILIES {
            let segment = Segment {
                source: (samples::client(family), 40_000).into(),
                destination: (samples::server(family), 22).into(),
                carried: Carried {
                    hops: 7,
                    traffic_class: 0xb9,
                    identification: 99,
                },
                sequence: 0xfedc_ba98,
                acknowledgement: 17,
                flags: Flags::ACK | Flags::URG | Flags::ECE,
                window: 1234,
                urgent: 3,
                options: vec![2, 4, 5, 180, 4, 2],
                payload: b"mangle me".to_vec(),
            };
            let built = segment.build();
            let ip = Ip::parse(&built).unwrap();
            assert_eq!(checksum::transport_is_right(&ip, &built), Some(true));
            let sliced = SlicedPacket::from_ip(&built).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
                panic!("{sliced:?}");
            };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 22));
            assert_eq!(tcp.sequence_number(), 0xfedc_ba98);
            assert_eq!(tcp.acknowledgment_number(), 17);
            assert!(tcp.ack() && tcp.urg() && tcp.ece() && !tcp.cwr() && !tcp.syn());
            assert_eq!((tcp.window_size(), tcp.urgent_pointer()), (1234, 3));
            assert_eq!(tcp.options(), [2, 4, 5, 180, 4, 2, 1, 1]);
            assert_eq!(tcp.payload(), b"mangle me");
            match sliced.net {
                Some(NetSlice::Ipv4(v4)) => {
                    let header = v4.header();
                    assert_eq!(
                        header.header_checksum(),
                        header.to_header().calc_header_checksum()
                    );
                    assert_eq!((header.ttl(), header.identification()), (7, 99));
                    assert_eq!((header.dcp().value(), header.ecn().value()), (46, 1));
                    assert!(header.dont_fragment());
                }
                Some(NetSlice::Ipv6(v6)) => {
                    assert_eq!(v6.header().hop_limit(), 7);
                    assert_eq!(v6.header().traffic_class(), 0xb9);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_echo_is_what_ping_sends() {
        for family in FAMILIES {
            let echo = Echo {
                source: samples::client(family),
                destination: samples::server(family),
                carried: Carried::default(),
                reply: false,
                identifier: 1,
                sequence: 1,
                payload: vec![0x55; 993],
            };
            let built = echo.build();
            let ping = samples::ping(family, 993);
            let ip = Ip::parse(&built).unwrap();
            assert_eq!(checksum::transport_is_right(&ip, &built), Some(true));
            assert_eq!(built[ip.payload..], ping[ip.payload..]);
            assert_eq!(built.len(), ping.len());
        }
    }
}
