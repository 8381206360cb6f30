//! Packets made to order on this host, past its own TCP: what `probe` and `sweep` stand on.
//!
//! | file | job |
//! | --- | --- |
//! | `raw` | sends them |
//! | `tapped` | shows what comes and leaves, each packet once and with its checksum |
//! | `copies` | which packet a tap has shown already, by another interface: pure |
//! | `deaf` | ports on which the kernel is silent |
//! | `filter` | what a tap is to show: pure |

mod copies;
pub mod deaf;
pub mod filter;
pub mod raw;
pub mod tapped;

use std::io;
use std::net::IpAddr;

use socket2::Domain;

/// Why this host cannot craft packets, or not to there.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// CAP_NET_RAW is missing.
    #[error(
        "crafting and seeing packets needs CAP_NET_RAW here: run it as root, or give the program that capability \
         (setcap cap_net_raw+ep)"
    )]
    Privilege,
    /// CAP_NET_ADMIN is missing, and this kernel wants it.
    #[error(
        "this kernel lets only CAP_NET_ADMIN keep ports silent here: run it as root, or give the program what it \
         needs (setcap cap_net_raw,cap_net_admin+ep)"
    )]
    Filter,
    /// Both are.
    #[error(
        "crafting and seeing packets needs CAP_NET_RAW here, and this kernel lets only CAP_NET_ADMIN keep ports \
         silent: run it as root, or give the program both (setcap cap_net_raw,cap_net_admin+ep)"
    )]
    Both,
    /// There is no way to the other end.
    #[error("there is no route to {0}: {1}")]
    Route(IpAddr, io::Error),
    /// Anything else.
    #[error("{0}: {1}")]
    Kernel(&'static str, io::Error),
}

/// Sees that this process may send such packets, see them, and keep ports silent.
///
/// # Errors
/// [`Unable`] says what is missing.
pub fn permitted() -> Result<(), Unable> {
    match (raw::open(Domain::IPV4).map(drop), deaf::permitted()) {
        (Err(Unable::Privilege), Err(Unable::Filter)) => Err(Unable::Both),
        (raw, filter) => raw.and(filter),
    }
}

/// The error of something that needs the privilege.
fn opening(what: &'static str) -> impl Fn(io::Error) -> Unable {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unable::Privilege,
        _ => Unable::Kernel(what, error),
    }
}
