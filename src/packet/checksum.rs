//! The Internet checksum: computed anew (RFC 1071), or adjusted to a change (RFC 1624).

use std::net::IpAddr;

use super::ip::{Fragment, Ip, protocol};

/// A ones' complement sum in the making.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset; an odd last byte is padded with zero.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self
    }

    /// Adds one number, split in 16-bit words.
    #[must_use]
    pub fn number(mut self, number: u32) -> Self {
        self.0 += u64::from(number >> 16) + u64::from(number & 0xffff);
        self
    }

    /// Adds an address, as pseudo headers do.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    /// The sum with its carries folded in.
    #[must_use]
    pub fn folded(mut self) -> u16 {
        while self.0 > 0xffff {
            self.0 = (self.0 >> 16) + (self.0 & 0xffff);
        }
        self.0 as u16
    }

    /// The checksum: the complement of the sum.
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// The checksum after the bytes `old`, `at` bytes into what it covers, became `new` (RFC 1624,
/// equation 3). Both are of the same length; `at` may be odd.
#[must_use]
pub fn adjusted(checksum: u16, at: usize, old: &[u8], new: &[u8]) -> u16 {
    debug_assert_eq!(old.len(), new.len());
    let mut sum = u64::from(!checksum);
    for (i, (old, new)) in old.iter().zip(new).enumerate() {
        let shift = if (at + i).is_multiple_of(2) { 8 } else { 0 };
        // The complement of a word that is zero but for this byte.
        sum += u64::from(!(u16::from(*old) << shift));
        sum += u64::from(*new) << shift;
    }
    Sum(sum).checksum()
}

/// The checksum of a TCP, UDP or ICMP message as it must stand in its header. The field itself
/// counts as zero when `segment` holds zeros there; over a correct message the result is 0.
#[must_use]
pub fn transport(ip: &Ip, segment: &[u8]) -> u16 {
    let mut sum = Sum::default();
    // ICMP for IPv4 is the one that has no pseudo header.
    if ip.protocol != protocol::ICMP {
        sum = sum
            .address(ip.source)
            .address(ip.destination)
            .number(u32::from(ip.protocol))
            .number(segment.len() as u32);
    }
    sum.bytes(segment).checksum()
}

/// Where the checksum stands in the header of a protocol, or `None` for one without.
#[must_use]
pub fn field_of(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMP | protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Computes the transport checksum of a whole packet anew and writes it. Fragments and protocols
/// without a checksum are left alone, and so is a UDP datagram that carries none.
pub fn refresh_transport(ip: &Ip, packet: &mut [u8]) {
    let Some(field) = field_of(ip.protocol) else {
        return;
    };
    let segment = &mut packet[ip.payload..ip.end];
    if ip.fragment != Fragment::Whole || segment.len() < field + 2 {
        return;
    }
    let is_udp = ip.protocol == protocol::UDP;
    if is_udp && ip.is_v4() && segment[field..field + 2] == [0, 0] {
        return;
    }
    segment[field..field + 2].fill(0);
    let mut checksum = transport(ip, segment);
    if is_udp && checksum == 0 {
        checksum = 0xffff; // zero means "none" there
    }
    segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Computes the header checksum of an IPv4 packet anew and writes it.
pub fn refresh_ipv4_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = Sum::default().bytes(header).checksum();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether the transport checksum of a whole packet is right; `None` where there is none to check.
#[must_use]
pub fn transport_is_right(ip: &Ip, packet: &[u8]) -> Option<bool> {
    let field = field_of(ip.protocol)?;
    let segment = packet.get(ip.payload..ip.end)?;
    if ip.fragment != Fragment::Whole || segment.len() < field + 2 {
        return None;
    }
    if ip.protocol == protocol::UDP && ip.is_v4() && segment[field..field + 2] == [0, 0] {
        return None;
    }
    Some(transport(ip, segment) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn an_adjusted_checksum_equals_one_computed_anew(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..64),
            at in 0usize..60,
            new in proptest::collection::vec(any::<u8>(), 1..5),
        ) {
            let at = at % (bytes.len() - new.len().min(bytes.len() - 1));
            let new = &new[..new.len().min(bytes.len() - at)];
            // Not all zero: 0x0000 and 0xffff are the same number, and only then do they meet.
            prop_assume!(bytes.iter().any(|b| *b != 0));
            let before = Sum::default().bytes(&bytes).checksum();
            let old = bytes[at..at + new.len()].to_vec();
            bytes[at..at + new.len()].copy_from_slice(new);
            prop_assume!(bytes.iter().any(|b| *b != 0));
            let anew = Sum::default().bytes(&bytes).checksum();
            prop_assert_eq!(adjusted(before, at, &old, new), anew);
        }
    }
}
