use std::io::Read;

use proptest::prelude::*;

use super::*;

/// A pcap file of packets at one second and so many parts of the next.
fn pcap(magic: [u8; 4], packets: &[(u32, &[u8])]) -> Vec<u8> {
    let big_endian = magic[0] == 0xa1;
    let long = |number: u32| match big_endian {
        true => number.to_be_bytes(),
        false => number.to_le_bytes(),
    };
    let mut bytes = magic.to_vec();
    bytes.extend(match big_endian {
        true => [0, 2, 0, 4],
        false => [2, 0, 4, 0],
    });
    for number in [0, 0, 65_535, 1] {
        bytes.extend(long(number));
    }
    for (part, packet) in packets {
        for number in [1, *part, packet.len() as u32, 1_500] {
            bytes.extend(long(number));
        }
        bytes.extend(*packet);
    }
    bytes
}

/// A block of pcapng.
fn block(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let long = |number: u32| match big_endian {
        true => number.to_be_bytes(),
        false => number.to_le_bytes(),
    };
    let length = long(padded as u32 + 12);
    let mut bytes = [long(kind), length].concat();
    bytes.extend(body);
    bytes.resize(8 + padded, 0);
    bytes.extend(length);
    bytes
}

fn words(numbers: &[u32], big_endian: bool) -> Vec<u8> {
    let word = |number: &u32| match big_endian {
        true => number.to_be_bytes(),
        false => number.to_le_bytes(),
    };
    numbers.iter().flat_map(word).collect()
}

fn section(big_endian: bool) -> Vec<u8> {
    let versions: u32 = if big_endian { 1 << 16 } else { 1 };
    let body = words(&[0x1a2b_3c4d, versions, u32::MAX, u32::MAX], big_endian);
    block(0x0a0d_0d0a, &body, big_endian)
}

fn interface(link: u16, options: &[u8], big_endian: bool) -> Vec<u8> {
    let first = if big_endian {
        u32::from(link) << 16
    } else {
        link.into()
    };
    let mut body = words(&[first, 4], big_endian);
    body.extend(options);
    block(1, &body, big_endian)
}

