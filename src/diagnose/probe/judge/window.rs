//! The window that is offered, segment by segment.

use super::flow::{Flow, Pair};
use crate::diagnose::probe::finding::{Behaviour, Draft};
use crate::metrics::Direction;

/// Whether windows arrive as they were sent.
pub(super) fn window(flow: &Flow, direction: Direction) -> Option<Vec<Draft>> {
    flow.going(direction).next()?;
    let changed: Vec<(u16, u16)> = flow
        .going(direction)
        .filter(|pair| !is_same(flow, direction, pair))
        .map(|pair| (pair.sent.window, pair.arrived.window))
        .collect();
    let Some(&(sent, arrived)) = changed.first() else {
        return Some(Vec::new());
    };
    let raised = changed.iter().find(|(sent, arrived)| arrived > sent);
    let draft = match raised {
        Some(_) => Draft::problem(
            Behaviour::WindowChanged,
            "raised",
            "Windows are raised {way}: more is sent than was asked for, which a strict connection tracker calls \
             INVALID."
                .to_owned(),
        ),
        None => {
            let how = lowered(&changed);
            let sentence = format!(
                "Windows are lowered {{way}}, {how}: less is sent in one round trip than there is room for."
            );
            Draft::note(Behaviour::WindowChanged, format!("lowered {how}"), sentence)
        }
    };
    let (sent, arrived) = raised.copied().unwrap_or((sent, arrived));
    Some(vec![draft.values(
        format!("window {sent}"),
        format!("window {arrived}"),
    )])
}

/// Equal, or made to fit a window scale that was changed.
fn is_same(flow: &Flow, direction: Direction, pair: &Pair) -> bool {
    if pair.sent.window == pair.arrived.window {
        return true;
    }
    let scales = || {
        let opening = flow.opening(direction)?;
        Some((opening.sent.window_scale?, opening.arrived.window_scale?))
    };
    let both_scale = flow
        .opening(direction.back())
        .is_some_and(|other| other.arrived.window_scale.is_some());
    match scales() {
        Some((sent, arrived)) if both_scale && !pair.sent.is_syn() => {
            let scaled = |window: u16, by: u8| u64::from(window) << by.min(14);
            scaled(pair.sent.window, sent) == scaled(pair.arrived.window, arrived)
        }
        _ => false,
    }
}

fn lowered(changed: &[(u16, u16)]) -> String {
    let (sent, most) = changed[0];
    if changed.iter().all(|(_, arrived)| *arrived == most) {
        return format!("to at most {most}");
    }
    let shift = (1..16).find(|shift| {
        changed
            .iter()
            .all(|(sent, arrived)| sent >> shift == *arrived)
    });
    match shift {
        Some(shift) => format!("divided by {}", 1u32 << shift),
        None => format!("such as from {sent} to {most}"),
    }
}
