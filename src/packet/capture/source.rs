//! What was read and not yet used: a buffer that grows to the longest record and no further.

use std::io::{ErrorKind, Read};

use super::CaptureError;

/// Read at once, if there is that much.
const AT_ONCE: usize = 1 << 20;

pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The unused bytes of the buffer.
    begin: usize,
    end: usize,
    /// Where `begin` is in the file.
    offset: u64,
    ended: bool,
}

// === impl Source ===

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; AT_ONCE],
            begin: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Where the first unused byte is in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The unused bytes that are there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Reads until so many bytes are there, or the end. How many there are.
    pub(super) fn want(&mut self, needed: usize) -> Result<usize, CaptureError> {
        while self.end - self.begin < needed && !self.ended {
            self.make_room(needed);
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    let at = self.offset + self.bytes().len() as u64;
                    return Err(CaptureError::Read { at, source });
                }
            }
        }
        Ok(self.end - self.begin)
    }

    /// Reads until so many bytes are there; an end before is an error that says in what.
    pub(super) fn demand(&mut self, what: &'static str, needed: usize) -> Result<(), CaptureError> {
        let present = self.want(needed)?;
        if present >= needed {
            return Ok(());
        }
        Err(CaptureError::CutShort {
            end: self.offset + present as u64,
            what,
            at: self.offset,
            needed,
            present,
        })
    }

    /// Uses the next bytes; they were demanded before.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        let begin = self.begin;
        self.begin += length;
        self.offset += length as u64;
        &self.buffer[begin..self.begin]
    }

    /// Room for what is needed, and for at least one byte.
    fn make_room(&mut self, needed: usize) {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if needed > self.buffer.len() {
            self.buffer.resize(needed.next_multiple_of(AT_ONCE), 0);
        }
    }
}
