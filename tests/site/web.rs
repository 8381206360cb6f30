//! Questions by HTTP: the relay's admin, over either kind of socket, and Prometheus. Written by hand, so that no client
//! of ours is between the test and the bytes; an answer ends with its connection.

// Benches ask, too, and each asks other things.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A connection of either kind.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

// === impl Answer ===

impl Answer {
    fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut named = lines.filter_map(|line| line.split_once(": "));
        named
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request, such as `GET /healthz HTTP/1.1`, with more lines of header, and reads until the other end closes.
pub fn exchange(mut stream: impl Stream, request: &str, headers: &str) -> io::Result<Answer> {
    let head = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Answer::read(&text).ok_or_else(|| io::Error::other(format!("{request}: no answer is {text:?}")))
}

/// Asks for a path, with whatever words follow it. In version 1.0 of HTTP nobody answers in pieces.
pub fn ask(at: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(tcp(at)?, &format!("GET {path} HTTP/1.0"), "")
}

/// What is good, of a path that must be there.
pub fn get(at: SocketAddr, path: &str) -> String {
    let answer = ask(at, path).unwrap();
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

/// Text as a part of a path.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
