//! The fixed part of the headers: flags, urgent pointer and window of TCP; DSCP and ECN of IP.

use crate::lab::wire::spec::Direction;
use crate::packet::{Flags, Tcp, ip};

/// The two bits of ECN in the byte that they share with the DSCP.
const ECN: u8 = 0b11;

/// What one direction does to the TCP header.
#[derive(Debug, Clone, Copy)]
pub struct TcpFields {
    refuse_ecn: bool,
    clear_urgent: bool,
    window: Option<u16>,
}

/// What one direction does to the IP header.
#[derive(Debug, Clone, Copy)]
pub struct IpFields {
    dscp: Option<u8>,
    bleach_ecn: bool,
}

// === impl TcpFields ===

impl TcpFields {
    /// What this direction does.
    pub fn new(spec: &Direction) -> Self {
        Self {
            refuse_ecn: spec.refuse_ecn,
            clear_urgent: spec.clear_urgent,
            window: spec.window,
        }
    }

    /// Rewrites the fields of one segment.
    pub fn apply<B: AsRef<[u8]> + AsMut<[u8]>>(self, tcp: &mut Tcp<B>) {
        let before = tcp.flags();
        let mut flags = before;
        if self.refuse_ecn && flags.has(Flags::SYN) {
            flags = flags.without(Flags::ECE | Flags::CWR);
        }
        if self.clear_urgent {
            flags = flags.without(Flags::URG);
            if tcp.urgent_pointer() != 0 {
                tcp.set_urgent_pointer(0);
            }
        }
        if flags != before {
            tcp.set_flags(flags);
        }
        if let Some(limit) = self.window
            && tcp.window() > limit
        {
            tcp.set_window(limit);
        }
    }
}

// === impl IpFields ===

impl IpFields {
    /// What this direction does.
    pub fn new(spec: &Direction) -> Self {
        /// Six bits.
        const LARGEST_DSCP: u8 = 63;
        Self {
            dscp: spec.dscp.map(|dscp| dscp.min(LARGEST_DSCP)),
            bleach_ecn: spec.bleach_ecn,
        }
    }

    /// Rewrites the fields of one packet, which is one that [`Ip::parse`](crate::packet::Ip::parse) takes.
    pub fn apply(self, packet: &mut [u8]) {
        if self.dscp.is_none() && !self.bleach_ecn {
            return;
        }
        ip::edit_traffic_class(packet, |class| {
            let dscp = self.dscp.unwrap_or(class >> 2);
            let ecn = if self.bleach_ecn { 0 } else { class & ECN };
            (dscp << 2) | ecn
        });
    }
}
