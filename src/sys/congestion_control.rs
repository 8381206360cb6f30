//! What Linux says of the congestion controls of this host.

use std::{fs, io};

/// The one that a socket has by itself (`net.ipv4.tcp_congestion_control`), by the kernel's name.
///
/// # Errors
/// If it cannot be read.
pub fn usual() -> io::Result<String> {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    Ok(name.trim().to_owned())
}

/// Those that anybody may choose (`net.ipv4.tcp_allowed_congestion_control`), by the kernel's names, between spaces.
///
/// # Errors
/// If they cannot be read.
pub fn allowed() -> io::Result<String> {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
}
