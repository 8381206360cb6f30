//! Packets for tests, built by `etherparse` and so checked against another hand's work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder, TcpHeader};

use super::Flags;

/// Both families, to loop over.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    V4,
    V6,
}

/// A TCP segment between the sample client (port 40000) and the sample server (port 22).
#[derive(Debug, Clone)]
pub struct Segment {
    pub family: Family,
    /// Whether the server sends it.
    pub from_server: bool,
    pub client_port: u16,
    pub flags: Flags,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    pub urgent_pointer: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Padded with zeros to a multiple of four.
    pub options: Vec<u8>,
    pub payload: usize,
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            family: Family::V4,
            from_server: false,
            client_port: 40_000,
            flags: Flags::ACK,
            sequence: 1_000,
            acknowledgement: 5_000,
            window: 65_000,
            urgent_pointer: 0,
            traffic_class: 0,
            options: Vec::new(),
            payload: 0,
        }
    }
}

impl Segment {
    /// The bytes, IP header first, checksums right.
    pub fn build(&self) -> Vec<u8> {
        let ports = [self.client_port, 22];
        let [from, to] = if self.from_server {
            [ports[1], ports[0]]
        } else {
            ports
        };
        let mut tcp = TcpHeader::new(from, to, self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgement;
        tcp.fin = self.flags.has(Flags::FIN);
        tcp.syn = self.flags.has(Flags::SYN);
        tcp.rst = self.flags.has(Flags::RST);
        tcp.psh = self.flags.has(Flags::PSH);
        tcp.ack = self.flags.has(Flags::ACK);
        tcp.urg = self.flags.has(Flags::URG);
        tcp.ece = self.flags.has(Flags::ECE);
        tcp.cwr = self.flags.has(Flags::CWR);
        tcp.urgent_pointer = self.urgent_pointer;
        tcp.set_options_raw(&self.options).unwrap();
        let payload: Vec<u8> = (0..self.payload).map(|i| i as u8).collect();
        let mut bytes = Vec::new();
        let [client, server] = [client(self.family), server(self.family)];
        let [from, to] = if self.from_server {
            [server, client]
        } else {
            [client, server]
        };
        ip(from, to, self.traffic_class)
            .tcp_header(tcp)
            .write(&mut bytes, &payload)
            .unwrap();
        bytes
    }
}

/// An echo request from the client: the payload of `ping -s SIZE`.
pub fn ping(family: Family, size: usize) -> Vec<u8> {
    let echo = etherparse::IcmpEchoHeader { id: 1, seq: 1 };
    let builder = ip(client(family), server(family), 0);
    let payload = vec![0x55; size];
    let mut bytes = Vec::new();
    match family {
        Family::V4 => builder
            .icmpv4(Icmpv4Type::EchoRequest(echo))
            .write(&mut bytes, &payload)
            .unwrap(),
        Family::V6 => builder
            .icmpv6(Icmpv6Type::EchoRequest(echo))
            .write(&mut bytes, &payload)
            .unwrap(),
    }
    bytes
}

/// The address of the sample client.
pub fn client(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// The address of the sample server.
pub fn server(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, 2).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

fn ip(
    from: IpAddr,
    to: IpAddr,
    traffic_class: u8,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header =
                etherparse::Ipv4Header::new(0, 64, IpNumber::TCP, from.octets(), to.octets())
                    .unwrap();
            header.dscp = etherparse::IpDscp::try_new(traffic_class >> 2).unwrap();
            header.ecn = etherparse::IpEcn::try_new(traffic_class & 3).unwrap();
            PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = etherparse::Ipv6Header {
                source: from.octets(),
                destination: to.octets(),
                hop_limit: 64,
                traffic_class,
                ..Default::default()
            };
            PacketBuilder::ip(etherparse::IpHeaders::Ipv6(header, Default::default()))
        }
        _ => panic!("one family at a time"),
    }
}
