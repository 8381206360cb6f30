//! Captures as a stream of packets: pcap in both byte orders, with micro- and nanoseconds, and pcapng with any
//! number of sections and interfaces. Read from anything, in bounded memory.
//!
//! `pcap_parser` knows the formats. What stands around it is ours, because errors are to name the byte where
//! something is wrong, and a capture that ends in the middle of a packet is to yield all packets before it.

use std::io::Read;
use std::time::Duration;

use pcap_parser::nom;
use pcap_parser::pcap::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified};
use pcap_parser::{LegacyPcapBlock, PcapError, PcapHeader, parse_pcap_header};

use super::link::LinkType;

mod blocks;
mod source;
#[cfg(test)]
mod tests;

use blocks::Blocks;
use source::Source;

/// No packet and no block is as long as this; a longer one is a length that was overwritten.
pub const LONGEST: usize = 16 << 20;

/// A capture that is being read.
pub struct Capture<R> {
    source: Source<R>,
    format: Format,
    /// What has been said once is not said again.
    over: bool,
}

/// A packet of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, since the epoch. Simple packet blocks of pcapng have no time: they have that of
    /// the packet before them.
    pub at: Duration,
    /// How its first bytes are to be read.
    pub link: LinkType,
    /// Which interface it was captured on, counted from 0 through all sections of the file; see
    /// [`Capture::interface_name`].
    pub interface: usize,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was on the wire.
    pub original_length: usize,
    /// Where its record begins in the file.
    pub offset: u64,
}

/// Why there is no (further) packet.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The input cannot be read.
    #[error("cannot read at byte {at}: {source}")]
    Read {
        /// How many bytes were read before.
        at: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// It begins like something else.
    #[error("not a capture: {0}")]
    NotACapture(String),
    /// It ends in the middle of something; all packets before were given.
    #[error(
        "cut short at byte {end}: {what} that begins at byte {at} needs {needed} bytes, {present} are there"
    )]
    CutShort {
        /// Where the file ends.
        end: u64,
        /// In what it ends.
        what: &'static str,
        /// Where that begins.
        at: u64,
        /// How long it would be, as far as is known.
        needed: usize,
        /// How much of it is there.
        present: usize,
    },
    /// Every packet of the capture has a link type that is not known here.
    #[error("byte {at}: link type {number} is not known")]
    Link {
        /// Where it says so.
        at: u64,
        /// The link type's number.
        number: u16,
    },
    /// Something contradicts itself.
    #[error("byte {at}: {what}")]
    Malformed {
        /// Where it begins.
        at: u64,
        /// What was found there.
        what: String,
    },
}

enum Format {
    Pcap(Pcap),
    Blocks(Blocks),
}

/// What the header of a pcap file says.
struct Pcap {
    link: LinkType,
    nanoseconds: bool,
    /// Bytes before each packet.
    heading: usize,
    big_endian: bool,
}

/// A packet, as long as its bytes are only a range after the current position.
struct Found {
    at: Duration,
    link: LinkType,
    interface: usize,
    /// Where its bytes begin, counted from the record's first one.
    begin: usize,
    length: usize,
    original_length: usize,
    /// How long the whole record is.
    record: usize,
}

// === impl Capture ===

impl<R: Read> Capture<R> {
    /// Reads as much as is needed to know what it is.
    pub fn open(reader: R) -> Result<Self, CaptureError> {
        let mut source = Source::new(reader);
        let present = source.want(4)?;
        let magic = source.bytes().get(..4).unwrap_or_default();
        let format = match *magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::Blocks(Blocks::default()),
            [0xd4, 0xc3, 0xb2, 0xa1]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0x34, 0xcd, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xa1, 0xb2, 0x3c, 0x4d] => Format::Pcap(Pcap::read(&mut source)?),
            _ => return Err(CaptureError::NotACapture(other(source.bytes(), present))),
        };
        Ok(Self {
            source,
            format,
            over: false,
        })
    }

    /// The next packet; none at the end. After an error there is none either.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        if self.over {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source),
            Format::Blocks(blocks) => blocks.next(&mut self.source),
        };
        let Some(found) = found.inspect_err(|_| self.over = true)? else {
            self.over = true;
            return Ok(None);
        };
        let offset = self.source.offset();
        let record = self.source.take(found.record);
        Ok(Some(Packet {
            at: found.at,
            link: found.link,
            interface: found.interface,
            bytes: &record[found.begin..found.begin + found.length],
            original_length: found.original_length,
            offset,
        }))
    }

    /// What an interface is called, where the capture says it.
    pub fn interface_name(&self, interface: usize) -> Option<&str> {
        match &self.format {
            Format::Pcap(_) => None,
            Format::Blocks(blocks) => blocks.interface_name(interface),
        }
    }

    /// How far it has been read, in bytes.
    pub fn position(&self) -> u64 {
        self.source.offset()
    }
}

