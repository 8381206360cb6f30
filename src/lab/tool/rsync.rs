//! `rsync`, by ssh and from and to a daemon: whole files, not compressed, so that every byte is
//! carried.

use std::process::Command;

use super::{Errand, ssh};
use crate::lab::matrix::FlowDirection;
use crate::lab::rsyncd::MODULE;

pub(super) fn by_ssh(errand: &Errand<'_>) -> Command {
    let mut command = plain(errand);
    let shell = format!("ssh {}", ssh::options(errand).join(" "));
    command.args(["-e", &shell]);
    ends(command, errand, |path| ssh::there(errand, path))
}

pub(super) fn by_daemon(errand: &Errand<'_>) -> Command {
    let address = ssh::bracketed(errand.peer);
    ends(plain(errand), errand, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("rsync://{address}/{MODULE}/{name}")
    })
}

fn plain(errand: &Errand<'_>) -> Command {
    let mut command = errand.opener.command("rsync");
    command.args(["--whole-file", "--no-compress"]);
    command
}

/// Appends source and destination; `there` names a path on the other host.
fn ends(
    mut command: Command,
    errand: &Errand<'_>,
    there: impl Fn(&std::path::Path) -> String,
) -> Command {
    match errand.direction {
        FlowDirection::Upload => command.args([ssh::here(errand.from), there(errand.to)]),
        FlowDirection::Download => command.args([there(errand.from), ssh::here(errand.to)]),
    };
    command
}

#[cfg(test)]
mod tests {
    use super::super::{last_words, test_errand};
    use super::*;
    use crate::lab::host::Host;
    use crate::lab::matrix::Family;
    use crate::lab::topology::Role;

    #[test]
    fn a_daemon_is_asked_for_files_of_its_module() {
        let opener = Host::new("test", Role::Client);
        let peer = Role::Server.address(Family::V6);
        let errand = test_errand(&opener, FlowDirection::Download, peer);
        assert_eq!(
            last_words(&by_daemon(&errand), 2),
            ["rsync://[2001:db8:2::2]/lab/payload", "/lab/received"]
        );
    }

    #[test]
    fn by_ssh_the_users_own_configuration_stays_out() {
        let opener = Host::new("test", Role::Client);
        let peer = Role::Server.address(Family::V4);
        let errand = test_errand(&opener, FlowDirection::Upload, peer);
        let words = last_words(&by_ssh(&errand), 3);
        assert!(
            words[0].starts_with("ssh -F /dev/null -i /lab/key -o "),
            "{words:?}"
        );
        assert_eq!(words[2], "root@198.51.100.2:/lab/received");
    }
}
