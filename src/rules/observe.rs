//! What the host's rules, routes and links are, for somebody who judges them. Nothing is changed, and no module of
//! the kernel is loaded that was not needed for what is there already.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::check::{Port, Probe, RuleRef, Ruleset, Verdict};
use super::routes::{self, FAMILIES};
use super::survey::{self, SurveyError};
use super::tool::{self, ToolError};
use super::{fail_closed, nft, normalise, owner};

/// What other programs' rules do to TCP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Rules and policies that end packets which conntrack calls INVALID, for that reason.
    pub invalid: Vec<Named>,
    /// Rules and policies at FORWARD that end connections.
    pub forward: Vec<Named>,
    /// Rules that give connections another destination as they arrive.
    pub dnat: Vec<Named>,
    /// Rules that keep connections from conntrack.
    pub untracked: Vec<Named>,
}

/// A rule or a policy, and whose packets end there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As `RuleRef` shows it, or as iptables-legacy does.
    pub rule: String,
    /// Whether it answers with a reset of TCP.
    pub resets: bool,
}

/// Our tables that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnTables {
    /// A relay's, and so there is one.
    pub relay: bool,
    /// One like a relay's that belongs to no process: somebody loaded printed rules.
    pub loaded: bool,
    /// That of `unmangle normalise`.
    pub normaliser: bool,
    /// The one that drops when the relay was killed.
    pub fail_closed: bool,
}

/// What `ip` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// `ip -o link show`.
    pub links: String,
    /// `ip rule show` of both families, without those that every host has and those of a relay.
    pub rules: Vec<String>,
    /// `ip route show table all` of both families.
    pub routes: [String; 2],
}

/// The program that lists the rules of iptables-legacy for a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    /// IPv4.
    Iptables,
    /// IPv6.
    Ip6tables,
}

/// The host's rules.
///
/// # Errors
/// If `nft` cannot list them.
pub fn ruleset() -> Result<Ruleset, SurveyError> {
    survey::listed()
}

/// Which of our tables are there.
///
/// # Errors
/// If `nft` cannot list them.
pub fn own_tables() -> Result<OwnTables, ToolError> {
    let shown = tool::run("nft", &["list", "tables"])?;
    let is_there = |table: &str| {
        let line = format!("table inet {table}");
        shown.lines().any(|shown| shown == line)
    };
    let listed = match is_there(nft::TABLE) {
        true => owner::listed(nft::TABLE)?,
        false => None,
    };
    let is_owned = listed.as_deref().map(owner::is_owned);
    Ok(OwnTables {
        relay: is_owned == Some(true),
        loaded: is_owned == Some(false),
        normaliser: is_there(normalise::TABLE),
        fail_closed: is_there(fail_closed::TABLE),
    })
}

/// What `ip` shows of links, rules and routes.
///
/// # Errors
/// If it is missing or refuses.
pub fn shown() -> Result<Shown, ToolError> {
    let mut shown = Shown {
        links: tool::run("ip", &["-o", "link", "show"])?,
        ..Shown::default()
    };
    for (place, family) in FAMILIES.into_iter().enumerate() {
        let flag = family.flag();
        // A kernel without IPv6 has none of its rules.
        let rules = tool::if_there(tool::run("ip", &["-N", flag, "rule", "show"]))?;
        let rules = rules.unwrap_or_default();
        let others = rules.lines().filter(|rule| !is_usual(rule));
        let others = others.map(|rule| {
            format!(
                "ip {flag} rule {}",
                rule.split_whitespace().collect::<Vec<_>>().join(" ")
            )
        });
        shown.rules.extend(others);
        let routes = tool::run("ip", &["-N", flag, "route", "show", "table", "all"]);
        shown.routes[place] = tool::if_there(routes)?.unwrap_or_default();
    }
    Ok(shown)
}

/// Those that every host has, by the numbers of their tables, and those of a relay.
fn is_usual(rule: &str) -> bool {
    let words: Vec<_> = rule.split_whitespace().collect();
    routes::is_ours(rule)
        || matches!(
            words[..],
            [_, "from", "all", "lookup", "255" | "254" | "253"]
        )
}

