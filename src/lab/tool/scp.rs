//! `scp`: one file there, or one file back.

use std::process::Command;

use super::{Errand, ssh};
use crate::lab::matrix::FlowDirection;

pub(super) fn command(errand: &Errand<'_>) -> Command {
    let mut command = errand.opener.command("scp");
    command.args(ssh::options(errand));
    match errand.direction {
        FlowDirection::Upload => {
            command.args([ssh::here(errand.from), ssh::there(errand, errand.to)])
        }
        FlowDirection::Download => {
            command.args([ssh::there(errand, errand.from), ssh::here(errand.to)])
        }
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

    fn last_two(direction: FlowDirection, family: Family) -> Vec<String> {
        let opener = Host::new("test", Role::Client);
        let errand = test_errand(&opener, direction, Role::Server.address(family));
        last_words(&command(&errand), 2)
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
