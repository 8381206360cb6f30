//! Numbers that both ends must agree on: sequence numbers, acknowledgements, SACK blocks, timestamps.
//!
//! What is sent is in the sender's own terms. Where numbers of one direction are shifted by δ, the other direction's
//! acknowledgements, SACK blocks and echoes must be shifted by -δ, or their receiver does not know what is meant.

use super::flow::{Flow, Pair};
use super::handshake;
use crate::diagnose::probe::finding::{Behaviour, Draft};
use crate::metrics::Direction;

/// Whether sequence numbers arrive as they were sent.
pub(super) fn sequence(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    flow.shift(direction)?;
    let is_other = |pair: &&Pair| pair.sent.sequence != pair.arrived.sequence;
    let Some(other) = flow.going(direction).find(is_other) else {
        return Some(Vec::new());
    };
    let sentence = "Sequence numbers are rewritten {way}: others arrive than were sent. Whatever refers to them \
                    must be translated back."
        .to_owned();
    let (sent, arrived) = (other.sent.sequence, other.arrived.sequence);
    let draft = Draft::note(Behaviour::SequenceRewritten, "rewritten", sentence);
    Some(vec![draft.values(sent.to_string(), arrived.to_string())])
}

/// Whether acknowledgements are translated as the numbers that they are of.
pub(super) fn acknowledgement(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let shift = flow.shift(direction.back())?;
    let mut tried = None;
    for pair in flow.going(direction) {
        let (Some(sent), Some(arrived)) = (pair.sent.acknowledgement, pair.arrived.acknowledgement)
        else {
            continue;
        };
        tried = Some(Vec::new());
        let right = sent.wrapping_sub(shift);
        if arrived != right {
            let sentence = "Acknowledgements do not fit {way}: what arrives acknowledges bytes that the other end \
                            has never sent, as where the two directions go by different ways and only one of them \
                            is rewritten. No connection can live with that."
                .to_owned();
            let draft = Draft::problem(Behaviour::AcknowledgementWrong, "do not fit", sentence);
            return Some(vec![draft.values(
                format!("{sent}, which is {right} in the receiver's terms"),
                arrived.to_string(),
            )]);
        }
    }
    tried
}

/// Whether SACK blocks are there, and translated.
pub(super) fn sack(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let shift = flow.shift(direction.back())?;
    let pair = flow
        .going(direction)
        .find(|pair| !pair.sent.sack.is_empty())?;
    let (sent, arrived) = (&pair.sent.sack, &pair.arrived.sack);
    let shifted = |block: &(u32, u32)| (block.0.wrapping_sub(shift), block.1.wrapping_sub(shift));
    let right: Vec<(u32, u32)> = sent.iter().map(shifted).collect();
    if arrived == &right && shift == 0 {
        return Some(Vec::new());
    }
    let draft = if arrived == &right {
        let sentence = "SACK blocks are translated {way}, as the acknowledgements are: the rewritten sequence \
                        numbers do no harm to them.";
        Draft::note(Behaviour::SackTranslated, "translated", sentence.to_owned())
    } else if arrived.is_empty() {
        harm(
            flow,
            direction,
            (Behaviour::SackBlocksRemoved, "removed"),
            "SACK blocks are removed {way}, while the hosts have agreed to send them: losses are repaired by \
             timeouts only.",
        )
    } else if arrived == sent {
        harm(
            flow,
            direction,
            (Behaviour::SackNotTranslated, "not translated"),
            "Sequence numbers are rewritten, and SACK blocks that speak of them {way} are not: each names \
             bytes that were never sent. After the first lost segment a strict connection tracker calls such \
             packets INVALID, and the connection is reset or stalls.",
        )
    } else {
        harm(
            flow,
            direction,
            (Behaviour::SackChanged, "changed"),
            "SACK blocks are changed {way} to numbers that fit nothing that was sent.",
        )
    };
    Some(vec![draft.values(blocks(sent), blocks(arrived))])
}

/// It does harm only where SACK is agreed on.
fn harm(
    flow: &Flow,
    direction: Direction,
    (behaviour, short): (Behaviour, &str),
    sentence: &str,
) -> Draft {
    match handshake::sack_is_used(flow, direction) {
        true => Draft::problem(behaviour, short, sentence.to_owned()),
        false => {
            let sentence =
                format!("{sentence} Here the hosts cannot agree on SACK, so none is sent.");
            Draft::note(behaviour, short, sentence)
        }
    }
}

