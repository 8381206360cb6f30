//! Bytes in bulk, both ways at once, compared by SHA-256; and crowds of connections.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};
use unmangle::lab::Role;

use super::{PATIENCE, Pair, Site, accept, inside, pattern};

/// What came out of a connection, up to its clean end.
pub struct Received {
    pub bytes: u64,
    pub sha256: [u8; 32],
    /// The longest time without a byte.
    pub longest_silence: Duration,
}

/// Reads up to a clean end.
pub fn receive(mut from: &TcpStream) -> io::Result<Received> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let (mut bytes, mut longest_silence, mut last) = (0, Duration::ZERO, Instant::now());
    loop {
        let read = from.read(&mut buffer)?;
        longest_silence = longest_silence.max(last.elapsed());
        last = Instant::now();
        if read == 0 {
            let sha256 = hasher.finalize().into();
            return Ok(Received {
                bytes,
                sha256,
                longest_silence,
            });
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Sends as much each way at once, each followed by its end, and sees that as much arrives and by its SHA-256 is the
/// same. Returns the longest time in which nothing arrived.
pub fn exchange(pair: &Pair, seed: u64, bytes: usize) -> Duration {
    std::thread::scope(|scope| {
        let up = scope.spawn(|| one_way(&pair.client, &pair.server, seed, bytes));
        let down = one_way(&pair.server, &pair.client, !seed, bytes);
        up.join().expect("the upload arrives").max(down)
    })
}

fn one_way(mut from: &TcpStream, to: &TcpStream, seed: u64, bytes: usize) -> Duration {
    let sent = pattern(seed, bytes);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            from.write_all(&sent).expect("all bytes are taken");
            from.shutdown(Shutdown::Write).unwrap();
        });
        let received = receive(to).expect("all bytes arrive, and the end");
        assert_eq!(received.bytes, bytes as u64);
        let expected: [u8; 32] = Sha256::digest(&sent).into();
        assert_eq!(received.sha256, expected, "the bytes that arrived differ");
        received.longest_silence
    })
}

/// Reads and writes of both ends wait for this long.
pub fn bear(pair: &Pair, patience: Duration) {
    for stream in [&pair.client, &pair.server] {
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_write_timeout(Some(patience)).unwrap();
    }
}

/// The test itself holds both ends of every connection.
pub fn raise_own_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Opens as many connections from the client's host at once as a listen queue has room for, without waiting for one
/// another, until there are `count`; each with its other end. For a gateway: the server sees who it is.
pub fn crowd(site: &Site, listener: &TcpListener, count: usize) -> Vec<Pair> {
    const AT_ONCE: usize = 250;
    let to = listener.local_addr().unwrap();
    let mut pairs = Vec::with_capacity(count);
    while pairs.len() < count {
        let some = AT_ONCE.min(count - pairs.len());
        let opening: Vec<Socket> = inside(site.lab.host(Role::Client), || {
            let open = |_| {
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&to.into());
                socket
            };
            (0..some).map(open).collect()
        });
        let mut accepted: HashMap<_, _> = (0..some)
            .map(|_| accept(listener))
            .map(|server| (server.peer_addr().unwrap(), server))
            .collect();
        pairs.extend(opening.into_iter().map(|socket| {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
            let client = TcpStream::from(socket);
            let server = accepted.remove(&client.local_addr().unwrap());
            let server = server.expect("the server sees the client");
            Pair { client, server }
        }));
    }
    pairs
}
