//! The IP packet in a captured frame, whatever the frame is of.

use std::fmt;

use super::{long, word};

mod logged;

pub use logged::Logged;

/// How the first bytes of a captured packet are to be read, by the numbers of
/// <https://www.tcpdump.org/linktypes.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// BSD's loopback: a family in the capturing host's byte order (0).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// PPP, with or without HDLC's address and control (9, 50).
    Ppp,
    /// PPPoE, from its own header on (51).
    PppOverEthernet,
    /// An IP packet, its version in its first bits (101; 12 and 14 in old files).
    Raw,
    /// OpenBSD's loopback: a family in network byte order (108).
    Loop,
    /// Linux's `any` device (113).
    LinuxCooked,
    /// An IPv4 packet (228).
    Ipv4,
    /// An IPv6 packet (229).
    Ipv6,
    /// What a rule has logged (239).
    Nflog,
    /// Linux's `any` device, with the number of the device proper (276).
    LinuxCooked2,
    /// Another one, of which nothing is known here.
    Other(u16),
}

/// A frame, as far as it is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub carried: Carried<'a>,
    /// Bytes before that.
    pub heading: usize,
    /// The number of the device it was seen on, where the frame says it. Of a logged packet: the one it
    /// came by, or else the one it was to leave by.
    pub device: Option<u32>,
    /// Which way it went, where the frame says it.
    pub travel: Option<Travel>,
    /// The innermost VLAN.
    pub vlan: Option<u16>,
    /// What the rule that has logged it says.
    pub logged: Option<Logged<'a>>,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried<'a> {
    /// An IP packet, of either version.
    Ip(&'a [u8]),
    /// Something else: ARP, LLDP, an unknown link type.
    NotIp,
    /// The frame ends before what it carries begins.
    CutShort,
}

/// Which way a frame went, as seen from the capturing host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Travel {
    /// To this host, or to all.
    Incoming,
    /// Between others.
    Passing,
    /// From this host.
    Outgoing,
}

/// Values of an EtherType.
mod ether {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// 802.1Q, 802.1ad, and what came before it.
    pub const VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
}

/// Values of PPP's protocol field.
mod ppp {
    pub const IPV4: u16 = 0x0021;
    pub const IPV6: u16 = 0x0057;
}

// === impl LinkType ===

impl LinkType {
    /// By its number in a capture.
    #[must_use]
    pub fn new(number: u16) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            9 | 50 => Self::Ppp,
            51 => Self::PppOverEthernet,
            12 | 14 | 101 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxCooked,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            239 => Self::Nflog,
            276 => Self::LinuxCooked2,
            other => Self::Other(other),
        }
    }

    /// Finds what a frame of this type carries.
    #[must_use]
    pub fn open(self, bytes: &[u8]) -> Frame<'_> {
        match self {
            Self::Ethernet => by_ether_type(bytes, 12),
            Self::LinuxCooked => Frame {
                travel: Travel::of(bytes.get(1).copied()),
                ..by_ether_type(bytes, 14)
            },
            Self::LinuxCooked2 => linux_cooked_2(bytes),
            Self::Raw | Self::Ipv4 | Self::Ipv6 => ip(bytes, 0),
            Self::Null | Self::Loop => loopback(bytes),
            Self::Ppp => match bytes {
                [0xff, 0x03, ..] => point_to_point(bytes, 2),
                _ => point_to_point(bytes, 0),
            },
            Self::PppOverEthernet => point_to_point(bytes, 6),
            Self::Nflog => logged::open(bytes),
            Self::Other(_) => Frame::new(Carried::NotIp, 0),
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null | Self::Loop => "loopback",
            Self::Ethernet => "Ethernet",
            Self::Ppp => "PPP",
            Self::PppOverEthernet => "PPPoE",
            Self::Raw => "raw IP",
            Self::LinuxCooked | Self::LinuxCooked2 => "Linux any",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Nflog => "NFLOG",
            Self::Other(number) => return write!(f, "link type {number}"),
        })
    }
}

// === impl Frame ===

