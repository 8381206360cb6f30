//! Headers as proxies write them, as nobody should, and as nobody thought of.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// Version 2: command, family, and what follows the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = V2.to_vec();
    bytes.extend([command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

const V4_ADDRESSES: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 0, 22];

fn addresses() -> impl Strategy<Value = Header> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(s, sp, d, dp)| Header::Proxied {
        source: (Ipv4Addr::from(s), sp).into(),
        destination: (Ipv4Addr::from(d), dp).into(),
    });
    // IPv4 in IPv6 notation comes back as IPv4, and so not as it was.
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(mut s, sp, d, dp)| {
        s[0] |= 0x20;
        Header::Proxied {
            source: (Ipv6Addr::from(s), sp).into(),
            destination: (Ipv6Addr::from(d), dp).into(),
        }
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn any_bytes_can_be_taken_for_a_header(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        start in prop_oneof![Just(&b""[..]), Just(V1), Just(V2), Just(&b"PROXY TCP4 "[..])],
    ) {
        let bytes = [start, &bytes].concat();
        if let Ok(Frame::Whole(length)) = frame(&bytes) {
            prop_assert!(length <= bytes.len());
            let _ = Header::decode(&bytes[..length]);
        }
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn what_was_encoded_is_decoded_again_and_what_follows_is_left(
        header in addresses(),
        payload in proptest::collection::vec(any::<u8>(), 0..40),
        v1: bool,
    ) {
        let encoded = header.encode(if v1 { Version::V1 } else { Version::V2 });
        let stream = [&encoded[..], &payload].concat();
        prop_assert_eq!(frame(&stream), Ok(Frame::Whole(encoded.len())));
        prop_assert_eq!(Header::decode(&encoded), Ok(header));
        // Whatever part of it has arrived, all of that belongs to it.
        for part in 0..encoded.len() {
            prop_assert_eq!(frame(&encoded[..part]), Ok(Frame::Partial));
            prop_assert!(Header::decode(&encoded[..part]).is_err());
        }
    }
}

#[test]
fn the_examples_of_the_protocols_document_are_read() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    let header = proxied("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(Header::decode(line), Ok(header));
    assert_eq!(header.encode(Version::V1), line);
    let longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    assert_eq!(Header::decode(longest), Ok(Header::Local));
    assert_eq!(Header::decode(b"PROXY UNKNOWN\r\n"), Ok(Header::Local));
    let binary = v2(0x21, 0x11, &V4_ADDRESSES);
    let header = proxied("192.0.2.1:40000", "192.0.2.2:22");
    assert_eq!(Header::decode(&binary), Ok(header));
    assert_eq!(header.encode(Version::V2), binary);
}

#[test]
fn extensions_are_skipped() {
    // A unique id, a checksum, and a type that nobody has defined.
    let more = [5, 0, 2, 7, 7, 3, 0, 4, 1, 2, 3, 4, 0xee, 0, 1, 9];
    let binary = v2(0x21, 0x11, &[&V4_ADDRESSES[..], &more].concat());
    assert_eq!(frame(&binary), Ok(Frame::Whole(binary.len())));
    let header = proxied("192.0.2.1:40000", "192.0.2.2:22");
    assert_eq!(Header::decode(&binary), Ok(header));
}

#[test]
fn a_proxys_own_connection_is_nobodys_whatever_else_stands_there() {
    // LOCAL with each family, an unknown one too, and UNSPEC.
    for (command, family) in [(0x20, 0), (0x20, 0x11), (0x20, 0xff), (0x21, 0)] {
        let binary = v2(command, family, &V4_ADDRESSES);
        assert_eq!(Header::decode(&binary), Ok(Header::Local), "{family:#x}");
    }
    for version in VERSIONS {
        let encoded = Header::Local.encode(version);
        assert_eq!(frame(&encoded), Ok(Frame::Whole(encoded.len())));
        assert_eq!(Header::decode(&encoded), Ok(Header::Local));
    }
}

#[test]
fn ipv4_in_ipv6_notation_is_ipv4() {
    let line = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 40000 22\r\n";
    let header = proxied("192.0.2.1:40000", "192.0.2.2:22");
    assert_eq!(Header::decode(line), Ok(header));
}

#[test]
fn what_is_no_header_is_known_by_its_first_wrong_byte() {
    for other in [
        &b"SSH-2.0-OpenSSH"[..],
        b"P\r",
        b"proxy ",
        b"\r\n\r\n\0\r\nQUIX",
        b"PROXYTCP4",
    ] {
        assert_eq!(frame(other), Err(BadHeader::Absent), "{other:?}");
    }
}

#[test]
fn a_header_that_goes_on_for_too_long_is_not_waited_for() {
    let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    assert_eq!(frame(&line[..106]), Ok(Frame::Partial));
    assert_eq!(frame(&line), Err(BadHeader::TooLong(107)));
    let mut ended = line;
    ended.extend(b"\r\n");
    assert_eq!(frame(&ended), Err(BadHeader::TooLong(107)));
    let binary = v2(0x21, 0x11, &[0; 60_000]);
    assert_eq!(frame(&binary[..16]), Err(BadHeader::TooLong(V2_MOST)));
}

#[test]
fn what_two_proxies_might_read_in_two_ways_is_malformed() {
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 +40000 22\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 040000 22\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 40000 22 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 40000 22\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 40000 22\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 40000 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 40000 22\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 40000 22\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 40000 22\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 40000 22\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY  UNKNOWN\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(
            Header::decode(line.as_bytes()),
            Err(BadHeader::Malformed),
            "{line:?}"
        );
    }
    // Another version, another command, another family; addresses that are cut short.
    for (command, family, rest) in [
        (0x11, 0x11, &V4_ADDRESSES[..]),
        (0x22, 0x11, &V4_ADDRESSES),
        (0x21, 0x41, &V4_ADDRESSES),
        (0x21, 0x11, &V4_ADDRESSES[..11]),
        (0x21, 0x21, &V4_ADDRESSES),
    ] {
        let binary = v2(command, family, rest);
        assert_eq!(
            Header::decode(&binary),
            Err(BadHeader::Malformed),
            "{command:#x} {family:#x}"
        );
    }
}

#[test]
fn datagrams_and_sockets_of_a_file_system_are_not_tcp() {
    let udp = v2(0x21, 0x12, &V4_ADDRESSES);
    assert_eq!(Header::decode(&udp), Err(BadHeader::NotTcp));
    let unix = v2(0x21, 0x31, &[0; 216]);
    assert_eq!(Header::decode(&unix), Err(BadHeader::NotTcp));
}
