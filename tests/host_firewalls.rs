//! Beside ufw and firewalld, the real ones: what the start says, and that what docs/host-firewalls.md says lets the relay work,
//! through their reloads, too. The commands are the document's own.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::process::Command;
use std::time::Duration;

use unmangle::lab::{Host, Invalid, Process, Role};

use site::machine::Machine;
use site::{FAMILIES, PATIENCE, Pair, Relay, Site, carry, pattern, talk};

/// Whoever answers has answered by then.
const A_MOMENT: Duration = Duration::from_millis(300);

const DOCUMENT: &str = include_str!("../docs/host-firewalls.md");

/// The blocks of commands below a heading, for the interfaces of the lab.
fn blocks(heading: &str) -> Vec<String> {
    let part = DOCUMENT
        .split("\n## ")
        .find(|part| part.starts_with(heading))
        .unwrap();
    let blocks = part.split("```sh\n").skip(1);
    let commands = blocks.map(|rest| rest.split("```").next().unwrap());
    commands
        .map(|text| text.replace("eth1", "fw0").replace("eth0", "long0"))
        .collect()
}

/// A gateway that is a Debian of its own, with nothing but these on.
struct Gateway {
    relay: Option<Process>,
    machine: Machine,
    site: Site,
}

impl Gateway {
    fn boot() -> Option<Self> {
        let site = Site::behind_a_pix()?;
        let machine = Machine::boot(site.lab.relay());
        // Of the two that are installed each has its own test.
        machine.run("systemctl", &["stop", "firewalld"]);
        machine.install_unmangle();
        Some(Self {
            relay: None,
            machine,
            site,
        })
    }

    fn typed(&self, commands: &str) {
        self.machine.run("sh", &["-ec", commands]);
    }

    fn tables(&self) -> String {
        self.machine.run("nft", &["list", "tables"])
    }

    fn command(&self) -> Command {
        let mut command = self.machine.command("unmangle");
        command.args([
            "run",
            "--intercept",
            "22",
            "--mangled-side",
            "fw0",
            "--profile",
            "cisco-pix",
        ]);
        command.args(["--log-format", "json"]);
        for role in [Role::Client, Role::Server] {
            for family in FAMILIES {
                command.args(["--to", &role.address(family).to_string()]);
            }
        }
        command
    }

    /// Sees that it refuses to start, in one line, which is returned.
    fn refusal(&self) -> String {
        let log = self.machine.shared().join("refusal.log");
        let mut refused = Process::start("relay", &mut self.command(), &log).unwrap();
        let status = refused.wait(PATIENCE).unwrap();
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(2), "{}", refused.log());
        refused.log()
    }

    /// Starts it and sees that it has nothing to complain of.
    fn start(&mut self) {
        let log = self.machine.shared().join("relay.log");
        let mut relay = Process::start("relay", &mut self.command(), &log).unwrap();
        relay.ready("\"relaying\"", PATIENCE).unwrap();
        is_content(&relay);
        self.relay = Some(relay);
    }

    /// Transfers in both families, and again after the host's firewall was loaded anew in the middle of a session.
    fn carries_through(&mut self, reload: &str) {
        let open = FAMILIES.map(|family| self.site.connect_through(family));
        open.iter().for_each(transfer);
        self.typed(reload);
        open.iter().for_each(talk);
        drop(open);
        for family in FAMILIES {
            transfer(&self.site.connect_through(family));
        }
        let relay = self.relay.as_mut().unwrap();
        site::until("every session has ended", PATIENCE, || {
            relay.log().matches("\"session ended\"").count() == 4
        });
        assert!(relay.ended().unwrap().is_none(), "{}", relay.log());
        is_content(relay);
        assert_eq!(self.site.lab.invalid().unwrap(), Invalid::default());
    }

    /// Sees that its own port 22 is shut, at every address that it has towards the server.
    fn is_shut(&self) {
        // It is not the lab's own filter that keeps it shut.
        self.site
            .load("insert rule inet um_lab input tcp dport 22 accept");
        let _service =
            FAMILIES.map(|family| self.site.listen_at(Role::Relay, site::everywhere(family)));
        let long = Role::Relay.interfaces()[1];
        let server = self.site.lab.server();
        let own = [
            (long.v4, 22).into(),
            (long.v6, 22).into(),
            self.link_local(),
        ];
        for address in own {
            let dialled = site::inside(server, || TcpStream::connect_timeout(&address, A_MOMENT));
            assert!(dialled.is_err(), "{address}");
        }
        // It is theirs.
        self.typed("ufw disable; systemctl stop firewalld");
        for address in own {
            let dialled = site::inside(server, || TcpStream::connect_timeout(&address, A_MOMENT));
            assert!(dialled.is_ok(), "{address}: {dialled:?}");
        }
    }

    /// Its port 22 at the address that only the link to the server knows.
    fn link_local(&self) -> SocketAddr {
        let said = |host: &Host, words: &str| {
            host.run("ip", &words.split(' ').collect::<Vec<_>>())
                .unwrap()
        };
        let address = said(
            self.site.lab.relay(),
            "-6 -o address show dev long0 scope link",
        );
        let address = address
            .split_whitespace()
            .find_map(|word| word.strip_suffix("/64"));
        let index = said(self.site.lab.server(), "-o link show dev long0");
        let index = index.split_once(':').unwrap().0.parse().unwrap();
        SocketAddrV6::new(address.unwrap().parse().unwrap(), 22, 0, index).into()
    }
}

