//! From when on a share of packets that are lost is more than the path loses anyway.

use crate::diagnose::sequential::Sequential;

/// No path is taken to lose less.
const LEAST: f64 = 0.003;
/// Harm is at least this much more than what the path loses anyway.
const HARM: f64 = 0.012;
/// Of a path that would lose so much of what it harms, nothing is told.
const MOST: f64 = 0.6;

/// A test against what the path loses, by what became of packets that nothing harms. `None` where it loses so much that
/// nothing can be told apart.
#[must_use]
pub fn against(sent: u32, lost: u32) -> Option<Sequential> {
    let share = (f64::from(lost) + 0.5) / (f64::from(sent) + 1.0);
    let background = (share * 1.2).max(LEAST);
    let harmed = background + HARM.max(background);
    match harmed < MOST {
        true => Sequential::between(background, harmed),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::diagnose::sequential::Verdict;

    /// How many it took, and what the answer was, of a path that loses this share.
    fn run(mut test: Sequential, share: f64, seed: u64) -> (u32, Verdict) {
        let mut dice = StdRng::seed_from_u64(seed);
        for sent in 1..20_000 {
            test.observe(1, u32::from(dice.random_bool(share)));
            if test.verdict() != Verdict::Open {
                return (sent, test.verdict());
            }
        }
        panic!("it never knows");
    }

    #[test]
    fn two_percent_more_than_the_path_loses_is_told_from_what_it_loses() {
        let test = against(1200, 7).unwrap();
        for seed in 0..300 {
            assert_eq!(run(test, 0.006, seed).1, Verdict::AsBackground, "{seed}");
            assert_eq!(run(test, 0.026, seed).1, Verdict::Harmed, "{seed}");
        }
    }

    #[test]
    fn what_never_arrives_is_known_at_once_and_what_always_does_soon() {
        let test = against(1200, 0).unwrap();
        assert!(run(test, 1.0, 1).0 < 12);
        assert!(run(test, 0.0, 1).0 < 1000);
    }

    #[test]
    fn a_path_that_loses_a_third_tells_nothing() {
        assert!(against(300, 100).is_none());
    }
}
