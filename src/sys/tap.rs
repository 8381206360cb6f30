//! A tap (`AF_PACKET`): a copy of every packet that comes to this host or leaves it, before any rule sees what comes
//! and after every rule has seen what leaves. packet(7)

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use socket2::{Domain, SockFilter, Socket, Type};

use super::socket_option::set_integer;

/// What a tap holds while nobody reads; the kernel gives no more than `net.core.rmem_max`.
const ROOM: usize = 8 << 20;

/// Room for one `tpacket_auxdata` (20 bytes) with its header (16), and to spare.
const AUXILIARY: usize = 64;

/// Where the kernel writes what it says beside a packet, aligned for its header.
#[repr(align(8))]
struct Auxiliary([u8; AUXILIARY]);

/// A tap on every interface of the network namespace in which it was opened. It never waits.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

/// A packet that a tap has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// Bytes of it, from its IP header on, that are in the buffer.
    pub length: usize,
    /// Which way it was going.
    pub going: Going,
    /// The index of the interface at which it was seen.
    pub interface: u32,
    /// Whether its transport checksum stands in it. The kernel leaves that to a device that can do it, and does without
    /// between two network namespaces, or a virtual machine and its host (`TP_STATUS_CSUMNOTREADY`).
    pub has_checksum: bool,
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
        set_integer(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
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
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<Captured>> {
        loop {
            let mut address = all_zero_address();
            let mut auxiliary = Auxiliary([0; AUXILIARY]);
            let mut part = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            // SAFETY: `msghdr` is plain data; all zeros are a valid value of every field.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = std::ptr::from_mut(&mut address).cast();
            message.msg_namelen = size_of_val(&address) as libc::socklen_t;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = auxiliary.0.as_mut_ptr().cast();
            message.msg_controllen = AUXILIARY as _;
            // SAFETY: all that `message` points to is writable for the lengths given with it, and outlives the call.
            let read = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
            return match usize::try_from(read) {
                Ok(length) => match Going::of(address.sll_pkttype) {
                    Some(going) => Ok(Some(Captured {
                        length,
                        going,
                        interface: address.sll_ifindex.cast_unsigned(),
                        has_checksum: status(&message) & libc::TP_STATUS_CSUMNOTREADY == 0,
                    })),
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

/// `tp_status` of a packet; 0 if the kernel says nothing of it.
fn status(message: &libc::msghdr) -> u32 {
    // SAFETY: `message` has come from `recvmsg`, and its control buffer lives; a header that is there is whole.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let is_auxiliary = !header.is_null()
            && (*header).cmsg_level == libc::SOL_PACKET
            && (*header).cmsg_type == libc::PACKET_AUXDATA
            && (*header).cmsg_len as usize
                >= libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) as usize;
        match is_auxiliary {
            true => {
                std::ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>())
                    .tp_status
            }
            false => 0,
        }
    }
}
