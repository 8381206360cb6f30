//! Programs that keep a host's rules in files of their own and write them anew, ufw and firewalld: what is added to their
//! chains by hand is gone at their next reload. So what is in the way there is answered in their own words.

use crate::config::Mark;

use super::check::{RuleRef, Ruleset};
use super::nft;
use super::plan::Plan;

/// Whose rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// Nobody's who would write them anew, for all that is known.
    Nobody,
    /// ufw's: chains of its own in iptables' table `filter`, and that table's policies.
    Ufw,
    /// firewalld's: a table of its own.
    Firewalld,
}

// === impl Manager ===

impl Manager {
    /// Who made this rule or policy.
    pub(super) fn of(by: &RuleRef, ruleset: &Ruleset) -> Self {
        let is_ufws = |chain: &str| chain.starts_with("ufw-") || chain.starts_with("ufw6-");
        if by.table == "firewalld" {
            return Self::Firewalld;
        }
        let by_policy = by.handle.is_none() && ruleset.has_chain(&by.family, &by.table, is_ufws);
        match by.table == "filter" && (is_ufws(&by.chain) || by_policy) {
            true => Self::Ufw,
            false => Self::Nobody,
        }
    }

    /// What lets intercepted packets in, for good; `by` is what drops them.
    pub(super) fn admits(self, by: &RuleRef, plan: &Plan) -> String {
        let Mark(mark) = plan.mark;
        match self {
            Self::Nobody => format!(
                "add one line: {}",
                by.accept_before(&nft::input_match(plan))
            ),
            Self::Ufw => {
                let (chain, file) = match by.family.as_str() {
                    "ip6" => ("ufw6-before-input", "before6.rules"),
                    _ => ("ufw-before-input", "before.rules"),
                };
                format!(
                    "ufw: before the other rules of /etc/ufw/{file} (docs/host-firewalls.md) add \
                     `-A {chain} -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT`, then `ufw reload`"
                )
            }
            Self::Firewalld => {
                "firewalld: add a policy to HOST that accepts these ports where the destination is \
                                not this host's own (docs/host-firewalls.md has the commands)"
                    .to_owned()
            }
        }
    }

    /// What would let these connections pass FORWARD, for good, if they are meant to; begins with `; `.
    pub(super) fn passes(self, iif: &str, oif: &str, port: impl std::fmt::Display) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::Ufw => format!(
                "; if it may pass: ufw route allow in on {iif} out on {oif} to any port {port} proto tcp"
            ),
            Self::Firewalld => format!(
                "; if it may pass: add a policy from the zone of {iif} to that of {oif} with port {port}/tcp \
                 (docs/host-firewalls.md)"
            ),
        }
    }

    /// What lets in what comes to a service of this host, or by lo; `matches` says which in the words of nft.
    pub(super) fn lets_in(self, by: &RuleRef, matches: &str) -> String {
        let line = by.accept_before(matches);
        match self {
            Self::Nobody => format!("add one line: {line}"),
            Self::Ufw | Self::Firewalld => format!(
                "let it in by {}, which would undo a line of your own: {line}",
                match self {
                    Self::Ufw => "ufw",
                    _ => "firewalld",
                }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::tests::plan;

    fn rule(family: &str, table: &str, chain: &str, handle: Option<u64>) -> RuleRef {
        let [family, table, chain] = [family, table, chain].map(str::to_owned);
        let text = "drop".to_owned();
        RuleRef {
            family,
            table,
            chain,
            handle,
            text,
        }
    }

    fn with_chains(family: &str, chains: &[&str]) -> Ruleset {
        let chain = |name: &&str| {
            format!(
                r#",{{"chain": {{"family": "{family}", "table": "filter", "name": "{name}", "handle": 1}}}}"#
            )
        };
        let chains: String = chains.iter().map(chain).collect();
        let table =
            format!(r#"{{"table": {{"family": "{family}", "name": "filter", "handle": 1}}}}"#);
        Ruleset::parse(&format!(r#"{{"nftables": [{table}{chains}]}}"#)).unwrap()
    }

    #[test]
    fn ufw_is_known_by_its_chains_and_a_policy_by_those_beside_it() {
        let ufws = with_chains("ip", &["INPUT", "ufw-before-input"]);
        let plain = with_chains("ip", &["INPUT"]);
        let policy = rule("ip", "filter", "INPUT", None);
        assert_eq!(Manager::of(&policy, &ufws), Manager::Ufw);
        assert_eq!(Manager::of(&policy, &plain), Manager::Nobody);
        // IPv6 is another table, and one's own rule in INPUT is one's own.
        let v6 = rule("ip6", "filter", "INPUT", None);
        assert_eq!(Manager::of(&v6, &ufws), Manager::Nobody);
        let own = rule("ip", "filter", "INPUT", Some(4));
        assert_eq!(Manager::of(&own, &ufws), Manager::Nobody);
        let chain = rule("ip6", "filter", "ufw6-not-local", Some(9));
        assert_eq!(Manager::of(&chain, &ufws), Manager::Ufw);
    }

    #[test]
    fn firewalld_is_known_by_its_table() {
        let reject = rule("inet", "firewalld", "filter_INPUT", Some(3));
        assert_eq!(
            Manager::of(&reject, &Ruleset::default()),
            Manager::Firewalld
        );
    }

    #[test]
    fn each_is_answered_in_its_own_words_and_never_by_a_line_that_its_reload_undoes() {
        let v6 = rule("ip6", "filter", "INPUT", None);
        let ufw = Manager::Ufw.admits(&v6, &plan());
        assert!(ufw.contains("/etc/ufw/before6.rules"), "{ufw}");
        assert!(
            ufw.contains("-A ufw6-before-input -m mark --mark 0x2000000/0x2000000"),
            "{ufw}"
        );
        let firewalld = Manager::Firewalld.admits(&v6, &plan());
        for answer in [&ufw, &firewalld] {
            assert!(!answer.contains("nft "), "{answer}");
        }
        assert!(
            Manager::Nobody
                .admits(&v6, &plan())
                .starts_with("add one line: nft add rule ip6")
        );
        assert_eq!(
            Manager::Ufw.passes("eth1", "eth0", 22),
            "; if it may pass: ufw route allow in on eth1 out on eth0 to any port 22 proto tcp"
        );
    }
}
