//! What segments and echoes of the probe carry: who they are, and a pattern that shows whether they came whole.

/// Magic number, number, time and length.
const LABEL: usize = 12;

/// What is said of a packet within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What it belongs to.
    pub kind: Kind,
    /// Which one it is.
    pub number: u32,
    /// When it was sent, in microseconds by its sender's clock; it wraps.
    pub sent_us: u32,
    /// Bytes of the packet as it was sent, IP header included.
    pub length: u16,
}

/// What a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stands alone.
    Single,
    /// To a train.
    Train,
    /// To a train, and its sender waits for an acknowledgement before it goes on.
    TrainAsks,
    /// To echoes.
    Echo,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// As its sender filled it in, as far as it is there.
    Right(Label),
    /// Right, but so short that it does not say who it is.
    Short,
    /// Not what its sender filled in, or not ours.
    Wrong,
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 4] = [Self::Single, Self::Train, Self::TrainAsks, Self::Echo];

    fn magic(self) -> [u8; 2] {
        match self {
            Self::Single => *b"uS",
            Self::Train => *b"uT",
            Self::TrainAsks => *b"uA",
            Self::Echo => *b"uE",
        }
    }
}

// === impl Label ===

impl Label {
    /// So many bytes that say this, and then a pattern that follows from it: damage to either shows.
    #[must_use]
    pub fn fill(&self, bytes: usize) -> Vec<u8> {
        let mut filled = Vec::with_capacity(bytes.max(LABEL) + 8);
        filled.extend(self.kind.magic());
        filled.extend(self.number.to_be_bytes());
        filled.extend(self.sent_us.to_be_bytes());
        filled.extend(self.length.to_be_bytes());
        filled.extend(self.pattern(bytes.saturating_sub(LABEL)));
        filled.truncate(bytes);
        filled
    }

    fn pattern(&self, bytes: usize) -> impl Iterator<Item = u8> + use<> {
        let seed = u64::from(self.number) << 32 | u64::from(self.sent_us);
        let seed = seed ^ u64::from(self.length) << 20;
        (0..bytes.div_ceil(8) as u64)
            .flat_map(move |word| mixed(seed.wrapping_add(word)).to_be_bytes())
            .take(bytes)
    }
}

/// The finaliser of SplitMix64: neighbours become strangers.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// What the bytes that came say.
#[must_use]
pub fn read(payload: &[u8]) -> Content {
    let magic = payload.get(..2).unwrap_or(payload);
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.magic().starts_with(magic));
    let Some(kind) = kind else {
        return Content::Wrong;
    };
    let Some((label, pattern)) = payload.split_first_chunk::<LABEL>() else {
        return Content::Short;
    };
    let [_, _, n0, n1, n2, n3, t0, t1, t2, t3, l0, l1] = *label;
    let label = Label {
        kind,
        number: u32::from_be_bytes([n0, n1, n2, n3]),
        sent_us: u32::from_be_bytes([t0, t1, t2, t3]),
        length: u16::from_be_bytes([l0, l1]),
    };
    if label.pattern(pattern.len()).eq(pattern.iter().copied()) {
        Content::Right(label)
    } else {
        Content::Wrong
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELLED: Label = Label {
        kind: Kind::Train,
        number: 77,
        sent_us: 4_000_000_000,
        length: 1500,
    };

    #[test]
    fn what_is_cut_is_right_as_far_as_it_is_there() {
        let filled = LABELLED.fill(100);
        for end in 0..=100 {
            let expected = if end < LABEL {
                Content::Short
            } else {
                Content::Right(LABELLED)
            };
            assert_eq!(read(&filled[..end]), expected, "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_shows(bytes in 24usize..200, at: proptest::sample::Index, bit in 0u8..8, number: u32) {
            let label = Label { number, ..LABELLED };
            let mut filled = label.fill(bytes);
            // A bit of the magic number may make another kind of it, which is another packet.
            let at = 2 + at.index(bytes - 2);
            filled[at] ^= 1 << bit;
            prop_assert_eq!(read(&filled), Content::Wrong);
        }
    }
}
