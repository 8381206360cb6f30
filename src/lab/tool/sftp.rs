//! `sftp`, by a batch of one command; with `-b` it ends as soon as that fails.

use std::process::Command;

use super::{Errand, ssh};
use crate::lab::matrix::FlowDirection;

/// `$1` is the batch, the rest is what sftp is told.
const SCRIPT: &str = r#"batch=$1; shift; echo "$batch" | sftp -b - "$@""#;

pub(super) fn command(errand: &Errand<'_>) -> Command {
    let verb = match errand.direction {
        FlowDirection::Upload => "put",
        FlowDirection::Download => "get",
    };
    let batch = format!("{verb} {} {}", errand.from.display(), errand.to.display());
    let mut command = errand.opener.command("sh");
    command
        .args(["-c", SCRIPT, "sftp", &batch])
        .args(ssh::options(errand))
        .arg(ssh::account(errand, ssh::bracketed(errand.peer)));
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
    fn an_upload_puts_and_a_download_gets() {
        let opener = Host::new("test", Role::Client);
        for (direction, batch) in [
            (FlowDirection::Upload, "put /lab/payload /lab/received"),
            (FlowDirection::Download, "get /lab/payload /lab/received"),
        ] {
            let errand = test_errand(&opener, direction, Role::Server.address(Family::V6));
            let command = command(&errand);
            assert!(command.get_args().any(|word| word == batch), "{command:?}");
            assert_eq!(last_words(&command, 1), ["root@[2001:db8:2::2]"]);
        }
    }
}
