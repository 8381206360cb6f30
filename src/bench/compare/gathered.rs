//! What was measured so far, and what it comes to. Pure.

use std::collections::BTreeMap;

use crate::bench::compare::candidate::Candidate;
use crate::bench::compare::paired::{median, ratio};
use crate::bench::compare::plan::{Better, Measure, Offload, Work};
use crate::bench::compare::result::{Compared, Figure, Setting};

/// Figures of one setting of the devices, by work and measure.
#[derive(Debug, Default)]
pub struct Gathered(BTreeMap<(Work, Measure), ByCandidate>);

/// Figures by the place of the candidate, then by round and cycle.
type ByCandidate = BTreeMap<usize, Vec<Vec<f64>>>;

// === impl Gathered ===

impl Gathered {
    /// Keeps what a candidate reached in a turn of this round; rounds come in order.
    pub fn keep(
        &mut self,
        work: Work,
        candidate: usize,
        round: u32,
        figures: impl IntoIterator<Item = (Measure, f64)>,
    ) {
        for (measure, figure) in figures {
            let rounds = self.0.entry((work, measure)).or_default();
            let rounds = rounds.entry(candidate).or_default();
            rounds.resize_with(rounds.len().max(round as usize + 1), Vec::new);
            rounds[round as usize].push(figure);
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
        .map(|(candidate, rounds)| (*candidate, median(&rounds.concat())))
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

/// The peer with the best median; of equal ones the first. One whose figure is zero was not measured.
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
    best.map(|(candidate, _)| *candidate)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::compare::candidate::named;

    /// Direct twice as fast as haproxy, unmangle a tenth slower than that, nginx slowest; three rounds.
    pub(crate) fn gathered() -> (Gathered, Vec<Candidate>) {
        let names = ["direct", "haproxy", "nginx", "unmangle"];
        let candidates = named(names.map(|name| name.parse().unwrap()));
        let mut gathered = Gathered::default();
        for round in 0..3 {
            for (candidate, figure) in [20.0, 10.0, 5.0, 9.0].into_iter().enumerate() {
                for _cycle in 0..2 {
                    let figures = [(Measure::Gbits, figure), (Measure::CpuRelay, 2.0 / figure)];
                    gathered.keep(Work::Stream1, candidate, round, figures);
                }
            }
        }
        (gathered, candidates)
    }

    fn median_of(ratio: Option<crate::bench::compare::paired::Ratio>) -> Option<f64> {
        ratio.map(|ratio| (ratio.ratio * 1000.0).round() / 1000.0)
    }

    #[test]
    fn candidates_are_told_beside_direct_and_the_best_peer() {
        let (gathered, candidates) = gathered();
        let told = gathered.told(Offload::On, &[Work::Stream1], &candidates);
        let compared = told.find(Work::Stream1, Measure::Gbits).unwrap();
        assert_eq!(compared.best_peer.as_deref(), Some("haproxy"));
        let ours = compared.figure("unmangle").unwrap();
        assert_eq!(median_of(ours.to_direct), Some(0.45));
        assert_eq!(median_of(ours.to_best_peer), Some(0.9));
        assert_eq!(ours.turns, vec![vec![9.0; 2]; 3]);
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
    fn without_direct_and_peers_there_are_figures_and_no_ratios() {
        let candidates = named(["unmangle".parse().unwrap()]);
        let mut gathered = Gathered::default();
        gathered.keep(Work::Rr1, 0, 0, [(Measure::Requests, 1000.0)]);
        let told = gathered.told(Offload::Off, &[Work::Rr1], &candidates);
        let figure = &told.compared[0].figures[0];
        assert_eq!(figure.median, 1000.0);
        assert_eq!((figure.to_direct, figure.to_best_peer), (None, None));
    }
}
