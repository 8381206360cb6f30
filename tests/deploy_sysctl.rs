//! The settings in `deploy/sysctl.d`: all of them are commented out, and all of them are the kernel's.
//!
//! That the relay-free one has copies arrive, slowly and without a reset, is shown by the lab's path
//! `liberal` (`make demo`, and `make acceptance`, which judges how slowly). What sets anything needs root, and without it is skipped except in CI.

mod site;

use std::fs;
use std::path::Path;

use site::Site;

const FILES: [&str; 2] = ["unmangle.conf", "nf-conntrack-tcp-be-liberal.conf"];

fn text(file: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sysctl.d");
    fs::read_to_string(directory.join(file)).unwrap()
}

/// Settings with the values that they would get.
fn settings(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    lines
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .map(|line| line.split_once(" = ").unwrap())
        .collect()
}

/// Those of the whole machine, which a test must not change.
fn is_of_the_machine(name: &str) -> bool {
    name.starts_with("fs.") || name == "net.netfilter.nf_conntrack_max"
}

#[test]
fn an_installed_file_changes_nothing_until_somebody_takes_a_comment_away() {
    for file in FILES {
        let text = text(file);
        let active = |line: &&str| !line.is_empty() && !line.starts_with('#');
        assert_eq!(text.lines().find(active), None, "{file}");
        assert!(!settings(&text).is_empty(), "{file}");
    }
}

#[test]
fn sysctl_takes_every_setting() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    for file in FILES {
        let text = text(file);
        let (machine, network): (Vec<_>, Vec<_>) = settings(&text)
            .into_iter()
            .partition(|(name, _)| is_of_the_machine(name));
        for (name, _) in machine {
            assert!(
                Path::new("/proc/sys").join(name.replace('.', "/")).exists(),
                "{name}"
            );
        }
        let path = site.lab.directory().join(file);
        let lines: Vec<_> = network
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        fs::write(&path, lines.concat()).unwrap();
        host.run("sysctl", &["-p", path.to_str().unwrap()]).unwrap();
        for (name, value) in network {
            assert_eq!(
                host.run("sysctl", &["-n", name]).unwrap().trim(),
                value,
                "{name}"
            );
        }
    }
}
