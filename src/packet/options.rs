//! A walk over TCP options that survives whatever stands there.

use super::{long, word};

/// One option, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Padding between options.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale: the shift count.
    WindowScale(u8),
    /// Selective acknowledgements may be sent.
    SackPermitted,
    /// Selective acknowledgements: eight bytes a block, see [`TcpOption::sack_blocks`].
    Sack(&'a [u8]),
    /// Timestamps: the sender's, and the one it echoes.
    Timestamps {
        /// TSval.
        value: u32,
        /// TSecr.
        echo: u32,
    },
    /// Anything else, or one of the above with a length it cannot have.
    Other {
        /// The option's kind.
        kind: u8,
        /// The bytes after kind and length.
        data: &'a [u8],
    },
}

/// The kinds of option that this room knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Kind 1.
    Nop,
    /// Kind 2.
    Mss,
    /// Kind 3.
    WindowScale,
    /// Kind 4.
    SackPermitted,
    /// Kind 5.
    Sack,
    /// Kind 8.
    Timestamps,
    /// Any other kind, or a known one with a length it cannot have.
    Other(u8),
}

/// Where one option stands, counted from the start of the TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpan {
    /// What it is.
    pub kind: OptionKind,
    /// Where its kind byte is.
    pub at: usize,
    /// Its length, kind byte included.
    pub len: usize,
}

/// A walk that does not hold on to the header, so that options can be overwritten on the way.
/// It ends at the end-of-options mark, at the end of the header, or where a length makes no sense.
#[derive(Debug, Clone)]
pub struct OptionWalk {
    at: usize,
}

/// The options of a header, decoded one by one.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    header: &'a [u8],
    walk: OptionWalk,
}

// === impl OptionWalk ===

impl Default for OptionWalk {
    fn default() -> Self {
        Self { at: 20 }
    }
}

impl OptionWalk {
    /// The next option of `header`, which is a TCP header with its options and nothing after.
    pub fn next(&mut self, header: &[u8]) -> Option<OptionSpan> {
        let at = self.at;
        let len = match *header.get(at)? {
            0 => return None,
            1 => 1,
            _ => usize::from(*header.get(at + 1)?),
        };
        if len == 0 || at + len > header.len() || (len == 1 && header[at] != 1) {
            return None;
        }
        self.at = at + len;
        Some(OptionSpan {
            kind: OptionKind::new(header[at], len),
            at,
            len,
        })
    }
}

// === impl OptionKind ===

impl OptionKind {
    fn new(kind: u8, len: usize) -> Self {
        match (kind, len) {
            (1, _) => Self::Nop,
            (2, 4) => Self::Mss,
            (3, 3) => Self::WindowScale,
            (4, 2) => Self::SackPermitted,
            (5, _) if len > 2 && (len - 2).is_multiple_of(8) => Self::Sack,
            (8, 10) => Self::Timestamps,
            _ => Self::Other(kind),
        }
    }
}

// === impl Options ===

impl<'a> Options<'a> {
    /// The options of a TCP header; `header` ends where the header does.
    #[must_use]
    pub fn new(header: &'a [u8]) -> Self {
        Self {
            header,
            walk: OptionWalk::default(),
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let OptionSpan { kind, at, len } = self.walk.next(self.header)?;
        Some(match kind {
            OptionKind::Nop => TcpOption::Nop,
            OptionKind::Mss => TcpOption::Mss(word(self.header, at + 2)),
            OptionKind::WindowScale => TcpOption::WindowScale(self.header[at + 2]),
            OptionKind::SackPermitted => TcpOption::SackPermitted,
            OptionKind::Sack => TcpOption::Sack(&self.header[at + 2..at + len]),
            OptionKind::Timestamps => TcpOption::Timestamps {
                value: long(self.header, at + 2),
                echo: long(self.header, at + 6),
            },
            OptionKind::Other(kind) => TcpOption::Other {
                kind,
                data: &self.header[at + 2..at + len],
            },
        })
    }
}

// === impl TcpOption ===

impl<'a> TcpOption<'a> {
    /// The left and right edges of a SACK option; nothing for other options.
    pub fn sack_blocks(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let blocks: &'a [u8] = if let Self::Sack(blocks) = *self {
            blocks
        } else {
            &[]
        };
        blocks
            .chunks_exact(8)
            .map(|block| (long(block, 0), long(block, 4)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 20];
        header.extend_from_slice(options);
        header
    }

    #[test]
    fn the_options_of_a_linux_syn_are_all_read() {
        let header = header(&[
            2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
        ]);
        assert_eq!(
            Options::new(&header).collect::<Vec<_>>(),
            [
                TcpOption::Mss(1460),
                TcpOption::SackPermitted,
                TcpOption::Timestamps { value: 9, echo: 0 },
                TcpOption::Nop,
                TcpOption::WindowScale(7),
            ]
        );
    }

    #[test]
    fn sack_blocks_are_read_in_order() {
        let header = header(&[1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
        let sack = Options::new(&header).last().unwrap();
        assert_eq!(sack.sack_blocks().collect::<Vec<_>>(), [(1, 2), (3, 4)]);
    }

    #[test]
    fn a_length_that_makes_no_sense_ends_the_walk() {
        for broken in [&[8, 0][..], &[8, 1], &[8, 10, 0], &[8]] {
            assert_eq!(Options::new(&header(broken)).count(), 0, "{broken:?}");
        }
    }

    #[test]
    fn a_known_kind_of_the_wrong_length_is_not_taken_for_it() {
        let header = header(&[2, 3, 5]);
        assert_eq!(
            Options::new(&header).next(),
            Some(TcpOption::Other {
                kind: 2,
                data: &[5]
            })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_walked(options in proptest::collection::vec(any::<u8>(), 0..40)) {
            let header = header(&options);
            prop_assert!(Options::new(&header).count() <= options.len());
        }
    }
}
