//! The rules in `deploy/`, for those who manage theirs themselves, are what `unmangle` prints; and they do what they are
//! there for, put in place and taken away as their own heads say.
//!
//! What puts rules in place needs root, and without it is skipped except in CI.

mod checked_in;
mod site;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use unmangle::config::{Profile, profile};
use unmangle::lab::{Family, Host, Invalid, Lab, Process, Role};

use site::{FAMILIES, PATIENCE, Pair, Site, UNMANGLE, accept, carry, pattern};

/// The interface that is to be replaced by one's own.
const PLACEHOLDER: &str = "eth1";

/// Each shape of a relay: its name in the files, and what `unmangle rules` is told beside ports, interface and profile.
const SHAPES: [(&str, &str); 5] = [
    ("gateway", ""),
    ("server-sidecar", "--mode server-sidecar"),
    (
        "server-sidecar-own-address",
        "--mode server-sidecar --service-leg own-address",
    ),
    (
        "server-sidecar-transparent",
        "--mode server-sidecar --service-leg transparent --to 198.51.100.2 --to 2001:db8:2::2",
    ),
    ("client-sidecar", "--mode client-sidecar"),
];

/// Profiles that change something on the wire.
const PROFILES: [&str; 5] = [
    "isn-rewrite",
    "cisco-pix",
    "wscale-strip",
    "blackhole",
    "asa",
];

/// Without a profile's rules: no packet of it needs to be changed.
const FORWARD: &str = "rules --listen 192.0.2.1:22 --to 198.51.100.2:22 --dial-from client --mangled-leg downstream --profile blackhole";

/// A file, and the words that print it.
struct Piece {
    file: String,
    command: String,
}

/// All that there are.
fn pieces() -> Vec<Piece> {
    let relayed = SHAPES.into_iter().flat_map(|(shape, how)| {
        // One that strips nothing, too: it is split all the same.
        let profiles = ["clean"].into_iter().chain(PROFILES);
        profiles.map(move |profile| {
            let words = format!(
                "rules {how} --intercept 22,873 --mangled-side {PLACEHOLDER} --profile {profile}"
            );
            (
                format!("{shape}-{profile}"),
                words.replace("  ", " "),
                "--format ",
            )
        })
    });
    let normalised = PROFILES.map(|profile| {
        let words = format!(
            "normalise --intercept 22,873 --mangled-side {PLACEHOLDER} --profile {profile}"
        );
        (format!("normalise-{profile}"), words, "--print ")
    });
    let forward = (
        "forward-dial-from-client".to_owned(),
        FORWARD.to_owned(),
        "--format ",
    );
    let mut pieces = Vec::new();
    for (name, words, language) in relayed.chain(normalised).chain([forward]) {
        let nft = match language {
            "--print " => format!("{words} --print"),
            _ => words.clone(),
        };
        let mut add = |file, command| pieces.push(Piece { file, command });
        add(format!("deploy/nftables/{name}.nft"), nft);
        if name.contains("sidecar") {
            continue;
        }
        for (format, family) in [("iptables", "v4"), ("ip6tables", "v6")] {
            add(
                format!("deploy/iptables/{name}.{family}.rules"),
                format!("{words} {language}{format}"),
            );
        }
    }
    pieces
}

#[test]
fn every_file_is_what_the_command_at_its_head_prints() {
    for Piece { file, command } in pieces() {
        let printed = Command::new(UNMANGLE)
            .args(command.split(' '))
            .output()
            .unwrap();
        assert!(
            printed.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&printed.stderr)
        );
        let text = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(format!("# unmangle {command}").as_str())
        );
        checked_in::is_current(&file, &text, "deploy_rules");
    }
}

#[test]
fn there_is_no_file_that_nobody_makes() {
    let made: BTreeSet<String> = pieces().into_iter().map(|piece| piece.file).collect();
    let there: BTreeSet<String> = ["deploy/nftables", "deploy/iptables"]
        .into_iter()
        .flat_map(|directory| {
            let entries =
                fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
            entries
                .map(move |entry| format!("{directory}/{}", entry.unwrap().file_name().display()))
        })
        .collect();
    assert_eq!(there, made);
}

#[test]
fn every_preset_that_changes_packets_has_its_files() {
    for name in profile::names() {
        let profile: Profile = name.parse().unwrap();
        let changes = profile.needs_the_wire() || profile.mss.is_some();
        assert_eq!(PROFILES.contains(&name), changes, "{name}");
    }
}

