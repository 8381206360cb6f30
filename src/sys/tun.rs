//! TUN devices: network interfaces whose packets a process reads and writes.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// A TUN device of the network namespace in which it was opened. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
}

// === impl Tun ===

impl Tun {
    /// Creates a device in the network namespace of the calling thread: bare IP packets, not blocking,
    /// and down.
    pub fn create(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = request_for(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        attach(fd.as_fd(), &mut request)?;
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

fn attach(fd: BorrowedFd<'_>, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: `fd` is open, and this operation reads and writes one `ifreq`.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(request)) } {
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
