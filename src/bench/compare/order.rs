//! In which order candidates have their turns. Pure.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A turn's place in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the offload settings.
    pub offload: usize,
    /// Which round.
    pub round: u32,
    /// Which of the works.
    pub work: usize,
    /// Which of the cycles, in each of which every candidate has one turn.
    pub cycle: u32,
}

/// The order of this many candidates there.
///
/// Two cycles are a pair: the second is the first backwards (A B C, C B A), so that whatever grows or
/// shrinks evenly meanwhile is the same for all. Every pair has an order of its own: nobody is always next
/// to the same neighbour.
pub fn order(seed: u64, place: Place, candidates: usize) -> Vec<usize> {
    let pair = [
        place.offload as u64,
        place.round.into(),
        place.work as u64,
        (place.cycle / 2).into(),
    ];
    let seed = pair.iter().fold(seed, |seed, number| {
        rand::rngs::StdRng::seed_from_u64(seed ^ number.rotate_left(32)).next_u64()
    });
    let mut order: Vec<usize> = (0..candidates).collect();
    order.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
    if place.cycle % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(round: u32, cycle: u32) -> Place {
        Place {
            offload: 0,
            round,
            work: 0,
            cycle,
        }
    }

    #[test]
    fn every_candidate_has_one_turn_in_a_cycle() {
        for cycle in 0..10 {
            let mut turns = order(7, at(0, cycle), 5);
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn the_second_cycle_of_a_pair_is_the_first_backwards() {
        for round in 0..10 {
            let mut second = order(7, at(round, 3), 6);
            second.reverse();
            assert_eq!(second, order(7, at(round, 2), 6));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_rounds_differ() {
        let orders = |seed| (0..20).map(move |round| order(seed, at(round, 0), 7));
        assert!(orders(1).eq(orders(1)));
        assert!(!orders(1).eq(orders(2)));
        let first = order(1, at(0, 0), 7);
        assert!(orders(1).any(|order| order != first));
    }
}