#[test]
fn nft_and_iptables_take_every_file() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    for Piece { file, .. } in pieces() {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let (program, how) = match file.rsplit_once('.').unwrap() {
            (_, "nft") => ("nft", ["--check", "-f"]),
            (stem, _) if stem.ends_with("v4") => ("iptables-restore", ["--test", "--noflush"]),
            _ => ("ip6tables-restore", ["--test", "--noflush"]),
        };
        host.run(program, &[how[0], how[1], &path]).unwrap();
    }
}

#[test]
fn a_gateway_works_with_the_rules_of_its_file() {
    carries(&["gateway-cisco-pix.nft"], Role::Relay);
}

#[test]
fn a_gateway_works_with_the_rules_of_its_files_for_iptables() {
    carries(
        &["gateway-cisco-pix.v4.rules", "gateway-cisco-pix.v6.rules"],
        Role::Relay,
    );
}

#[test]
fn a_server_sidecar_works_with_the_rules_of_its_file() {
    carries(&["server-sidecar-cisco-pix.nft"], Role::Server);
}

#[test]
fn a_server_sidecar_by_its_own_address_works_with_the_rules_of_its_file() {
    carries(&["server-sidecar-own-address-cisco-pix.nft"], Role::Server);
}

#[test]
fn a_transparent_server_sidecar_works_with_the_rules_of_its_file() {
    carries(&["server-sidecar-transparent-cisco-pix.nft"], Role::Server);
}

#[test]
fn a_client_sidecar_works_with_the_rules_of_its_file() {
    carries(&["client-sidecar-cisco-pix.nft"], Role::Client);
}

#[test]
fn the_file_of_normalise_needs_no_process() {
    carries(&["normalise-cisco-pix.nft"], Role::Relay);
}

#[test]
fn the_files_of_normalise_for_iptables_need_no_process() {
    carries(
        &[
            "normalise-cisco-pix.v4.rules",
            "normalise-cisco-pix.v6.rules",
        ],
        Role::Relay,
    );
}

#[test]
fn forwarding_with_the_clients_address_works_with_the_rules_of_its_file() {
    forwards(&["forward-dial-from-client.nft", "normalise-cisco-pix.nft"]);
}

#[test]
fn forwarding_with_the_clients_address_works_with_the_rules_of_its_files_for_iptables() {
    forwards(&[
        "forward-dial-from-client.v4.rules",
        "forward-dial-from-client.v6.rules",
        "normalise-cisco-pix.v4.rules",
        "normalise-cisco-pix.v6.rules",
    ]);
}

/// Through the firewall of the story, by the files' rules alone: all arrives, nothing is INVALID, and nothing is left.
fn carries(files: &[&str], on: Role) {
    let Some(site) = Site::behind_a_pix() else {
        return;
    };
    let files: Vec<File> = files.iter().map(|file| File::of(file, on)).collect();
    let host = site.lab.host(on);
    let before = ours(host);
    files
        .iter()
        .for_each(|file| file.put_in_place(&site.lab, host));
    let relay = files[0].relay(&site.lab, host, &[]);
    for family in FAMILIES {
        transfer(&site.connect_through(family));
    }
    arrived(&site, relay, &files, 2, host, &before);
}

/// The same by way of a relay that clients dial.
fn forwards(files: &[&str]) {
    let Some(site) = Site::behind_a_pix() else {
        return;
    };
    let files: Vec<File> = files
        .iter()
        .map(|file| File::of(file, Role::Relay))
        .collect();
    let host = site.lab.relay();
    site.load("add rule inet um_lab input tcp dport 22 accept");
    let before = ours(host);
    files
        .iter()
        .for_each(|file| file.put_in_place(&site.lab, host));
    let gateway = Role::Relay.interfaces()[0];
    let v6 = format!(
        "--listen [{}]:22 --to [{}]:22",
        gateway.v6,
        Role::Server.address(Family::V6)
    );
    let relays = [
        files[0].relay(&site.lab, host, &[]),
        files[0].relay(&site.lab, host, &v6.split(' ').collect::<Vec<_>>()),
    ];
    let [first, second] = relays;
    for (family, door) in [
        (Family::V4, gateway.v4.into()),
        (Family::V6, gateway.v6.into()),
    ] {
        let listener = site.listen(Role::Server, family);
        let client = site
            .dial(Role::Client, std::net::SocketAddr::new(door, 22))
            .unwrap();
        let pair = Pair {
            server: accept(&listener),
            client,
        };
        assert_eq!(
            pair.server.peer_addr().unwrap().ip(),
            Role::Client.address(family)
        );
        transfer(&pair);
    }
    arrived(&site, second, &[], 1, host, "");
    arrived(&site, first, &files, 1, host, &before);
}

