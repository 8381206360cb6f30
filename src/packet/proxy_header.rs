//! The header that a proxy puts before the bytes of a connection: who the client is, and where it meant to
//! go (the PROXY protocol, versions 1 and 2, of haproxy.org/download/2.8/doc/proxy-protocol.txt).
//!
//! [`frame`] says how far a header reaches in a stream of which only the beginning has arrived, so that
//! nobody reads a byte too many; [`Header::decode`] takes what it found. Between them they are stricter than
//! the crate that does the rest: what another proxy might read in another way is refused.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader};

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Header {
    /// On whose behalf the connection was made.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where it had connected to.
        destination: SocketAddr,
    },
    /// Nobody's, or nobody's that is known: the connection is the proxy's own (LOCAL, UNKNOWN, UNSPEC).
    Local,
}

/// How far a header reaches in what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Every byte so far belongs to it, and more are to come.
    Partial,
    /// It is this long; what follows is payload.
    Whole(usize),
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The connection begins with something else.
    #[error("no PROXY header")]
    Absent,
    /// It goes on for too long.
    #[error("a PROXY header of more than {0} bytes")]
    TooLong(usize),
    /// Its parts are not what the protocol says.
    #[error("a malformed PROXY header")]
    Malformed,
    /// It speaks of datagrams or of sockets in a file system.
    #[error("a PROXY header for something else than TCP")]
    NotTcp,
}

/// The beginning of version 1.
const V1: &[u8] = b"PROXY ";
/// The beginning of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its CR LF included.
const V1_MOST: usize = 107;
/// Before the addresses of version 2: signature, command, family, length.
const V2_FIXED: usize = 16;
/// The longest header of version 2 that is read. It could have 64 KiB; what proxies send has a few hundred
/// bytes.
pub const V2_MOST: usize = 4096;

/// Says how far a header reaches; `bytes` is everything that has arrived.
///
/// # Errors
/// As soon as it is certain that no header is there.
pub fn frame(bytes: &[u8]) -> Result<Frame, BadHeader> {
    if begins(bytes, V2) {
        return frame_v2(bytes);
    }
    if !begins(bytes, V1) {
        return Err(BadHeader::Absent);
    }
    match bytes.iter().take(V1_MOST).position(|byte| *byte == b'\n') {
        Some(end) => Ok(Frame::Whole(end + 1)),
        None if bytes.len() >= V1_MOST => Err(BadHeader::TooLong(V1_MOST)),
        None => Ok(Frame::Partial),
    }
}

fn frame_v2(bytes: &[u8]) -> Result<Frame, BadHeader> {
    if bytes.len() < V2_FIXED {
        return Ok(Frame::Partial);
    }
    let whole = V2_FIXED + usize::from(super::word(bytes, 14));
    match whole {
        _ if whole > V2_MOST => Err(BadHeader::TooLong(V2_MOST)),
        _ if bytes.len() < whole => Ok(Frame::Partial),
        _ => Ok(Frame::Whole(whole)),
    }
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(one, other)| one == other)
}

// === impl Header ===

impl Header {
    /// Decodes one header, all of it and nothing else, as [`frame`] has found it.
    ///
    /// # Errors
    /// [`BadHeader`], also for what the protocol lets a receiver guess at.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if frame(bytes)? != Frame::Whole(bytes.len()) {
            return Err(BadHeader::Malformed);
        }
        if bytes.starts_with(V1) {
            check_line(bytes)?;
        } else if bytes[12] == 0x20 {
            // Of a proxy's own connection only the length counts.
            return Ok(Self::Local);
        }
        let config = ParseConfig {
            include_tlvs: false,
            ..ParseConfig::default()
        };
        let (header, length) =
            ProxyHeader::parse(bytes, config).map_err(|_| BadHeader::Malformed)?;
        if length != bytes.len() {
            return Err(BadHeader::Malformed);
        }
        match header.proxied_address() {
            Some(address) if address.protocol == Protocol::Stream => Ok(plain(address)),
            Some(_) => Err(BadHeader::NotTcp),
            // AF_UNIX has no address here, either.
            None if bytes.starts_with(V2) && bytes[13] != 0 => Err(BadHeader::NotTcp),
            None => Ok(Self::Local),
        }
    }

    /// A header that says so; two families in one are said to be [`Header::Local`], for which there is no
    /// notation.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let header = match *self {
            Self::Proxied {
                source,
                destination,
            } if source.is_ipv4() == destination.is_ipv4() => {
                ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
            }
            _ => ProxyHeader::with_local(),
        };
        let mut bytes = Vec::new();
        match version {
            Version::V1 => header.encode_v1(&mut bytes),
            Version::V2 => header.encode_v2(&mut bytes),
        }
        .expect("one family, a stream, no extensions, and a Vec takes every write");
        bytes
    }
}

/// A dual-stack proxy writes IPv4 in IPv6 notation, which no packet has.
fn plain(address: &ProxiedAddress) -> Header {
    let [source, destination] = [address.source, address.destination];
    let [source4, destination4] = [source, destination]
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    if source4.is_ipv4() && destination4.is_ipv4() {
        return Header::Proxied {
            source: source4,
            destination: destination4,
        };
    }
    Header::Proxied {
        source,
        destination,
    }
}

/// What the crate lets pass in a line of version 1: a sign or zeros before a port, a word that only begins
/// with UNKNOWN, a line feed without its carriage return.
fn check_line(line: &[u8]) -> Result<(), BadHeader> {
    let text = line
        .strip_suffix(b"\r\n")
        .and_then(|text| std::str::from_utf8(text).ok())
        .filter(|text| !text.contains(['\r', '\n']))
        .ok_or(BadHeader::Malformed)?;
    let fields: Vec<&str> = text.split(' ').collect();
    let is_port = |field: &str| {
        field.bytes().all(|byte| byte.is_ascii_digit()) && (field == "0" || !field.starts_with('0'))
    };
    match fields.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(()),
        ["PROXY", "TCP4" | "TCP6", _, _, source, destination]
            if is_port(source) && is_port(destination) =>
        {
            Ok(())
        }
        _ => Err(BadHeader::Malformed),
    }
}

// === impl Version ===

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(format!("{text:?} is none of: v1, v2")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

#[cfg(test)]
mod tests;