fn blocks(blocks: &[(u32, u32)]) -> String {
    let words: Vec<String> = blocks
        .iter()
        .map(|(left, right)| format!("{left}-{right}"))
        .collect();
    match words.as_slice() {
        [] => "no block".to_owned(),
        words => words.join(", "),
    }
}

/// Whether timestamps of this direction arrive, as they were sent, and come back as they were sent.
pub(super) fn timestamps(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    let stamped: Vec<&Pair> = flow
        .going(direction)
        .filter(|pair| pair.sent.timestamps.is_some())
        .collect();
    if stamped.is_empty() {
        return None;
    }
    if let Some(bare) = stamped
        .iter()
        .find(|pair| pair.arrived.timestamps.is_none())
    {
        return Some(vec![removed(flow, direction, bare)]);
    }
    let values = stamped.iter().filter_map(|pair| {
        let (sent, arrived) = (pair.sent.timestamps?.0, pair.arrived.timestamps?.0);
        Some((sent, arrived))
    });
    let values: Vec<(u32, u32)> = values.collect();
    let shift = values
        .first()
        .map(|(sent, arrived)| arrived.wrapping_sub(*sent))?;
    let steady = values
        .iter()
        .all(|(sent, arrived)| arrived.wrapping_sub(*sent) == shift);
    // Only echoes of values that came: what else an end may have written there is nobody's echo.
    let echoes = flow.going(direction.back()).filter_map(|pair| {
        pair.sent.acknowledgement?;
        let (sent, arrived) = (pair.sent.timestamps?.1, pair.arrived.timestamps?.1);
        values
            .iter()
            .any(|(_, came)| *came == sent)
            .then_some((sent, arrived))
    });
    let echoes: Vec<(u32, u32)> = echoes.collect();
    let fits = echoes
        .iter()
        .all(|(sent, arrived)| *arrived == sent.wrapping_sub(shift));
    if steady && fits && shift == 0 {
        return Some(Vec::new());
    }
    let draft = match (steady && fits, echoes.is_empty()) {
        (false, _) => Draft::problem(
            Behaviour::TimestampsInconsistent,
            "do not fit",
            "Timestamps are rewritten {way}, and not by one and the same number wherever they stand: round trips \
             are measured wrongly, and segments are dropped as old (PAWS)."
                .to_owned(),
        ),
        (true, false) => Draft::note(
            Behaviour::TimestampsRewritten,
            "rewritten",
            "Timestamps are rewritten {way}, and translated back where they are echoed: that does no harm."
                .to_owned(),
        ),
        (true, true) => Draft::note(
            Behaviour::TimestampsRewritten,
            "rewritten",
            "Timestamps are rewritten {way}; whether they are translated back where they are echoed was not seen."
                .to_owned(),
        ),
    };
    let (sent, arrived) = values
        .iter()
        .find(|(sent, arrived)| sent != arrived)
        .or(echoes.first())
        .copied()?;
    Some(vec![draft.values(sent.to_string(), arrived.to_string())])
}

fn removed(flow: &Flow, direction: Direction, bare: &Pair) -> Draft {
    let lost = |direction| {
        let opening = flow.opening(direction)?;
        opening.sent.timestamps?;
        Some(opening.arrived.timestamps.is_none())
    };
    let draft = match (lost(direction), lost(direction.back()), direction) {
        (Some(false), ..) => Draft::problem(
            Behaviour::TimestampsRemoved,
            "removed from data",
            "Timestamps are agreed on and then removed {way} from what follows the handshake.".to_owned(),
        ),
        (_, Some(false), Direction::ServerToClient) => Draft::problem(
            Behaviour::TimestampsRemoved,
            "removed",
            "Timestamps are removed {way}, and not the other way: the server believes that they were agreed on, \
             the client does not."
                .to_owned(),
        ),
        _ => Draft::note(
            Behaviour::TimestampsRemoved,
            "removed",
            "Timestamps are removed {way}: connections do without them.".to_owned(),
        ),
    };
    let (value, _) = bare.sent.timestamps.unwrap_or_default();
    draft.values(value.to_string(), "no timestamps")
}
