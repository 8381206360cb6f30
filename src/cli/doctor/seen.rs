//! What `rules` knows of the host, as facts for the doctor.

use std::collections::BTreeSet;

use rustix::thread::{CapabilitySet, capabilities};

use crate::config::Settings;
use crate::diagnose::doctor::Id;
use crate::diagnose::doctor::facts::{
    Collision, Doing, Ending, Links, OwnTables, Rules, Seen, Survey, Tools, Tried,
};
use crate::diagnose::doctor::features::Presence;
use crate::diagnose::doctor::gather::{self, Kernel, Root};
use crate::rules::check::Ruleset;
use crate::rules::observe::{self, Legacy, Named, Observed};
use crate::rules::own::{self, OwnError};
use crate::rules::survey::{self, Forward, Found, Hook, SurveyError};
use crate::rules::{Plan, leftovers, preflight};

/// What was seen.
pub struct All {
    pub tools: Tools,
    pub rules: Rules,
    pub links: Seen<Links>,
}

/// Looks at everything, for a relay with rules of its own if one is wanted.
pub fn all(root: &Root, kernel: &Kernel, wanted: Option<(&Settings, &Plan)>) -> All {
    let version = |program| observe::version(program).map_err(said);
    let tools = Tools {
        nft: version("nft"),
        ip: version("ip"),
        iptables: version("iptables"),
    };
    let shown = observe::shown().map_err(said);
    let links = shown.as_ref().map_err(String::clone);
    let links = links.map(|shown| gather::links(&shown.links, &shown.routes));
    // Not those of `ip`: rules are judged on a host without it as well.
    let interfaces = preflight::interfaces();
    let ruleset = ruleset(kernel);
    let nft = ruleset.as_ref().map_err(String::clone);
    let rules = Rules {
        nft: nft.map(|ruleset| doing(observe::of(ruleset, &interfaces))),
        legacy: legacy(root),
        own: own_tables(kernel),
        in_place: leftovers::in_place().map_err(said),
        policy: shown.map(|shown| shown.rules),
        collisions: collisions(wanted.map(|(_, plan)| plan)),
        survey: wanted.map(|(settings, plan)| surveyed(&ruleset, settings, plan)),
        plan: planned(kernel, wanted.map(|(_, plan)| plan)),
    };
    All {
        tools,
        rules,
        links,
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Whether nft can be asked without changing anything; if it cannot, whether there can be rules at all.
fn nft_may_be_asked(kernel: &Kernel) -> Result<bool, String> {
    match kernel.features.get(&Id::NfTables) {
        Some(Presence::Present) => Ok(true),
        // What is not loaded has no rules.
        Some(Presence::Loadable | Presence::Absent) => Ok(false),
        Some(Presence::Unknown) | None if !kernel.loads_modules => Ok(true),
        Some(Presence::Unknown) | None => {
            Err("only loading nf_tables would tell whether there are any".to_owned())
        }
    }
}

fn ruleset(kernel: &Kernel) -> Result<Ruleset, String> {
    match nft_may_be_asked(kernel)? {
        true => observe::ruleset().map_err(said),
        false => Ruleset::parse(r#"{"nftables": []}"#).map_err(said),
    }
}

fn own_tables(kernel: &Kernel) -> Seen<OwnTables> {
    if !nft_may_be_asked(kernel)? {
        return Ok(OwnTables::default());
    }
    let tables = observe::own_tables().map_err(said)?;
    Ok(OwnTables {
        relay: tables.relay,
        loaded: tables.loaded,
        fail_closed: tables.fail_closed,
    })
}

fn doing(observed: Observed) -> Doing {
    let rules = |named: Vec<Named>| named.into_iter().map(|one| one.rule).collect();
    let ending = |Named { rule, resets }: Named| Ending { rule, resets };
    Doing {
        invalid: observed.invalid.into_iter().map(ending).collect(),
        forward: rules(observed.forward),
        dnat: rules(observed.dnat),
        untracked: rules(observed.untracked),
    }
}

/// Rules of iptables-legacy, where such tables are.
fn legacy(root: &Root) -> Option<Seen<Doing>> {
    let mut all = Observed::default();
    let mut is_any = false;
    let families = [Legacy::Iptables, Legacy::Ip6tables];
    for (family, tables) in families.into_iter().zip(root.legacy_tables()) {
        let Some(tables) = tables else {
            return Some(Err("their tables may be listed by root alone".to_owned()));
        };
        is_any |= !tables.trim().is_empty();
        match observe::of_legacy(family, &tables) {
            Ok(observed) => {
                all.invalid.extend(observed.invalid);
                all.forward.extend(observed.forward);
                all.dnat.extend(observed.dnat);
                all.untracked.extend(observed.untracked);
            }
            Err(error) => return Some(Err(said(error))),
        }
    }
    is_any.then(|| Ok(doing(all)))
}

/// For the numbers that are wanted, or for those that a relay has unless it is told otherwise.
fn collisions(plan: Option<&Plan>) -> Seen<Vec<Collision>> {
    let usual = Plan {
        borrows: true,
        ..Plan::of(Vec::new())
    };
    let collisions = own::collisions(plan.unwrap_or(&usual)).map_err(said)?;
    let mut told = BTreeSet::new();
    for collision in collisions {
        let another = |flag| format!("give the relay another one with {flag}");
        let (id, cure) = match &collision {
            // Without a mask it compares the whole mark, so none of the relay's fits beside it.
            OwnError::MarkTaken { rule, .. } if !has_mask(rule) => {
                (Id::Mark, "give that rule a mask, such as 0xff".to_owned())
            }
            OwnError::MarkTaken { .. } => (Id::Mark, another("--mark")),
            OwnError::PriorityTaken { .. } => (Id::Priority, another("--priority")),
            OwnError::TableTaken { .. } => (Id::Table, another("--table")),
            other => return Err(said(other)),
        };
        let sentence = said(&collision);
        told.insert(Collision { id, sentence, cure });
    }
    Ok(told.into_iter().collect())
}

/// Whether an `ip rule` looks at some bits of the mark alone.
fn has_mask(rule: &str) -> bool {
    let mut words = rule.split_whitespace().skip_while(|word| *word != "fwmark");
    words.nth(1).is_some_and(|value| value.contains('/'))
}

fn surveyed(ruleset: &Result<Ruleset, String>, settings: &Settings, plan: &Plan) -> Seen<Survey> {
    let forward = match settings.process.override_forward {
        true => Forward::Override,
        false => Forward::Respect,
    };
    let Found { refusals, doubts } = survey::all(ruleset.as_ref()?, plan, forward);
    let refused = |refusal: SurveyError| {
        let id = match refusal {
            SurveyError::Forward { .. } => Id::Forward,
            SurveyError::Input { .. } | SurveyError::WayBack { .. } => Id::Input,
            SurveyError::Output { .. } => Id::Output,
            SurveyError::Dnat { .. } => Id::Dnat,
            SurveyError::Tool(_) | SurveyError::Unreadable { .. } => Id::Plan,
        };
        (id, said(refusal))
    };
    let doubted = |doubt: survey::Doubt| {
        let id = match doubt.hook {
            Hook::Forward => Id::Forward,
            Hook::Input => Id::Input,
            Hook::Output => Id::Output,
        };
        (id, doubt.text)
    };
    Ok(Survey {
        refusals: refusals.into_iter().map(refused).collect(),
        doubts: doubts.into_iter().map(doubted).collect(),
    })
}

/// Asks the kernel whether it takes the rules, if it need not load anything for the answer.
fn planned(kernel: &Kernel, plan: Option<&Plan>) -> Option<Tried> {
    let needed = [
        Id::NfTables,
        Id::NftTproxy,
        Id::NftSocket,
        Id::NftFib,
        Id::NftCt,
    ];
    let is_there = |id| kernel.features.get(&id) == Some(&Presence::Present);
    if kernel.loads_modules && !needed.into_iter().all(is_there) {
        return None;
    }
    let may_ask =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    plan.map(|plan| match may_ask {
        false => Tried::NotAsked("it takes CAP_NET_ADMIN to ask".to_owned()),
        true => match own::try_out(plan) {
            Ok(()) => Tried::Taken,
            Err(error) => Tried::Refused(said(error)),
        },
    })
}
