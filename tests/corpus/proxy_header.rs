//! Any bytes as a PROXY header: how far it reaches, what it says, and what another parser (`ppp`) makes of it.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};
use unmangle::packet::proxy_header::{BadHeader, Frame, Header, Version, frame};

/// What must hold for any bytes that a proxy may send.
pub fn run(bytes: &[u8]) {
    every_part_that_has_arrived_belongs_to_it(bytes);
    let Ok(Frame::Whole(length)) = frame(bytes) else {
        assert!(
            Header::decode(bytes).is_err(),
            "what is no whole frame is no header"
        );
        return;
    };
    let header = &bytes[..length];
    match Header::decode(header) {
        Ok(said) => {
            is_said_again_when_written(said);
            another_parser_reads_the_same(header, said);
        }
        Err(why) => another_parser_refuses_too(header, why),
    }
}

/// While a header is on its way nothing else is said than that more is to come; once it is there, or it is
/// certain that none comes, no further byte changes that.
fn every_part_that_has_arrived_belongs_to_it(bytes: &[u8]) {
    let mut settled = None;
    for arrived in 0..=bytes.len() {
        let now = frame(&bytes[..arrived]);
        match settled {
            Some(before) => assert_eq!(now, before, "after {arrived} bytes"),
            None if now == Ok(Frame::Partial) => {
                let part = Header::decode(&bytes[..arrived]);
                assert!(part.is_err(), "{arrived} bytes of a header are none");
            }
            None => settled = Some(now),
        }
        if let Ok(Frame::Whole(length)) = now {
            assert!(length <= arrived);
        }
    }
}

fn is_said_again_when_written(header: Header) {
    for version in [Version::V1, Version::V2] {
        let written = header.encode(version);
        assert_eq!(frame(&written), Ok(Frame::Whole(written.len())));
        assert_eq!(Header::decode(&written), Ok(header), "{written:?}");
    }
}

/// A dual-stack proxy writes IPv4 in IPv6 notation; we read it as IPv4.
fn proxied(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Header {
    let plain = [source, destination].map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port));
    let [source, destination] = match plain.iter().all(SocketAddr::is_ipv4) {
        true => plain,
        false => [source.into(), destination.into()],
    };
    Header::Proxied {
        source,
        destination,
    }
}

fn read_v1(header: &[u8]) -> Option<Header> {
    let parsed = v1::Header::try_from(header).ok()?;
    Some(match parsed.addresses {
        v1::Addresses::Unknown => Header::Local,
        v1::Addresses::Tcp4(ip) => proxied(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        ),
        v1::Addresses::Tcp6(ip) => proxied(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        ),
    })
}

/// As `ppp` reads version 2; `None` also for what is not TCP, as the protocol asks.
fn read_v2(header: &[u8]) -> Option<Header> {
    let parsed = v2::Header::try_from(header).ok()?;
    if parsed.command == v2::Command::Local {
        return Some(Header::Local);
    }
    match (parsed.addresses, parsed.protocol) {
        (v2::Addresses::Unspecified, v2::Protocol::Unspecified) => Some(Header::Local),
        (v2::Addresses::IPv4(ip), v2::Protocol::Stream) => Some(proxied(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        )),
        (v2::Addresses::IPv6(ip), v2::Protocol::Stream) => Some(proxied(
            (ip.source_address.into(), ip.source_port),
            (ip.destination_address.into(), ip.destination_port),
        )),
        _ => None,
    }
}

fn is_v1(header: &[u8]) -> bool {
    header.starts_with(b"PROXY ")
}

fn another_parser_reads_the_same(header: &[u8], said: Header) {
    if is_v1(header) {
        // Behind UNKNOWN anything may stand; `ppp` wants it to look like addresses.
        if said != Header::Local {
            assert_eq!(read_v1(header), Some(said));
        }
    } else if header[12] != 0x20 {
        // Of LOCAL only the length counts; `ppp` wants a family that it knows.
        assert_eq!(read_v2(header), Some(said));
    }
}

/// What we refuse though another parser takes it is on this list.
fn another_parser_refuses_too(header: &[u8], why: BadHeader) {
    if is_v1(header) {
        let line = String::from_utf8_lossy(header);
        // A sign before a port, which Rust's own parser of numbers reads; and to `ppp` carriage return and space
        // are the same.
        let lenient = match line.strip_suffix("\r\n") {
            Some(line) => line.contains(" +") || line.contains('\r'),
            None => true,
        };
        assert!(lenient || read_v1(header).is_none(), "{why}: {line:?}");
    } else {
        assert_eq!(read_v2(header), None, "{why}");
    }
}