/// It has said nothing of the kind that somebody should look at, but that it runs as root.
fn is_content(relay: &Process) {
    let log = relay.log();
    let complaints = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let complaints: Vec<_> = complaints
        .filter(|line| !line.contains("this runs as root"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn transfer(pair: &Pair) {
    carry(&pair.client, &pair.server, &pattern(1, 300_000));
    carry(&pair.server, &pair.client, &pattern(2, 300_000));
}

#[test]
fn beside_ufw_the_start_says_what_lasts_and_then_sessions_outlive_its_reload() {
    let Some(mut gateway) = Gateway::boot() else {
        return;
    };
    let [pass, admit] = &blocks("ufw")[..] else {
        panic!("two blocks")
    };
    gateway.typed("ufw --force enable");
    let refusal = gateway.refusal();
    assert!(refusal.contains("FORWARD would have dropped"), "{refusal}");
    assert!(
        refusal.contains("ufw route allow in on fw0 out on long0 to any port 22 proto tcp"),
        "{refusal}"
    );

    gateway.typed(pass);
    let refusal = gateway.refusal();
    assert!(
        refusal.contains("INPUT would drop") && refusal.contains("ufw-not-local"),
        "{refusal}"
    );
    let line = admit.lines().next().unwrap();
    let (_, line) = line.split_once("/a ").unwrap();
    let (line, _) = line.split_once('\'').unwrap();
    let said = line.replace("0x02000000", "0x2000000");
    assert!(
        refusal.contains(&said) && refusal.contains("/etc/ufw/before.rules"),
        "{refusal}"
    );

    gateway.typed(admit);
    gateway.start();
    gateway.carries_through("ufw reload");
    gateway.is_shut();
}

#[test]
fn beside_firewalld_the_start_says_what_lasts_and_then_sessions_outlive_its_reload() {
    let Some(mut gateway) = Gateway::boot() else {
        return;
    };
    let [pass, admit, way_back] = &blocks("firewalld")[..] else {
        panic!("three blocks")
    };
    gateway.typed("systemctl start firewalld");
    // It says that it has started before it has loaded anything.
    site::until("firewalld has loaded its rules", PATIENCE, || {
        let state = gateway.machine.output("firewall-cmd", &["--state"]);
        state.status.success() && gateway.tables().contains("inet firewalld")
    });
    let refusal = gateway.refusal();
    assert!(refusal.contains("inet firewalld"), "{refusal}");

    gateway.typed(pass);
    let refusal = gateway.refusal();
    assert!(refusal.contains("INPUT would drop"), "{refusal}");
    assert!(refusal.contains("add a policy to HOST"), "{refusal}");

    gateway.typed(admit);
    let refusal = gateway.refusal();
    assert!(refusal.contains("IPv6_rpfilter=yes"), "{refusal}");

    gateway.typed(way_back);
    gateway.start();
    gateway.carries_through("firewall-cmd --reload");
    gateway.is_shut();
}

#[test]
fn a_check_of_the_way_back_that_sees_the_mark_drops_ipv6_and_is_refused() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    site.load(
        "table inet wayback { chain check { type filter hook prerouting priority 10; \
         meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }; }",
    );
    let reaches = |family| {
        let _service = site.listen(Role::Server, family);
        let to = (Role::Server.address(family), 22).into();
        let dialled = site::inside(site.lab.client(), || {
            TcpStream::connect_timeout(&to, A_MOMENT)
        });
        dialled.is_ok()
    };
    assert_eq!(FAMILIES.map(reaches), [true, false]);
    relay.stop();
    let refusal = Relay::refusal(&site.lab, &[], &[]);
    assert!(refusal.contains("inet wayback check"), "{refusal}");
    // Of IPv4 alone it can be had.
    site.relay(&["--to", "198.51.100.0/24"]).stop();
}
