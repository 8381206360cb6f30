//! What a network interface does to segments by itself, by the old ioctls of ethtool, which change nothing and
//! need no privilege.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// What one interface does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads {
    /// Segments are merged in the interface, for good: what is forwarded is not what came (LRO).
    pub large_receive: bool,
    /// Segments are merged in a way that can be undone (GRO).
    pub generic_receive: bool,
    /// Segments are cut in the interface (TSO).
    pub tcp_segmentation: bool,
}

/// `SIOCETHTOOL` (include/uapi/linux/sockios.h).
const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GTSO`, `ETHTOOL_GFLAGS` and `ETHTOOL_GGRO` (include/uapi/linux/ethtool.h).
const GET_TSO: u32 = 0x1e;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;
/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Asked {
    command: u32,
    data: u32,
}

// === impl Offloads ===

impl Offloads {
    /// What an interface of the calling thread's network namespace does.
    ///
    /// # Errors
    /// If there is no such interface, or it does not say.
    pub fn of(interface: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        Ok(Self {
            large_receive: ask(&socket, interface, GET_FLAGS)? & FLAG_LRO != 0,
            generic_receive: ask(&socket, interface, GET_GRO)? != 0,
            tcp_segmentation: ask(&socket, interface, GET_TSO)? != 0,
        })
    }
}

fn ask(socket: &Socket, interface: &str, command: u32) -> io::Result<u32> {
    // SAFETY: `ifreq` is plain data; all zeros are a valid value of every field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let mut asked = Asked { command, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut asked).cast();
    // SAFETY: the socket is open; this operation reads one `ifreq`, and writes the `ethtool_value` that it points
    // to, which lives until after the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(asked.data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_says_what_it_does_and_what_is_not_there_is_an_error() {
        assert!(!Offloads::of("lo").unwrap().large_receive);
        for name in ["nosuch0", "a-name-that-is-too-long"] {
            assert!(Offloads::of(name).is_err(), "{name}");
        }
    }
}
