//! pcapng: sections, each in a byte order and with interfaces of its own, and their packets.

use std::io::Read;
use std::time::Duration;

use pcap_parser::pcapng::{
    Block, InterfaceDescriptionBlock, OptionCode, parse_block_be, parse_block_le,
};

use super::{CaptureError, Found, LONGEST, LinkType, Source, malformed, number};

/// Types of blocks that matter before they are parsed.
mod kind {
    /// A section begins.
    pub const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
    /// The packet block that came before the enhanced one.
    pub const OBSOLETE_PACKET: u32 = 2;
}

/// Type and length, and the length once more.
const FRAME: usize = 12;
/// Where the bytes of a packet begin.
const ENHANCED: usize = 28;
const SIMPLE: usize = 12;

/// What the blocks so far have said.
#[derive(Default)]
pub(super) struct Blocks {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// The first interface of this section.
    section: usize,
    /// When the last packet was captured.
    last: Duration,
}

struct Interface {
    name: Option<String>,
    link: LinkType,
    /// What is captured of a packet at most, 0 for all.
    snap_length: usize,
    clock: Clock,
}

/// How an interface counts time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    ticks_per_second: u64,
    /// Seconds that are to be added.
    offset: i64,
}

// === impl Blocks ===

impl Blocks {
    pub(super) fn interface_name(&self, interface: usize) -> Option<&str> {
        self.interfaces.get(interface)?.name.as_deref()
    }

    /// The next packet; blocks of other kinds are used on the way.
    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Found>, CaptureError> {
        loop {
            if source.want(1)? == 0 {
                return Ok(None);
            }
            let length = self.frame(source)?;
            if let Some(found) = self.block(source, length)? {
                return Ok(Some(found));
            }
            source.take(length);
        }
    }

    /// The length of the next block, which is then there as a whole.
    fn frame<R: Read>(&mut self, source: &mut Source<R>) -> Result<usize, CaptureError> {
        source.demand("a block", FRAME)?;
        let at = source.offset();
        let bytes = source.bytes();
        if bytes[..4] == kind::SECTION {
            self.big_endian = match bytes[8..12] {
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                _ => {
                    let what = "a section that does not say its byte order".to_owned();
                    return Err(CaptureError::Malformed { at, what });
                }
            };
        }
        let length = number(bytes, 4, self.big_endian) as usize;
        if !(FRAME..=LONGEST).contains(&length) {
            let what = format!("a block of {length} bytes, which none is");
            return Err(CaptureError::Malformed { at, what });
        }
        source.demand("a block", length)?;
        let again = number(source.bytes(), length - 4, self.big_endian) as usize;
        if again != length {
            let what =
                format!("a block that is {length} bytes long at its begin and {again} at its end");
            return Err(CaptureError::Malformed { at, what });
        }
        Ok(length)
    }

