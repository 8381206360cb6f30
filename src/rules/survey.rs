//! What the rules of other programs would have done with the connections that are to be taken, and what
//! they will do to them afterwards.
//!
//! TPROXY bypasses FORWARD, moves packets to INPUT, and comes before DNAT: a filter must not be opened by
//! that, the packets must be let in, and no other destination may have been meant.

use std::fs;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::Intercept;

use super::check::{self, Probe, RuleRef, Ruleset, Verdict};
use super::managed::Manager;
use super::plan::{Plan, Tracking};
use super::routes::Family;
use super::tool::{self, ToolError};
use super::{routes, survey_sidecar};

/// Why the relay must not start beside the rules of other programs.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A filter would be bypassed.
    #[error(
        "FORWARD would have dropped {flow}, and TPROXY bypasses it: {by}; name what may pass with --from \
         and --to, or give --override-forward{more}"
    )]
    Forward {
        /// The connections, and the interfaces they cross.
        flow: String,
        /// The rule.
        by: Box<RuleRef>,
        /// What would let them pass, where it is known whose rule it is.
        more: String,
    },
    /// The intercepted packets would be dropped.
    #[error("INPUT would drop what is intercepted, {flow}: {by}; {mend}")]
    Input {
        /// The connections.
        flow: String,
        /// The rule.
        by: Box<RuleRef>,
        /// What lets them in.
        mend: String,
    },
    /// Every intercepted packet of IPv6 would be dropped.
    #[error(
        "a check of the way back sees the relay's mark and would drop all that is intercepted of IPv6: {by}; \
         firewalld has it by IPv6_rpfilter=yes in /etc/firewalld/firewalld.conf, make that `no` \
         (docs/host-firewalls.md), or name networks of IPv4 alone with --from or --to"
    )]
    WayBack {
        /// The rule.
        by: Box<RuleRef>,
    },
    /// What this host opens would have been dropped.
    #[error(
        "OUTPUT would have dropped {flow}, and REDIRECT bypasses it: {by}; name what may pass with --from \
         and --to, or give --override-forward"
    )]
    Output {
        /// The connections, and the interface they leave by.
        flow: String,
        /// The rule.
        by: Box<RuleRef>,
    },
    /// Another destination was meant.
    #[error(
        "{flow} would be sent elsewhere by DNAT, which comes after TPROXY: {by}; intercept on the other \
         side of it, or leave that destination out with --to"
    )]
    Dnat {
        /// The connections.
        flow: String,
        /// The rule.
        by: Box<RuleRef>,
    },
    /// The rules could not be listed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The rules of a table could not be read.
    #[error("table {table}, as `nft -j` lists it: {source}")]
    Unreadable {
        /// Its family and its name.
        table: String,
        /// Why.
        source: check::Error,
    },
}

/// Whether what FORWARD drops may be relayed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// No: refuse to start.
    Respect,
    /// Yes: somebody has said so.
    Override,
}

/// What was found in the host's rules.
#[derive(Debug, Default)]
pub struct Found {
    /// What is certainly in the way, each rule once for each way in which it is.
    pub refusals: Vec<SurveyError>,
    /// What could not be decided.
    pub doubts: Vec<Doubt>,
}

/// What a hook may do, for all that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Where.
    pub hook: Hook,
    /// What.
    pub text: String,
}

/// Where rules meet what is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What passes through this host.
    Forward,
    /// What comes to it.
    Input,
    /// What it sends.
    Output,
}

/// Lists the host's rules and judges them; returns what could not be decided.
///
/// # Errors
/// The first rule that is certainly in the way.
pub fn survey(plan: &Plan, forward: Forward) -> Result<Vec<String>, SurveyError> {
    let Found { refusals, doubts } = judge(&listed()?, plan, &other_interfaces(plan), forward);
    if let Some(first) = refusals.into_iter().next() {
        return Err(first);
    }
    let mut doubts: Vec<_> = doubts.into_iter().map(|doubt| doubt.text).collect();
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if !legacy.trim().is_empty() {
        doubts.push(
            "iptables-legacy has rules here, which nft does not list: see yourself that INPUT lets \
             intercepted packets in and that FORWARD would have let them pass"
                .to_owned(),
        );
    }
    Ok(doubts)
}

/// The host's rules as they are now, less the tables of `unmangle` itself.
///
/// Table by table: the JSON of one that belongs to a process, as a running relay's does, is broken in nft 1.0.6, and in
/// `list ruleset` that would take all others along.
///
/// # Errors
/// If they cannot be listed, or not be read.
pub(super) fn listed() -> Result<Ruleset, SurveyError> {
    let mut ruleset = Ruleset::default();
    for (family, name) in others(&tool::run("nft", &["list", "tables"])?) {
        // Nothing of one that vanished meanwhile.
        let table = tool::run("nft", &["-j", "list", "table", family, name]);
        let Some(json) = tool::if_there(table)? else {
            continue;
        };
        let table = Ruleset::parse(&json).map_err(|source| SurveyError::Unreadable {
            table: format!("{family} {name}"),
            source,
        })?;
        ruleset = ruleset.and(table);
    }
    Ok(ruleset.with_listing(&tool::run("nft", &["-a", "list", "ruleset"])?))
}

