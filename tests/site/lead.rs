//! A port of this host that leads to a Unix socket: how a relay in a namespace is asked from here.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

/// Leads connections at a port of this host to a socket, as `ssh -L` does.
pub fn lead_to(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for browser in listener.incoming() {
            let (Ok(browser), Ok(relay)) = (browser, UnixStream::connect(&socket)) else {
                continue;
            };
            let (from, to) = (browser.try_clone().unwrap(), relay.try_clone().unwrap());
            thread::spawn(move || {
                pass(from, &to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
            thread::spawn(move || {
                pass(relay, &browser);
                let _ = browser.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn pass(mut from: impl Read, mut to: impl Write) {
    let _ = io::copy(&mut from, &mut to);
}
