//! Sends whole packets, IP header first, whatever this host knows of the path. raw(7)

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Unable, filter, opening};

/// The socket, and to whom it sends.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
    to: SockAddr,
}

/// How it went with a packet that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The kernel took it.
    Sent,
    /// It is longer than the interface's MTU.
    TooLong,
    /// The host's own rules dropped it.
    Forbidden,
}

/// A socket that sends nothing yet.
pub(super) fn open(domain: Domain) -> Result<Socket, Unable> {
    // IPPROTO_RAW: headers are the sender's own.
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    Socket::new(domain, Type::RAW, Some(protocol)).map_err(opening("opening a raw socket"))
}

// === impl Raw ===

impl Raw {
    /// A socket for packets to an address; its port does not matter.
    ///
    /// # Errors
    /// [`Unable`] without CAP_NET_RAW.
    pub fn towards(mut peer: SocketAddr) -> Result<Self, Unable> {
        peer.set_port(0);
        let socket = open(Domain::for_address(peer))?;
        // As long as the interface takes them: what does not get through has to be sent.
        let beyond = match peer.ip() {
            IpAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE),
            IpAddr::V6(_) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE),
        };
        beyond.map_err(|error| Unable::Kernel("a raw socket", error.into()))?;
        // It is for sending; what such a socket of IPv4 would get besides is dropped.
        let filtered = socket.attach_filter(&filter::nothing());
        filtered.map_err(|error| Unable::Kernel("a raw socket", error))?;
        // Who sends much has other things to look at when there is no room.
        socket
            .set_nonblocking(true)
            .map_err(|error| Unable::Kernel("a raw socket", error))?;
        let to = peer.into();
        Ok(Self { socket, to })
    }

    /// Sends a packet, if there is room for it at once.
    ///
    /// # Errors
    /// `WouldBlock` if there is none: it was not sent. Otherwise if it cannot leave for a reason of this host's own, such as a link that is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<Fate> {
        loop {
            let Err(error) = self.socket.send_to(packet, &self.to) else {
                return Ok(Fate::Sent);
            };
            match Errno::from_io_error(&error) {
                // A queue that is full loses it, as one further on would; for other sockets the kernel hides that.
                Some(Errno::NOBUFS) => return Ok(Fate::Sent),
                Some(Errno::MSGSIZE) => return Ok(Fate::TooLong),
                Some(Errno::PERM) => return Ok(Fate::Forbidden),
                Some(Errno::INTR) => {}
                _ => return Err(error),
            }
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
