//! What comes back, read once.

use std::net::IpAddr;

use crate::packet::ip::protocol;
use crate::packet::{Flags, Fragment, Ip, Tcp, TcpOption, icmp};

/// A packet that came, as far as it may be an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// An answer to an echo.
    Echo(EchoReply),
    /// A TCP segment.
    Segment(Segment),
    /// An ICMP error.
    Error(IcmpError),
}

/// An answer to an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answers.
    pub from: IpAddr,
    /// Whose it is.
    pub identifier: u16,
    /// Which of them.
    pub sequence: u16,
    /// Bytes of the packet, IP header included.
    pub length: usize,
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who sends it.
    pub from: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// To which port of this host.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: Flags,
    /// Window, not scaled.
    pub window: u16,
    /// Bytes of data.
    pub payload: usize,
    /// Its options.
    pub options: Options,
}

/// The options of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// MSS.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// Whether the option of the kind that nobody knows is there.
    pub unknown: bool,
    /// Left and right edges of SACK blocks.
    pub blocks: Vec<(u32, u32)>,
}

/// An ICMP error, and what it quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpError {
    /// Who says it.
    pub by: IpAddr,
    /// What it says.
    pub what: What,
    /// The packet it is about, as much of it as is quoted.
    pub quote: Vec<u8>,
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// "Fragmentation needed" or "packet too big", with the MTU named; 0 where none is (RFC 792).
    TooBig(u32),
    /// The packet had no hops left.
    HopsOut,
    /// It cannot be delivered.
    Unreachable,
    /// Anything else.
    Other,
}

/// The kind of option that nobody knows (RFC 4727).
pub const UNKNOWN_OPTION: u8 = 253;

/// Reads a packet; `None` for everything that is no answer to anything.
#[must_use]
pub fn read(packet: &[u8]) -> Option<Came> {
    let ip = Ip::parse(packet).ok()?;
    if ip.fragment == Fragment::Later {
        return None;
    }
    let message = &packet[ip.payload..ip.end];
    match ip.protocol {
        protocol::TCP => segment(&ip, message).map(Came::Segment),
        protocol::ICMP | protocol::ICMPV6 => match icmp::quoted(&ip, packet) {
            Some(at) => Some(Came::Error(IcmpError {
                by: ip.source,
                what: what(&ip, message),
                quote: packet[at..ip.end].to_vec(),
            })),
            None => echo(&ip, message).map(Came::Echo),
        },
        _ => None,
    }
}

/// The options of a header, which may be cut short.
#[must_use]
pub fn options(header: &[u8]) -> Options {
    let mut found = Options::default();
    for option in crate::packet::Options::new(header) {
        match option {
            TcpOption::Mss(mss) => found.mss = Some(mss),
            TcpOption::WindowScale(shift) => found.window_scale = Some(shift),
            TcpOption::SackPermitted => found.sack_permitted = true,
            TcpOption::Timestamps { value, echo } => found.timestamps = Some((value, echo)),
            TcpOption::Sack(_) => found.blocks.extend(option.sack_blocks()),
            TcpOption::Other { kind, .. } => found.unknown |= kind == UNKNOWN_OPTION,
            TcpOption::Nop => {}
        }
    }
    found
}

fn segment(ip: &Ip, message: &[u8]) -> Option<Segment> {
    let tcp = Tcp::parse(message).ok()?;
    Some(Segment {
        from: ip.source,
        source_port: tcp.source_port(),
        destination_port: tcp.destination_port(),
        sequence: tcp.sequence(),
        acknowledgement: tcp.acknowledgement(),
        flags: tcp.flags(),
        window: tcp.window(),
        payload: tcp.payload().len(),
        options: options(tcp.header()),
    })
}

fn echo(ip: &Ip, message: &[u8]) -> Option<EchoReply> {
    let reply = if ip.is_v4() { 0 } else { 129 };
    let &[kind, 0, _, _, a, b, c, d, ..] = message else {
        return None;
    };
    (kind == reply).then(|| EchoReply {
        from: ip.source,
        identifier: u16::from_be_bytes([a, b]),
        sequence: u16::from_be_bytes([c, d]),
        length: ip.end,
    })
}

/// `message` is longer than an ICMP header: it quotes.
fn what(ip: &Ip, message: &[u8]) -> What {
    let mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    match (ip.is_v4(), message[0], message[1]) {
        (true, 3, 4) => What::TooBig(mtu & 0xffff),
        (false, 2, _) => What::TooBig(mtu),
        (true, 11, 0) | (false, 3, 0) => What::HopsOut,
        (true, 3, _) | (false, 1, _) => What::Unreachable,
        _ => What::Other,
    }
}
