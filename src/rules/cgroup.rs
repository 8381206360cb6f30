//! Control groups of version 2, as nftables names them.

use std::path::Path;

use crate::config::sidecar::Cgroup;

/// Where nft looks for them.
const ROOT: &str = "/sys/fs/cgroup";

/// The path by which nft finds a group: where version 1 has the root, version 2 is beside it.
pub(super) fn path_for_nft(group: &Cgroup) -> String {
    let hybrid = Path::new(ROOT).join("unified").is_dir();
    match hybrid {
        true => format!("unified/{}", group.path()),
        false => group.path().to_owned(),
    }
}

/// Whether the group is there; a rule names it by what is there when it is loaded.
pub(super) fn exists(group: &Cgroup) -> bool {
    Path::new(ROOT).join(path_for_nft(group)).is_dir()
}
