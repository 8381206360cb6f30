//! The byte of the IP header that is DSCP and ECN, and the flags by which ECN is offered.

use super::flow::{Flow, Pair};
use super::unusual;
use crate::diagnose::probe::evidence::What;
use crate::diagnose::probe::finding::{Behaviour, Draft};
use crate::metrics::Direction;
use crate::packet::Flags;

const NOT_ECT: u8 = 0;
const CE: u8 = 3;

/// Whether the DSCP arrives that was sent.
pub(super) fn dscp(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let is_changed = |pair: &&Pair| pair.sent.dscp != pair.arrived.dscp;
    let marked = flow.going(direction).any(|pair| pair.what == What::Dscp);
    let changed = flow.going(direction).find(is_changed);
    let Some(pair) = changed else {
        return marked.then(Vec::new);
    };
    let (sent, arrived) = (pair.sent.dscp, pair.arrived.dscp);
    let sentence = format!(
        "The DSCP is changed {{way}} from {sent} to {arrived}: classes of service are not kept across this path."
    );
    let draft = Draft::note(
        Behaviour::DscpChanged,
        format!("{sent} changed to {arrived}"),
        sentence,
    );
    Some(vec![
        draft.values(format!("DSCP {sent}"), format!("DSCP {arrived}")),
    ])
}

/// Whether ECN can be offered. A SYN offers it by ECE and CWR, a SYN-ACK by ECE alone (RFC 3168, 6.1.1).
pub(super) fn ecn_offer(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let offers = |what: What, flags: Flags| match what {
        What::Syn => flags.has(Flags::ECE | Flags::CWR),
        What::SynAck => flags.has(Flags::ECE) && !flags.has(Flags::CWR),
        _ => false,
    };
    if let Some(step) = unusual::dropped(flow, direction, |what, seen| offers(what, seen.flags)) {
        let came = unusual::instead(step);
        let sentence = format!(
            "What offers ECN does not pass {{way}} ({came}): a host that offers it opens each connection late, or \
             not at all."
        );
        let draft = Draft::problem(Behaviour::EcnRefused, "dropped", sentence);
        return Some(vec![draft.values("the offer of ECN", came)]);
    }
    let opening = flow.opening(direction)?;
    if !offers(opening.what, opening.sent.flags) {
        return None;
    }
    if offers(opening.what, opening.arrived.flags) {
        return Some(Vec::new());
    }
    let sentence = "The offer of ECN is removed {way}: connections do without ECN.".to_owned();
    let draft = Draft::note(Behaviour::EcnOfferRemoved, "removed", sentence);
    Some(vec![draft.values("the offer of ECN", "no offer")])
}

/// Whether ECT(0) arrives. That it arrives as CE is what it is there for.
pub(super) fn ect(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let pair = flow.going(direction).find(|pair| pair.what == What::Ect)?;
    let (sent, arrived) = (pair.sent.ecn, pair.arrived.ecn);
    if arrived == sent || arrived == CE {
        return Some(Vec::new());
    }
    let sentence =
        "The bits of ECN are cleared {way}: no router beyond can tell of congestion by them."
            .to_owned();
    let draft = Draft::note(Behaviour::EcnBleached, "cleared", sentence);
    Some(vec![draft.values(name(sent), name(arrived))])
}

/// Whether the mark of congestion arrives.
pub(super) fn congestion(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let pair = flow.going(direction).find(|pair| pair.what == What::Ce)?;
    let (sent, arrived) = (pair.sent.ecn, pair.arrived.ecn);
    if arrived == sent {
        return Some(Vec::new());
    }
    let bleached = ect(flow, direction).is_some_and(|drafts| !drafts.is_empty());
    let draft = match bleached {
        true => Draft::note(
            Behaviour::EcnBleached,
            "cleared",
            "The bits of ECN are cleared {way}: no router beyond can tell of congestion by them.".to_owned(),
        ),
        false => Draft::problem(
            Behaviour::CongestionMarkLost,
            "lost",
            "The mark of congestion (CE) is lost {way} where ECT(0) passes: senders are not told of congestion, and \
             do not slow down."
                .to_owned(),
        ),
    };
    Some(vec![draft.values(name(sent), name(arrived))])
}

/// Whether segments that are not capable of ECN stay so.
pub(super) fn without(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let mut without = flow
        .going(direction)
        .filter(|pair| pair.sent.ecn == NOT_ECT)
        .peekable();
    without.peek()?;
    let Some(set) = without.find(|pair| pair.arrived.ecn != NOT_ECT) else {
        return Some(Vec::new());
    };
    let sentence = "The bits of ECN are set {way} where they were not: routers mark what they should have dropped, \
                    and nobody heeds that."
        .to_owned();
    let draft = Draft::note(Behaviour::EcnSet, "set", sentence);
    Some(vec![
        draft.values(name(set.sent.ecn), name(set.arrived.ecn)),
    ])
}

fn name(ecn: u8) -> &'static str {
    match ecn {
        0 => "Not-ECT",
        1 => "ECT(1)",
        2 => "ECT(0)",
        _ => "CE",
    }
}
