//! The route that leads marked packets to this host, as arguments for `ip`.

use super::plan::{Capture, Plan};
use crate::config::ServiceLeg;

/// The two address families a relay serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Marks what is ours in `ip rule` and `ip route`, so that what a killed relay left behind is known
/// again (rtnetlink's `protocol`; 0 to 18 and 186 to 192 are taken by the kernel and by daemons).
pub const PROTOCOL: &str = "85";

impl Family {
    /// The switch `ip` takes.
    pub fn flag(self) -> &'static str {
        match self {
            Family::V4 => "-4",
            Family::V6 => "-6",
        }
    }
}

/// The rules, each as the words after `ip -4 rule add` or `del`, with a priority of its own.
pub fn rules(plan: &Plan, family: Family) -> Vec<Vec<String>> {
    let (mut by_mark, mut from_loopback) = (plan.borrows, false);
    for interception in &plan.interceptions {
        match interception.capture {
            Capture::Gateway => by_mark = true,
            Capture::Service {
                leg: ServiceLeg::Loopback,
                ..
            } => from_loopback = true,
            Capture::Service { .. } => by_mark = true,
            Capture::Own(_) => {}
        }
    }
    let mut selectors = Vec::new();
    if by_mark {
        selectors.push(format!("fwmark {0}/{0}", plan.mark));
    }
    if from_loopback {
        // What a service answers from there is for the relay, whatever address that bears.
        selectors.push(match family {
            Family::V4 => "from 127.0.0.0/8 iif lo".to_owned(),
            Family::V6 => "from ::1 iif lo".to_owned(),
        });
    }
    let rule = |(nth, selector): (u32, &String)| {
        let priority = plan.priority + nth;
        words(&format!(
            "pref {priority} {selector} lookup {} protocol {PROTOCOL}",
            plan.table
        ))
    };
    (0..).zip(&selectors).map(rule).collect()
}

/// The route, as the words after `ip -4 route replace` or `del`.
pub fn route(plan: &Plan) -> Vec<String> {
    words(&format!(
        "local default dev lo table {} proto {PROTOCOL}",
        plan.table
    ))
}

/// What a person would type to have the same.
pub fn commands(plan: &Plan) -> String {
    FAMILIES.map(|family| of_family(plan, family)).concat()
}

/// The same of one family.
pub(super) fn of_family(plan: &Plan, family: Family) -> String {
    typed(plan, family, "add", "replace")
}

/// What a person would type to be rid of it.
pub(super) fn removal(plan: &Plan, family: Family) -> String {
    typed(plan, family, "del", "del")
}

fn typed(plan: &Plan, family: Family, with_rule: &str, with_route: &str) -> String {
    let (ip, rules) = (family.flag(), rules(plan, family));
    let mut text: String = rules
        .iter()
        .map(|rule| format!("ip {ip} rule {with_rule} {}\n", rule.join(" ")))
        .collect();
    if !rules.is_empty() {
        text += &format!("ip {ip} route {with_route} {}\n", route(plan).join(" "));
    }
    text
}

/// Whether a line of `ip -N rule show` or `ip -N route show` bears our protocol number.
pub(super) fn is_ours(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|word| word == "proto") && words.next() == Some(PROTOCOL)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
