//! An ssh session left alone: a line is exchanged, then there is silence, then another line. SSH itself
//! sends nothing meanwhile: it has no keepalive of its own unless told to.

use std::process::Command;

use super::{Errand, ssh};
use crate::lab::matrix::FlowDirection;

/// What is said, before and after the silence, and must arrive.
pub(super) const LINES: &str = "before\nafter\n";

/// The opener speaks, and the other end echoes. `$1` is the silence in seconds, `$2` where the
/// answer goes, the rest is what ssh is told. The silence begins with the echo: on a busy machine ssh may
/// need longer than that to come up.
const UPLOAD: &str = r#"silence=$1; to=$2; shift 2
{ echo before; until [ -s "$to" ] || [ -e "$to.ended" ]; do sleep 0.02; done; sleep "$silence"; echo after; } |
    { ssh "$@" cat >"$to"; status=$?; : >"$to.ended"; exit "$status"; }"#;

/// The other end speaks, answering a line of the opener's.
const DOWNLOAD: &str = r#"silence=$1; to=$2; shift 2
echo go | ssh "$@" "read go; echo before; sleep $silence; echo after" >"$to""#;

pub(super) fn command(errand: &Errand<'_>) -> Command {
    let script = match errand.direction {
        FlowDirection::Upload => UPLOAD,
        FlowDirection::Download => DOWNLOAD,
    };
    let silence = errand.silence.as_secs_f64().to_string();
    let mut command = errand.opener.command("sh");
    command
        .args(["-c", script, "ssh-idle", &silence])
        .arg(errand.to)
        .args(ssh::options(errand))
        .arg(ssh::account(errand, errand.peer.to_string()));
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
    fn the_silence_is_told_in_seconds_and_ssh_gets_a_bare_address() {
        let opener = Host::new("test", Role::Client);
        let peer = Role::Server.address(Family::V6);
        let command = command(&test_errand(&opener, FlowDirection::Upload, peer));
        assert!(command.get_args().any(|word| word == "1.5"), "{command:?}");
        assert_eq!(last_words(&command, 1), ["root@2001:db8:2::2"]);
    }
}
