//! What opens connections, as it comes and goes at a host.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use unmangle::lab::Role;
use unmangle::packet::ip::{Ip, protocol};
use unmangle::packet::options::TcpOption;
use unmangle::packet::tcp::{Flags, Tcp};
use unmangle::packet::{checksum, icmp};

use super::{Site, inside};

/// Sees every packet of a host, from the moment it is made.
pub struct Tap {
    socket: Socket,
}

/// A SYN or SYN-ACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub from: IpAddr,
    pub source_port: u16,
    pub flags: Flags,
    /// The bits between data offset and flags.
    pub reserved: u8,
    pub mss: Option<u16>,
    pub sack_permitted: bool,
    pub window_scale: bool,
    pub timestamps: bool,
    pub checksum_is_right: bool,
}

/// A packet of TCP, or about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Segment(Segment),
    /// ICMP says that what this one had sent cannot be delivered.
    Undeliverable {
        sender: SocketAddr,
    },
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: Flags,
    pub dscp: u8,
    pub has_payload: bool,
    /// What it says if it opens a connection.
    pub opening: Option<Seen>,
}

// === impl Tap ===

impl Tap {
    pub fn on(site: &Site, role: Role) -> Self {
        const EVERY_PROTOCOL: u16 = 3;
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        // Without link headers: a packet starts with IP.
        let open = || Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol));
        let socket = inside(site.lab.host(role), open).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    /// What has been seen since it was last asked, repetitions included.
    pub fn openings(&mut self) -> Vec<Seen> {
        self.each(opening)
    }

    /// The DSCP of every segment with payload from this address since it was last asked.
    pub fn classes(&mut self, from: SocketAddr) -> Vec<u8> {
        self.each(|packet| class(packet, from))
    }

    /// Everything of TCP that has been seen since it was last asked. What passes by the loopback interface is
    /// seen twice: as it leaves and as it comes.
    pub fn packets(&mut self) -> Vec<Packet> {
        self.each(|packet| segment(packet).or_else(|| undeliverable(packet)))
    }

    /// The same, as far as it is segments for this address.
    pub fn segments_to(&mut self, own: SocketAddr) -> Vec<Segment> {
        let segments = self
            .packets()
            .into_iter()
            .filter_map(|packet| match packet {
                Packet::Segment(segment) => (segment.to == own).then_some(segment),
                Packet::Undeliverable { .. } => None,
            });
        segments.collect()
    }

    fn each<T>(&mut self, of: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
        let mut seen = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(length) => seen.extend(of(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The same, less what was sent from this address.
    pub fn openings_not_from(&mut self, own: IpAddr) -> Vec<Seen> {
        let mut seen = self.openings();
        seen.retain(|seen| seen.from != own);
        seen
    }
}

// === impl Seen ===

impl Seen {
    /// Whether nothing of this kind is negotiated.
    pub fn is_plain(&self) -> bool {
        !self.sack_permitted && !self.window_scale
    }
}

// === reading packets ===

fn tcp(packet: &[u8]) -> Option<(Ip, Tcp<&[u8]>)> {
    let ip = Ip::parse(packet).ok()?;
    let segment = ip
        .has_tcp_header()
        .then(|| Tcp::parse(&packet[ip.payload..ip.end]))?
        .ok()?;
    Some((ip, segment))
}

fn dscp(ip: &Ip, packet: &[u8]) -> u8 {
    let class = if ip.is_v4() {
        packet[1]
    } else {
        packet[0] << 4 | packet[1] >> 4
    };
    class >> 2
}

fn segment(packet: &[u8]) -> Option<Packet> {
    let (ip, segment) = tcp(packet)?;
    Some(Packet::Segment(Segment {
        from: (ip.source, segment.source_port()).into(),
        to: (ip.destination, segment.destination_port()).into(),
        flags: segment.flags(),
        dscp: dscp(&ip, packet),
        has_payload: !segment.payload().is_empty(),
        opening: opening(packet),
    }))
}

fn undeliverable(packet: &[u8]) -> Option<Packet> {
    const UNREACHABLE_V4: u8 = 3;
    const UNREACHABLE_V6: u8 = 1;
    let ip = Ip::parse(packet).ok()?;
    let kind = match ip.protocol {
        protocol::ICMP => UNREACHABLE_V4,
        protocol::ICMPV6 => UNREACHABLE_V6,
        _ => return None,
    };
    let quoted = &packet[icmp::quoted(&ip, packet)?..ip.end];
    let about = Ip::parse_quoted(quoted).ok()?;
    // The first two of the eight bytes that are always quoted.
    let port = quoted.get(about.payload..about.payload + 2)?;
    let sender = (about.source, u16::from_be_bytes([port[0], port[1]])).into();
    let is_about_tcp = about.protocol == protocol::TCP;
    (is_about_tcp && packet[ip.payload] == kind).then_some(Packet::Undeliverable { sender })
}

fn class(packet: &[u8], from: SocketAddr) -> Option<u8> {
    let (ip, segment) = tcp(packet)?;
    let theirs = SocketAddr::new(ip.source, segment.source_port()) == from;
    (theirs && !segment.payload().is_empty()).then(|| dscp(&ip, packet))
}

fn opening(packet: &[u8]) -> Option<Seen> {
    let (ip, segment) = tcp(packet)?;
    segment.flags().has(Flags::SYN).then(|| {
        let mut seen = Seen {
            from: ip.source,
            source_port: segment.source_port(),
            flags: segment.flags(),
            reserved: segment.header()[12] & 0x0f,
            mss: None,
            sack_permitted: false,
            window_scale: false,
            timestamps: false,
            checksum_is_right: checksum::transport_is_right(&ip, packet) == Some(true),
        };
        for option in segment.options() {
            match option {
                TcpOption::Mss(mss) => seen.mss = Some(mss),
                TcpOption::SackPermitted => seen.sack_permitted = true,
                TcpOption::WindowScale(_) => seen.window_scale = true,
                TcpOption::Timestamps { .. } => seen.timestamps = true,
                _ => {}
            }
        }
        seen
    })
}
