//! What the project asks of `unmangle` in a comparison, and whether a run shows it. Pure.
//!
//! A target is met if the whole 95 % interval is on the good side of it: the lower end at the figure or above where more
//! is better, the upper end at the figure or below where less is.

use crate::bench::compare::paired::{Ratio, Round, ratio};
use crate::bench::compare::plan::{Better, Measure, Offload, Work};
use crate::bench::compare::result::{Compared, Comparison, Figure, Setting};

/// Who the figures are asked of.
const OURS: &str = "unmangle";
const DIRECT: &str = "direct";

/// What it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The best of the others, in that work, by that measure.
    BestPeer,
    /// The way without a relay.
    Direct,
    /// This one.
    Peer(&'static str),
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The measure itself.
    Whole(Measure),
    /// What it has more than the direct path.
    Added(Measure),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Of which work.
    pub work: Work,
    /// With which devices; with either if `None`.
    pub offload: Option<Offload>,
    /// Of what.
    pub quantity: Quantity,
    /// Compared with whom.
    pub against: Against,
    /// The ratio that must be reached.
    pub must: f64,
    /// The one that is aimed at, if there is one.
    pub goal: Option<f64>,
}

/// What a run shows of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// What was asked.
    pub target: Target,
    /// With which devices.
    pub offload: Offload,
    /// With whom it was compared.
    pub other: String,
    /// What was found.
    pub found: Ratio,
    /// By which part of what was asked the worse end of the interval misses it; met if that is not above zero. None of
    /// a single round, which has no interval.
    pub missed_by: Option<f64>,
    /// By which part of the goal the ratio misses it; below zero if it is better.
    pub goal_missed_by: Option<f64>,
}

const fn asked(
    work: Work,
    offload: Option<Offload>,
    measure: Measure,
    against: Against,
    (must, goal): (f64, Option<f64>),
) -> Target {
    Target {
        work,
        offload,
        quantity: Quantity::Whole(measure),
        against,
        must,
        goal,
    }
}

/// All that is asked.
pub const TARGETS: [Target; 14] = {
    use Against::{BestPeer, Direct, Peer};
    use Measure::{CpuMachine, Gbits, P99, Requests};
    use Work::{Crr64, Rr1, Rr64, Rr64Bulk, Stream1, Stream8};
    const ON: Option<Offload> = Some(Offload::On);
    const OFF: Option<Offload> = Some(Offload::Off);
    [
        asked(Stream1, OFF, Gbits, BestPeer, (1.15, Some(1.25))),
        asked(Stream1, OFF, Gbits, Direct, (1.00, Some(1.10))),
        asked(Stream1, ON, Gbits, BestPeer, (1.08, Some(1.15))),
        asked(Stream1, ON, Gbits, Direct, (0.70, Some(0.80))),
        asked(Stream8, None, Gbits, BestPeer, (1.03, Some(1.10))),
        asked(Stream1, None, CpuMachine, BestPeer, (0.97, Some(0.90))),
        asked(Stream8, None, CpuMachine, BestPeer, (0.97, Some(0.90))),
        Target {
            work: Rr1,
            offload: None,
            quantity: Quantity::Added(Measure::P50),
            against: BestPeer,
            must: 1.00,
            goal: Some(0.90),
        },
        asked(Rr64, None, Requests, BestPeer, (1.00, Some(1.08))),
        asked(Rr64, None, P99, BestPeer, (1.00, Some(0.90))),
        asked(Crr64, None, Requests, BestPeer, (1.00, Some(1.05))),
        asked(Crr64, None, Requests, Direct, (0.75, Some(0.82))),
        asked(Rr64Bulk, ON, P99, Peer("haproxy"), (2.00, None)),
        asked(Rr64Bulk, OFF, P99, Peer("haproxy"), (2.00, None)),
    ]
};

/// What a run shows, of those targets that it has the figures for.
pub fn shown(comparison: &Comparison) -> Vec<Shown> {
    let settings = comparison.settings.iter();
    settings
        .flat_map(|setting| {
            let meant = |target: &&Target| target.offload.is_none_or(|on| on == setting.offload);
            let targets = TARGETS.iter().filter(meant);
            targets.filter_map(|target| target.shown(setting))
        })
        .collect()
}

// === impl Target ===

impl Target {
    fn measure(&self) -> Measure {
        match self.quantity {
            Quantity::Whole(measure) | Quantity::Added(measure) => measure,
        }
    }

