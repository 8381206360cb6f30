//! A tap (`AF_PACKET`): a copy of every packet that comes to this host or leaves it, before any rule sees what comes
//! and after every rule has seen what leaves. packet(7)

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use socket2::{Domain, SockFilter, Socket, Type};

/// What a tap holds while nobody reads; the kernel gives no more than `net.core.rmem_max`.
const ROOM: usize = 8 << 20;

/// A tap on every interface of the network namespace in which it was opened. It never waits.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

/// Which way a packet was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// It came to this host.
    In,
    /// It left this host.
    Out,
}

// === impl Tap ===

impl Tap {
    /// Opens one that shows what `filter` lets through. The filter sees packets from their IP header on.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW; `EAFNOSUPPORT` where the kernel has no packet sockets.
    pub fn open(filter: &[SockFilter]) -> io::Result<Self> {
        // Protocol 0: nothing comes before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(ROOM)?;
        socket.attach_filter(filter)?;
        let every = (libc::ETH_P_ALL as u16).to_be();
        let mut address = all_zero_address();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        // SAFETY: `address` is a whole `sockaddr_ll`, and its length is given.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        match bound {
            0 => Ok(Self { socket }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next packet, from its IP header on, as far as `buffer` has room; `Ok(None)` when there is none.
    ///
    /// # Errors
    /// Of the socket, such as `ENETDOWN` when an interface went away; the tap goes on.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Going)>> {
        loop {
            let mut address = all_zero_address();
            let mut length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `buffer` and `address` are writable for the lengths given with them.
            let read = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    std::ptr::from_mut(&mut address).cast(),
                    &mut length,
                )
            };
            return match usize::try_from(read) {
                Ok(size) => match Going::of(address.sll_pkttype) {
                    Some(going) => Ok(Some((size, going))),
                    None => continue,
                },
                Err(_) => match Errno::from_io_error(&io::Error::last_os_error()) {
                    Some(Errno::AGAIN) => Ok(None),
                    Some(Errno::INTR) => continue,
                    _ => Err(io::Error::last_os_error()),
                },
            };
        }
    }

    /// How many packets found no room since this was last asked.
    ///
    /// # Errors
    /// Of the socket.
    pub fn lost(&self) -> io::Result<u32> {
        // SAFETY: `tpacket_stats` is plain data; all zeros are a valid value of every field.
        let mut statistics: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: `statistics` is writable for the length given with it.
        let asked = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                std::ptr::from_mut(&mut statistics).cast(),
                &mut length,
            )
        };
        match asked {
            0 => Ok(statistics.tp_drops),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

// === impl Going ===

impl Going {
    /// None for what is meant for other hosts, or for many.
    fn of(kind: u8) -> Option<Self> {
        match kind {
            libc::PACKET_OUTGOING => Some(Self::Out),
            libc::PACKET_HOST => Some(Self::In),
            _ => None,
        }
    }
}

fn all_zero_address() -> libc::sockaddr_ll {
    // SAFETY: `sockaddr_ll` is plain data; all zeros are a valid value of every field.
    unsafe { std::mem::zeroed() }
}
