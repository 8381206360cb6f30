//! An address that nobody has, in the place of a service's own: so that the client's leg and the service's
//! can have the same addresses and ports and yet be two connections.
//!
//! It is put in before conntrack and the host's stack see a packet, and taken out as it leaves. What belongs
//! to a connection that was taken is known by a set of connections alone: connections that ran before, and
//! those that are signed, are not in it.

use super::nft::rule;
use super::routes::Family;
use crate::config::Networks;
use crate::config::sidecar::{OwnAddresses, STAND_IN_V4, STAND_IN_V6};

/// How long a taken connection is remembered in silence; keepalive breaks it long before.
const TAKEN_FOR: &str = "1h";
/// How many connections are remembered at a time; more flow unrelayed.
const TAKEN_MOST: u32 = 65_536;

/// What it adds to the table.
#[derive(Debug, Default)]
pub(super) struct StandIn {
    /// The connections that were taken.
    pub sets: String,
    /// Puts it in; after everything that has to know the service by its address.
    pub replace: String,
    /// Takes it out again.
    pub back: String,
}

impl StandIn {
    /// Adds a service whose connections come by this side; `mark` marks them.
    pub fn add(&mut self, side: &str, own: OwnAddresses, mark: &str) {
        if let Some(own) = own.v4 {
            let addresses = [own.to_string(), STAND_IN_V4.to_string()];
            self.add_family(side, Family::V4, addresses, mark);
        }
        if let Some(own) = own.v6 {
            let addresses = [own.to_string(), STAND_IN_V6.to_string()];
            self.add_family(side, Family::V6, addresses, mark);
        }
    }

    fn add_family(&mut self, side: &str, family: Family, [own, with]: [String; 2], mark: &str) {
        let (ip, kind, set) = match family {
            Family::V4 => ("ip", "ipv4_addr", "taken4"),
            Family::V6 => ("ip6", "ipv6_addr", "taken6"),
        };
        if !self.sets.contains(set) {
            self.sets += &format!(
                "\t# Connections that were taken: their packets are known by nothing else.\n\tset {set} {{\n\t\t\
                 type {kind} . inet_service . {kind} . inet_service\n\t\t\
                 flags dynamic,timeout; timeout {TAKEN_FOR}; size {TAKEN_MOST}\n\t}}\n\n"
            );
        }
        let (tuple, noted) = (tuple(family), noted(family));
        let replace = format!(
            "iifname \"{side}\" {tuple} @{set} update {noted} {mark} {ip} daddr set {with}"
        );
        // Another service may have the same address.
        if !self.replace.contains(&replace) {
            rule(&mut self.replace, &replace);
            let back = format!("oifname \"{side}\" {ip} saddr {with} {ip} saddr set {own}");
            rule(&mut self.back, &back);
        }
    }
}

/// What the rules see in the place of these addresses.
pub(super) fn of(own: OwnAddresses) -> Networks {
    let v4 = own.v4.map(|_| STAND_IN_V4.to_string());
    let v6 = own.v6.map(|_| STAND_IN_V6.to_string());
    let texts: Vec<String> = v4.into_iter().chain(v6).collect();
    Networks::parse(texts.iter().map(String::as_str)).expect("addresses are networks")
}

/// A connection as its client's packets name it.
fn tuple(family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport")
}

/// The set, and what is noted in it.
pub(super) fn noted(family: Family) -> String {
    let set = match family {
        Family::V4 => "taken4",
        Family::V6 => "taken6",
    };
    format!("@{set} {{ {} }}", tuple(family))
}
