//! Other ports of the server: which are blocked, and what is done there that is not done at the probe's own.

use std::collections::BTreeMap;

use super::aspect::{self, Judged};
use super::flow::Flow;
use crate::diagnose::probe::evidence::{Evidence, PortOutcome};
use crate::diagnose::probe::finding::{Behaviour, Draft};

pub(super) fn judge(evidence: &Evidence, own: &[Judged]) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut blocked = Vec::new();
    // Ports at which the same is done are told together.
    let mut otherwise: BTreeMap<Vec<String>, Vec<u16>> = BTreeMap::new();
    for seen in &evidence.ports {
        match &seen.outcome {
            PortOutcome::Blocked => blocked.push(seen.port),
            PortOutcome::Untried(_) => {}
            PortOutcome::Compared(exchange) => {
                let there = aspect::judge(&[Flow::read(exchange)]);
                let differences = differences(own, &there);
                if !differences.is_empty() {
                    otherwise.entry(differences).or_default().push(seen.port);
                }
            }
        }
    }
    if !blocked.is_empty() {
        let ports = listed(&blocked);
        let sentence = format!("No SYN comes to the server at {ports}: it is blocked on the way.");
        drafts.push(
            Draft::problem(Behaviour::PortBlocked, "blocked", sentence)
                .values(format!("a SYN to {ports}"), "nothing"),
        );
    }
    for (differences, ports) in otherwise {
        let sentence = format!(
            "At {} something else is done than at port {}: {}.",
            listed(&ports),
            evidence.path.port,
            differences.join("; ")
        );
        let behaviour = Behaviour::PortTreatedDifferently;
        drafts.push(Draft::note(behaviour, "otherwise", sentence));
    }
    drafts
}

/// What could not be tried.
pub(super) fn untried(evidence: &Evidence) -> Vec<String> {
    let why = |seen: &crate::diagnose::probe::evidence::PortSeen| match &seen.outcome {
        PortOutcome::Untried(why) => Some(format!("port {}: {why}", seen.port)),
        PortOutcome::Blocked | PortOutcome::Compared(_) => None,
    };
    evidence.ports.iter().filter_map(why).collect()
}

/// What both flows tell of, and not alike.
fn differences(own: &[Judged], there: &[Judged]) -> Vec<String> {
    let mut all = Vec::new();
    for one in there {
        let is_same =
            |other: &&Judged| (other.aspect, other.direction) == (one.aspect, one.direction);
        let Some(here) = own.iter().find(is_same) else {
            continue;
        };
        let words = |judged: &Judged| {
            let mut words: Vec<String> = judged
                .drafts
                .iter()
                .map(|draft| draft.short.clone())
                .collect();
            words.sort();
            match words.is_empty() {
                true => "kept".to_owned(),
                false => words.join(", "),
            }
        };
        let (here, there) = (words(here), words(one));
        if here != there {
            let what = aspect::ALL[one.aspect].what;
            let way = crate::diagnose::probe::finding::Ways::from(one.direction).words();
            all.push(format!("{what} {way} {there} (there {here})"));
        }
    }
    all
}

fn listed(ports: &[u16]) -> String {
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    match ports {
        [_] => format!("port {}", list[0]),
        _ => format!("ports {}", list.join(", ")),
    }
}
