//! What the host's own firewall would do to a flow: a pure evaluator of nftables rulesets.
//!
//! TPROXY takes a packet at `prerouting` and moves it to INPUT. So FORWARD no longer sees it, and
//! what FORWARD would have dropped, the relay would let through; INPUT sees it, and may drop it;
//! and a DNAT that comes later no longer happens. Before it takes anything, the relay asks here.
//!
//! The question is a [`Probe`], a *set* of opening packets; the answer is three-valued, because a
//! rule may hold for some of them only, or rest on what cannot be known here (a rate limit, a
//! module of iptables). Unknown never counts as certain, in either direction.
//!
//! Nothing is read or run here: the caller brings the text of `nft -j list ruleset` and, where
//! iptables-nft made rules, that of `nft -a list ruleset`. Rules of legacy iptables are in neither.
//!
//! The way through the room: `model` reads, `walk` follows chains and verdicts, `statement` takes
//! one part of a rule, `fact` says what is known of the packet, `pattern` compares it.

mod fact;
mod model;
mod pattern;
mod probe;
mod render;
mod statement;
#[cfg(test)]
mod tests;
mod tri;
mod walk;
mod xt;

use std::fmt;

pub(in crate::rules) use model::is_relevant;
pub use probe::{Mark, Port, Probe, Tracked};

use fact::Hook;
use model::Table;
use tri::Tri;
use walk::{Ending, Outcome, Walk};

/// A host's ruleset, less the tables of `unmangle` itself.
#[derive(Debug, Default)]
pub struct Ruleset {
    tables: Vec<Table>,
}

/// What a hook does to the packets of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of them pass.
    Passes,
    /// None of them passes.
    Dropped {
        /// The rule, or the policy, that drops them.
        by: RuleRef,
    },
    /// Some may be dropped.
    Unsure {
        /// The rule, or the policy, that may drop them.
        by: RuleRef,
        /// The first rule that could not be decided; the same as `by` where that is the drop.
        doubt: RuleRef,
    },
}

/// Names one rule, or the policy of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that holds the rule.
    pub chain: String,
    /// The rule's handle; `None` for the chain's policy.
    pub handle: Option<u64>,
    /// The rule as nft would write it, or nearly so; `policy drop` for a policy.
    pub text: String,
}

/// Why a ruleset could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("the ruleset is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but not what nft prints.
    #[error("the ruleset has no `nftables` list: not the output of `nft -j list ruleset`")]
    NotARuleset,
    /// An object lacks what every object of its kind has.
    #[error("the ruleset has an object without `{0}`")]
    Missing(&'static str),
}

// === impl Ruleset ===

impl Ruleset {
    /// Reads the output of `nft -j list ruleset`.
    pub fn parse(json: &str) -> Result<Ruleset, Error> {
        Ok(Ruleset {
            tables: model::parse(json)?,
        })
    }

    /// Adds the tables of another one, which follow its own.
    #[must_use]
    pub fn and(mut self, other: Ruleset) -> Ruleset {
        self.tables.extend(other.tables);
        self
    }

    /// Adds what the output of `nft -a list ruleset`, taken at the same time, knows better.
    ///
    /// iptables-nft's modules are opaque in JSON (`{"xt": …}`), but spelled out in the listing.
    /// Without it, answers on such a host are mostly [`Verdict::Unsure`].
    pub fn with_listing(mut self, listing: &str) -> Ruleset {
        model::add_listing(&mut self.tables, listing);
        self
    }

    /// What FORWARD would do to the packets, were they not intercepted.
    pub fn forward(&self, probe: &Probe) -> Verdict {
        self.verdict(probe, Hook::Forward)
    }

    /// What INPUT does to the packets once TPROXY has handed them to the relay; `probe.mark` is
    /// then the relay's.
    pub fn input(&self, probe: &Probe) -> Verdict {
        self.verdict(probe, Hook::Input)
    }

    /// What OUTPUT would do to packets that this host opens, were they not redirected.
    pub fn output(&self, probe: &Probe) -> Verdict {
        self.verdict(probe, Hook::Output)
    }

    /// A rule at prerouting that would, or might, translate the packets' destination (DNAT,
    /// redirect), were they not intercepted before it.
    pub fn dnat(&self, probe: &Probe) -> Option<RuleRef> {
        let mut walk = Walk::new(probe, Hook::Prerouting);
        for (table, chain) in self.bases(probe, "prerouting").filter(|(_, c)| is_nat(c)) {
            walk.base(table, chain);
        }
        walk.translation
    }

    /// A rule that keeps, or might keep, the packets from conntrack as they arrive, or as this host sends them.
    pub fn untracked(&self, probe: &Probe) -> Option<RuleRef> {
        [("prerouting", Hook::Prerouting), ("output", Hook::Output)]
            .into_iter()
            .find_map(|(name, hook)| {
                let mut walk = Walk::new(probe, hook);
                for (table, chain) in self.bases(probe, name).filter(|(_, c)| !is_nat(c)) {
                    walk.base(table, chain);
                }
                walk.untracking
            })
    }