/// What bytes are that begin no capture.
fn other(bytes: &[u8], present: usize) -> String {
    if present == 0 {
        return "it is empty".to_owned();
    }
    let begins: Vec<String> = bytes
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kind = match bytes {
        [0x1f, 0x8b, ..] => ": gzip; unpack it first (zcat FILE | unmangle explain -)",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            ": zstd; unpack it first (zstdcat FILE | unmangle explain -)"
        }
        [0xfd, b'7', b'z', b'X', ..] => ": xz; unpack it first (xzcat FILE | unmangle explain -)",
        [b'P', b'K', 3, 4, ..] => ": zip; unpack it first",
        _ => "",
    };
    format!("it begins with {}{kind}", begins.join(" "))
}

// === impl Pcap ===

impl Pcap {
    /// The header's length.
    const HEADER: usize = 24;

    fn read<R: Read>(source: &mut Source<R>) -> Result<Self, CaptureError> {
        source.demand("the header", Self::HEADER)?;
        let header = match parse_pcap_header(source.bytes()) {
            Ok((_, header)) => header,
            Err(why) => return Err(malformed(source.offset(), "the header", why)),
        };
        // The upper bits say how long a frame's checksum is.
        let number = header.network.0 as u16;
        let link = LinkType::new(number);
        if let LinkType::Other(number) = link {
            return Err(CaptureError::Link { at: 20, number });
        }
        source.take(Self::HEADER);
        Ok(Self::of(&header, link))
    }

    fn of(header: &PcapHeader, link: LinkType) -> Self {
        Self {
            link,
            nanoseconds: header.is_nanosecond_precision(),
            heading: if header.is_modified_format() { 24 } else { 16 },
            big_endian: header.is_bigendian(),
        }
    }

    fn next<R: Read>(&self, source: &mut Source<R>) -> Result<Option<Found>, CaptureError> {
        if source.want(1)? == 0 {
            return Ok(None);
        }
        source.demand("the heading of a packet", self.heading)?;
        let length = number(source.bytes(), 8, self.big_endian);
        let record = record(source.offset(), "a packet", length, self.heading)?;
        source.demand("a packet", record)?;
        let parse = match (self.heading, self.big_endian) {
            (24, _) => parse_pcap_frame_modified,
            (_, true) => parse_pcap_frame_be,
            (_, false) => parse_pcap_frame,
        };
        let packet = match parse(&source.bytes()[..record]) {
            Ok((_, packet)) => packet,
            Err(why) => return Err(malformed(source.offset(), "a packet", why)),
        };
        Ok(Some(Found {
            at: self.time(&packet),
            link: self.link,
            interface: 0,
            begin: self.heading,
            length: packet.data.len(),
            original_length: packet.origlen as usize,
            record,
        }))
    }

    fn time(&self, packet: &LegacyPcapBlock<'_>) -> Duration {
        let seconds = Duration::from_secs(packet.ts_sec.into());
        let part = u64::from(packet.ts_usec);
        seconds
            + match self.nanoseconds {
                true => Duration::from_nanos(part),
                false => Duration::from_micros(part),
            }
    }
}

/// The 32-bit number at `at`; the caller has checked the length.
fn number(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let number = super::long(bytes, at);
    if big_endian {
        number
    } else {
        number.swap_bytes()
    }
}

/// How long a record is that has `length` bytes besides `more`, if that can be.
fn record(at: u64, what: &str, length: u32, more: usize) -> Result<usize, CaptureError> {
    let length = length as usize;
    if length > LONGEST {
        return Err(CaptureError::Malformed {
            at,
            what: format!("{what} of {length} bytes, which none is: this is not where one begins"),
        });
    }
    Ok(length + more)
}

/// What the crate has against bytes that are all there.
fn malformed(at: u64, what: &str, why: nom::Err<PcapError<&[u8]>>) -> CaptureError {
    let why = match why {
        nom::Err::Incomplete(_) => "it says it is longer than it is".to_owned(),
        nom::Err::Error(PcapError::NomError(_, kind))
        | nom::Err::Failure(PcapError::NomError(_, kind)) => {
            format!("it contradicts itself ({})", kind.description())
        }
        nom::Err::Error(why) | nom::Err::Failure(why) => why.to_string(),
    };
    CaptureError::Malformed {
        at,
        what: format!("{what}: {why}"),
    }
}

// === impl CaptureError ===

impl CaptureError {
    /// Whether it is no more than an end that came too early, as when a capture was stopped.
    #[must_use]
    pub fn is_early_end(&self) -> bool {
        matches!(self, Self::CutShort { .. })
    }
}
