//! What was measured so far, and what it comes to. Pure.

use std::collections::BTreeMap;

use crate::bench::compare::candidate::Candidate;
use crate::bench::compare::order::Place;
use crate::bench::compare::paired::{Round, Turns, median, ratio};
use crate::bench::compare::plan::{Better, Measure, Offload, Work};
use crate::bench::compare::result::{Compared, Figure, Setting};

/// Figures of one setting of the devices, by work and measure.
#[derive(Debug, Default)]
pub struct Gathered(BTreeMap<(Work, Measure), ByCandidate>);

/// Figures by the place of the candidate.
type ByCandidate = BTreeMap<usize, Turns>;

// === impl Gathered ===

impl Gathered {
    /// Keeps what a candidate reached in the turn at this round and cycle.
    pub fn keep(
        &mut self,
        work: Work,
        candidate: usize,
        Place { round, cycle, .. }: Place,
        figures: impl IntoIterator<Item = (Measure, f64)>,
    ) {
        let [round, cycle] = [round, cycle].map(|at| at as usize);
        for (measure, figure) in figures {
            let rounds = self.0.entry((work, measure)).or_default();
            let rounds = rounds.entry(candidate).or_default();
            rounds.resize_with(rounds.len().max(round + 1), Vec::new);
            let cycles = &mut rounds[round];
            cycles.resize(cycles.len().max(cycle + 1), None);
            cycles[cycle] = Some(figure);
        }
    }

    /// Forgets a candidate's figures of a work at which it has failed.
    pub fn forget(&mut self, work: Work, candidate: usize) {
        for ((of, _), candidates) in &mut self.0 {
            if *of == work {
                candidates.remove(&candidate);
            }
        }
    }

    /// What it comes to, in the order of the works.
    pub fn told(&self, offload: Offload, works: &[Work], candidates: &[Candidate]) -> Setting {
        let measured = works.iter().flat_map(|work| {
            let measures = work.measures().iter();
            measures.map(|measure| (*work, *measure))
        });
        let compared = measured.filter_map(|(work, measure)| {
            let figures = self.0.get(&(work, measure))?;
            Some(compare(work, measure, figures, candidates))
        });
        Setting {
            offload,
            compared: compared.collect(),
        }
    }
}

fn compare(
    work: Work,
    measure: Measure,
    figures: &ByCandidate,
    candidates: &[Candidate],
) -> Compared {
    let medians: BTreeMap<usize, f64> = figures
        .iter()
        .map(|(candidate, rounds)| (*candidate, median_of(rounds)))
        .collect();
    let direct = candidates
        .iter()
        .position(|candidate| candidate.name == "direct")
        .and_then(|direct| figures.get(&direct));
    let best = best_peer(measure.better(), &medians, candidates);
    let figures = figures.iter().map(|(candidate, turns)| Figure {
        candidate: candidates[*candidate].name.clone(),
        median: medians[candidate],
        to_direct: direct.and_then(|direct| ratio(turns, direct)),
        to_best_peer: best
            .filter(|best| best != candidate)
            .and_then(|best| ratio(turns, &figures[&best])),
        turns: turns.clone(),
    });
    Compared {
        work,
        measure,
        unit: measure.unit(work).to_owned(),
        better: measure.better(),
        figures: figures.collect(),
        best_peer: best.map(|best| candidates[best].name.clone()),
    }
}

fn median_of(rounds: &[Round]) -> f64 {
    let told: Vec<f64> = rounds.iter().flatten().flatten().copied().collect();
    median(&told)
}

