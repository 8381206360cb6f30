//! What few connections use: urgent data, and options that nobody knows.

use super::flow::{Flow, Pair, Seen};
use crate::diagnose::probe::evidence::{Step, What};
use crate::diagnose::probe::finding::{Behaviour, Draft};
use crate::metrics::Direction;
use crate::packet::Flags;

/// So often in vain is no accident.
const IN_VAIN: u32 = 3;

/// A step of this kind that was sent this way again and again and never came.
pub(super) fn dropped<'a>(
    flow: &Flow<'a>,
    direction: Direction,
    is_meant: impl Fn(What, &Seen) -> bool,
) -> Option<&'a Step> {
    flow.steps.iter().find(|step| {
        step.direction == direction
            && step.arrived.is_empty()
            && step.attempts >= IN_VAIN
            && Seen::read(&step.sent).is_some_and(|sent| is_meant(step.what, &sent))
    })
}

/// What came in place of a step, in words.
pub(super) fn instead(step: &Step) -> &'static str {
    let is_reset = |header| Seen::read(header).is_some_and(|seen| seen.flags.has(Flags::RST));
    match step.instead.iter().any(|arrival| is_reset(&arrival.header)) {
        true => "a reset came instead",
        false => "nothing came",
    }
}

/// Whether urgent data arrives as urgent.
pub(super) fn urgent(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    if let Some(step) = dropped(flow, direction, |what, _| what == What::Urgent) {
        let came = instead(step);
        let sentence = format!("Urgent data does not pass {{way}} ({came}).");
        let draft = Draft::problem(Behaviour::UrgentDropped, "dropped", sentence);
        return Some(vec![draft.values("urgent data", came)]);
    }
    let is_urgent = |pair: &&Pair| pair.what == What::Urgent && pair.sent.flags.has(Flags::URG);
    let pair = flow.going(direction).find(is_urgent)?;
    let (sent, arrived) = (pair.sent.urgent, pair.arrived.urgent);
    let pointer = |pointer: u16| format!("URG, pointer {pointer}");
    if !pair.arrived.flags.has(Flags::URG) {
        let sentence = "The URG flag is cleared {way}: urgent data arrives in line.".to_owned();
        let draft = Draft::note(Behaviour::UrgentCleared, "cleared", sentence);
        return Some(vec![draft.values(pointer(sent), "no URG")]);
    }
    if sent == arrived {
        return Some(Vec::new());
    }
    let sentence =
        "The urgent pointer is changed {way}: another byte is urgent than was meant.".to_owned();
    let draft = Draft::note(Behaviour::UrgentPointerChanged, "pointer changed", sentence);
    Some(vec![draft.values(pointer(sent), pointer(arrived))])
}

/// Whether SYN and SYN-ACK keep options that nobody knows.
pub(super) fn options_of_opening(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    options(flow, direction, true)
}

/// Whether data keeps them.
pub(super) fn options_of_data(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    options(flow, direction, false)
}

fn options(flow: &Flow, direction: Direction, opening: bool) -> Option<Vec<Draft>> {
    let carrier = match opening {
        false => "data",
        true => "the segment that opens a connection",
    };
    let is_meant = |seen: &Seen| !seen.unknown.is_empty() && seen.is_syn() == opening;
    if let Some(step) = dropped(flow, direction, |_, seen| is_meant(seen)) {
        let came = instead(step);
        let sentence = format!(
            "With an option that nobody knows {carrier} does not pass {{way}} ({came}): new options of TCP, such as \
             those of Multipath TCP, cannot be used."
        );
        let draft = Draft::note(Behaviour::UnknownOptionsDropped, "dropped", sentence);
        return Some(vec![draft.values("an option of kind 253", came)]);
    }
    let pair = flow.going(direction).find(|pair| is_meant(&pair.sent))?;
    let (sent, arrived) = (&pair.sent.unknown, &pair.arrived.unknown);
    if sent.iter().all(|kind| arrived.contains(kind)) {
        return Some(Vec::new());
    }
    let sentence = format!(
        "An option that nobody knows is removed from {carrier} {{way}}: new options of TCP, such as those of \
         Multipath TCP, cannot be used."
    );
    let draft = Draft::note(Behaviour::UnknownOptionsRemoved, "removed", sentence);
    Some(vec![
        draft.values("an option of kind 253", "no such option"),
    ])
}
