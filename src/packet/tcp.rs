//! TCP headers, read and overwritten in place. Every setter keeps the checksum as right, or as
//! wrong, as it was.

use super::options::{OptionKind, OptionSpan, OptionWalk, Options};
use super::{Malformed, checksum, long, require, word};

/// Where fields stand in the header.
mod field {
    pub const SEQUENCE: usize = 4;
    pub const ACKNOWLEDGEMENT: usize = 8;
    pub const FLAGS: usize = 13;
    pub const WINDOW: usize = 14;
    pub const CHECKSUM: usize = 16;
    pub const URGENT_POINTER: usize = 18;
}

/// A TCP segment: `Tcp<&[u8]>` to read, `Tcp<&mut [u8]>` to rewrite.
#[derive(Debug, Clone, Copy)]
pub struct Tcp<B> {
    bytes: B,
}

/// The flags of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

// === impl Tcp ===

impl<B: AsRef<[u8]>> Tcp<B> {
    /// Takes the bytes after the IP header for a segment.
    pub fn parse(bytes: B) -> Result<Self, Malformed> {
        let segment = bytes.as_ref();
        require(segment, 20)?;
        let header = header_len(segment);
        if header < 20 {
            return Err(Malformed::HeaderLength(header));
        }
        require(segment, header)?;
        Ok(Self { bytes })
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        word(self.bytes.as_ref(), 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        word(self.bytes.as_ref(), 2)
    }

    /// Sequence number.
    pub fn sequence(&self) -> u32 {
        long(self.bytes.as_ref(), field::SEQUENCE)
    }

    /// Acknowledgement number; means something only with the ACK flag.
    pub fn acknowledgement(&self) -> u32 {
        long(self.bytes.as_ref(), field::ACKNOWLEDGEMENT)
    }

    /// Flags.
    pub fn flags(&self) -> Flags {
        Flags(self.bytes.as_ref()[field::FLAGS])
    }

    /// Window, not scaled.
    pub fn window(&self) -> u16 {
        word(self.bytes.as_ref(), field::WINDOW)
    }

    /// Urgent pointer; means something only with the URG flag.
    pub fn urgent(&self) -> u16 {
        word(self.bytes.as_ref(), 18)
    }

    /// Checksum as it stands there.
    pub fn checksum(&self) -> u16 {
        word(self.bytes.as_ref(), field::CHECKSUM)
    }

    /// Urgent pointer; means something only with the URG flag.
    pub fn urgent_pointer(&self) -> u16 {
        word(self.bytes.as_ref(), field::URGENT_POINTER)
    }

    /// Length of the header, options included.
    pub fn header_len(&self) -> usize {
        header_len(self.bytes.as_ref())
    }

    /// Header and options.
    pub fn header(&self) -> &[u8] {
        &self.bytes.as_ref()[..self.header_len()]
    }

    /// The options, decoded.
    pub fn options(&self) -> Options<'_> {
        Options::new(self.header())
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes.as_ref()[self.header_len()..]
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Tcp<B> {
    /// Writes `new` at `at` bytes into the segment.
    pub fn overwrite(&mut self, at: usize, new: &[u8]) {
        overwrite(self.bytes.as_mut(), at, new);
    }

    /// Adds to the sequence number.
    pub fn shift_sequence(&mut self, by: u32) {
        shift(self.bytes.as_mut(), field::SEQUENCE, by);
    }

    /// Adds to the acknowledgement number.
    pub fn shift_acknowledgement(&mut self, by: u32) {
        shift(self.bytes.as_mut(), field::ACKNOWLEDGEMENT, by);
    }

    /// Adds to the 32-bit number at `at` bytes into the segment: a timestamp, the edge of a SACK
    /// block.
    pub fn shift_number(&mut self, at: usize, by: u32) {
        shift(self.bytes.as_mut(), at, by);
    }

    /// Writes the flags.
    pub fn set_flags(&mut self, flags: Flags) {
        self.overwrite(field::FLAGS, &[flags.0]);
    }

    /// Writes the window, not scaled.
    pub fn set_window(&mut self, window: u16) {
        self.overwrite(field::WINDOW, &window.to_be_bytes());
    }

    /// Writes the urgent pointer.
    pub fn set_urgent_pointer(&mut self, pointer: u16) {
        self.overwrite(field::URGENT_POINTER, &pointer.to_be_bytes());
    }

    /// Overwrites an option with NOPs, as firewalls do: the header keeps its length.
    pub fn blank(&mut self, option: OptionSpan) {
        const NOPS: [u8; 40] = [1; 40];
        self.overwrite(option.at, &NOPS[..option.len.min(NOPS.len())]);
    }

    /// Calls `edit` for every option; it may overwrite what it is shown.
    pub fn edit_options(&mut self, mut edit: impl FnMut(&mut Self, OptionSpan)) {
        let end = self.header_len();
        let mut walk = OptionWalk::default();
        while let Some(option) = walk.next(&self.bytes.as_ref()[..end]) {
            if option.kind != OptionKind::Nop {
                edit(self, option);
            }
        }
    }
}

fn header_len(segment: &[u8]) -> usize {
    usize::from(segment[12] >> 4) * 4
}

/// Adds to sequence and acknowledgement number of a segment of which only the beginning may be
/// there, as in the quotation of an ICMP error. What is not there is left out.
pub fn shift_quoted(segment: &mut [u8], sequence: u32, acknowledgement: u32) {
    for (at, by) in [
        (field::SEQUENCE, sequence),
        (field::ACKNOWLEDGEMENT, acknowledgement),
    ] {
        if by != 0 && segment.len() >= at + 4 {
            shift(segment, at, by);
        }
    }
}

fn shift(segment: &mut [u8], at: usize, by: u32) {
    let new = long(segment, at).wrapping_add(by);
    overwrite(segment, at, &new.to_be_bytes());
}

/// Writes, and adjusts the checksum if it is there.
fn overwrite(segment: &mut [u8], at: usize, new: &[u8]) {
    if segment.len() >= field::CHECKSUM + 2 {
        let checksum = word(segment, field::CHECKSUM);
        let checksum = checksum::adjusted(checksum, at, &segment[at..at + new.len()], new);
        segment[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    segment[at..at + new.len()].copy_from_slice(new);
}

// === impl Flags ===

impl Flags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);
    /// URG.
    pub const URG: Self = Self(0x20);
    /// ECE: ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// CWR: congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `other` are set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it opens a connection: SYN without ACK.
    #[must_use]
    pub fn opens(self) -> bool {
        self.has(Self::SYN) && !self.has(Self::ACK)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Ip, samples};
    use super::*;

    proptest! {
        #[test]
        fn checksum_stays_right_after_every_rewrite(
            v6: bool,
            payload in 0usize..100,
            sequence: u32,
            acknowledgement: u32,
            option: [u8; 4],
            at in 20usize..28,
            flags: u8,
            window: u16,
            urgent: u16,
        ) {
            let family = if v6 { samples::Family::V6 } else { samples::Family::V4 };
            let options = vec![1, 2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 1];
            let mut packet = samples::Segment { family, payload, options, ..Default::default() }.build();
            let ip = Ip::parse(&packet).unwrap();
            let mut tcp = Tcp::parse(&mut packet[ip.payload..]).unwrap();
            tcp.shift_sequence(sequence);
            tcp.shift_acknowledgement(acknowledgement);
            tcp.edit_options(|tcp, option| tcp.blank(option));
            tcp.overwrite(at, &option);
            tcp.set_flags(Flags(flags));
            tcp.set_window(window);
            tcp.set_urgent_pointer(urgent);
            prop_assert_eq!((tcp.flags().0, tcp.window(), tcp.urgent_pointer()), (flags, window, urgent));
            prop_assert_eq!(checksum::transport_is_right(&ip, &packet), Some(true));
        }

        #[test]
        fn any_bytes_can_be_taken_for_a_segment(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            shift_quoted(&mut bytes, 1, 1);
            if let Ok(mut tcp) = Tcp::parse(bytes.as_mut_slice()) {
                tcp.edit_options(|tcp, option| tcp.blank(option));
                prop_assert!(tcp.header_len() + tcp.payload().len() <= 80);
                prop_assert!(tcp.options().all(|option| option == super::super::TcpOption::Nop));
            }
        }
    }

    #[test]
    fn a_blanked_option_leaves_the_others_where_they_were() {
        let options = vec![2, 4, 5, 180, 4, 2, 1, 1, 3, 3, 7, 1];
        let mut packet = samples::Segment {
            options,
            ..Default::default()
        }
        .build();
        let mut tcp = Tcp::parse(&mut packet[20..]).unwrap();
        tcp.edit_options(|tcp, option| {
            if option.kind == OptionKind::SackPermitted {
                tcp.blank(option);
            }
        });
        assert_eq!(tcp.header()[20..], [2, 4, 5, 180, 1, 1, 1, 1, 3, 3, 7, 1]);
    }
}