    /// Rules and policies that end packets of the probe's connections which conntrack calls INVALID, for that reason:
    /// what ends those that it knows just as surely is not among them, nor is a rule that ends some of them, nobody
    /// knows which, where it ends as well what would open their connections.
    pub fn ends_invalid(&self, probe: &Probe) -> Vec<RuleRef> {
        let invalid = probe.clone().invalid();
        let established = probe.clone().established();
        let mut found: Vec<Ending<'_>> = Vec::new();
        for hook in [Hook::Input, Hook::Forward, Hook::Output] {
            let valid = [&established, probe].map(|probe| self.endings(probe, hook));
            for ending in self.endings(&invalid, hook) {
                let [known, opening] = valid.each_ref().map(|endings| {
                    let same = endings.iter().filter(|other| other.is_same(&ending));
                    same.map(|other| other.holds).max().unwrap_or(Tri::No)
                });
                let for_that = match ending.holds {
                    // Most filters that let known connections pass drop the rest, new ones and INVALID ones alike.
                    Tri::Yes => known != Tri::Yes,
                    _ => known == Tri::No && opening == Tri::No,
                };
                if for_that && !found.iter().any(|other| other.is_same(&ending)) {
                    found.push(ending);
                }
            }
        }
        found.iter().map(Ending::name).collect()
    }

    /// Everything that ends packets at a hook, up to where none is left.
    fn endings(&self, probe: &Probe, hook: Hook) -> Vec<Ending<'_>> {
        let mut walk = Walk::new(probe, hook);
        let mut found = Vec::new();
        for (table, chain) in self.bases(probe, hook.name()) {
            let (endings, is_end) = walk.endings(table, chain);
            found.extend(endings);
            if is_end {
                break;
            }
        }
        found
    }

    /// Whether a table has such a chain.
    pub(super) fn has_chain(&self, family: &str, table: &str, is: impl Fn(&str) -> bool) -> bool {
        let mut tables = self.tables.iter();
        tables.any(|one| {
            one.family == family && one.name == table && one.chains.keys().any(|name| is(name))
        })
    }

    /// A rule at prerouting that drops packets of IPv6 by the way back to their source as their mark has it: to it
    /// the relay's own table makes every source one of this host.
    pub(super) fn marked_way_back(&self) -> Option<RuleRef> {
        let tables = self.tables.iter().filter(|table| table.applies_to(false));
        let chains =
            tables.flat_map(|table| table.chains.values().map(move |chain| (table, chain)));
        let mut rules = chains
            .flat_map(|(table, chain)| chain.rules.iter().map(move |rule| (table, chain, rule)));
        let found = rules.find(|(_, _, rule)| {
            let by_mark = |expr: &serde_json::Value| {
                let flags = expr["match"]["left"]["fib"]["flags"].as_array();
                let has =
                    |name: &str| flags.is_some_and(|flags| flags.iter().any(|flag| flag == name));
                ["saddr", "mark", "iif"].into_iter().all(has)
            };
            rule.exprs.iter().any(by_mark)
                && rule.exprs.iter().any(|expr| expr.get("drop").is_some())
        });
        found.map(|(table, chain, rule)| RuleRef::rule(table, chain, rule))
    }

    fn verdict(&self, probe: &Probe, hook: Hook) -> Verdict {
        let name = hook.name();
        let mut walk = Walk::new(probe, hook);
        let mut unsure = None;
        for (table, chain) in self.bases(probe, name) {
            match walk.base(table, chain) {
                Outcome::Passes => {}
                Outcome::Dropped(by) => return Verdict::Dropped { by },
                Outcome::Unsure { by, doubt } => {
                    unsure.get_or_insert(Verdict::Unsure { by, doubt });
                }
            }
        }
        unsure.unwrap_or(Verdict::Passes)
    }

    /// The base chains of a hook, in the order in which packets pass them.
    fn bases(&self, probe: &Probe, hook: &str) -> impl Iterator<Item = (&Table, &model::Chain)> {
        let v4 = probe.is_v4();
        let mut found: Vec<_> = self
            .tables
            .iter()
            .filter(|table| table.applies_to(v4))
            .flat_map(|table| table.chains.values().map(move |chain| (table, chain)))
            .filter_map(|(table, chain)| Some((chain.base.as_ref()?, table, chain)))
            .filter(|(base, ..)| base.hook == hook)
            .collect();
        found.sort_by_key(|(base, ..)| base.priority);
        found.into_iter().map(|(_, table, chain)| (table, chain))
    }
}

fn is_nat(chain: &model::Chain) -> bool {
    chain.base.as_ref().is_some_and(|base| base.kind == "nat")
}

// === impl RuleRef ===

impl RuleRef {
    fn rule(table: &Table, chain: &model::Chain, rule: &model::Rule) -> RuleRef {
        RuleRef {
            family: table.family.clone(),
            table: table.name.clone(),
            chain: chain.name.clone(),
            handle: Some(rule.handle),
            text: rule.text(),
        }
    }

    fn policy(table: &Table, chain: &model::Chain) -> RuleRef {
        RuleRef {
            family: table.family.clone(),
            table: table.name.clone(),
            chain: chain.name.clone(),
            handle: None,
            text: "policy drop".to_owned(),
        }
    }

    /// The one line that accepts what `matches` describes just before this rule or policy drops it.
    pub fn accept_before(&self, matches: &str) -> String {
        let RuleRef {
            family,
            table,
            chain,
            ..
        } = self;
        match self.handle {
            Some(handle) => {
                format!("nft insert rule {family} {table} {chain} handle {handle} {matches} accept")
            }
            None => format!("nft add rule {family} {table} {chain} {matches} accept"),
        }
    }
}

/// `inet filter forward, rule handle 7 (ip saddr 10.0.0.0/8 drop)`, `policy drop of inet filter forward`.
impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleRef {
            family,
            table,
            chain,
            text,
            ..
        } = self;
        match self.handle {
            Some(handle) => write!(f, "{family} {table} {chain}, rule handle {handle} ({text})"),
            None => write!(f, "{text} of {family} {table} {chain}"),
        }
    }
}
