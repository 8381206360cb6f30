//! One segment, as far as it is compared with itself on the other side.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::diagnose::explain::Sighting;
use crate::packet::{Flags, Ip, Options, TcpOption};

/// SACK blocks that a header has room for.
const BLOCKS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub number: u64,
    pub at: Duration,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub payload: u32,
    /// Of the IP packet.
    pub length: u32,
    /// IPv4's identification; 0 if it has none.
    pub identification: u16,
    pub window: u16,
    pub urgent: u16,
    pub flags: Flags,
    pub class: u8,
    pub ttl: u8,
    pub options: Seen,
    /// Of so many bytes of data.
    pub data: (u16, u32),
}

/// Its options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack_permitted: bool,
    pub timestamps: Option<(u32, u32)>,
    pub sack: [(u32, u32); BLOCKS],
    pub blocks: u8,
    /// Kinds of other options, a bit each up to 63.
    pub others: u64,
}

// === impl Record ===

impl Record {
    /// None if its header was not captured as a whole.
    pub(super) fn of(sighting: &Sighting<'_>) -> Option<Self> {
        let bytes = sighting.bytes;
        let segment = &sighting.segment;
        let (at, v4) = match bytes[0] >> 4 {
            4 => (usize::from(bytes[0] & 0x0f) * 4, true),
            _ => (Ip::parse_quoted(bytes).ok()?.payload, false),
        };
        let tcp = bytes.get(at..)?;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        let options = tcp.get(..header).filter(|_| header >= 20)?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let data = &tcp[header..];
        // A short frame is padded.
        let data = &data[..data.len().min(segment.payload as usize)];
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        Some(Self {
            number: sighting.number,
            at: sighting.at,
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            payload: segment.payload,
            length: (at + header) as u32 + segment.payload,
            identification: if v4 { word(4) } else { 0 },
            window: segment.window,
            urgent: u16::from_be_bytes([tcp[18], tcp[19]]),
            flags: segment.flags,
            class: if v4 {
                bytes[1]
            } else {
                bytes[0] << 4 | bytes[1] >> 4
            },
            ttl: bytes[if v4 { 8 } else { 7 }],
            options: Seen::of(options),
            data: (data.len() as u16, hasher.finish() as u32),
        })
    }

    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.has(flag)
    }

    pub(super) fn blocks(&self) -> &[(u32, u32)] {
        &self.options.sack[..usize::from(self.options.blocks)]
    }
}

// === impl Seen ===

impl Seen {
    fn of(header: &[u8]) -> Self {
        let mut seen = Self::default();
        for option in Options::new(header) {
            match option {
                TcpOption::Nop => {}
                TcpOption::Mss(mss) => seen.mss = Some(mss),
                TcpOption::WindowScale(scale) => seen.scale = Some(scale),
                TcpOption::SackPermitted => seen.sack_permitted = true,
                TcpOption::Timestamps { value, echo } => seen.timestamps = Some((value, echo)),
                TcpOption::Sack(_) => {
                    for block in option.sack_blocks().take(BLOCKS) {
                        seen.sack[usize::from(seen.blocks)] = block;
                        seen.blocks = (seen.blocks + 1).min(BLOCKS as u8);
                        if usize::from(seen.blocks) == BLOCKS {
                            break;
                        }
                    }
                }
                TcpOption::Other { kind, .. } => seen.others |= 1 << kind.min(63),
            }
        }
        seen
    }
}
