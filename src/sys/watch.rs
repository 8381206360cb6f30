//! Registers what is not tokio's own with its runtime.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::neighbours::Neighbours;
use super::packet_queue::PacketQueue;

/// Watches a socket for what can be read or accepted, on the runtime of the calling thread.
///
/// # Errors
/// If the kernel's epoll does not take it.
pub fn watch_socket(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, always names the same one, and closes it only when it is
    // dropped, which the `AsyncFd` that owns it does after it has taken the descriptor from epoll.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

/// Watches a connection for what can be read and written, and for urgent bytes, on the runtime of the calling thread.
///
/// # Errors
/// If the kernel's epoll does not take it.
pub fn watch_connection(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch_for(
        socket,
        Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
    )
}

/// Watches a packet queue for packets, on the runtime of the calling thread.
///
/// # Errors
/// If the kernel's epoll does not take it.
pub fn watch_queue(queue: PacketQueue) -> io::Result<AsyncFd<PacketQueue>> {
    // SAFETY: a `PacketQueue` owns its descriptor, always names the same one, and closes it only when it
    // is dropped, which the `AsyncFd` that owns it does after it has taken the descriptor from epoll.
    unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) }.map_err(io::Error::from)
}

/// Watches what is told of neighbours, on the runtime of the calling thread.
///
/// # Errors
/// If the kernel's epoll does not take it.
pub fn watch_neighbours(news: Neighbours) -> io::Result<AsyncFd<Neighbours>> {
    // SAFETY: as for a `PacketQueue`: it owns its one descriptor until it is dropped.
    unsafe { AsyncFd::register_with_interest(news, Interest::READABLE) }.map_err(io::Error::from)
}

/// Watches a descriptor for what can be read, on the runtime of the calling thread.
///
/// # Errors
/// If the kernel's epoll does not take it.
pub fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch_for(descriptor, Interest::READABLE)
}

fn watch_for(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is its own descriptor, and closes it only when it is dropped, which the
    // `AsyncFd` that owns it does after it has taken the descriptor from epoll.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
