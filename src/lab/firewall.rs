//! The hosts' own stateful filters, and their count of what connection tracking calls INVALID.
//!
//! Rules are text, so that they can be read and tested; [`Counts`] is what comes back.

use serde::Deserialize;

use crate::config::DEFAULT_MARK;
use crate::lab::error::{Error, Result};
use crate::lab::topology::{FIREWALL_DEVICE, LONG_DEVICE, Role};

/// The table on every host. Loading it again starts its counters at zero.
pub const TABLE: &str = "um_lab";

/// What a host answers from, as the story needs it: established flows, ssh and rsync, nothing else.
const STRICT_INPUT: &str = "\
  chain input {
    type filter hook input priority filter; policy drop;
    iifname \"lo\" accept
    meta l4proto { icmp, ipv6-icmp } accept
    ct state established,related accept
    ct state new tcp dport { 22, 873 } accept
    meta l4proto tcp reject with tcp reset
  }
";

/// Packets counted by connection tracking since the rules were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// INVALID on an end host, in and out.
    pub invalid: u64,
    /// INVALID on the relay host, on the side that faces the firewall.
    pub invalid_mangled: u64,
    /// INVALID on the relay host, on the side of the long leg.
    pub invalid_clean: u64,
    /// TCP segments with RST, in and out.
    pub resets: u64,
}

/// What `nft -f -` is fed on the host that plays `role`; `strict` is for end hosts.
pub fn ruleset(role: Role, strict: bool) -> String {
    let counters = match role {
        Role::Relay => &["invalid_mangled", "invalid_clean"][..],
        Role::Client | Role::Server | Role::Router => &["invalid", "resets"],
    };
    let mut text =
        format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    for name in counters {
        text += &format!("  counter {name} {{ }}\n");
    }
    // Just after connection tracking (-200), before any rule that could take a packet away.
    for (hook, side) in [("prerouting", "iifname"), ("output", "oifname")] {
        text += &format!("  chain {hook} {{\n    type filter hook {hook} priority -190;\n");
        text += &match role {
            Role::Relay => format!(
                "    {side} \"{FIREWALL_DEVICE}\" ct state invalid counter name invalid_mangled\n    \
                 {side} \"{LONG_DEVICE}\" ct state invalid counter name invalid_clean\n"
            ),
            Role::Client | Role::Server | Role::Router => {
                "    ct state invalid counter name invalid\n    \
                 tcp flags & rst == rst counter name resets\n"
                    .to_owned()
            }
        };
        text += "  }\n";
    }
    match role {
        Role::Relay => text += &relay_input(),
        Role::Client | Role::Server if strict => text += STRICT_INPUT,
        Role::Client | Role::Server | Role::Router => {}
    }
    text + "}\n"
}

/// The relay host serves nobody: what it forwards passes, what reaches INPUT needs the mark, which is
/// the one line that a relay asks of a host whose INPUT drops.
fn relay_input() -> String {
    format!(
        "  chain input {{\n    type filter hook input priority filter; policy drop;\n    \
         iifname \"lo\" accept\n    \
         meta l4proto {{ icmp, ipv6-icmp }} accept\n    \
         ct state established,related accept\n    \
         meta mark & {DEFAULT_MARK} == {DEFAULT_MARK} accept\n  }}\n"
    )
}

impl Counts {
    /// Reads what `nft -j list table inet um_lab` printed.
    pub fn parse(json: &str) -> Result<Self> {
        let listing: Listing = serde_json::from_str(json).map_err(|error| Error::Answer {
            what: "nft -j list table",
            answer: error.to_string(),
        })?;
        let mut counts = Self::default();
        for counter in listing
            .nftables
            .into_iter()
            .filter_map(|object| object.counter)
        {
            match counter.name.as_str() {
                "invalid" => counts.invalid = counter.packets,
                "invalid_mangled" => counts.invalid_mangled = counter.packets,
                "invalid_clean" => counts.invalid_clean = counter.packets,
                "resets" => counts.resets = counter.packets,
                _ => {}
            }
        }
        Ok(counts)
    }

    /// All that is INVALID.
    pub fn invalid_sum(&self) -> u64 {
        self.invalid + self.invalid_mangled + self.invalid_clean
    }
}

/// Adds up `invalid=` over the processors in what `conntrack -S` printed.
pub fn conntrack_invalid(statistics: &str) -> u64 {
    statistics
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("invalid="))
        .filter_map(|count| count.parse::<u64>().ok())
        .sum()
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    counter: Option<Counter>,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    packets: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_host_resets_what_is_neither_established_nor_ssh() {
        let text = ruleset(Role::Client, true);
        assert!(text.contains("ct state established,related accept"));
        assert!(text.contains("reject with tcp reset"));
        assert!(!ruleset(Role::Client, false).contains("reject"));
    }

    #[test]
    fn a_host_that_is_not_strict_counts_all_the_same() {
        let text = ruleset(Role::Server, false);
        assert_eq!(text.matches("ct state invalid counter").count(), 2);
    }

    #[test]
    fn the_relay_host_counts_by_side_and_lets_in_what_carries_the_mark() {
        let text = ruleset(Role::Relay, true);
        assert!(text.contains("iifname \"fw0\" ct state invalid counter name invalid_mangled"));
        assert!(text.contains("oifname \"long0\" ct state invalid counter name invalid_clean"));
        assert!(text.contains("meta mark & 0x02000000 == 0x02000000 accept"));
        assert!(!text.contains("dport 22"));
    }

    #[test]
    fn counters_are_read_by_name() {
        let json = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"name":"um_lab"}},
            {"counter":{"family":"inet","name":"invalid","table":"um_lab","packets":24,"bytes":9}},
            {"counter":{"family":"inet","name":"resets","table":"um_lab","packets":2,"bytes":80}}]}"#;
        let counts = Counts::parse(json).unwrap();
        assert_eq!(
            (counts.invalid, counts.resets, counts.invalid_sum()),
            (24, 2, 24)
        );
    }

    #[test]
    fn the_statistics_of_all_processors_are_added() {
        let text = "cpu=0   \tfound=0 invalid=3 insert=0\ncpu=1   \tfound=0 invalid=4 insert=0\n";
        assert_eq!(conntrack_invalid(text), 7);
    }
}
