//! What the machine must have before a lab is put up.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::lab::error::{Error, Result};
use crate::lab::rootless;

/// Programs the lab calls, and the Debian package of each.
const TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("sshd", "openssh-server"),
    ("scp", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// Whether a lab can be put up here: root, or what [`rootless::enter`] gives, and every program there.
/// Changes nothing.
pub fn require() -> Result<()> {
    if !is_root() && !rootless::may_make_hosts() {
        return Err(Error::NotRoot);
    }
    for (tool, package) in TOOLS {
        if find(tool).is_none() {
            return Err(Error::MissingTool { tool, package });
        }
    }
    Ok(())
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a program is.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    directories()
        .map(|directory| directory.join(tool))
        .find(|candidate| candidate.is_file())
}

/// `PATH` for what runs on the hosts.
pub(crate) fn search_path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(directories()).unwrap_or(own)
}

/// Where programs are looked for: an ordinary user's `PATH` leaves out the system's own directories.
fn directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own: Vec<PathBuf> = std::env::split_paths(&path).collect();
    own.into_iter()
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_is_found_and_another_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-as-this").is_none());
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = Error::MissingTool {
            tool: "nft",
            package: "nftables",
        };
        assert_eq!(
            error.to_string(),
            "nft is not installed: apt install nftables"
        );
        assert!(error.is_usage());
    }
}
