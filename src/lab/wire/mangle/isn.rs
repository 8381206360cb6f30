//! Sequence number randomisation: by how much a flow is shifted, and the shifting of a segment.

use rand::RngExt;

use super::Dice;
use crate::packet::{Flags, OptionKind, Tcp};

/// A firewall draws its shifts from the whole circle of 2^32; the lab draws from this part of it.
///
/// SACK blocks that are not translated are off by the shift. Linux conntrack (since 6.1) takes no
/// offence at a SACK far *below* what it has seen, only at one above, and the arithmetic of the
/// circle calls the nearer half "above". A shift from the other half would hide the fault, in every
/// second run. The margin at both ends keeps a transfer of 16 MiB or a window from closing the gap.
const SHIFTS: std::ops::Range<u32> = 1 << 24..(1 << 31) - (1 << 24);

/// The shift of one direction of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowShift {
    /// The ISN its SYN came with: the same one again is a retransmission, another a new connection.
    isn: u32,
    /// What is added to its sequence numbers.
    pub by: u32,
}

/// What one segment is shifted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentShift {
    /// Added to the sequence number.
    pub sequence: u32,
    /// Taken from the acknowledgement number.
    pub acknowledgement: u32,
    /// Whether SACK blocks follow the acknowledgement.
    pub translate_sack: bool,
}

impl FlowShift {
    /// The shift for a flow that a SYN with this ISN opens, given what was known of its tuple.
    pub fn for_syn(known: Option<Self>, isn: u32, dice: &mut Dice) -> Self {
        known
            .filter(|known| known.isn == isn)
            .unwrap_or_else(|| Self {
                isn,
                by: dice.random_range(SHIFTS),
            })
    }
}

impl SegmentShift {
    /// Shifts one segment.
    pub fn apply<B: AsRef<[u8]> + AsMut<[u8]>>(self, tcp: &mut Tcp<B>) {
        if self.sequence != 0 {
            tcp.shift_sequence(self.sequence);
        }
        if self.acknowledgement == 0 || !tcp.flags().has(Flags::ACK) {
            return;
        }
        let back = self.acknowledgement.wrapping_neg();
        tcp.shift_acknowledgement(back);
        if self.translate_sack {
            tcp.edit_options(|tcp, option| {
                if option.kind == OptionKind::Sack {
                    for edge in (option.at + 2..option.at + option.len).step_by(4) {
                        tcp.shift_number(edge, back);
                    }
                }
            });
        }
    }
}