fn option(code: u16, value: &[u8], big_endian: bool) -> Vec<u8> {
    let length = value.len() as u16;
    let mut bytes = match big_endian {
        true => [code.to_be_bytes(), length.to_be_bytes()].concat(),
        false => [code.to_le_bytes(), length.to_le_bytes()].concat(),
    };
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn enhanced(interface: u32, ticks: u32, packet: &[u8], big_endian: bool) -> Vec<u8> {
    let length = packet.len() as u32;
    let mut body = words(&[interface, 0, ticks, length, length], big_endian);
    body.extend(packet);
    block(6, &body, big_endian)
}

#[derive(Debug, PartialEq)]
struct Read1 {
    at: Duration,
    link: LinkType,
    interface: usize,
    bytes: Vec<u8>,
    original_length: usize,
    offset: u64,
}

/// All packets, and what ends them if it is not the end.
fn read(reader: impl Read) -> (Vec<Read1>, Option<CaptureError>) {
    let mut packets = Vec::new();
    let mut capture = match Capture::open(reader) {
        Ok(capture) => capture,
        Err(why) => return (packets, Some(why)),
    };
    loop {
        match capture.next_packet() {
            Ok(Some(packet)) => packets.push(Read1 {
                at: packet.at,
                link: packet.link,
                interface: packet.interface,
                bytes: packet.bytes.to_vec(),
                original_length: packet.original_length,
                offset: packet.offset,
            }),
            Ok(None) => return (packets, None),
            Err(why) => {
                assert!(capture.next_packet().unwrap().is_none(), "said once");
                return (packets, Some(why));
            }
        }
    }
}

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

const ALL_ORDERS: [([u8; 4], u64); 4] = [
    ([0xd4, 0xc3, 0xb2, 0xa1], 1_000),
    ([0x4d, 0x3c, 0xb2, 0xa1], 1),
    ([0xa1, 0xb2, 0xc3, 0xd4], 1_000),
    ([0xa1, 0xb2, 0x3c, 0x4d], 1),
];

#[test]
fn pcap_is_read_in_both_byte_orders_and_both_resolutions() {
    for (magic, nanoseconds) in ALL_ORDERS {
        let bytes = pcap(magic, &[(7, b"one"), (8, b"other")]);
        let (packets, error) = read(&bytes[..]);
        assert!(error.is_none(), "{error:?}");
        let times: Vec<u128> = packets.iter().map(|packet| packet.at.as_nanos()).collect();
        let second = 1_000_000_000;
        let part = u128::from(nanoseconds);
        assert_eq!(times, [second + 7 * part, second + 8 * part], "{magic:x?}");
        assert_eq!(
            (&packets[0].bytes[..], packets[0].offset),
            (&b"one"[..], 24)
        );
        assert_eq!(
            (&packets[1].bytes[..], packets[1].offset),
            (&b"other"[..], 43)
        );
        assert_eq!(packets[1].original_length, 1_500);
        assert_eq!(packets[1].link, LinkType::Ethernet);
    }
}

#[test]
fn pcapng_has_sections_and_interfaces_each_with_a_clock_of_its_own() {
    let mut bytes = Vec::new();
    for big_endian in [false, true] {
        bytes.extend(section(big_endian));
        let name = option(2, b"eth0", big_endian);
        bytes.extend(interface(1, &name, big_endian));
        let hour: i64 = 3_600;
        let hour = match big_endian {
            true => hour.to_be_bytes(),
            false => hour.to_le_bytes(),
        };
        let clock = [
            option(9, &[0x81], big_endian),
            option(14, &hour, big_endian),
            option(0, &[], big_endian),
        ];
        bytes.extend(interface(276, &clock.concat(), big_endian));
        bytes.extend(block(0x0bad, b"of another program", big_endian));
        bytes.extend(enhanced(0, 5_000_000, b"first", big_endian));
        bytes.extend(enhanced(1, 3, b"second", big_endian));
    }
    let (packets, error) = read(&bytes[..]);
    assert!(error.is_none(), "{error:?}");
    let seen: Vec<_> = packets
        .iter()
        .map(|packet| (packet.interface, packet.link, packet.at.as_millis()))
        .collect();
    let cooked = LinkType::LinuxCooked2;
    let ethernet = LinkType::Ethernet;
    assert_eq!(
        seen,
        [
            (0, ethernet, 5_000),
            (1, cooked, 3_601_500),
            (2, ethernet, 5_000),
            (3, cooked, 3_601_500),
        ]
    );
    assert_eq!(packets[3].bytes, b"second");
    let mut capture = Capture::open(&bytes[..]).unwrap();
    while capture.next_packet().unwrap().is_some() {}
    assert_eq!(capture.interface_name(2), Some("eth0"));
    assert_eq!(capture.interface_name(1), None);
    assert_eq!(capture.position(), bytes.len() as u64);
}

#[test]
fn packets_of_simple_and_of_obsolete_blocks_are_read() {
    for big_endian in [false, true] {
        let mut bytes = section(big_endian);
        bytes.extend(interface(101, &[], big_endian));
        bytes.extend(enhanced(0, 9, b"time", big_endian));
        // The interface captures four bytes.
        bytes.extend(block(
            3,
            &[&words(&[6], big_endian)[..], b"simple"].concat(),
            big_endian,
        ));
        let mut body = words(&[0, 0, 10, 3, 60], big_endian);
        body.extend(b"old");
        bytes.extend(block(2, &body, big_endian));
        let (packets, error) = read(&bytes[..]);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(packets[1].bytes, b"simp");
        assert_eq!(packets[1].original_length, 6);
        assert_eq!(packets[1].at, Duration::from_micros(9));
        assert_eq!(packets[2].bytes, b"old");
        assert_eq!(
            (packets[2].original_length, packets[2].at.as_micros()),
            (60, 10)
        );
    }
}

#[test]
fn a_capture_that_ends_in_a_packet_gives_those_before_and_says_where_it_ends() {
    let bytes = pcap(ALL_ORDERS[0].0, &[(1, b"whole"), (2, b"not whole")]);
    let (packets, error) = read(&bytes[..bytes.len() - 3]);
    assert_eq!(packets.len(), 1);
    let error = error.unwrap();
    assert!(error.is_early_end());
    assert_eq!(
        error.to_string(),
        "cut short at byte 67: a packet that begins at byte 45 needs 25 bytes, 22 are there"
    );
    let mut bytes = section(false);
    bytes.extend(interface(1, &[], false));
    bytes.extend(enhanced(0, 1, b"whole", false));
    let (packets, error) = read(&bytes[..bytes.len() - 1]);
    assert!(packets.is_empty());
    assert!(error.unwrap().is_early_end());
}

#[test]
fn what_is_no_capture_is_told_with_what_it_is() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "not a capture: it is empty"),
        (b"ab", "not a capture: it begins with 61 62"),
        (b"GET / HTTP", "not a capture: it begins with 47 45 54 20"),
        (
            &[0x1f, 0x8b, 8, 0],
            "not a capture: it begins with 1f 8b 08 00: gzip; unpack it first (zcat FILE | unmangle explain -)",
        ),
        (
            &[0xd4, 0xc3, 0xb2, 0xa1, 2],
            "cut short at byte 5: the header that begins at byte 0 needs 24 bytes, 5 are there",
        ),
        (
            &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 1, 2, 3, 4],
            "byte 0: a section that does not say its byte order",
        ),
    ];
    for (bytes, expected) in cases {
        let (_, error) = read(bytes);
        assert_eq!(error.unwrap().to_string(), expected);
    }
    let mut usb = pcap(ALL_ORDERS[0].0, &[]);
    usb[20] = 189;
    let (_, error) = read(&usb[..]);
    assert_eq!(
        error.unwrap().to_string(),
        "byte 20: link type 189 is not known"
    );
}