/// The peer with the best median. One whose figure is zero was not measured. Of those that are of one kind it is
/// always the first: which of two that are the same was better is chance, and ratios to it would be biased.
fn best_peer(
    better: Better,
    medians: &BTreeMap<usize, f64>,
    candidates: &[Candidate],
) -> Option<usize> {
    let peers = medians
        .iter()
        .filter(|(candidate, median)| candidates[**candidate].kind.is_peer() && **median > 0.0);
    let best = peers.min_by(|(_, a), (_, b)| match better {
        Better::Higher => b.total_cmp(a),
        Better::Lower => a.total_cmp(b),
    });
    let kind = candidates[*best?.0].kind;
    let mut measured = medians.keys().copied();
    measured.find(|candidate| candidates[*candidate].kind == kind)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::compare::candidate::named;
    use crate::bench::compare::order::tests::at;

    /// Direct twice as fast as haproxy, unmangle a tenth slower than that, nginx slowest; three rounds.
    pub(crate) fn gathered() -> (Gathered, Vec<Candidate>) {
        let names = ["direct", "haproxy", "nginx", "unmangle"];
        let candidates = named(names.map(|name| name.parse().unwrap()));
        let mut gathered = Gathered::default();
        for round in 0..3 {
            for (candidate, figure) in [20.0, 10.0, 5.0, 9.0].into_iter().enumerate() {
                for cycle in 0..2 {
                    let figures = [(Measure::Gbits, figure), (Measure::CpuRelay, 2.0 / figure)];
                    gathered.keep(Work::Stream1, candidate, at(round, cycle), figures);
                }
            }
        }
        (gathered, candidates)
    }

    fn rounded(ratio: Option<crate::bench::compare::paired::Ratio>) -> Option<f64> {
        ratio.map(|ratio| (ratio.ratio * 1000.0).round() / 1000.0)
    }

    #[test]
    fn candidates_are_told_beside_direct_and_the_best_peer() {
        let (gathered, candidates) = gathered();
        let told = gathered.told(Offload::On, &[Work::Stream1], &candidates);
        let compared = told.find(Work::Stream1, Measure::Gbits).unwrap();
        assert_eq!(compared.best_peer.as_deref(), Some("haproxy"));
        let ours = compared.figure("unmangle").unwrap();
        assert_eq!(rounded(ours.to_direct), Some(0.45));
        assert_eq!(rounded(ours.to_best_peer), Some(0.9));
        assert_eq!(ours.turns, vec![vec![Some(9.0); 2]; 3]);
        assert_eq!(compared.figure("haproxy").unwrap().to_best_peer, None);
    }

    #[test]
    fn of_a_cost_the_best_peer_is_the_one_with_the_least() {
        let (mut gathered, candidates) = gathered();
        let told = gathered.told(Offload::On, &[Work::Stream1], &candidates);
        let compared = told.find(Work::Stream1, Measure::CpuRelay).unwrap();
        assert_eq!(compared.best_peer.as_deref(), Some("haproxy"));
        gathered.forget(Work::Stream1, 1);
        let told = gathered.told(Offload::On, &[Work::Stream1], &candidates);
        let compared = told.find(Work::Stream1, Measure::CpuRelay).unwrap();
        assert_eq!(compared.best_peer.as_deref(), Some("nginx"));
        assert!(compared.figure("haproxy").is_none());
    }

    #[test]
    fn a_turn_that_told_no_figure_leaves_its_place_empty() {
        let (mut gathered, candidates) = gathered();
        // In the last round only the second turn of ours told one.
        for candidate in [1, 3] {
            let figure = if candidate == 1 { 10.0 } else { 5.0 };
            let turn = at(3, 1);
            gathered.keep(Work::Stream1, candidate, turn, [(Measure::Gbits, figure)]);
        }
        gathered.keep(Work::Stream1, 1, at(3, 0), [(Measure::Gbits, 1000.0)]);
        let told = gathered.told(Offload::On, &[Work::Stream1], &candidates);
        let compared = told.find(Work::Stream1, Measure::Gbits).unwrap();
        let ours = compared.figure("unmangle").unwrap();
        assert_eq!(ours.turns[3], [None, Some(5.0)]);
        // Paired with what was measured beside it: half as much in that round, never a 200th.
        let low = ours.to_best_peer.unwrap().interval.unwrap().low;
        assert!(low > 0.3, "{low}");
    }

    #[test]
    fn of_two_that_are_the_same_the_first_is_the_reference_whichever_is_better() {
        let candidates = named(["haproxy", "haproxy"].map(|name| name.parse().unwrap()));
        for (first, second) in [(10.0, 11.0), (11.0, 10.0)] {
            let mut gathered = Gathered::default();
            for (candidate, figure) in [first, second].into_iter().enumerate() {
                gathered.keep(
                    Work::Rr1,
                    candidate,
                    at(0, 0),
                    [(Measure::Requests, figure)],
                );
            }
            let told = gathered.told(Offload::On, &[Work::Rr1], &candidates);
            assert_eq!(told.compared[0].best_peer.as_deref(), Some("haproxy"));
        }
    }

    #[test]
    fn without_direct_and_peers_there_are_figures_and_no_ratios() {
        let candidates = named(["unmangle".parse().unwrap()]);
        let mut gathered = Gathered::default();
        gathered.keep(Work::Rr1, 0, at(0, 0), [(Measure::Requests, 1000.0)]);
        let told = gathered.told(Offload::Off, &[Work::Rr1], &candidates);
        let figure = &told.compared[0].figures[0];
        assert_eq!(figure.median, 1000.0);
        assert_eq!((figure.to_direct, figure.to_best_peer), (None, None));
    }
}
