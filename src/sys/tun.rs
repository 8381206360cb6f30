//! TUN devices: network interfaces whose packets a process reads and writes.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};

/// A TUN device of the network namespace in which it was opened. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
}

// === impl Tun ===

impl Tun {
    /// Creates a device in the network namespace of the calling thread and brings it up: bare IP
    /// packets, not blocking, a queue of `queue_len` packets between the kernel and its reader.
    pub fn create(name: &str, mtu: u16, queue_len: u32) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = request_for(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        ioctl(fd.as_fd(), libc::TUNSETIFF, &mut request)?;

        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        // The queue first: once the device is up, the kernel itself starts to send.
        request.ifr_ifru.ifru_metric = c_int::try_from(queue_len).unwrap_or(c_int::MAX);
        ioctl(socket.as_fd(), libc::SIOCSIFTXQLEN, &mut request)?;
        request.ifr_ifru.ifru_mtu = c_int::from(mtu);
        ioctl(socket.as_fd(), libc::SIOCSIFMTU, &mut request)?;
        ioctl(socket.as_fd(), libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has just filled in the flags, and every bit pattern is a valid c_short.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as i16;
        ioctl(socket.as_fd(), libc::SIOCSIFFLAGS, &mut request)?;
        Ok(Self { fd })
    }

    /// Takes one packet from the device; `Ok(None)` when there is none.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(size) => Ok(Some(size)),
                Err(rustix::io::Errno::AGAIN) => Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Hands one packet to the device: the kernel receives it before this returns.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            return match rustix::io::write(&self.fd, packet) {
                Ok(_) => Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An empty request that names a device.
fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data; all zeros are a valid value of every field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['/', '\0']) {
        let message = format!("{name:?} is no device name: 1 to 15 bytes without '/' are");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ioctl(fd: BorrowedFd<'_>, operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: `fd` is open, and every operation used here reads or writes one `ifreq`.
    match unsafe { libc::ioctl(fd.as_raw_fd(), operation, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused_before_the_kernel_is_asked() {
        for name in ["", "sixteen-bytes-xx", "a/b", "a\0b"] {
            assert_eq!(
                request_for(name).err().map(|error| error.kind()),
                Some(io::ErrorKind::InvalidInput)
            );
        }
        assert!(request_for("fifteen-bytes-x").is_ok());
    }
}