#[test]
fn what_contradicts_itself_is_told_with_its_place() {
    let mut long = pcap(ALL_ORDERS[0].0, &[(1, b"whole"), (2, b"other")]);
    long[45 + 11] = 0x7f;
    let begin = [section(false), interface(1, &[], false)].concat();
    let place = begin.len();
    let with = |block: Vec<u8>| [begin.clone(), block].concat();
    let mut twice = block(0x0bad, b"some", false);
    twice[12] += 4;
    let mut wide = enhanced(0, 1, b"packet", false);
    wide[20] = 200;
    let cases = [
        (
            long,
            "byte 45: a packet of 2130706437 bytes, which none is: this is not where one begins"
                .to_owned(),
        ),
        (
            with(twice),
            format!("byte {place}: a block that is 16 bytes long at its begin and 20 at its end"),
        ),
        (
            with(enhanced(3, 1, b"packet", false)),
            format!("byte {place}: a packet of interface 3, of which nothing is said before"),
        ),
        (
            with(interface(1, &option(9, &[99], false), false)),
            format!("byte {place}: an interface with a clock that nobody has (if_tsresol 99)"),
        ),
        (
            with(wide),
            format!("byte {place}: a block: it says it is longer than it is"),
        ),
    ];
    for (bytes, expected) in cases {
        let (_, error) = read(&bytes[..]);
        let error = error.expect(&expected);
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_early_end());
    }
}

#[test]
fn a_packet_longer_than_the_buffer_is_read_as_a_whole() {
    let packet = vec![7; (3 << 20) + 1];
    let bytes = pcap(
        ALL_ORDERS[0].0,
        &[(1, b"before"), (2, &packet), (3, b"after")],
    );
    let (packets, error) = read(&bytes[..]);
    assert!(error.is_none());
    let lengths: Vec<_> = packets.iter().map(|packet| packet.bytes.len()).collect();
    assert_eq!(lengths, [6, packet.len(), 5]);
}

fn some_capture() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let blocks = (bytes(), bytes(), any::<bool>()).prop_map(|(one, other, big_endian)| {
        [
            section(big_endian),
            interface(1, &option(9, &[9], big_endian), big_endian),
            enhanced(0, 1, &one, big_endian),
            section(!big_endian),
            interface(101, &[], !big_endian),
            enhanced(0, 2, &other, !big_endian),
        ]
        .concat()
    });
    let plain = (bytes(), bytes(), 0usize..4)
        .prop_map(|(one, other, order)| pcap(ALL_ORDERS[order].0, &[(1, &one), (2, &other)]));
    prop_oneof![blocks, plain]
}

proptest! {
    #[test]
    fn broken_captures_are_read_alike_however_the_bytes_arrive(
        mut bytes in some_capture(),
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut: proptest::sample::Index,
    ) {
        for (at, byte) in faults {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (packets, error) = read(&bytes[..]);
        let (again, same) = read(Drip(&bytes));
        prop_assert_eq!(&packets, &again);
        prop_assert_eq!(format!("{error:?}"), format!("{same:?}"));
        // What is cut off takes away, and changes nothing.
        let (fewer, _) = read(&bytes[..cut.index(bytes.len())]);
        prop_assert_eq!(&packets[..fewer.len()], &fewer[..]);
    }
}
