//! What opens connections, as it comes and goes at a host.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use unmangle::lab::Role;
use unmangle::packet::checksum;
use unmangle::packet::ip::Ip;
use unmangle::packet::options::TcpOption;
use unmangle::packet::tcp::{Flags, Tcp};

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

fn class(packet: &[u8], from: SocketAddr) -> Option<u8> {
    let ip = Ip::parse(packet).ok()?;
    let segment = ip
        .has_tcp_header()
        .then(|| Tcp::parse(&packet[ip.payload..ip.end]))?
        .ok()?;
    let theirs = SocketAddr::new(ip.source, segment.source_port()) == from;
    let class = if ip.is_v4() {
        packet[1]
    } else {
        packet[0] << 4 | packet[1] >> 4
    };
    (theirs && !segment.payload().is_empty()).then_some(class >> 2)
}

fn opening(packet: &[u8]) -> Option<Seen> {
    let ip = Ip::parse(packet).ok()?;
    let segment = ip
        .has_tcp_header()
        .then(|| Tcp::parse(&packet[ip.payload..ip.end]))?
        .ok()?;
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
