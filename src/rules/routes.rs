//! The route that leads marked packets to this host, as arguments for `ip`.

use super::plan::Plan;

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

/// The rule, as the words after `ip -4 rule add` or `del`.
pub fn rule(plan: &Plan) -> Vec<String> {
    words(&format!(
        "pref {} fwmark {1}/{1} lookup {2} protocol {PROTOCOL}",
        plan.priority, plan.mark, plan.table
    ))
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
    let mut text = String::new();
    for family in FAMILIES {
        let ip = family.flag();
        text += &format!("ip {ip} rule add {}\n", rule(plan).join(" "));
        text += &format!("ip {ip} route replace {}\n", route(plan).join(" "));
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
