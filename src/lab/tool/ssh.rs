//! What every tool that goes by SSH tells it: nothing of the user's own configuration, keys and
//! known hosts is read or written, and nobody is asked.

use std::net::IpAddr;
use std::path::Path;

use super::Errand;

const OPTIONS: [&str; 7] = [
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "ConnectTimeout=10",
    "PreferredAuthentications=publickey",
];

/// Options that ssh, scp and sftp understand alike.
pub(super) fn options(errand: &Errand<'_>) -> Vec<String> {
    let mut options = vec!["-F".into(), "/dev/null".into()];
    options.extend(["-i".into(), here(errand.key)]);
    for option in OPTIONS {
        options.extend(["-o".into(), option.into()]);
    }
    options
}

/// A path on the host that opens the connection.
pub(super) fn here(path: &Path) -> String {
    path.display().to_string()
}

/// A path on the other one, as scp and rsync write it.
pub(super) fn there(errand: &Errand<'_>, path: &Path) -> String {
    format!(
        "{}:{}",
        account(errand, bracketed(errand.peer)),
        path.display()
    )
}

/// The other host's user, and the host as `address` writes it.
pub(super) fn account(errand: &Errand<'_>, address: String) -> String {
    format!("{}@{address}", errand.user)
}

/// An address where a colon follows.
pub(super) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