    /// What a block says, and the packet in it.
    fn block<R: Read>(
        &mut self,
        source: &Source<R>,
        record: usize,
    ) -> Result<Option<Found>, CaptureError> {
        let at = source.offset();
        let bytes = &source.bytes()[..record];
        let parsed = match self.big_endian {
            true => parse_block_be(bytes),
            false => parse_block_le(bytes),
        };
        let block = match parsed {
            Ok((_, block)) => block,
            Err(why) => return Err(malformed(at, "a block", why)),
        };
        match block {
            Block::SectionHeader(_) => self.section = self.interfaces.len(),
            Block::InterfaceDescription(said) => {
                let interface = Interface::of(&said, self.big_endian)
                    .map_err(|what| CaptureError::Malformed { at, what })?;
                self.interfaces.push(interface);
            }
            Block::EnhancedPacket(packet) => {
                let time = (packet.ts_high, packet.ts_low);
                let length = packet.caplen as usize;
                return self
                    .packet(at, packet.if_id, Some(time), length, packet.origlen)
                    .and_then(|found| found.within(at, ENHANCED, record))
                    .map(Some);
            }
            Block::SimplePacket(packet) => {
                let room = record - SIMPLE - 4;
                let length = room.min(packet.origlen as usize);
                let mut found = self.packet(at, 0, None, length, packet.origlen)?;
                let snap_length = self.interfaces[found.interface].snap_length;
                if snap_length > 0 {
                    found.length = length.min(snap_length);
                }
                return found.within(at, SIMPLE, record).map(Some);
            }
            Block::Unknown(_) if number(bytes, 0, self.big_endian) == kind::OBSOLETE_PACKET => {
                return self.obsolete(at, bytes).map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    /// A packet in the block that the enhanced one has replaced: like it, but interface and drops share a word.
    fn obsolete(&mut self, at: u64, bytes: &[u8]) -> Result<Found, CaptureError> {
        if bytes.len() < ENHANCED + 4 {
            let what = format!("a packet block of {} bytes", bytes.len());
            return Err(CaptureError::Malformed { at, what });
        }
        let word = |at| number(bytes, at, self.big_endian);
        let interface = match self.big_endian {
            true => word(8) >> 16,
            false => word(8) & 0xffff,
        };
        let (time, length, original) = ((word(12), word(16)), word(20) as usize, word(24));
        self.packet(at, interface, Some(time), length, original)?
            .within(at, ENHANCED, bytes.len())
    }

    fn packet(
        &mut self,
        at: u64,
        number: u32,
        time: Option<(u32, u32)>,
        length: usize,
        original_length: u32,
    ) -> Result<Found, CaptureError> {
        let index = self.section.saturating_add(number as usize);
        let Some(interface) = self.interfaces.get(index) else {
            let what = format!("a packet of interface {number}, of which nothing is said before");
            return Err(CaptureError::Malformed { at, what });
        };
        if let Some((high, low)) = time {
            self.last = interface.clock.time(u64::from(high) << 32 | u64::from(low));
        }
        Ok(Found {
            at: self.last,
            link: interface.link,
            interface: index,
            begin: 0,
            length,
            original_length: original_length as usize,
            record: 0,
        })
    }
}

// === impl Found ===

impl Found {
    /// Where it stands in its block, if it fits.
    fn within(self, at: u64, begin: usize, record: usize) -> Result<Self, CaptureError> {
        let room = record.saturating_sub(begin + 4);
        if self.length > room {
            let what = format!(
                "a packet of {} bytes in a block with room for {room}",
                self.length
            );
            return Err(CaptureError::Malformed { at, what });
        }
        Ok(Self {
            begin,
            record,
            ..self
        })
    }
}

// === impl Interface ===

impl Interface {
    /// What is wrong with it is said where it is.
    fn of(said: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Result<Self, String> {
        let option = |code| {
            let mut options = said.options.iter();
            options.find(|option| option.code == code)?.as_bytes().ok()
        };
        let resolution = option(OptionCode::IfTsresol).and_then(<[u8]>::first);
        // The crate reads the offset as little-endian always, and knows no powers of two.
        let offset = option(OptionCode::IfTsoffset)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, |bytes| match big_endian {
                true => i64::from_be_bytes(bytes),
                false => i64::from_le_bytes(bytes),
            });
        Ok(Self {
            name: said.if_name().and_then(Result::ok).map(str::to_owned),
            link: LinkType::new(said.linktype.0 as u16),
            snap_length: said.snaplen as usize,
            clock: Clock::new(*resolution.unwrap_or(&6), offset)?,
        })
    }
}

// === impl Clock ===

impl Clock {
    fn new(resolution: u8, offset: i64) -> Result<Self, String> {
        let ticks = match resolution & 0x80 {
            0 => 10u64.checked_pow(resolution.into()),
            _ => 2u64.checked_pow((resolution & 0x7f).into()),
        };
        let ticks_per_second = ticks.ok_or_else(|| {
            format!("an interface with a clock that nobody has (if_tsresol {resolution})")
        })?;
        Ok(Self {
            ticks_per_second,
            offset,
        })
    }

    /// Before the epoch is the epoch, and after the end of time is its end.
    fn time(self, ticks: u64) -> Duration {
        let seconds = ticks / self.ticks_per_second;
        let rest = u128::from(ticks % self.ticks_per_second) * 1_000_000_000;
        let nanoseconds = (rest / u128::from(self.ticks_per_second)) as u32;
        Duration::new(seconds.saturating_add_signed(self.offset), nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_powers_of_ten_and_of_two_are_read_as_time() {
        let clock = |resolution, offset| Clock::new(resolution, offset).unwrap();
        assert_eq!(
            clock(6, 0).time(3_000_001),
            Duration::from_micros(3_000_001)
        );
        assert_eq!(clock(9, 5).time(1_000_000_007), Duration::new(6, 7));
        assert_eq!(clock(0x81, 0).time(5), Duration::from_millis(2_500));
        assert_eq!(clock(0xbf, 0).time(1 << 62), Duration::from_millis(500));
        assert_eq!(clock(0, -10).time(5), Duration::ZERO);
        assert_eq!(clock(19, 0).time(u64::MAX), Duration::new(1, 844_674_407));
        assert!(Clock::new(20, 0).is_err());
        assert!(Clock::new(0xc0, 0).is_err());
    }
}
