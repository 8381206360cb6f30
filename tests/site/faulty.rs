//! Servers and a proxy that do what they should not, on a free port of 127.0.0.1.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

/// What a proxy does to the byte at a place of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    Nothing,
    Flip(usize),
    Drop(usize),
    Double(usize),
    /// Not to a byte at a place, but to so many at the end, which is passed on without them.
    LoseLast(usize),
}

/// A server that does this with every connection, each in a thread of its own.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends back what comes (RFC 862).
pub fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(got) = stream.read(&mut buffer) {
        if got == 0 || stream.write_all(&buffer[..got]).is_err() {
            return;
        }
    }
}

/// Throws away what comes (RFC 863).
pub fn discard(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Takes what comes and never says a word.
pub fn keep_silent(stream: TcpStream) {
    discard(stream);
}

/// Greets as `bench serve` does, takes what comes, and says no more.
pub fn greet_only(mut stream: TcpStream) {
    if greet(&mut stream) {
        discard(stream);
    }
}

/// Reads a hello and welcomes.
pub fn greet(stream: &mut TcpStream) -> bool {
    stream.read_exact(&mut [0; 32]).is_ok() && stream.write_all(b"unma\x02\0\0\0").is_ok()
}

/// Resets the connection.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// A proxy to another server that changes what goes up and what comes down.
pub fn proxy(to: SocketAddr, up: Tamper, down: Tamper) -> SocketAddr {
    server(move |client| {
        let Ok(server) = TcpStream::connect(to) else {
            return;
        };
        let both = [&client, &server];
        for stream in both {
            stream.set_nodelay(true).unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| pass(&client, &server, up, both));
            pass(&server, &client, down, both);
        });
    })
}

/// Passes on bytes and their end; a reset becomes one of both connections.
fn pass(mut from: &TcpStream, mut to: &TcpStream, tamper: Tamper, both: [&TcpStream; 2]) {
    let mut buffer = vec![0; 1 << 16];
    let mut passed = 0;
    let mut held = Vec::new();
    let keeps = match tamper {
        Tamper::LoseLast(bytes) => bytes,
        _ => 0,
    };
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(got) => got,
            Err(_) => break,
        };
        held.extend(tampered(&buffer[..got], passed, tamper));
        passed += got;
        let ready = held.len().saturating_sub(keeps);
        if to.write_all(&held[..ready]).is_err() {
            break;
        }
        held.drain(..ready);
    }
    for stream in both {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        // Wakes the other thread, and says nothing to anybody.
        let _ = stream.shutdown(Shutdown::Read);
    }
}

fn tampered(bytes: &[u8], from: usize, tamper: Tamper) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let here = |at: usize| at.checked_sub(from).filter(|at| *at < bytes.len());
    match tamper {
        Tamper::Nothing | Tamper::LoseLast(_) => {}
        Tamper::Flip(at) => {
            if let Some(at) = here(at) {
                bytes[at] ^= 0x10;
            }
        }
        Tamper::Drop(at) => {
            if let Some(at) = here(at) {
                bytes.remove(at);
            }
        }
        Tamper::Double(at) => {
            if let Some(at) = here(at) {
                bytes.insert(at, bytes[at]);
            }
        }
    }
    bytes
}
