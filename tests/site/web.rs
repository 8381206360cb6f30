//! Questions by HTTP: the relay's admin, and Prometheus. The least that gets an answer: version 1.0, in which it
//! ends with the connection.

// Benches ask, too, and each asks other things.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Of the header `Content-Type`.
    pub kind: String,
    pub body: String,
}

/// Asks for a path, with whatever words follow it.
pub fn ask(at: SocketAddr, path: &str) -> io::Result<Answer> {
    ask_for(at, path, "*/*")
}

/// The same, for one kind of answer.
pub fn ask_for(at: SocketAddr, path: &str, accepts: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\nAccept: {accepts}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("{path}: no answer is {text:?}")))
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

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let kind = headers
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, kind)| kind.trim().to_owned());
    let kind = kind.last().unwrap_or_default();
    let body = body.to_owned();
    Some(Answer { status, kind, body })
}