impl<'a> Frame<'a> {
    fn new(carried: Carried<'a>, heading: usize) -> Self {
        Self {
            carried,
            heading,
            device: None,
            travel: None,
            vlan: None,
            logged: None,
        }
    }
}

// === impl Travel ===

impl Travel {
    /// By the packet type of Linux (`PACKET_HOST` 0, broadcast, multicast, other host, outgoing 4).
    fn of(kind: Option<u8>) -> Option<Self> {
        Some(match kind? {
            0..=2 => Self::Incoming,
            3 => Self::Passing,
            4 => Self::Outgoing,
            _ => return None,
        })
    }
}

// === the kinds of frames ===

/// What should be an IP packet from `at` on.
fn ip(bytes: &[u8], at: usize) -> Frame<'_> {
    let carried = match bytes.get(at..) {
        None | Some([]) => Carried::CutShort,
        Some(packet) => match packet[0] >> 4 {
            4 | 6 => Carried::Ip(packet),
            _ => Carried::NotIp,
        },
    };
    Frame::new(carried, at)
}

/// An EtherType at `at`, with any number of VLAN tags before what it means.
fn by_ether_type(bytes: &[u8], mut at: usize) -> Frame<'_> {
    let mut vlan = None;
    loop {
        if bytes.len() < at + 2 {
            return Frame::new(Carried::CutShort, at);
        }
        let kind = word(bytes, at);
        at += 2;
        if ether::VLAN.contains(&kind) {
            if bytes.len() < at + 2 {
                return Frame::new(Carried::CutShort, at);
            }
            vlan = Some(word(bytes, at) & 0x0fff);
            at += 2;
            continue;
        }
        let inner = match kind {
            ether::IPV4 | ether::IPV6 => ip(bytes, at),
            ether::PPPOE_SESSION => point_to_point(bytes, at + 6),
            _ => Frame::new(Carried::NotIp, at),
        };
        return Frame { vlan, ..inner };
    }
}

fn linux_cooked_2(bytes: &[u8]) -> Frame<'_> {
    const HEADING: usize = 20;
    if bytes.len() < HEADING {
        return Frame::new(Carried::CutShort, HEADING);
    }
    // The protocol comes first, so what stands after the header is looked at for itself.
    let inner = match word(bytes, 0) {
        ether::IPV4 | ether::IPV6 => ip(bytes, HEADING),
        kind if ether::VLAN.contains(&kind) => {
            let tagged = by_ether_type(bytes, HEADING + 2);
            let tag = bytes.get(HEADING..HEADING + 2);
            Frame {
                vlan: tagged.vlan.or(tag.map(|tag| word(tag, 0) & 0x0fff)),
                ..tagged
            }
        }
        ether::PPPOE_SESSION => point_to_point(bytes, HEADING + 6),
        _ => Frame::new(Carried::NotIp, HEADING),
    };
    Frame {
        device: Some(long(bytes, 4)),
        travel: Travel::of(Some(bytes[10])),
        ..inner
    }
}

/// A family in either byte order; what it says shows in the packet, too.
fn loopback(bytes: &[u8]) -> Frame<'_> {
    if bytes.len() < 4 {
        return Frame::new(Carried::CutShort, 4);
    }
    let family = long(bytes, 0);
    // AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24, 28 or 30 elsewhere.
    match family.min(family.swap_bytes()) {
        2 | 10 | 24 | 28 | 30 => ip(bytes, 4),
        _ => Frame::new(Carried::NotIp, 4),
    }
}

/// PPP's protocol at `at`, of one byte or two.
fn point_to_point(bytes: &[u8], at: usize) -> Frame<'_> {
    let (kind, length) = match bytes.get(at..) {
        Some([one, ..]) if one & 1 == 1 => (u16::from(*one), 1),
        Some([one, two, ..]) => (u16::from_be_bytes([*one, *two]), 2),
        _ => return Frame::new(Carried::CutShort, at),
    };
    match kind {
        ppp::IPV4 | ppp::IPV6 => ip(bytes, at + length),
        _ => Frame::new(Carried::NotIp, at + length),
    }
}

#[cfg(test)]
mod tests;
