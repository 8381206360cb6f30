//! How long a silent flow is remembered.

use std::time::Duration;

use crate::diagnose::probe::evidence::Evidence;
use crate::diagnose::probe::finding::{Behaviour, Draft};

pub(super) fn judge(evidence: &Evidence) -> Option<Draft> {
    let idle = evidence.idle?;
    let forgotten = idle.forgotten?;
    let sentence = format!(
        "A flow that is silent is forgotten: after {} it went on, after {} it did not. Connections that wait, for a \
         person or for a long computation, hang or are reset.",
        seconds(idle.survived),
        seconds(forgotten)
    );
    let draft = Draft::problem(Behaviour::IdleForgotten, "forgotten", sentence);
    let silence = format!("a silence of {}", seconds(forgotten));
    Some(draft.values(silence, "nothing more"))
}

/// In a few words, for the table.
pub(super) fn short(evidence: &Evidence) -> Option<String> {
    let idle = evidence.idle?;
    Some(match idle.forgotten {
        None => format!("remembered for {} at least", seconds(idle.survived)),
        Some(forgotten) => format!("forgotten within {}", seconds(forgotten)),
    })
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}
