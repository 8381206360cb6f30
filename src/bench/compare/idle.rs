//! What sessions cost that say nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::compare::cost::{Held, Meter};
use crate::bench::compare::generator::{Failed, Generator, ask};
use crate::bench::compare::plan::Plan;
use crate::bench::compare::stand::Standing;
use crate::bench::work::Mode;
use crate::lab::{self, Interrupt};

/// How long the sessions are silent.
const SILENCE: Duration = Duration::from_secs(2);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often what is held is counted: that takes milliseconds with many sessions.
const READING: Duration = Duration::from_millis(200);

/// What a candidate's idle sessions cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// The candidate.
    pub candidate: String,
    /// How many sessions there were.
    pub sessions: u32,
    /// Resident memory of its processes for each, in bytes; none for the direct path. What processes share
    /// is counted for each of them, and sockets and pipes are the kernel's and not in it.
    pub resident_bytes: Option<f64>,
    /// Descriptors for each.
    pub descriptors: Option<f64>,
    /// Its processes when there were most.
    pub processes: Option<u64>,
}

/// Makes as many sessions as the candidate can hold of those wanted, and counts what it holds then.
///
/// # Errors
/// An interrupt, or a generator that cannot be started. What the candidate is to blame for is inside.
pub fn count(
    standing: &Standing,
    plan: &Plan,
    interrupt: &Interrupt,
) -> lab::Result<Result<Idle, Failed>> {
    let sessions = standing
        .candidate
        .kind
        .holds(plan.idle_sessions, plan.descriptors);
    let meter = Meter::new(standing.process());
    let before = meter.held();
    let mut command = standing.bench_run();
    ask(&mut command, Mode::Idle, sessions, SILENCE, Duration::ZERO);
    let mut generator = Generator::start(&mut command, standing)?;
    let mut most = before;
    let count = || {
        let held = meter.held();
        // While all sessions are there, and before the last exchange may have grown it.
        if held.descriptors > most.descriptors {
            most = held;
        }
    };
    let Some(status) = generator.wait(PATIENCE, interrupt, READING, count)? else {
        return Ok(Err(Failed(format!(
            "{sessions} idle sessions did not come to an end"
        ))));
    };
    let name = standing.candidate.name.clone();
    Ok(generator
        .report(status)
        .map(|_| Idle::of(name, sessions, standing.process().map(|_| (before, most))))
        .map_err(|failed| Failed(format!("{sessions} idle sessions: {failed}"))))
}

// === impl Idle ===

impl Idle {
    /// What `sessions` cost, by what was held before and when all were there.
    fn of(candidate: String, sessions: u32, held: Option<(Held, Held)>) -> Self {
        let each = |of: fn(&Held) -> u64| {
            held.map(|(before, most)| (of(&most) as f64 - of(&before) as f64) / f64::from(sessions))
        };
        Self {
            candidate,
            sessions,
            resident_bytes: each(|held| held.resident),
            descriptors: each(|held| held.descriptors),
            processes: held.map(|(_, most)| most.processes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_before_is_no_cost_of_a_session() {
        let held = |resident, descriptors, processes| Held {
            resident,
            descriptors,
            processes,
        };
        let both = Some((held(1000, 30, 1), held(51_000, 230, 1)));
        let idle = Idle::of("haproxy".to_owned(), 100, both);
        assert_eq!(idle.resident_bytes, Some(500.0));
        assert_eq!(idle.descriptors, Some(2.0));
        let direct = Idle::of("direct".to_owned(), 100, None);
        assert_eq!((direct.resident_bytes, direct.processes), (None, None));
    }
}