fn transfer(pair: &Pair) {
    carry(&pair.client, &pair.server, &pattern(1, 1_000_000));
    carry(&pair.server, &pair.client, &pattern(2, 1_000_000));
}

/// Sees what became of the sessions, and that the rules go as their heads say.
fn arrived(
    site: &Site,
    relay: Option<Process>,
    files: &[File],
    sessions: usize,
    host: &Host,
    before: &str,
) {
    if let Some(mut relay) = relay {
        relay.ready("session ended", PATIENCE).unwrap();
        site::until("every session has ended", PATIENCE, || {
            relay.log().matches("\"session ended\"").count() == sessions
        });
        assert!(relay.ended().unwrap().is_none(), "{}", relay.log());
        relay.stop(PATIENCE).unwrap();
    }
    assert_eq!(site.lab.invalid().unwrap(), Invalid::default());
    if !files.is_empty() {
        files.iter().for_each(|file| file.take_away(host));
        assert_eq!(ours(host), before);
    }
}

/// What there is of the relay's rules and routes. Tables of iptables stay where they were made, empty.
fn ours(host: &Host) -> String {
    let list = "nft list ruleset | grep -i unmangle; for family in -4 -6; do
        ip $family rule; ip $family route show table 21837 2>/dev/null; done; true";
    host.feed("sh", &[], list).unwrap()
}

/// A file with this host's interface in it, as its user has it.
struct File {
    name: String,
    text: String,
}

impl File {
    fn of(name: &str, on: Role) -> Self {
        let directory = if name.ends_with(".nft") {
            "nftables"
        } else {
            "iptables"
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(directory)
            .join(name);
        // By the very expression of docs/rules.md.
        let (_, documented) = include_str!("../docs/rules.md")
            .split_once("\nsed ")
            .unwrap();
        let expression = documented.split(' ').next().unwrap();
        assert!(expression.contains(PLACEHOLDER), "{expression}");
        let expression = expression.replace("ens3f0", on.interfaces()[0].device);
        let output = Command::new("sed")
            .arg(expression)
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        Self {
            name: name.to_owned(),
            text,
        }
    }

    /// The lines of its head below this one.
    fn commands(&self, part: &str) -> Vec<&str> {
        let lines = self
            .text
            .lines()
            .skip_while(|line| !line.starts_with(&format!("# {part}")));
        let commands = lines.skip(1).map_while(|line| line.strip_prefix("#   "));
        let commands: Vec<&str> = commands.collect();
        assert!(!commands.is_empty(), "{part} in {}", self.name);
        commands
    }

    fn put_in_place(&self, lab: &Lab, host: &Host) {
        let path = lab.directory().join(&self.name);
        fs::write(&path, &self.text).unwrap();
        for command in self.commands("Put in place") {
            let command = command.replace("FILE", path.to_str().unwrap());
            host.run("sh", &["-c", &command]).unwrap();
        }
    }

    fn take_away(&self, host: &Host) {
        for command in self.commands("Taken away") {
            host.run("sh", &["-c", command]).unwrap();
        }
    }

    /// The relay that belongs to it, if one does.
    fn relay(&self, lab: &Lab, host: &Host, instead: &[&str]) -> Option<Process> {
        let made_by = self.text.lines().next().unwrap();
        let words = made_by.strip_prefix("# unmangle rules ")?;
        let words = words.split(" --format").next().unwrap();
        let mut command = host.command(UNMANGLE);
        command.args(["run", "--rules", "none", "--log-format", "json"]);
        let mut words: Vec<&str> = words.split(' ').collect();
        if !instead.is_empty() {
            // What follows --listen and --to is the other family's.
            words.splice(..4, instead.iter().copied());
        }
        let log = lab
            .directory()
            .join(format!("{:08x}.log", rand::random::<u32>()));
        let mut relay = Process::start("relay", command.args(words), &log).unwrap();
        relay.ready("\"relaying\"", PATIENCE).unwrap();
        Some(relay)
    }
}
