//! Follows a packet through the chains of a hook, along every way it may take.

use super::RuleRef;
use super::fact::{Hook, Packet};
use super::model::{Chain, Rule, Table};
use super::probe::{Mark, Probe};
use super::statement::{Step, Target, step};
use super::tri::Tri;

/// The kernel refuses deeper jumps than 16; a cycle cannot be loaded at all. This is for text that
/// no kernel printed.
const DEPTH: usize = 32;
/// Rules visited in one walk, at most: each jump is followed anew.
const RULES: usize = 1_000_000;

/// What one base chain comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    Passes,
    Dropped(RuleRef),
    Unsure { by: RuleRef, doubt: RuleRef },
}

/// A rule or a policy that ends packets.
#[derive(Clone, Copy)]
pub(super) struct Ending<'r> {
    table: &'r Table,
    chain: &'r Chain,
    /// None for the chain's policy.
    rule: Option<&'r Rule>,
    /// Whether it ends all that reach it.
    pub holds: Tri,
}

pub(super) struct Walk<'a> {
    packet: Packet<'a>,
    /// The first rule of this base chain that could not be decided.
    doubt: Option<RuleRef>,
    /// There was a doubt in any chain: marks set since then are not certain.
    forked: bool,
    rules: usize,
    /// The first rule that rewrites the destination.
    pub translation: Option<RuleRef>,
    /// The first rule that keeps packets from conntrack.
    pub untracking: Option<RuleRef>,
}

/// How the packets may leave a chain; more than one way when a rule was not certain.
#[derive(Default)]
struct Exits<'r> {
    accept: bool,
    /// What drops, in the order in which packets come to it.
    drops: Vec<Ending<'r>>,
    /// They reach the chain's end, or a `return`.
    fall: bool,
}

