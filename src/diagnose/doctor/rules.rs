//! What other programs' rules do to what a relay takes, and what a relay has left. Which rule does what is found out
//! by `rules`; here is judged what that means.

use super::facts::{Collision, Doing, Facts, OwnTables, Seen, Tried};
use super::finding::{Findings, Status};
use super::id::Id;

/// What an invisible thing is called where nobody may list rules.
const LISTED: [Id; 4] = [Id::InvalidRules, Id::Dnat, Id::Notrack, Id::Forward];

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    doing(facts, &facts.rules.nft, found);
    match &facts.rules.legacy {
        None => {
            found.ok(
                Id::LegacyRules,
                "There are no rules of iptables-legacy, which nft does not list.",
            );
        }
        Some(Ok(doing)) => legacy(doing, found),
        Some(Err(why)) => found.unseen(Id::LegacyRules, format!("rules of iptables-legacy: {why}")),
    }
    policy(facts, found);
    collisions(facts, found);
    survey(facts, found);
    in_place(facts, found);
    match &facts.rules.plan {
        None => {}
        Some(Tried::Taken) => {
            found.ok(
                Id::Plan,
                "The kernel takes the rules that this configuration makes.",
            );
        }
        Some(Tried::Refused(why)) => {
            found.problem(
                Id::Plan,
                format!("The rules that this configuration makes are refused: {why}."),
            );
        }
        Some(Tried::NotAsked(why)) => found.unseen(
            Id::Plan,
            format!("whether the kernel takes the rules of this configuration: {why}"),
        ),
    }
}

fn doing(facts: &Facts, nft: &Seen<Doing>, found: &mut Findings) {
    let doing = match nft {
        Ok(doing) => doing,
        Err(why) => {
            for id in LISTED {
                found.unseen(id, format!("rules of other programs: {why}"));
            }
            return;
        }
    };
    invalid(facts, doing, found);
    let surveyed = facts.rules.survey.is_some();
    let seen = [
        (
            Id::Dnat,
            &doing.dnat,
            "No rule gives connections another destination as they arrive.",
            "Connections get another destination here, and TPROXY comes before that; leave that destination out with --to, or intercept on the other side",
        ),
        (
            Id::Notrack,
            &doing.untracked,
            "No rule keeps TCP from conntrack.",
            "TCP is kept from conntrack here, so that `ct state established` does not match it, and nothing of it is ever INVALID",
        ),
        (
            Id::Forward,
            &doing.forward,
            "FORWARD drops no TCP, so there is nothing that interception would bypass.",
            "FORWARD drops TCP here, and interception bypasses it: name what may pass with --from and --to",
        ),
    ];
    for (id, rules, none, some) in seen {
        // A configuration says which connections are meant: then `survey` is exact.
        if surveyed && id != Id::Notrack {
            continue;
        }
        if rules.is_empty() {
            found.ok(id, none);
        }
        for rule in rules {
            let led = facts.wanted.may_be_led();
            let (status, more) = match led {
                true => (Status::Note, format!("{some}: {rule}.")),
                false => (
                    Status::Ok,
                    format!("Nothing is intercepted that this rule would meet: {rule}."),
                ),
            };
            found.add(id, status, more).about(rule);
        }
    }
}

/// To drop INVALID packets is sound; where there are some, that is what ends the connections.
fn invalid(facts: &Facts, doing: &Doing, found: &mut Findings) {
    let id = Id::InvalidRules;
    if doing.invalid.is_empty() {
        found.ok(id, "No rule ends packets that conntrack calls INVALID.");
    }
    let rising = facts
        .conntrack
        .counts
        .as_ref()
        .map_or(0, |counts| counts.invalid.more);
    for ending in &doing.invalid {
        let rule = &ending.rule;
        let what = match ending.resets {
            true => "resets connections of which conntrack calls a packet INVALID",
            false => "drops packets that conntrack calls INVALID",
        };
        match rising {
            0 => {
                let sentence = format!(
                    "This rule {what}: {rule}. That is sound, unless a firewall on the way mangles TCP."
                );
                found.note(id, sentence).about(rule);
            }
            _ => {
                let sentence = format!(
                    "This rule {what}, and there are such packets now: {rule}. Do not take it away: mend the packets ({}).",
                    Id::ConntrackInvalid.name()
                );
                found.problem(id, sentence).about(rule);
            }
        }
    }
}

fn legacy(doing: &Doing, found: &mut Findings) {
    let id = Id::LegacyRules;
    let sentence = "iptables-legacy has rules here, which nft does not list: see yourself that INPUT lets intercepted packets in and that FORWARD would have let them pass.";
    found.note(id, sentence).now("iptables-legacy-save");
    let all = [
        (&doing.dnat, "gives connections another destination"),
        (&doing.untracked, "keeps connections from conntrack"),
        (&doing.forward, "drops what is forwarded"),
    ];
    for ending in &doing.invalid {
        let rule = &ending.rule;
        let sentence = format!(
            "This rule of iptables-legacy ends packets that conntrack calls INVALID: {rule}."
        );
        found.note(Id::InvalidRules, sentence).about(rule);
    }
    for (rules, what) in all {
        for rule in rules {
            let sentence = format!("This rule of iptables-legacy {what}: {rule}.");
            found.note(id, sentence).about(rule);
        }
    }
}