/// Families and names of tables that TCP may pass and that are not our own, of `nft list tables`.
fn others(tables: &str) -> impl Iterator<Item = (&str, &str)> {
    let named = tables
        .lines()
        .filter_map(|line| line.strip_prefix("table ")?.split_once(' '));
    named.filter(|(family, name)| check::is_relevant(family, name))
}

/// Everything that these rules have in store for a plan on this host.
pub fn all(ruleset: &Ruleset, plan: &Plan, forward: Forward) -> Found {
    judge(ruleset, plan, &other_interfaces(plan), forward)
}

/// The same, for interfaces that were read already.
fn judge(ruleset: &Ruleset, plan: &Plan, others: &[String], forward: Forward) -> Found {
    let mut found = Found::default();
    if plan.has_sidecars() {
        return survey_sidecar::judge(ruleset, plan, forward);
    }
    for (intercept, other) in plan.interceptions.iter().flat_map(|interception| {
        others
            .iter()
            .map(move |other| (&interception.intercept, other))
    }) {
        let mangled = intercept.mangled_side.as_str();
        for (iif, oif) in [(mangled, other.as_str()), (other.as_str(), mangled)] {
            for probe in probes(intercept, iif) {
                if !probe.is_v4()
                    && let Some(by) = ruleset.marked_way_back()
                {
                    found.refuse(SurveyError::WayBack { by: by.into() });
                }
                let flow = format!("{probe} from {iif} to {oif}");
                let unmarked = probe
                    .clone()
                    .leaving_by(oif)
                    .marked(check::Mark::exactly(0));
                match ruleset.forward(&unmarked) {
                    Verdict::Passes => {}
                    Verdict::Dropped { by } if forward == Forward::Respect => {
                        let port = unmarked.port;
                        let more = Manager::of(&by, ruleset).passes(iif, oif, port);
                        found.refuse(SurveyError::Forward {
                            flow: flow.clone(),
                            by: by.into(),
                            more,
                        });
                    }
                    Verdict::Dropped { by } => {
                        found.doubt(
                            Hook::Forward,
                            format!("overridden: FORWARD would have dropped {flow}: {by}"),
                        );
                    }
                    Verdict::Unsure { by, .. } => {
                        found.doubt(
                            Hook::Forward,
                            format!("FORWARD may have dropped some of {flow}: {by}"),
                        );
                    }
                }
                if let Some(by) = ruleset.dnat(&unmarked) {
                    found.refuse(SurveyError::Dnat {
                        flow: flow.clone(),
                        by: by.into(),
                    });
                }
                let mark = plan.mark.0;
                let mut marked = probe.marked(check::Mark::bits(mark, mark));
                if plan.tracking == Tracking::Notrack {
                    marked = marked.untracked();
                }
                match ruleset.input(&marked) {
                    Verdict::Passes => {}
                    Verdict::Dropped { by } => {
                        let mend = Manager::of(&by, ruleset).admits(&by, plan);
                        found.refuse(SurveyError::Input {
                            flow,
                            by: by.into(),
                            mend,
                        });
                    }
                    Verdict::Unsure { by, .. } => {
                        let mend = Manager::of(&by, ruleset).admits(&by, plan);
                        found.doubt(
                            Hook::Input,
                            format!("INPUT may drop some of {flow}: {by}; if so, {mend}"),
                        );
                    }
                }
            }
        }
    }
    found
}

// === impl Found ===

impl Found {
    /// Adds what may be.
    pub(super) fn doubt(&mut self, hook: Hook, text: String) {
        self.doubts.push(Doubt { hook, text });
    }

    /// Adds it, unless the same rule is known to be in the same way already.
    pub(super) fn refuse(&mut self, refusal: SurveyError) {
        let is_known = |known: &SurveyError| {
            std::mem::discriminant(known) == std::mem::discriminant(&refusal)
                && known.by() == refusal.by()
        };
        if !self.refusals.iter().any(is_known) {
            self.refusals.push(refusal);
        }
    }
}

// === impl SurveyError ===

impl SurveyError {
    /// The rule that is in the way, if it is a rule.
    fn by(&self) -> Option<&RuleRef> {
        match self {
            Self::Forward { by, .. }
            | Self::Input { by, .. }
            | Self::Output { by, .. }
            | Self::Dnat { by, .. }
            | Self::WayBack { by } => Some(by),
            Self::Tool(_) | Self::Unreadable { .. } => None,
        }
    }
}

