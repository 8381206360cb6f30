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

/// Why this host cannot craft packets, or not to there.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// CAP_NET_RAW is missing.
    #[error(
        "crafting and seeing packets needs CAP_NET_RAW here: run it as root, or give the program that capability \
         (setcap cap_net_raw+ep)"
    )]
    Privilege,
    /// There is no way to the other end.
    #[error("there is no route to {0}: {1}")]
    Route(IpAddr, io::Error),
    /// Anything else.
    #[error("{0}: {1}")]
    Kernel(&'static str, io::Error),
}

/// The error of something that needs the privilege.
fn opening(what: &'static str) -> impl Fn(io::Error) -> Unable {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unable::Privilege,
        _ => Unable::Kernel(what, error),
    }
}