/// A rule and where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a Table,
    chain: &'a Chain,
    rule: &'a Rule,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(probe: &'a Probe, hook: Hook) -> Walk<'a> {
        let packet = Packet {
            probe,
            hook,
            mark: probe.mark,
        };
        Walk {
            packet,
            doubt: None,
            forked: false,
            rules: 0,
            translation: None,
            untracking: None,
        }
    }

    /// Walks one base chain. An accept ends this chain only; a drop is for good.
    pub(super) fn base(&mut self, table: &Table, chain: &Chain) -> Outcome {
        let exits = self.ways(table, chain);
        // The first that does, or rather the first that may.
        let certain = exits.drops.iter().find(|ending| ending.holds == Tri::Yes);
        let Some(by) = certain.or(exits.drops.first()).map(Ending::name) else {
            return Outcome::Passes;
        };
        if exits.accept || exits.fall {
            let doubt = self.doubt.take().unwrap_or_else(|| by.clone());
            return Outcome::Unsure { by, doubt };
        }
        Outcome::Dropped(by)
    }

    /// Walks one base chain; everything that ends packets there, and whether none gets through.
    pub(super) fn endings<'r>(
        &mut self,
        table: &'r Table,
        chain: &'r Chain,
    ) -> (Vec<Ending<'r>>, bool) {
        let exits = self.ways(table, chain);
        (exits.drops, !exits.accept && !exits.fall)
    }

    fn ways<'r>(&mut self, table: &'r Table, chain: &'r Chain) -> Exits<'r> {
        self.doubt = None;
        let mut exits = self.chain(table, chain, 0);
        if exits.fall && chain.base.as_ref().is_some_and(|base| base.drops) {
            exits.drops.push(Ending {
                table,
                chain,
                rule: None,
                holds: Tri::Yes,
            });
            exits.fall = false;
        }
        exits
    }

    fn chain<'r>(&mut self, table: &'r Table, chain: &'r Chain, depth: usize) -> Exits<'r> {
        let mut exits = Exits::default();
        for rule in &chain.rules {
            self.rules += 1;
            let place = Place {
                table,
                chain,
                rule,
                depth,
            };
            if !self.rule(place, &mut exits) {
                return exits;
            }
        }
        exits.fall = true;
        exits
    }

    /// Whether some packets go on to the next rule.
    fn rule<'r>(&mut self, place: Place<'r>, exits: &mut Exits<'r>) -> bool {
        let mut holds = Tri::Yes;
        for expr in &place.rule.exprs {
            match step(&self.packet, place.table, expr) {
                Step::Match(matches) => holds = holds.and(matches),
                Step::SetMark(mark) => self.set_mark(mark, holds),
                Step::Untrack => {
                    self.untracking.get_or_insert_with(|| place.name());
                }
                Step::Verdicts(verdicts) => return self.verdicts(place, holds, &verdicts, exits),
            }
            if holds == Tri::No {
                break;
            }
        }
        true
    }

    fn set_mark(&mut self, mark: Mark, holds: Tri) {
        let certain = holds == Tri::Yes && !self.forked;
        self.packet.mark = if certain {
            mark
        } else {
            self.packet.mark.either(mark)
        };
    }

    fn verdicts<'r>(
        &mut self,
        place: Place<'r>,
        holds: Tri,
        verdicts: &[(Tri, Target<'_>)],
        exits: &mut Exits<'r>,
    ) -> bool {
        let mut on = false;
        for (matches, target) in verdicts {
            let holds = holds.and(*matches);
            if holds == Tri::No {
                continue;
            }
            if *target != Target::Continue && (holds == Tri::Maybe || *target == Target::Unknown) {
                self.note_doubt(place);
            }
            on |= self.follow(place, holds, *target, exits);
            if holds == Tri::Yes {
                return on;
            }
        }
        true
    }

    /// Follows one verdict; whether packets come back to the next rule from there.
    fn follow<'r>(
        &mut self,
        place: Place<'r>,
        holds: Tri,
        target: Target<'_>,
        exits: &mut Exits<'r>,
    ) -> bool {
        match target {
            Target::Continue => return true,
            Target::Accept => exits.accept = true,
            Target::Drop => exits.drops.push(place.ends(holds)),
            Target::Return => exits.fall = true,
            Target::Translate => {
                self.translation.get_or_insert_with(|| place.name());
                exits.accept = true;
            }
            Target::Jump(name) | Target::Goto(name) => {
                let Some(chain) = place
                    .table
                    .chains
                    .get(name)
                    .filter(|_| self.may_go_deeper(place))
                else {
                    self.note_doubt(place);
                    return self.follow(place, Tri::Maybe, Target::Unknown, exits);
                };
                let inner = self.chain(place.table, chain, place.depth + 1);
                exits.accept |= inner.accept;
                exits
                    .drops
                    .extend(inner.drops.into_iter().map(|ending| Ending {
                        holds: ending.holds.and(holds),
                        ..ending
                    }));
                if matches!(target, Target::Jump(_)) {
                    return inner.fall;
                }
                exits.fall |= inner.fall;
            }
            Target::Unknown => {
                exits.accept = true;
                exits.drops.push(place.ends(Tri::Maybe));
                return true;
            }
        }
        false
    }

    fn may_go_deeper(&self, place: Place<'_>) -> bool {
        place.depth < DEPTH && self.rules < RULES
    }

    fn note_doubt(&mut self, place: Place<'_>) {
        self.forked = true;
        self.doubt.get_or_insert_with(|| place.name());
    }
}

impl Ending<'_> {
    pub(super) fn name(&self) -> RuleRef {
        match self.rule {
            Some(rule) => RuleRef::rule(self.table, self.chain, rule),
            None => RuleRef::policy(self.table, self.chain),
        }
    }

    /// Whether both are the same rule, or the same policy, of one ruleset.
    pub(super) fn is_same(&self, other: &Ending<'_>) -> bool {
        std::ptr::eq(self.chain, other.chain)
            && match (self.rule, other.rule) {
                (Some(one), Some(other)) => std::ptr::eq(one, other),
                (None, None) => true,
                _ => false,
            }
    }
}

impl<'r> Place<'r> {
    fn ends(&self, holds: Tri) -> Ending<'r> {
        Ending {
            table: self.table,
            chain: self.chain,
            rule: Some(self.rule),
            holds,
        }
    }

    fn name(&self) -> RuleRef {
        RuleRef::rule(self.table, self.chain, self.rule)
    }
}
