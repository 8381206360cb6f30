//! What stands between: translation of addresses, something that ends TCP, somebody who resets.

use super::flow::{Flow, Seen};
use crate::diagnose::probe::evidence::{Evidence, What};
use crate::diagnose::probe::finding::{Behaviour, Draft, Status};
use crate::diagnose::probe::order::End;
use crate::metrics::Direction;
use crate::packet::Flags;

/// Breaks of the connection by which both ends talk: one may be an accident.
const FEWEST_BREAKS: u32 = 2;

/// What a break means as long as nothing explains it.
const NO_BETTER: &str = ", although it carries little: ordinary connections do not fare better";

pub(super) fn judge(evidence: &Evidence, flows: &[Flow]) -> Vec<Draft> {
    let mut drafts = Vec::new();
    drafts.extend(ended(evidence));
    drafts.extend(by_host(evidence));
    drafts.extend(resets(evidence));
    drafts.extend(broken(evidence));
    drafts.extend(addresses(evidence));
    drafts.extend(ports(flows));
    drafts
}

/// What breaks is no finding of its own where its cause is found: then the talk of both ends that was broken is a note.
pub(super) fn settle(drafts: &mut [Draft]) {
    let causes = drafts
        .iter()
        .filter(|draft| draft.status == Status::Problem)
        .any(|draft| draft.behaviour != Behaviour::ControlBroken);
    let broken = drafts
        .iter_mut()
        .filter(|draft| draft.behaviour == Behaviour::ControlBroken);
    for draft in broken.filter(|_| causes) {
        draft.status = Status::Note;
        draft.sentence = draft.sentence.replace(NO_BETTER, "");
    }
}

/// Something between ends TCP: an answer that the server did not send, or another SYN than the client's.
fn ended(evidence: &Evidence) -> Option<Draft> {
    let steps = || evidence.exchanges.iter().flat_map(|each| &each.steps);
    let answers = steps()
        .filter(|step| matches!(step.what, What::Syn | What::SynAck))
        .flat_map(|step| &step.instead)
        .filter_map(|arrival| Seen::read(&arrival.header))
        .filter(|seen| seen.flags.has(Flags::SYN | Flags::ACK));
    let anew = steps().any(|step| {
        if step.what != What::Syn {
            return false;
        }
        let came = step.arrived.iter().find(|arrival| arrival.checksum_right);
        let came = came.and_then(|arrival| Seen::read(&arrival.header));
        let sent = Seen::read(&step.sent);
        sent.zip(came)
            .is_some_and(|(sent, came)| is_another(&sent, &came))
    });
    let why = match (answers.count() > 0, anew) {
        (true, _) => "an answer came to the client's SYN that the server did not send",
        (false, true) => "the server was sent another SYN than the client's",
        (false, false) => return None,
    };
    Some(Draft::note(
        Behaviour::EndedOnTheWay,
        "ended",
        format!(
            "Something between ends TCP, a proxy or a relay: {why}. Only what lies before it is seen from here."
        ),
    ))
}

/// Who only takes options away or writes over them leaves the others in their order.
fn is_another(sent: &Seen, came: &Seen) -> bool {
    let mut rest = sent.kinds.iter();
    let in_order = came.kinds.iter().all(|kind| rest.any(|one| one == kind));
    sent.sequence != came.sequence && !in_order
}

/// Resets by the rules of an end's own host.
fn by_host(evidence: &Evidence) -> Vec<Draft> {
    End::BOTH
        .into_iter()
        .filter(|end| evidence.exchanges.iter().any(|each| each.reset_by_host.contains(end)))
        .map(|end| {
            let (name, direction) = match end {
                End::Client => ("client", Direction::ClientToServer),
                End::Server => ("server", Direction::ServerToClient),
            };
            let sentence = format!(
                "The rules of the {name}'s own host answered a packet with a reset, as strict rules answer what \
                 connection tracking calls INVALID, or a port that they do not let in. So end ordinary connections."
            );
            Draft::problem(Behaviour::ResetByHost, "reset", sentence).going(direction)
        })
        .collect()
}

/// Resets that neither end's host sent.
fn resets(evidence: &Evidence) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let resets = evidence.exchanges.iter().flat_map(|exchange| {
        let instead = exchange.steps.iter().flat_map(|step| &step.instead);
        instead
            .filter_map(|arrival| Seen::read(&arrival.header))
            .filter(|seen| seen.flags.has(Flags::RST))
            .map(|seen| match seen.destination.ip() == evidence.path.client {
                true => (End::Server, Direction::ServerToClient),
                false => (End::Client, Direction::ClientToServer),
            })
            .filter(|(sender, _)| !exchange.reset_by_host.contains(sender))
    });
    for (_, direction) in resets {
        if drafts.iter().any(|one| one.direction == Some(direction)) {
            continue;
        }
        let sentence = "A reset came {way} that the other end did not send: something between breaks connections."
            .to_owned();
        drafts
            .push(Draft::problem(Behaviour::ResetFromBetween, "reset", sentence).going(direction));
    }
    drafts
}

fn broken(evidence: &Evidence) -> Option<Draft> {
    let times = match evidence.path.broken {
        0 => return None,
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let sentence = format!("The connection by which both ends talk was broken {times}{NO_BETTER}.");
    Some(match evidence.path.broken < FEWEST_BREAKS {
        true => Draft::note(Behaviour::ControlBroken, "broken", sentence),
        false => Draft::problem(Behaviour::ControlBroken, "broken", sentence),
    })
}

fn addresses(evidence: &Evidence) -> Option<Draft> {
    let path = &evidence.path;
    let ends = [
        ("client", path.client, path.client_seen),
        ("server", path.server_own, path.server),
    ];
    let others: Vec<_> = ends
        .into_iter()
        .filter(|(_, own, seen)| own != seen)
        .collect();
    let told: Vec<String> = others
        .iter()
        .map(|(end, own, seen)| format!("the {end}, {own}, is seen as {seen}"))
        .collect();
    if told.is_empty() {
        return None;
    }
    let list = |pick: fn(&(&str, std::net::IpAddr, std::net::IpAddr)) -> String| {
        others.iter().map(pick).collect::<Vec<_>>().join(", ")
    };
    let sentence = format!("Addresses are translated: {}.", told.join("; "));
    let draft = Draft::note(Behaviour::AddressesTranslated, "translated", sentence);
    Some(draft.values(
        list(|(_, own, _)| own.to_string()),
        list(|(_, _, seen)| seen.to_string()),
    ))
}

fn ports(flows: &[Flow]) -> Option<Draft> {
    let pairs = || flows.iter().flat_map(|flow| &flow.pairs);
    let client = pairs()
        .filter(|pair| pair.direction == Direction::ClientToServer)
        .map(|pair| {
            (
                "client",
                pair.sent.source.port(),
                pair.arrived.source.port(),
            )
        });
    let server = pairs()
        .filter(|pair| pair.direction == Direction::ClientToServer)
        .map(|pair| {
            let (sent, arrived) = (pair.sent.destination, pair.arrived.destination);
            ("server", sent.port(), arrived.port())
        });
    let (end, sent, arrived) = client
        .chain(server)
        .find(|(_, sent, arrived)| sent != arrived)?;
    let sentence =
        format!("Ports are translated: {sent} of the {end} is seen as {arrived} at the server.");
    let draft = Draft::note(Behaviour::PortsTranslated, "translated", sentence);
    Some(draft.values(format!("port {sent}"), format!("port {arrived}")))
}