/// What a tool says of its version.
///
/// # Errors
/// If it is missing or refuses.
pub fn version(program: &'static str) -> Result<String, ToolError> {
    let switch = match program {
        "nft" => "--version",
        _ => "-V",
    };
    let said = tool::run(program, &[switch])?;
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// What these rules do to TCP that comes by each of these interfaces, to whatever port, and to what this host sends.
pub fn of(ruleset: &Ruleset, interfaces: &[String]) -> Observed {
    let mut observed = Observed::default();
    for probe in interfaces.iter().flat_map(|iif| probes(iif)) {
        for rule in ruleset.ends_invalid(&probe) {
            add(&mut observed.invalid, Some(rule));
        }
        if probe.iif != "lo" {
            add(&mut observed.forward, ender(ruleset.forward(&probe)));
            add(&mut observed.dnat, ruleset.dnat(&probe));
        }
        add(&mut observed.untracked, ruleset.untracked(&probe));
    }
    observed
}

fn probes(iif: &str) -> [Probe; 2] {
    let v4 = IpNet::from(Ipv4Net::default());
    let v6 = IpNet::from(Ipv6Net::default());
    [v4, v6].map(|all| Probe::new(iif, all, all, Port::Any))
}

/// The rule that ends packets, if one does.
fn ender(verdict: Verdict) -> Option<RuleRef> {
    match verdict {
        Verdict::Passes => None,
        Verdict::Dropped { by } | Verdict::Unsure { by, .. } => Some(by),
    }
}

fn add(found: &mut Vec<Named>, rule: Option<RuleRef>) {
    let named = rule.map(|rule| Named {
        resets: rule.text.contains("tcp reset"),
        rule: rule.to_string(),
    });
    found.extend(
        named
            .filter(|named| !found.contains(named))
            .into_iter()
            .collect::<Vec<_>>(),
    );
}

/// What the rules of iptables-legacy do, which nft does not list. Only tables that are there are listed: to list
/// another would make it.
///
/// # Errors
/// If the program is missing or refuses.
pub fn of_legacy(family: Legacy, tables: &str) -> Result<Observed, ToolError> {
    let program = match family {
        Legacy::Iptables => "iptables-legacy",
        Legacy::Ip6tables => "ip6tables-legacy",
    };
    let mut observed = Observed::default();
    for table in tables.lines() {
        let text = tool::run(program, &["-t", table, "-S"])?;
        legacy_rules(program, table, &text, &mut observed);
    }
    Ok(observed)
}

/// Rules by what they say for themselves: chains are not followed.
fn legacy_rules(program: &str, table: &str, text: &str, observed: &mut Observed) {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |key: &str| {
            let place = words.iter().position(|word| *word == key)?;
            words.get(place + 1).copied()
        };
        let target = after("-j").unwrap_or_default();
        let states = after("--ctstate").or_else(|| after("--state"));
        let named = || Named {
            rule: format!("{program} -t {table} {line}"),
            resets: line.contains("tcp-reset"),
        };
        if table == "filter"
            && states.is_some_and(|states| states.split(',').any(|one| one == "INVALID"))
            && ["DROP", "REJECT"].contains(&target)
        {
            observed.invalid.push(named());
        }
        if ["DNAT", "REDIRECT"].contains(&target) {
            observed.dnat.push(named());
        }
        if target == "NOTRACK" || words.contains(&"--notrack") {
            observed.untracked.push(named());
        }
        if line == "-P FORWARD DROP" {
            observed.forward.push(named());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hook: &str, kind: &str, expressions: &str) -> Ruleset {
        Ruleset::parse(&format!(
            r#"{{"nftables": [
            {{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "handle": 1, "type": "{kind}",
                "hook": "{hook}", "prio": 0, "policy": "accept"}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 2, "expr": [{expressions}]}}}}]}}"#
        ))
        .unwrap()
    }

    const INVALID: &str =
        r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}"#;
    const HTTPS: &str = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 443}}"#;

    #[test]
    fn a_rule_that_resets_what_is_invalid_is_named_whatever_its_port() {
        let reset = r#"{"reject": {"type": "tcp reset"}}"#;
        for matches in [INVALID.to_owned(), format!("{HTTPS}, {INVALID}")] {
            let ruleset = rules("input", "filter", &format!("{matches}, {reset}"));
            let observed = of(&ruleset, &["eth0".to_owned()]);
            assert_eq!(observed.invalid.len(), 1, "{observed:?}");
            assert!(observed.invalid[0].resets);
            assert!(observed.invalid[0].rule.contains("rule handle 2"));
            assert_eq!(observed.forward, []);
        }
        let established = INVALID.replace("invalid", "established");
        let ruleset = rules("input", "filter", &format!("{established}, {reset}"));
        assert_eq!(of(&ruleset, &["eth0".to_owned()]), Observed::default());
    }

    /// The handles of the rules that are said to end INVALID packets, of rules of a chain in this order.
    fn blamed(hook: &str, policy: &str, rules: &[&str]) -> Vec<String> {
        let rules = rules.iter().enumerate().map(|(place, expressions)| {
            format!(
                r#", {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": {}, "expr": [{expressions}]}}}}"#,
                place + 2
            )
        });
        let rules: String = rules.collect();
        let ruleset = Ruleset::parse(&format!(
            r#"{{"nftables": [
            {{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "handle": 1, "type": "filter",
                "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}{rules}]}}"#
        ))
        .unwrap();
        let observed = of(&ruleset, &["eth0".to_owned()]);
        let name = |named: Named| match named.rule.split_once("handle ") {
            Some((_, rest)) => rest.split(' ').next().unwrap().to_owned(),
            None => named.rule,
        };
        observed.invalid.into_iter().map(name).collect()
    }

    #[test]
    fn a_rule_that_ends_packets_for_another_reason_is_not_blamed_and_those_behind_it_are() {
        let ours = format!("{HTTPS}, {}", r#"{"drop": null}"#);
        let bad = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@bad"}}, {"drop": null}"#;
        let known = INVALID.replace("invalid", "established") + r#", {"accept": null}"#;
        let limited = format!(
            r#"{INVALID}, {{"limit": {{"rate": 10, "burst": 5, "per": "second"}}}}, {{"reject": {{"type": "tcp reset"}}}}"#
        );
        let drops = format!(r#"{INVALID}, {{"drop": null}}"#);
        for hook in ["input", "forward", "output"] {
            for first in [&ours, bad] {
                assert!(blamed(hook, "accept", &[first]).is_empty());
                assert!(blamed(hook, "accept", &[&known, first]).is_empty());
                assert_eq!(
                    blamed(hook, "accept", &[first, &limited, &drops, &limited]),
                    ["3", "4"]
                );
            }
        }
    }

    #[test]
    fn a_policy_is_blamed_where_it_is_for_the_rest_of_known_connections_and_not_where_it_is_for_all()
     {
        let known = INVALID.replace("invalid", "established") + r#", {"accept": null}"#;
        let https = format!(r#"{HTTPS}, {{"accept": null}}"#);
        let policy = ["policy drop of inet t c"];
        assert_eq!(blamed("input", "drop", &[&known]), policy);
        assert_eq!(blamed("input", "drop", &[&known, &https]), policy);
        assert!(blamed("input", "drop", &[&https]).is_empty());
    }

    #[test]
    fn rules_that_translate_or_do_not_track_are_named_and_those_of_udp_are_not() {
        let interfaces = ["lo".to_owned(), "eth0".to_owned()];
        let untrack = |more: &str| of(&rules("prerouting", "filter", more), &interfaces).untracked;
        assert_eq!(untrack(&format!(r#"{HTTPS}, "notrack""#)).len(), 1);
        assert_eq!(untrack(r#"{"notrack": null}"#).len(), 1);
        assert_eq!(
            untrack(&format!(r#"{}, "notrack""#, HTTPS.replace("tcp", "udp"))),
            []
        );
        let dnat = format!(r#"{HTTPS}, {{"dnat": {{"family": "ip", "addr": "10.0.0.1"}}}}"#);
        let observed = of(&rules("prerouting", "nat", &dnat), &interfaces);
        assert_eq!(observed.dnat.len(), 1, "{observed:?}");
    }

    #[test]
    fn rules_of_iptables_legacy_are_known_by_their_words() {
        let mut observed = Observed::default();
        let filter = "-P INPUT ACCEPT\n-P FORWARD DROP\n\
            -A INPUT -m conntrack --ctstate INVALID -j REJECT --reject-with tcp-reset\n\
            -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n";
        legacy_rules("iptables-legacy", "filter", filter, &mut observed);
        let raw = "-A PREROUTING -p tcp -j CT --notrack\n-A PREROUTING -j CT --zone 1\n";
        legacy_rules("iptables-legacy", "raw", raw, &mut observed);
        legacy_rules(
            "iptables-legacy",
            "nat",
            "-A PREROUTING -j REDIRECT --to-ports 1\n",
            &mut observed,
        );
        let counts = [
            &observed.invalid,
            &observed.forward,
            &observed.untracked,
            &observed.dnat,
        ];
        assert_eq!(counts.map(Vec::len), [1; 4], "{observed:?}");
        assert!(observed.invalid[0].resets);
    }

    #[test]
    fn rules_that_every_host_has_are_left_out() {
        assert!(is_usual("32766:\tfrom all lookup 254"));
        assert!(is_usual(
            "21069:\tfrom all fwmark 0x2000000/0x2000000 lookup 21837 proto 85"
        ));
        assert!(!is_usual("100:\tfrom 10.0.0.0/8 lookup 7"));
    }
}
