//! From when on a share of packets that come to harm is more than small packets come to.

use crate::diagnose::sequential::Sequential;

/// A background is never taken for rarer than this: nobody has looked at enough packets.
const RAREST: f64 = 7e-4;
/// A share that is more than the background by this, or twice it, is harm.
const HARM: f64 = 0.015;

/// A test against a background that was seen as so many harmed packets of so many.
///
/// `None` where the background is so much that nothing can be told from it.
#[must_use]
pub fn against(events: u32, of: u32) -> Option<Sequential> {
    // What was seen may be less than what is: one and a half deviations more keep both errors below their bound.
    let above = if events == 0 { 0.0 } else { 1.0 };
    let likely = f64::from(events) + 1.5 * f64::from(events).sqrt() + above;
    let background = (likely / f64::from(of.max(1))).max(RAREST);
    Sequential::between(background, background + background.max(HARM))
}

#[cfg(test)]
mod tests {
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::diagnose::sequential::Verdict;

    const TRAIN: u32 = 4000;

    /// Looks at a background by a train, and then at a share; the verdict, and after how many packets.
    fn decide(background: f64, share: f64, seed: u64) -> (Verdict, u32) {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut events = |packets, share| {
            let harmed = (0..packets).filter(|_| dice.random::<f64>() < share);
            harmed.count() as u32
        };
        let mut test = against(events(TRAIN, background), TRAIN).unwrap();
        let mut packets = 0;
        while test.verdict() == Verdict::Open {
            test.observe(1, events(1, share));
            packets += 1;
        }
        (test.verdict(), packets)
    }

    #[test]
    fn one_in_fifty_is_found_and_the_background_is_not_taken_for_it() {
        const RUNS: u32 = 1000;
        for background in [0.0, 0.003] {
            for (more, expected) in [(0.0, Verdict::AsBackground), (0.02, Verdict::Harmed)] {
                let runs = (0..RUNS).map(|seed| decide(background, background + more, seed.into()));
                let (mut wrong, mut packets) = (0, 0);
                for (verdict, needed) in runs {
                    wrong += u32::from(verdict != expected);
                    packets += needed;
                }
                assert!(wrong <= 1, "{wrong} of {RUNS}, {background} and {more}");
                assert!(packets / RUNS < 1000, "{} on average", packets / RUNS);
            }
        }
    }

    #[test]
    fn nothing_is_told_from_a_background_of_everything() {
        assert!(against(60, 100).is_none());
    }
}
