//! What comes to this host from the other end and leaves for it: each packet once, and as it is on the wire.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::io::Errno;

use super::copies::Copies;
use super::{Unable, filter, opening};
use crate::packet::{Ip, checksum};
use crate::sys::tap::{Captured, Going, Tap};

/// No packet is longer; what receive offload has merged may be as long.
const LONGEST: usize = 1 << 16;

/// A tap that shows TCP from and to one address, and ICMP of its family from everybody.
#[derive(Debug)]
pub struct Tapped {
    tap: Tap,
    copies: Copies,
    began: Instant,
    buffer: Vec<u8>,
}

// === impl Tapped ===

impl Tapped {
    /// Opens one.
    ///
    /// # Errors
    /// [`Unable`] without CAP_NET_RAW.
    pub fn towards(peer: IpAddr) -> Result<Self, Unable> {
        let tap = Tap::open(&filter::of(peer)).map_err(opening("opening a tap"))?;
        Ok(Self {
            tap,
            copies: Copies::default(),
            began: Instant::now(),
            buffer: vec![0; LONGEST],
        })
    }

    /// The next packet, from its IP header on; `None` when there is none yet.
    ///
    /// # Errors
    /// If packets cannot be seen any more.
    pub fn read(&mut self) -> io::Result<Option<(Going, &[u8])>> {
        loop {
            let captured = match self.tap.read(&mut self.buffer) {
                Ok(Some(captured)) => captured,
                Ok(None) => return Ok(None),
                // An interface went away, or came; the others stay.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NETDOWN) => continue,
                Err(error) => return Err(error),
            };
            let Captured {
                going, interface, ..
            } = captured;
            let length = without_padding(&self.buffer[..captured.length]);
            let packet = &mut self.buffer[..length];
            if !captured.has_checksum {
                finish(packet);
            }
            let now = self.began.elapsed();
            if !self.copies.is_copy(now, going, interface, packet) {
                return Ok(Some((going, &self.buffer[..length])));
            }
        }
    }

    /// How many packets found no room since this was last asked.
    ///
    /// # Errors
    /// Of the socket.
    pub fn lost(&self) -> io::Result<u32> {
        self.tap.lost()
    }
}

impl AsFd for Tapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}

/// Writes the checksum that the kernel leaves to the device, or has not asked for from a neighbour within this machine.
fn finish(packet: &mut [u8]) {
    if let Ok(ip) = Ip::parse(packet) {
        checksum::refresh_transport(&ip, packet);
    }
}

/// How long a packet is by its IP header: short frames are padded.
fn without_padding(packet: &[u8]) -> usize {
    let field = |at: usize| {
        let two = packet.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([two[0], two[1]])))
    };
    let length = match packet.first().map(|first| first >> 4) {
        Some(4) => field(2),
        Some(6) => field(4).map(|payload| payload + 40),
        _ => None,
    };
    // What the kernel has merged beyond 64 KiB has no length there.
    let length = length.filter(|length| *length > 40);
    length.map_or(packet.len(), |length| length.min(packet.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_ends_where_its_header_says() {
        let mut v4 = vec![0; 60];
        v4[0] = 0x45;
        v4[3] = 44;
        assert_eq!(without_padding(&v4), 44);
        let mut v6 = vec![0; 90];
        v6[0] = 0x60;
        v6[5] = 20;
        assert_eq!(without_padding(&v6), 60);
        v6[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(without_padding(&v6), 90);
        assert_eq!(without_padding(&[]), 0);
        assert_eq!(without_padding(&[0x45]), 1);
    }
}