/// The opening packets that are to be taken: each family, source, destination and port.
pub(super) fn probes(intercept: &Intercept, iif: &str) -> Vec<Probe> {
    let mut probes = Vec::new();
    for family in routes::FAMILIES {
        for from in networks(&intercept.from, family) {
            for to in networks(&intercept.to, family) {
                for port in intercept.ports.iter() {
                    probes.push(Probe::new(iif, from, to, port));
                }
            }
        }
    }
    probes
}

pub(super) fn networks(named: &crate::config::Networks, family: Family) -> Vec<IpNet> {
    match (family, named.is_everywhere()) {
        (Family::V4, true) => vec![Ipv4Net::default().into()],
        (Family::V6, true) => vec![Ipv6Net::default().into()],
        (Family::V4, false) => named.v4().map(IpNet::from).collect(),
        (Family::V6, false) => named.v6().map(IpNet::from).collect(),
    }
}

/// All interfaces, the mangled sides and loopback left out.
fn other_interfaces(plan: &Plan) -> Vec<String> {
    let sides = plan.mangled_sides();
    super::preflight::interfaces()
        .into_iter()
        .filter(|name| name != "lo" && sides.iter().all(|side| side.as_str() != name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::tests::plan;

    /// `table inet filter { chain forward { type filter hook forward priority 0; policy drop; } }`, or
    /// another hook.
    fn drops_at(hook: &str) -> Ruleset {
        let json = format!(
            r#"{{"nftables": [
                {{"metainfo": {{"version": "1.0.6", "json_schema_version": 1}}}},
                {{"table": {{"family": "inet", "name": "filter", "handle": 1}}}},
                {{"chain": {{"family": "inet", "table": "filter", "name": "{hook}", "handle": 1,
                            "type": "filter", "hook": "{hook}", "prio": 0, "policy": "drop"}}}}]}}"#
        );
        Ruleset::parse(&json).unwrap()
    }

    fn judged(hook: &str, forward: Forward) -> Result<Vec<String>, SurveyError> {
        let found = judge(&drops_at(hook), &plan(), &["long0".to_owned()], forward);
        match found.refusals.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(found.doubts.into_iter().map(|doubt| doubt.text).collect()),
        }
    }

    #[test]
    fn tables_of_others_are_listed_and_our_own_are_not() {
        let tables = "table inet unmangle\ntable ip filter\ntable inet unmangle_fail_closed\ntable arp filter\ntable ip6 raw\n";
        let others: Vec<_> = others(tables).collect();
        assert_eq!(others, [("ip", "filter"), ("ip6", "raw")]);
    }

    #[test]
    fn a_flow_that_forward_drops_is_not_taken_and_the_rule_is_named() {
        let error = judged("forward", Forward::Respect).unwrap_err().to_string();
        assert!(
            error.contains("policy drop of inet filter forward"),
            "{error}"
        );
        assert!(error.contains("port 22 from fw0 to long0"), "{error}");
    }

    #[test]
    fn a_rule_that_is_in_the_way_of_many_flows_is_named_once() {
        let found = judge(
            &drops_at("forward"),
            &plan(),
            &["long0".to_owned(), "long1".to_owned()],
            Forward::Respect,
        );
        assert_eq!(found.refusals.len(), 1, "{found:?}");
    }

    #[test]
    fn a_flow_that_forward_drops_is_taken_when_somebody_says_so_and_it_is_told() {
        let doubts = judged("forward", Forward::Override).unwrap();
        assert!(
            doubts[0].starts_with("overridden: FORWARD would have dropped"),
            "{doubts:?}"
        );
    }

    #[test]
    fn an_input_that_drops_is_answered_with_the_one_line_to_add() {
        let error = judged("input", Forward::Respect).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "nft add rule inet filter input meta mark and 0x02000000 == 0x02000000 accept"
            ),
            "{error}"
        );
    }

    #[test]
    fn an_input_that_lets_new_connections_in_drops_what_is_not_tracked() {
        let admits = |state: &str| {
            let json = format!(
                r#"{{"nftables": [
                    {{"table": {{"family": "inet", "name": "filter", "handle": 1}}}},
                    {{"chain": {{"family": "inet", "table": "filter", "name": "input", "handle": 1,
                                "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}}},
                    {{"rule": {{"family": "inet", "table": "filter", "chain": "input", "handle": 2,
                        "expr": [{{"match": {{"op": "in", "left": {{"ct": {{"key": "state"}}}},
                                             "right": "{state}"}}}}, {{"accept": null}}]}}}}]}}"#
            );
            let ruleset = Ruleset::parse(&json).unwrap();
            let zones = plan();
            let notrack = Plan {
                tracking: Tracking::Notrack,
                ..plan()
            };
            [zones, notrack].map(|plan| {
                let others = ["long0".to_owned()];
                let found = judge(&ruleset, &plan, &others, Forward::Respect);
                found.refusals.is_empty()
            })
        };
        assert_eq!(admits("new"), [true, false]);
        assert_eq!(admits("untracked"), [false, true]);
    }
}
