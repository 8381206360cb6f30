//! One relay, and one `unmangle normalise`, for each network namespace.
//!
//! The lock is an abstract Unix socket: its name belongs to the network namespace, no file is needed, and
//! the kernel lets go of it when the process ends, however it ends. It is taken before anything is looked
//! at or changed, so that nobody acts on what another is about to change.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::own::OwnError;
use super::{nft, normalise};

/// Held for as long as this value lives.
#[derive(Debug)]
#[must_use = "it is let go when this value is dropped"]
pub struct Lock {
    _socket: UnixDatagram,
}

// === impl Lock ===

impl Lock {
    /// For the rules and routes of a relay.
    ///
    /// # Errors
    /// [`OwnError::Taken`] if another process holds it.
    pub fn relay() -> Result<Self, OwnError> {
        Self::take("unmangle-rules", nft::TABLE, "relay")
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
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Err(OwnError::Taken { table, by })
            }
            Err(error) => Err(OwnError::Lock(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_by_one_at_a_time_until_it_is_dropped() {
        let take = || Lock::take("unmangle-test-lock", "t", "test");
        let held = take().unwrap();
        assert!(matches!(take(), Err(OwnError::Taken { .. })));
        drop(held);
        assert!(take().is_ok());
    }
}