fn policy(facts: &Facts, found: &mut Findings) {
    let id = Id::PolicyRoutes;
    match &facts.rules.policy {
        Ok(rules) if rules.is_empty() => {
            found.ok(
                id,
                "There are no policy routes but those that every host has.",
            );
        }
        Ok(rules) => {
            for rule in rules {
                let sentence = format!(
                    "This policy route may lead a leg another way than packets that are only forwarded: {rule}."
                );
                found.note(id, sentence).about(rule);
            }
        }
        Err(why) => found.unseen(id, format!("policy routes: {why}")),
    }
}

fn collisions(facts: &Facts, found: &mut Findings) {
    let all = [
        (Id::Mark, "the bits of the relay's mark"),
        (Id::Priority, "the priority of the relay's ip rule"),
        (Id::Table, "the relay's routing table"),
    ];
    let collisions = match &facts.rules.collisions {
        Ok(collisions) => collisions,
        Err(why) => {
            for (id, _) in all {
                found.unseen(id, format!("numbers that other programs use: {why}"));
            }
            return;
        }
    };
    for (id, what) in all {
        let mut mine = collisions.iter().filter(|one| one.id == id).peekable();
        if mine.peek().is_none() {
            found.ok(id, format!("No other program uses {what}."));
        }
        for Collision { sentence, cure, .. } in mine {
            let (status, hint) = match facts.wanted.may_be_led() {
                true => (facts.wanted.severity(), format!("{sentence}; {cure}.")),
                false => (
                    Status::Ok,
                    format!("{sentence}, which forward mode does not mind."),
                ),
            };
            found.add(id, status, hint);
        }
    }
}

/// What the configuration's own connections would meet.
fn survey(facts: &Facts, found: &mut Findings) {
    let survey = match &facts.rules.survey {
        None => return,
        Some(Err(why)) => {
            for id in [Id::Input, Id::Output] {
                found.unseen(id, format!("rules of other programs: {why}"));
            }
            return;
        }
        Some(Ok(survey)) => survey,
    };
    let sound = [
        (
            Id::Forward,
            "FORWARD would have let pass what is to be intercepted.",
        ),
        (Id::Input, "INPUT lets in what is to be intercepted."),
        (
            Id::Output,
            "OUTPUT would have let pass what is to be intercepted.",
        ),
        (
            Id::Dnat,
            "Nothing that is to be intercepted would get another destination.",
        ),
    ];
    for (id, sentence) in sound {
        let both = survey.refusals.iter().chain(&survey.doubts);
        if both.clone().all(|(of, _)| *of != id) {
            found.ok(id, sentence);
        }
    }
    for (id, sentence) in &survey.refusals {
        let finding = found.problem(*id, format!("{sentence}."));
        // The line that lets it in is in the sentence already, as `run` tells it.
        if let Some((_, line)) = sentence.split_once("add one line: ") {
            finding.now(line);
        }
    }
    for (id, sentence) in &survey.doubts {
        found.note(*id, format!("{sentence}."));
    }
}

fn in_place(facts: &Facts, found: &mut Findings) {
    let own = match &facts.rules.own {
        Ok(own) => *own,
        Err(why) => {
            found.unseen(Id::FailClosed, format!("a table that fails closed: {why}"));
            found.unseen(
                Id::Leftovers,
                format!("whether a relay lives whose routes these are: {why}"),
            );
            return;
        }
    };
    let OwnTables {
        relay,
        loaded,
        fail_closed,
    } = own;
    match (fail_closed, relay) {
        (false, _) => found.ok(Id::FailClosed, "There is no table that drops new connections in the place of a relay."),
        (true, true) => found.ok(Id::FailClosed, "New connections would be dropped if the relay that runs were killed (--fail closed)."),
        (true, false) => found
            .problem(
                Id::FailClosed,
                "A relay was killed that fails closed: its table inet unmangle_fail_closed drops new connections until it runs again.",
            )
            .now("unmangle rules --remove"),
    };
    let id = Id::Leftovers;
    match &facts.rules.in_place {
        Err(why) => found.unseen(id, format!("what a killed relay has left: {why}")),
        Ok(_) if loaded => {
            // Only with rules of its own would it be refused.
            let status = match facts.rules.survey {
                Some(_) => Status::Problem,
                None => Status::Note,
            };
            let sentence = "The table inet unmangle belongs to no process: somebody has loaded printed rules. A relay with rules of its own does not start beside it.";
            found
                .add(id, status, sentence)
                .now("nft delete table inet unmangle");
        }
        Ok(_) if relay => {
            found.ok(
                id,
                "A relay runs in this network namespace, and what is in place is its own.",
            );
        }
        Ok(left) if left.is_empty() => {
            found.ok(id, "No relay that was killed has left anything.");
        }
        Ok(left) => {
            let sentence = format!(
                "A relay that was killed has left, which the next one takes away: {}.",
                left.join("; ")
            );
            found.note(id, sentence).now("unmangle rules --remove");
        }
    }
}
