//! Frames of what a rule has logged (NFLOG): a list of attributes, of which one is the packet.

use std::time::Duration;

use super::{Carried, Frame, Travel, ip, long};

/// What the rule that has logged a packet says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Logged<'a> {
    /// Its text, without the zero at the end.
    pub prefix: &'a [u8],
    /// Where the packet was: `NF_INET_PRE_ROUTING` 0, local in 1, forward 2, local out 3, postrouting 4.
    pub hook: Option<u8>,
    /// The number of the device it came by.
    pub from_device: Option<u32>,
    /// The number of the device it is to leave by.
    pub to_device: Option<u32>,
    /// When, where the kernel says it: not for packets of its own.
    pub at: Option<Duration>,
    /// Its mark, if it has one.
    pub mark: Option<u32>,
}

/// Attributes of linux/netfilter/nfnetlink_log.h.
mod attribute {
    pub const HEADER: u16 = 1;
    pub const MARK: u16 = 2;
    pub const TIMESTAMP: u16 = 3;
    pub const FROM_DEVICE: u16 = 4;
    pub const TO_DEVICE: u16 = 5;
    pub const PAYLOAD: u16 = 9;
    pub const PREFIX: u16 = 10;
}

/// `NF_INET_LOCAL_OUT` and what comes after it.
const LEAVES: u8 = 3;

/// Family, version and group come before the attributes.
const HEADING: usize = 4;

pub(super) fn open(bytes: &[u8]) -> Frame<'_> {
    if bytes.len() < HEADING {
        return Frame::new(Carried::CutShort, HEADING);
    }
    // Lengths and kinds are in the byte order of the host that has captured, which nothing tells but the first
    // attribute: it is a short one.
    let big_endian = match bytes.get(HEADING..HEADING + 2) {
        Some(length) => length[0] < length[1],
        None => false,
    };
    let attributes = Attributes {
        bytes,
        at: HEADING,
        big_endian,
    };
    let mut logged = Logged::default();
    let mut frame = Frame::new(Carried::NotIp, HEADING);
    for Attribute {
        kind, at, value, ..
    } in attributes
    {
        let number = || (value.len() >= 4).then(|| long(value, 0));
        match kind {
            attribute::PAYLOAD => {
                let found = ip(value, 0);
                frame.carried = found.carried;
                frame.heading = at;
            }
            attribute::PREFIX => {
                logged.prefix = value.split(|byte| *byte == 0).next().unwrap_or_default();
            }
            attribute::HEADER => logged.hook = value.get(2).copied(),
            attribute::MARK => logged.mark = number(),
            attribute::FROM_DEVICE => logged.from_device = number(),
            attribute::TO_DEVICE => logged.to_device = number(),
            attribute::TIMESTAMP => logged.at = time(value),
            _ => {}
        }
    }
    Frame {
        device: logged.from_device.or(logged.to_device),
        travel: logged.hook.map(|hook| match hook {
            LEAVES.. => Travel::Outgoing,
            _ => Travel::Incoming,
        }),
        logged: Some(logged),
        ..frame
    }
}

/// Seconds and microseconds, 64 bits each.
fn time(value: &[u8]) -> Option<Duration> {
    let number = |at: usize| {
        let bytes = value.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    Duration::from_secs(number(0)?).checked_add(Duration::from_micros(number(8)?))
}

/// A walk over attributes; it ends where a length makes no sense.
struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

struct Attribute<'a> {
    kind: u16,
    /// Where its value begins.
    at: usize,
    value: &'a [u8],
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// Length and kind at `at`.
    fn heading(&self, at: usize) -> Option<(usize, u16)> {
        let word = |at: usize| {
            let bytes = [*self.bytes.get(at)?, *self.bytes.get(at + 1)?];
            Some(match self.big_endian {
                true => u16::from_be_bytes(bytes),
                false => u16::from_le_bytes(bytes),
            })
        };
        // The upper bits say that it holds attributes, or numbers in network byte order.
        let (length, kind) = (word(at)?, word(at + 2)? & 0x3fff);
        (length >= 4).then_some((length.into(), kind))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, kind) = self.heading(self.at)?;
        let begin = self.at + 4;
        // The capture may have cut the last one short.
        let end = (self.at + length).min(self.bytes.len());
        self.at = (self.at + length).next_multiple_of(4);
        Some(Attribute {
            kind,
            at: begin,
            value: self.bytes.get(begin..end)?,
        })
    }
}
