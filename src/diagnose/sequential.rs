//! When enough was seen: a sequential probability ratio test (Wald 1945) of a share of packets that come to harm, which
//! asks for no more packets than it takes. What the shares are is for those to say who ask.

/// A test of whether a share is that of the background, or so much more that a cause is to be looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sequential {
    /// What one harmed packet adds.
    per_event: f64,
    /// What one unharmed packet takes away.
    per_other: f64,
    ratio: f64,
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The share is that of the background.
    AsBackground,
    /// It is more.
    Harmed,
    /// More packets are needed.
    Open,
}

/// How often either verdict may be wrong.
const ERROR: f64 = 1e-4;
// === impl Sequential ===

impl Sequential {
    /// A test of two shares. `None` unless both are shares, and the second is the larger one.
    #[must_use]
    pub fn between(background: f64, harmed: f64) -> Option<Self> {
        let is_sound = 0.0 < background && background < harmed && harmed < 0.9;
        is_sound.then(|| Self {
            per_event: (harmed / background).ln(),
            per_other: ((1.0 - harmed) / (1.0 - background)).ln(),
            ratio: 0.0,
        })
    }

    /// Takes what became of more packets.
    pub fn observe(&mut self, packets: u32, events: u32) {
        let others = packets.saturating_sub(events);
        self.ratio += f64::from(events) * self.per_event + f64::from(others) * self.per_other;
    }

    /// What can be said now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.ratio >= bound() {
            Verdict::Harmed
        } else if self.ratio <= -bound() {
            Verdict::AsBackground
        } else {
            Verdict::Open
        }
    }

    /// How many more packets are needed if none of them comes to harm.
    #[must_use]
    pub fn needed(&self) -> u32 {
        ((self.ratio + bound()) / -self.per_other).ceil().max(1.0) as u32
    }
}

/// The ratio at which a verdict is as sure as that.
fn bound() -> f64 {
    (1.0 / ERROR).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The verdict on a path that does so much harm.
    fn decide(mut test: Sequential, share: f64, seed: u64) -> Verdict {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        while test.verdict() == Verdict::Open {
            test.observe(1, u32::from(dice.random::<f64>() < share));
        }
        test.verdict()
    }

    #[test]
    fn total_loss_is_decided_within_few_packets() {
        let mut test = Sequential::between(7e-4, 0.0157).unwrap();
        test.observe(8, 8);
        assert_eq!(test.verdict(), Verdict::Harmed);
    }

    #[test]
    fn what_is_needed_is_enough_and_no_more() {
        let test = Sequential::between(0.001, 0.016).unwrap();
        let needed = test.needed();
        let after = |packets| {
            let mut test = test;
            test.observe(packets, 0);
            test.verdict()
        };
        assert_eq!(after(needed), Verdict::AsBackground);
        assert_eq!(after(needed - 1), Verdict::Open);
    }

    #[test]
    fn what_are_no_two_shares_makes_no_test() {
        for (background, harmed) in [
            (0.0, 0.5),
            (0.5, 0.5),
            (0.5, 0.9),
            (f64::NAN, 0.5),
            (0.1, f64::NAN),
        ] {
            assert!(
                Sequential::between(background, harmed).is_none(),
                "{background} {harmed}"
            );
        }
    }

    #[test]
    fn either_share_is_told_from_the_other() {
        for background in [0.003, 0.02, 0.3] {
            for more in [1.5, 2.0, 2.5] {
                let harmed = background * more;
                let test = Sequential::between(background, harmed).unwrap();
                for seed in 0..20 {
                    let case = format!("{background} {harmed} {seed}");
                    assert_eq!(
                        decide(test, background, seed),
                        Verdict::AsBackground,
                        "{case}"
                    );
                    assert_eq!(decide(test, harmed, seed), Verdict::Harmed, "{case}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn harm_speaks_for_harm_and_its_absence_against(
            background in 0.0007..0.44f64, packets in 1u32..500, harmed in 0u32..500,
        ) {
            let harmed = harmed.min(packets);
            let test = Sequential::between(background, background + background.max(0.015)).unwrap();
            let ratio = |packets, harmed| {
                let mut test = test;
                test.observe(packets, harmed);
                test.ratio
            };
            prop_assert!(ratio(packets, harmed) <= ratio(packets, packets));
            prop_assert!(ratio(packets, 0) < 0.0 && ratio(packets, packets) > 0.0);
            prop_assert!(test.needed() > 0);
        }

        #[test]
        fn it_does_not_matter_in_how_many_parts_packets_are_told(parts in proptest::collection::vec((1u32..50, 0u32..5), 1..20)) {
            let mut test = Sequential::between(0.003, 0.018).unwrap();
            let mut at_once = test;
            let all = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1.min(part.0)));
            for (packets, events) in parts {
                test.observe(packets, events.min(packets));
            }
            at_once.observe(all.0, all.1);
            prop_assert!((test.ratio - at_once.ratio).abs() < 1e-6);
        }
    }
}
