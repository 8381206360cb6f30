//! `scp`, kept away from the user's own configuration, keys and known hosts.

use std::net::IpAddr;
use std::path::Path;

use super::Errand;
use crate::lab::matrix::FlowDirection;

/// What SSH is told: nothing of the user's own is read or written, and nobody is asked.
const OPTIONS: [&str; 7] = [
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "ConnectTimeout=10",
    "PreferredAuthentications=publickey",
];

pub(super) fn arguments(errand: &Errand<'_>) -> Vec<String> {
    let mut arguments = vec!["-F".into(), "/dev/null".into()];
    arguments.extend(["-i".into(), errand.key.display().to_string()]);
    for option in OPTIONS {
        arguments.extend(["-o".into(), option.into()]);
    }
    let (from, to) = match errand.direction {
        FlowDirection::Upload => (here(errand.from), there(errand, errand.to)),
        FlowDirection::Download => (there(errand, errand.from), here(errand.to)),
    };
    arguments.extend([from, to]);
    arguments
}

fn here(path: &Path) -> String {
    path.display().to_string()
}

fn there(errand: &Errand<'_>, path: &Path) -> String {
    let host = match errand.peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("{}@{host}:{}", errand.user, path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::host::Host;
    use crate::lab::matrix::Family;
    use crate::lab::topology::Role;

    fn last_two(direction: FlowDirection, family: Family) -> Vec<String> {
        let opener = Host::new("test", Role::Client);
        let errand = Errand {
            opener: &opener,
            peer: Role::Server.address(family),
            user: "root",
            key: Path::new("/lab/key"),
            direction,
            from: Path::new("/lab/payload"),
            to: Path::new("/lab/received"),
        };
        let all = arguments(&errand);
        all[all.len() - 2..].to_vec()
    }

    #[test]
    fn an_upload_sends_and_a_download_fetches() {
        assert_eq!(
            last_two(FlowDirection::Upload, Family::V4),
            ["/lab/payload", "root@198.51.100.2:/lab/received"]
        );
        assert_eq!(
            last_two(FlowDirection::Download, Family::V4),
            ["root@198.51.100.2:/lab/payload", "/lab/received"]
        );
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(
            last_two(FlowDirection::Upload, Family::V6)[1],
            "root@[2001:db8:2::2]:/lab/received"
        );
    }
}
