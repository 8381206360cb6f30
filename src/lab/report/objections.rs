//! What a host's connection tracking objects to: every packet that it calls INVALID, and why, in its own words.
//!
//! Both are told by NFLOG, to whoever reads a group: the packets by two rules in a table of the report's own, the
//! words by the kernel itself, which has but one group for them.

use crate::lab::error::Result;
use crate::lab::host::Host;

/// The group that brings INVALID packets: "UN" in ASCII, next to the one that a relay's rules log to.
pub(super) const INVALID_GROUP: u16 = 0x554e;
/// The group to which the kernel logs what no rule has logged: where its words come.
pub(super) const REASONS_GROUP: u16 = 0;

/// The table. It stands as long as its host does.
const TABLE: &str = "um_lab_report";

/// Whatever TCP packet is INVALID is explained, of either family, to that group.
const SETTINGS: [(&str, &str); 3] = [
    ("net/netfilter/nf_log/2", "nfnetlink_log"),
    ("net/netfilter/nf_log/10", "nfnetlink_log"),
    ("net/netfilter/nf_conntrack_log_invalid", "6"),
];

/// Has a host tell what it objects to, from now on.
pub(super) fn tell(host: &Host) -> Result<()> {
    // The rules first: with them the kernel loads what the settings name.
    host.feed("nft", &["-f", "-"], &rules())?;
    host.set(&SETTINGS)
}

/// Just after connection tracking (-200), and before the rules that count (-190): none of those that drop, and no
/// relay, stands in between. Each packet is told at once, not with others.
fn rules() -> String {
    let mut text =
        format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    for (hook, way) in [("prerouting", "in"), ("output", "out")] {
        text += &format!(
            "  chain {hook} {{\n    type filter hook {hook} priority -195;\n    \
             ct state invalid log prefix \"INVALID {way}\" group {INVALID_GROUP} queue-threshold 1\n  }}\n"
        );
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_what_goes_is_told_apart_by_the_prefix() {
        let text = rules();
        for (hook, prefix) in [("prerouting", "INVALID in"), ("output", "INVALID out")] {
            let (_, chain) = text
                .split_once(&format!("hook {hook} priority -195;"))
                .unwrap();
            let (chain, _) = chain.split_once('}').unwrap();
            assert!(
                chain.contains(&format!("prefix \"{prefix}\" group 21838 ")),
                "{text}"
            );
        }
    }

    #[test]
    fn loading_the_rules_again_leaves_one_table() {
        assert!(rules().starts_with("table inet um_lab_report\ndelete table inet um_lab_report\n"));
    }
}
