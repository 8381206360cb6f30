//! The relay host's rules and routes, to be compared and asked.

use std::net::TcpStream;

use unmangle::config::{Intercept, Networks, Profile};
use unmangle::lab::Role;
use unmangle::rules::{ListenPorts, Plan};

use super::Site;

/// Every rule, `ip rule` and route of the relay host; two that are equal say that nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Rules(String);

/// A plan for connections to port 22, for tests that put it in place themselves; nobody listens.
pub fn plan() -> Plan {
    let intercept = Intercept {
        ports: "22".parse().unwrap(),
        from: Networks::default(),
        to: Networks::default(),
        mangled_side: "fw0".parse().unwrap(),
    };
    let listen = ListenPorts {
        mangled: 1,
        clean: 2,
    };
    Plan::new(intercept, &Profile::clean(), listen)
}

// === impl Rules ===

impl Rules {
    /// As they are now.
    pub fn of(site: &Site) -> Self {
        let list = "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'
            for family in -4 -6; do
                ip $family rule show
                ip $family route show table all | sed '/ proto kernel /d; s/ expires.*//' | sort
            done";
        Self(site.lab.relay().feed("sh", &[], list).unwrap())
    }
}

impl Site {
    /// Whether the relay's table is there.
    pub fn has_table(&self) -> bool {
        let tables = self.lab.relay().run("nft", &["list", "tables"]).unwrap();
        tables
            .lines()
            .any(|table| table.trim() == "table inet unmangle")
    }

    /// Whether new connections are taken.
    pub fn is_intercepting(&self) -> bool {
        let relay = self.lab.relay();
        let chain = |name| relay.run("nft", &["list", "chain", "inet", "unmangle", name]);
        chain("deliver").is_ok_and(|rules| rules.contains("tproxy"))
            && chain("open").is_ok_and(|rules| rules.contains("dport"))
    }

    /// How many `ip rule`s are the relay's, IPv4 and IPv6.
    pub fn own_ip_rules(&self) -> [usize; 2] {
        ["-4", "-6"].map(|family| {
            let relay = self.lab.relay();
            let rules = relay.run("ip", &["-N", family, "rule", "show"]).unwrap();
            rules
                .lines()
                .filter(|rule| rule.ends_with("proto 85"))
                .count()
        })
    }

    /// Loads nftables text on the relay host.
    pub fn load(&self, rules: &str) {
        self.lab.relay().feed("nft", &["-f", "-"], rules).unwrap();
    }

    /// The zones in which the relay host tracks the connection of this client, sorted.
    pub fn zones(&self, client: &TcpStream) -> Vec<u16> {
        let address = client.local_addr().unwrap();
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        let list = ["-L", "-p", "tcp", "-f", family];
        let mut zones: Vec<_> = self
            .lab
            .relay()
            .run("conntrack", &list)
            .unwrap()
            .lines()
            .filter(|line| line.contains(&format!(" src={} ", address.ip())))
            .filter(|line| line.contains(&format!(" sport={} ", address.port())))
            .map(|line| {
                let mut words = line.split_whitespace();
                let zone = words.find_map(|word| word.strip_prefix("zone="));
                zone.map_or(0, |zone| zone.parse().unwrap())
            })
            .collect();
        zones.sort_unstable();
        zones
    }
}

// === rules of a test's own ===

impl Site {
    /// Puts a table with these chains on a host.
    pub fn put_rules(&self, role: Role, name: &str, chains: &str) {
        let table = format!("table inet {name} {{\n{chains}\n}}\n");
        let host = self.lab.host(role);
        host.feed("nft", &["-f", "-"], &table).unwrap();
    }

    /// Takes it away again.
    pub fn take_rules(&self, role: Role, name: &str) {
        let delete = ["delete", "table", "inet", name];
        self.lab.host(role).run("nft", &delete).unwrap();
    }
}
