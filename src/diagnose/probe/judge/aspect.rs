//! What of a segment is compared: a row of the table each, and what is found of it in a direction.

use super::flow::Flow;
use super::{classes, handshake, numbers, unusual, window};
use crate::diagnose::probe::finding::Draft;
use crate::diagnose::probe::told::Passage;
use crate::metrics::Direction;

/// One thing that is compared. Nothing is `None` where a flow does not tell, and empty where all is as it was sent.
pub(super) struct Aspect {
    /// What, for people.
    pub what: &'static str,
    judge: fn(&Flow, Direction) -> Option<Vec<Draft>>,
}

/// All of them, in the order of the table.
pub(super) const ALL: [Aspect; 16] = [
    Aspect {
        what: "sequence numbers",
        judge: numbers::sequence,
    },
    Aspect {
        what: "acknowledgements",
        judge: numbers::acknowledgement,
    },
    Aspect {
        what: "SACK blocks",
        judge: numbers::sack,
    },
    Aspect {
        what: "SACK-permitted",
        judge: handshake::sack_permitted,
    },
    Aspect {
        what: "window scale",
        judge: handshake::window_scale,
    },
    Aspect {
        what: "window",
        judge: window::window,
    },
    Aspect {
        what: "MSS",
        judge: handshake::mss,
    },
    Aspect {
        what: "timestamps",
        judge: numbers::timestamps,
    },
    Aspect {
        what: "ECN offer",
        judge: classes::ecn_offer,
    },
    Aspect {
        what: "ECT(0)",
        judge: classes::ect,
    },
    Aspect {
        what: "CE",
        judge: classes::congestion,
    },
    Aspect {
        what: "DSCP",
        judge: classes::dscp,
    },
    Aspect {
        what: "no ECN where none is",
        judge: classes::without,
    },
    Aspect {
        what: "urgent data",
        judge: unusual::urgent,
    },
    Aspect {
        what: "unknown options in SYN",
        judge: unusual::options_of_opening,
    },
    Aspect {
        what: "unknown options in data",
        judge: unusual::options_of_data,
    },
];

/// What became of an aspect in a direction.
pub(super) struct Judged {
    /// Where it stands in [`ALL`].
    pub aspect: usize,
    pub direction: Direction,
    pub drafts: Vec<Draft>,
}

/// Every aspect by the first flow that tells of it: what is done to odd flows does not count for ordinary ones.
pub(super) fn judge(flows: &[Flow]) -> Vec<Judged> {
    let mut all = Vec::new();
    // Where nothing passes, nothing is told from what does not.
    let passes = |direction| {
        flows
            .iter()
            .any(|flow| flow.going(direction).next().is_some())
    };
    for (aspect, Aspect { judge, .. }) in ALL.iter().enumerate() {
        for direction in Direction::BOTH.into_iter().filter(|way| passes(*way)) {
            let first = flows.iter().find_map(|flow| judge(flow, direction));
            all.extend(first.map(|drafts| {
                Judged {
                    aspect,
                    direction,
                    drafts: drafts
                        .into_iter()
                        .map(|draft| draft.going(direction))
                        .collect(),
                }
            }));
        }
    }
    all
}

/// The rows of the table.
pub(super) fn passages(judged: &[Judged]) -> Vec<Passage> {
    let cell = |aspect: usize, direction| {
        let one = judged
            .iter()
            .find(|one| (one.aspect, one.direction) == (aspect, direction))?;
        let words: Vec<&str> = one
            .drafts
            .iter()
            .map(|draft| draft.short.as_str())
            .collect();
        Some(match words.as_slice() {
            [] => "kept".to_owned(),
            words => words.join(", "),
        })
    };
    let row = |aspect: usize| Passage {
        what: ALL[aspect].what.to_owned(),
        client_to_server: cell(aspect, Direction::ClientToServer),
        server_to_client: cell(aspect, Direction::ServerToClient),
    };
    (0..ALL.len()).map(row).collect()
}
