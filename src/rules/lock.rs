//! One relay, and one `unmangle normalise`, for each network namespace.
//!
//! The lock is an abstract Unix socket: its name belongs to the network namespace, no file is needed, and
//! the kernel lets go of it when the process ends, however it ends. It is taken before anything is looked
//! at or changed, so that nobody acts on what another is about to change. The socket can go over to another process:
//! the lock is held for as long as one of them has it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use super::hand::Misfit;
use super::own::OwnError;
use super::{nft, normalise};

/// Held for as long as this value lives.
#[derive(Debug)]
#[must_use = "it is let go when this value is dropped"]
pub struct Lock {
    socket: UnixDatagram,
}

/// The name of that of a relay.
const OF_A_RELAY: &str = "unmangle-rules";

// === impl Lock ===

impl Lock {
    /// For the rules and routes of a relay.
    ///
    /// # Errors
    /// [`OwnError::Taken`] if another process holds it.
    pub fn relay() -> Result<Self, OwnError> {
        Self::take(OF_A_RELAY, nft::TABLE, "relay")
    }

    /// That of a relay, as another process has held it.
    pub(super) fn take_on(socket: OwnedFd) -> Result<Self, Misfit> {
        Self::of_name(OF_A_RELAY, socket)
    }

    fn of_name(name: &str, socket: OwnedFd) -> Result<Self, Misfit> {
        if socket_type(&socket) != Ok(SocketType::DGRAM) {
            return Err(Misfit::Lock);
        }
        let socket = UnixDatagram::from(socket);
        let bound = socket.local_addr().map_err(|_| Misfit::Lock)?;
        match bound.as_abstract_name() {
            Some(its) if its == name.as_bytes() => Ok(Self { socket }),
            _ => Err(Misfit::Lock),
        }
    }

    /// For rules without a relay.
    ///
    /// # Errors
    /// As for [`Lock::relay`].
    pub fn normaliser() -> Result<Self, OwnError> {
        Self::take("unmangle-normalise", normalise::TABLE, "unmangle normalise")
    }

    fn take(name: &str, table: &'static str, by: &'static str) -> Result<Self, OwnError> {
        let address = SocketAddr::from_abstract_name(name).map_err(OwnError::Lock)?;
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Ok(Self { socket }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Err(OwnError::Taken { table, by })
            }
            Err(error) => Err(OwnError::Lock(error)),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_over_to_another_without_being_free_in_between() {
        let name = "unmangle-test-lock-handed";
        let take = || Lock::take(name, "t", "test");
        let before = take().unwrap();
        let copy = before.as_fd().try_clone_to_owned().unwrap();
        let after = Lock::of_name(name, copy).unwrap();
        drop(before);
        assert!(matches!(take(), Err(OwnError::Taken { .. })));
        drop(after);
        assert!(take().is_ok());
    }

    #[test]
    fn another_socket_or_none_is_not_taken_for_the_lock() {
        let other = Lock::take("unmangle-test-lock-other", "t", "test").unwrap();
        let unbound = UnixDatagram::unbound().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [other.as_fd(), unbound.as_fd(), file.as_fd()] {
            let copy = fd.try_clone_to_owned().unwrap();
            let refused = Lock::of_name("unmangle-test-lock-mine", copy);
            assert!(matches!(refused, Err(Misfit::Lock)));
        }
    }

    #[test]
    fn it_is_held_by_one_at_a_time_until_it_is_dropped() {
        let take = || Lock::take("unmangle-test-lock", "t", "test");
        let held = take().unwrap();
        assert!(matches!(take(), Err(OwnError::Taken { .. })));
        drop(held);
        assert!(take().is_ok());
    }
}