    fn shown(&self, setting: &Setting) -> Option<Shown> {
        let compared = setting.find(self.work, self.measure())?;
        let ours = compared.figure(OURS)?;
        let other = match self.against {
            Against::BestPeer => compared.best_peer.as_deref()?,
            Against::Direct => DIRECT,
            Against::Peer(name) => name,
        };
        let theirs = compared.figure(other)?;
        let found = match self.quantity {
            Quantity::Whole(_) => ratio(&ours.turns, &theirs.turns)?,
            Quantity::Added(_) => added(compared, ours, theirs)?,
        };
        let short = |is: f64, asked: f64| match compared.better {
            Better::Higher => 1.0 - is / asked,
            Better::Lower => is / asked - 1.0,
        };
        let missed_by = found.interval.map(|interval| {
            let worse_end = match compared.better {
                Better::Higher => interval.low,
                Better::Lower => interval.high,
            };
            short(worse_end, self.must)
        });
        Some(Shown {
            target: *self,
            offload: setting.offload,
            other: other.to_owned(),
            found,
            missed_by,
            goal_missed_by: self.goal.map(|goal| short(found.ratio, goal)),
        })
    }
}

/// The ratio of what two have more than the direct path, turn by turn.
fn added(compared: &Compared, ours: &Figure, theirs: &Figure) -> Option<Ratio> {
    let direct = compared.figure(DIRECT)?;
    let more = |figure: &Figure| -> Vec<Round> {
        let rounds = figure.turns.iter().zip(&direct.turns);
        rounds
            .map(|(with, without)| {
                let turns = with.iter().zip(without);
                turns
                    .map(|(with, without)| Some((*with)? - (*without)?))
                    .collect()
            })
            .collect()
    };
    ratio(&more(ours), &more(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::candidate::{Kind, named};
    use crate::bench::compare::gathered::Gathered;
    use crate::bench::compare::order::tests::at;
    use crate::config::Engine;

    /// Six rounds in which each has the same figure each time, but for a percent up and down.
    fn setting(work: Work, measure: Measure, figures: [f64; 3]) -> Setting {
        let candidates = named([Kind::Direct, Kind::HAProxy, Kind::Unmangle(Engine::Splice)]);
        let mut gathered = Gathered::default();
        for round in 0..6_u32 {
            let noise = 1.0 + 0.002 * f64::from(round);
            for (candidate, figure) in figures.into_iter().enumerate() {
                let noisy = figure * if candidate == 2 { noise } else { 1.0 };
                gathered.keep(work, candidate, at(round, 0), [(measure, noisy)]);
            }
        }
        gathered.told(Offload::On, &[work], &candidates)
    }

    /// The first that is shown of those.
    fn of(work: Work, against: Against, setting: &Setting) -> Shown {
        let meant = |target: &&Target| {
            let is_on = target.offload != Some(Offload::Off);
            is_on && target.work == work && target.against == against
        };
        let mut shown = TARGETS
            .iter()
            .filter(meant)
            .filter_map(|target| target.shown(setting));
        shown.next().unwrap()
    }

    #[test]
    fn a_target_is_met_by_the_worse_end_of_the_interval() {
        let met = setting(Work::Stream8, Measure::Gbits, [20.0, 10.0, 10.4]);
        let shown = of(Work::Stream8, Against::BestPeer, &met);
        assert!(shown.missed_by.unwrap() <= 0.0, "{shown:?}");
        assert!(shown.goal_missed_by.unwrap() > 0.0, "{shown:?}");
        // On the average it is above, at the worst below.
        let missed = setting(Work::Stream8, Measure::Gbits, [20.0, 10.0, 10.27]);
        let shown = of(Work::Stream8, Against::BestPeer, &missed);
        assert!(shown.found.ratio > 1.03 && shown.missed_by.unwrap() > 0.0);
    }

    #[test]
    fn less_is_better_for_what_costs() {
        let cheap = setting(Work::Stream1, Measure::CpuMachine, [0.5, 1.0, 0.8]);
        let shown = of(Work::Stream1, Against::BestPeer, &cheap);
        // What is asked of its throughput is not shown: that was not measured.
        assert_eq!(shown.target.measure(), Measure::CpuMachine);
        assert!(shown.missed_by.unwrap() < 0.0 && shown.goal_missed_by.unwrap() < 0.0);
    }

    #[test]
    fn what_is_added_is_compared_without_what_the_path_takes_anyway() {
        let rr1 = setting(Work::Rr1, Measure::P50, [6.0, 14.0, 15.0]);
        let shown = of(Work::Rr1, Against::BestPeer, &rr1);
        assert!(
            (1.12..1.16).contains(&shown.found.ratio),
            "{}",
            shown.found.ratio
        );
        assert!(shown.missed_by.unwrap() > 0.12);
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let rr64 = setting(Work::Rr64, Measure::Requests, [200.0, 100.0, 99.0]);
        let target = TARGETS
            .iter()
            .find(|target| target.work == Work::Crr64)
            .unwrap();
        assert_eq!(target.shown(&rr64), None);
    }
}
