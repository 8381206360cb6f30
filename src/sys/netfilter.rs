//! Netlink sockets of netfilter (`NETLINK_NETFILTER`): a question, and its answers.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

/// Longer than any datagram the kernel makes of its own accord.
const LONGEST: usize = 1 << 16;

/// A socket that keeps up to `room` bytes while nobody reads, and never waits.
///
/// # Errors
/// If the kernel gives none.
pub fn socket(room: usize) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(netlink::NETFILTER);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    sockopt::set_socket_recv_buffer_size(&socket, room)?;
    Ok(socket)
}

/// Sends a request. The kernel has begun to answer when this returns.
///
/// # Errors
/// If it is not taken.
pub fn request(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    Ok(send(socket, message, SendFlags::empty()).map(drop)?)
}

/// The next datagram, as far as it fits.
///
/// # Errors
/// `AGAIN` if there is none; `NOBUFS` if some were lost because nobody had read.
pub fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let (length, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
    Ok(&buffer[..length.min(buffer.len())])
}

/// Room for one datagram.
#[must_use]
pub fn buffer() -> Vec<u8> {
    vec![0; LONGEST]
}
