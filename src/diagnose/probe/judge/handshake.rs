//! What SYN and SYN-ACK offer: MSS, window scale, SACK-permitted.

use super::flow::Flow;
use crate::diagnose::probe::finding::{Behaviour, Draft, Status};
use crate::metrics::Direction;

/// Whether SACK may be negotiated.
pub(super) fn sack_permitted(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let opening = flow.opening(direction)?;
    if !opening.sent.sack_permitted {
        return None;
    }
    if opening.arrived.sack_permitted {
        return Some(Vec::new());
    }
    let kept_in_syn = flow
        .opening(direction.back())
        .is_some_and(|syn| syn.sent.sack_permitted && syn.arrived.sack_permitted);
    let draft = match direction == Direction::ServerToClient && kept_in_syn {
        true => Draft::problem(
            Behaviour::SackPermittedRemoved,
            "removed",
            "SACK-permitted is removed {way} and not the other way: the server believes that SACK was agreed on, \
             the client does not, and losses are repaired by timeouts."
                .to_owned(),
        ),
        false => Draft::note(
            Behaviour::SackPermittedRemoved,
            "removed",
            "SACK-permitted is removed {way}: connections do without SACK, and repair losses more slowly."
                .to_owned(),
        ),
    };
    Some(vec![draft.values("SACK-permitted", "no SACK-permitted")])
}

/// Whether hosts would send SACK blocks this way: a server does if the SYN permits it as it arrives, a client if the
/// SYN-ACK does, too.
pub(super) fn sack_is_used(flow: &Flow, direction: Direction) -> bool {
    let lost = |direction| {
        let opening = flow.opening(direction);
        opening
            .is_some_and(|opening| opening.sent.sack_permitted && !opening.arrived.sack_permitted)
    };
    let (syn, syn_ack) = (
        lost(Direction::ClientToServer),
        lost(Direction::ServerToClient),
    );
    match direction {
        Direction::ServerToClient => !syn,
        Direction::ClientToServer => !syn && !syn_ack,
    }
}

/// Whether windows may be scaled, and by as much as was said.
pub(super) fn window_scale(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let opening = flow.opening(direction)?;
    let sent = opening.sent.window_scale?;
    let words = |scale: u8| format!("window scale {scale}");
    let Some(arrived) = opening.arrived.window_scale else {
        let draft = scale_removed(flow, direction);
        return Some(vec![draft.values(words(sent), "no window scale")]);
    };
    if arrived == sent {
        return Some(Vec::new());
    }
    let effect = match arrived < sent {
        true => "takes its windows for smaller ones than they are, and transfers crawl",
        false => {
            "takes its windows for larger ones than they are, and sends more than there is room for"
        }
    };
    let sentence = format!(
        "Window scale is changed {{way}} from {sent} to {arrived}: who receives it {effect}."
    );
    let draft = Draft::problem(
        Behaviour::WindowScaleChanged,
        format!("changed to {arrived}"),
        sentence,
    );
    Some(vec![draft.values(words(sent), words(arrived))])
}

fn scale_removed(flow: &Flow, direction: Direction) -> Draft {
    let kept = flow.opening(direction.back()).and_then(|other| {
        other.sent.window_scale?;
        Some(other.arrived.window_scale.is_some())
    });
    let sentence = match (kept, direction) {
        (Some(true), Direction::ServerToClient) => {
            "Window scale is removed {way}, and not the other way: the server scales its windows, and the client \
             takes them as they stand, so that the two disagree about every window. Transfers stall, and a strict \
             connection tracker calls packets INVALID."
        }
        (Some(true), Direction::ClientToServer) => {
            "Window scale is removed {way}, and not the other way: where the end that is asked offers it all the \
             same, or is the one that opens the connection, the two disagree about every window. Transfers stall, \
             and a strict connection tracker calls packets INVALID."
        }
        (Some(false) | None, _) => {
            "Window scale is removed {way}: windows are at most 64 KiB, which is all that can be sent in one round \
             trip."
        }
    };
    let draft = Draft::note(
        Behaviour::WindowScaleRemoved,
        "removed",
        sentence.to_owned(),
    );
    match kept {
        Some(true) => Draft {
            status: Status::Problem,
            ..draft
        },
        Some(false) | None => draft,
    }
}

/// Whether the size of segments that is asked for arrives.
pub(super) fn mss(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let opening = flow.opening(direction)?;
    let sent = opening.sent.mss?;
    let words = |mss: u16| format!("MSS {mss}");
    let Some(arrived) = opening.arrived.mss else {
        let sentence =
            "The MSS is removed {way}: segments of 536 bytes are sent, or 1220 (IPv6).".to_owned();
        let draft = Draft::note(Behaviour::MssRemoved, "removed", sentence);
        return Some(vec![draft.values(words(sent), "no MSS")]);
    };
    let draft = match arrived.cmp(&sent) {
        std::cmp::Ordering::Equal => return Some(Vec::new()),
        std::cmp::Ordering::Less => Draft::note(
            Behaviour::MssLowered,
            format!("lowered to {arrived}"),
            format!(
                "The MSS is lowered {{way}} to {arrived}: smaller segments are sent, as is often meant."
            ),
        ),
        std::cmp::Ordering::Greater => Draft::note(
            Behaviour::MssRaised,
            format!("raised to {arrived}"),
            format!(
                "The MSS is raised {{way}} to {arrived}: larger segments are sent than were asked for."
            ),
        ),
    };
    Some(vec![draft.values(words(sent), words(arrived))])
}
