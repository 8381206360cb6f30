//! Any bytes as a capture: how far it is read, what its packets are, and what is said of the rest.

use std::io::Read;
use std::time::Duration;

use unmangle::packet::capture::Capture;
use unmangle::packet::link::Carried;
use unmangle::packet::{Ip, Tcp};

/// A packet, as far as it must be the same again.
type Seen = (Duration, usize, Vec<u8>, usize, u64);

/// What must hold for any bytes that are said to be a capture.
pub fn run(bytes: &[u8]) {
    let (packets, said) = read(bytes);
    let (again, same) = read(Drip(bytes));
    assert_eq!(packets, again, "however the bytes arrive");
    assert_eq!(said, same, "however the bytes arrive");
    if let Some(said) = said {
        assert!(!said.contains(char::is_control), "one line: {said:?}");
    }
    let (fewer, _) = read(&bytes[..bytes.len() / 2]);
    assert_eq!(fewer, packets[..fewer.len()], "a cut only takes away");
}

/// All packets, and what is said where they end too early.
fn read(reader: impl Read) -> (Vec<Seen>, Option<String>) {
    let mut packets: Vec<Seen> = Vec::new();
    let mut capture = match Capture::open(reader) {
        Ok(capture) => capture,
        Err(why) => return (packets, Some(why.to_string())),
    };
    loop {
        match capture.next_packet() {
            Ok(Some(packet)) => {
                if let Some(before) = packets.last() {
                    assert!(before.4 < packet.offset, "packets follow each other");
                }
                let frame = packet.link.open(packet.bytes);
                if let Carried::Ip(bytes) = frame.carried {
                    assert!(frame.heading + bytes.len() <= packet.bytes.len());
                    if let Ok(ip) = Ip::parse_quoted(bytes) {
                        let _ = Tcp::parse(&bytes[ip.payload..]);
                    }
                }
                packets.push((
                    packet.at,
                    packet.interface,
                    packet.bytes.to_vec(),
                    packet.original_length,
                    packet.offset,
                ));
            }
            Ok(None) => return (packets, None),
            Err(why) => {
                let after = capture.next_packet().expect("said once");
                assert!(after.is_none(), "nothing comes after an error");
                return (packets, Some(why.to_string()));
            }
        }
    }
}

/// Gives few bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(3);
        self.0.read(&mut buffer[..length])
    }
}
