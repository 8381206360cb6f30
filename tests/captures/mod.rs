//! Captures made for tests: segments, and files of them.
#![allow(dead_code)] // each test uses its part

use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader};

pub const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 2], 40_000);
pub const SERVER: ([u8; 4], u16) = ([198, 51, 100, 2], 22);

/// A segment, and how it differs from a plain ACK.
#[derive(Debug, Clone)]
pub struct Segment {
    pub from_server: bool,
    /// Letters of S, A, F, R, P.
    pub flags: &'static str,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: usize,
    pub identification: u16,
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            from_server: false,
            flags: "A",
            sequence: 0,
            acknowledgement: 0,
            window: 60_000,
            options: Vec::new(),
            payload: 0,
            identification: 0,
        }
    }
}

impl Segment {
    /// Its bytes, from the IP header on.
    pub fn build(&self) -> Vec<u8> {
        let (from, to) = match self.from_server {
            true => (SERVER, CLIENT),
            false => (CLIENT, SERVER),
        };
        let mut tcp = TcpHeader::new(from.1, to.1, self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgement;
        tcp.syn = self.flags.contains('S');
        tcp.ack = self.flags.contains('A');
        tcp.fin = self.flags.contains('F');
        tcp.rst = self.flags.contains('R');
        tcp.psh = self.flags.contains('P');
        tcp.set_options_raw(&self.options).unwrap();
        let length = tcp.header_len() + self.payload;
        let protocol = etherparse::IpNumber::TCP;
        let mut ip =
            etherparse::Ipv4Header::new(length as u16, 64, protocol, from.0, to.0).unwrap();
        ip.identification = self.identification;
        let headers = etherparse::IpHeaders::Ipv4(ip, Default::default());
        let payload: Vec<u8> = (0..self.payload).map(|i| (i % 251) as u8).collect();
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ip(headers).tcp_header(tcp);
        builder.write(&mut bytes, &payload).unwrap();
        bytes
    }
}

/// MSS 1460, SACK permitted, timestamps, window scale 7: what Linux offers.
pub fn offer(time: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 180, 4, 2, 8, 10];
    options.extend(time.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options.extend([1, 3, 3, 7]);
    options
}

/// Timestamps and SACK blocks.
pub fn stamped(time: u32, echo: u32, sack: &[(u32, u32)]) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(time.to_be_bytes());
    options.extend(echo.to_be_bytes());
    let sack = &sack[..sack.len().min(3)];
    if !sack.is_empty() {
        options.extend([1, 1, 5, 2 + 8 * sack.len() as u8]);
        for (left, right) in sack {
            options.extend(left.to_be_bytes());
            options.extend(right.to_be_bytes());
        }
    }
    options
}

/// A file, in nanoseconds; each packet is cut to `snap` bytes.
pub fn pcap(link: u32, snap: usize, packets: &[(Duration, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0]);
    for number in [0, 0, snap as u32, link] {
        bytes.extend(number.to_le_bytes());
    }
    for (at, packet) in packets {
        let kept = packet.len().min(snap);
        let heading = [
            at.as_secs() as u32,
            at.subsec_nanos(),
            kept as u32,
            packet.len() as u32,
        ];
        for number in heading {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(&packet[..kept]);
    }
    bytes
}

/// A connection that begins in order: SYN, SYN-ACK, ACK, and so many segments of a thousand bytes.
pub fn upload(segments: u32) -> Vec<Segment> {
    let mut all = vec![
        Segment {
            flags: "S",
            sequence: 1_000,
            options: offer(1, 0),
            ..Segment::default()
        },
        Segment {
            from_server: true,
            flags: "SA",
            sequence: 9_000,
            acknowledgement: 1_001,
            options: offer(5, 1),
            ..Segment::default()
        },
        Segment {
            sequence: 1_001,
            acknowledgement: 9_001,
            options: stamped(2, 5, &[]),
            ..Segment::default()
        },
    ];
    for n in 0..segments {
        all.push(Segment {
            flags: "PA",
            sequence: 1_001 + n * 1_000,
            acknowledgement: 9_001,
            payload: 1_000,
            options: stamped(3 + n, 5, &[]),
            ..Segment::default()
        });
    }
    all
}

/// An acknowledgement by the server, with SACK blocks.
pub fn acknowledges(number: u32, sack: &[(u32, u32)]) -> Segment {
    Segment {
        from_server: true,
        sequence: 9_001,
        acknowledgement: number,
        options: stamped(9, 3, sack),
        ..Segment::default()
    }
}

/// A millisecond apart.
pub fn timed(segments: &[Segment]) -> Vec<(Duration, Vec<u8>)> {
    let at = |n: usize| Duration::from_millis(1_700_000_000_000 + n as u64);
    segments
        .iter()
        .enumerate()
        .map(|(n, segment)| (at(n), segment.build()))
        .collect()
}
