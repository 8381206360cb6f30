//! An address that nobody has, in the place of a service's own: so that the client's leg and the service's
//! can have the same addresses and ports and yet be two connections.
//!
//! It is put in before conntrack and the host's stack see a packet, and taken out as it leaves. What belongs
//! to a connection that was taken is known by a set of connections alone: connections that ran before, and
//! those that are signed, are not in it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::nft::{TABLE, rule};
use super::plan::{Capture, Plan};
use super::routes::Family;
use super::tool::{self, ToolError};
use crate::config::sidecar::{OwnAddresses, STAND_IN_V4, STAND_IN_V6};
use crate::config::{Networks, ServiceLeg};

/// How long a connection is remembered of which there is an opening packet only: its sender may be false.
const OPENING_FOR: &str = "1m";
/// How many connections are remembered at a time; more flow unrelayed.
const TAKEN_MOST: u32 = 262_144;
/// What a probe and its answer may take beyond the silence that they break.
const PROBED_WITHIN: Duration = Duration::from_secs(120);

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
    ///
    /// A connection of which nothing is heard for twice `silence` and more is forgotten.
    pub fn add(&mut self, side: &str, own: OwnAddresses, silence: Duration, mark: &str) {
        let forget = remembered(silence);
        if let Some(own) = own.v4 {
            let addresses = [own.to_string(), STAND_IN_V4.to_string()];
            self.add_family(side, Family::V4, addresses, forget, mark);
        }
        if let Some(own) = own.v6 {
            let addresses = [own.to_string(), STAND_IN_V6.to_string()];
            self.add_family(side, Family::V6, addresses, forget, mark);
        }
    }

    fn add_family(
        &mut self,
        side: &str,
        family: Family,
        [own, with]: [String; 2],
        forget: u64,
        mark: &str,
    ) {
        let (ip, kind, set) = match family {
            Family::V4 => ("ip", "ipv4_addr", "taken4"),
            Family::V6 => ("ip6", "ipv6_addr", "taken6"),
        };
        if !self.sets.contains(set) {
            self.sets += &format!(
                "\t# Connections that were taken: their packets are known by nothing else.\n\tset {set} {{\n\t\t\
                 type {kind} . inet_service . {kind} . inet_service\n\t\t\
                 flags dynamic,timeout; timeout {OPENING_FOR}; size {TAKEN_MOST}\n\t}}\n\n"
            );
        }
        let tuple = tuple(family);
        let replace = format!(
            "iifname \"{side}\" {tuple} @{set} update @{set} {{ {tuple} timeout {forget}s }} {mark} \
             {ip} daddr set {with}"
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

/// What notes the connections that run again, in a table that was lost with its notes: their sockets are still
/// there. Nothing where no stand-in is used.
///
/// # Errors
/// If `ss` does not tell of them.
pub(super) async fn running(plan: &Plan) -> Result<String, ToolError> {
    let mut text = String::new();
    for (own, silence) in plan
        .interceptions
        .iter()
        .filter_map(|each| match each.capture {
            Capture::Service {
                leg: ServiceLeg::Transparent,
                own,
                silence,
            } => Some((own, silence)),
            _ => None,
        })
    {
        let v4 = own.v4.map(|own| (IpAddr::V4(own), IpAddr::V4(STAND_IN_V4)));
        let v6 = own.v6.map(|own| (IpAddr::V6(own), IpAddr::V6(STAND_IN_V6)));
        for (own, stand_in) in v4.into_iter().chain(v6) {
            let source = match stand_in {
                IpAddr::V4(stand_in) => stand_in.to_string(),
                IpAddr::V6(stand_in) => format!("[{stand_in}]"),
            };
            let of = ["-Htn", "state", "connected", "src", &source];
            let shown = tool::ask("ss", &of).await?;
            text += &note(&shown, own, silence);
        }
    }
    Ok(text)
}

/// What notes the connections that `ss` has shown.
fn note(shown: &str, own: IpAddr, silence: Duration) -> String {
    let set = match own {
        IpAddr::V4(_) => "taken4",
        IpAddr::V6(_) => "taken6",
    };
    let forget = remembered(silence);
    let mut notes = String::new();
    for line in shown.lines() {
        // The state, two queues, the local address and the peer's.
        let mut addresses = line
            .split_whitespace()
            .skip(3)
            .map(str::parse::<SocketAddr>);
        if let (Some(Ok(local)), Some(Ok(peer))) = (addresses.next(), addresses.next()) {
            let (ip, port, to) = (peer.ip(), peer.port(), local.port());
            notes += &format!(
                "add element inet {TABLE} {set} {{ {ip} . {port} . {own} . {to} timeout {forget}s }}\n"
            );
        }
    }
    notes
}

/// For how many seconds a connection is remembered of which nothing is heard.
fn remembered(silence: Duration) -> u64 {
    (2 * silence + PROBED_WITHIN).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_run_are_noted_by_the_services_own_address() {
        let shown = "ESTAB      0      0      192.0.0.8:22    203.0.113.9:40001       \n\
                     FIN-WAIT-2 0      0      192.0.0.8:873   203.0.113.9:40002   \n";
        let notes = note(shown, "192.0.2.7".parse().unwrap(), Duration::from_secs(60));
        assert_eq!(
            notes,
            "add element inet unmangle taken4 { 203.0.113.9 . 40001 . 192.0.2.7 . 22 timeout 240s }\n\
             add element inet unmangle taken4 { 203.0.113.9 . 40002 . 192.0.2.7 . 873 timeout 240s }\n"
        );
        let shown = "ESTAB 0 0 [100::8]:22 [2001:db8::9]:40001";
        let notes = note(
            shown,
            "2001:db8::7".parse().unwrap(),
            Duration::from_secs(60),
        );
        assert!(
            notes.contains("taken6 { 2001:db8::9 . 40001 . 2001:db8::7 . 22 timeout"),
            "{notes}"
        );
    }
}
