//! When enough was seen: Wald's sequential probability ratio test, of a share of packets that come to harm.

/// A test of whether a share is that of the background, or so much more that a cause is to be looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sprt {
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
/// A background is never taken for rarer than this: nobody has looked at enough packets.
const RAREST: f64 = 7e-4;
/// A share that is more than the background by this, or twice it, is harm.
const HARM: f64 = 0.015;

// === impl Sprt ===

impl Sprt {
    /// A test against a background that was seen as so many harmed packets of so many.
    ///
    /// `None` where the background is so much that nothing can be told from it.
    #[must_use]
    pub fn against(events: u32, of: u32) -> Option<Self> {
        // What was seen may be less than what is: one and a half deviations more keep both errors below their bound.
        let above = if events == 0 { 0.0 } else { 1.0 };
        let likely = f64::from(events) + 1.5 * f64::from(events).sqrt() + above;
        let background = (likely / f64::from(of.max(1))).max(RAREST);
        let harmed = background + background.max(HARM);
        Self::between(background, harmed)
    }

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
        let bound = (1.0 / ERROR).ln();
        if self.ratio >= bound {
            Verdict::Harmed
        } else if self.ratio <= -bound {
            Verdict::AsBackground
        } else {
            Verdict::Open
        }
    }

    /// How many more packets are needed if none of them comes to harm.
    #[must_use]
    pub fn needed(&self) -> u32 {
        let bound = (1.0 / ERROR).ln();
        ((self.ratio + bound) / -self.per_other).ceil().max(1.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const TRAIN: u32 = 4000;

    /// Looks at a background by a train, and then at a share; the verdict, and after how many packets.
    fn decide(background: f64, share: f64, seed: u64) -> (Verdict, u32) {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut events = |packets, share| {
            let harmed = (0..packets).filter(|_| dice.random::<f64>() < share);
            harmed.count() as u32
        };
        let mut test = Sprt::against(events(TRAIN, background), TRAIN).unwrap();
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
    fn total_loss_is_decided_within_few_packets() {
        let mut test = Sprt::against(0, 4000).unwrap();
        test.observe(8, 8);
        assert_eq!(test.verdict(), Verdict::Harmed);
    }

    #[test]
    fn what_is_needed_is_enough_and_no_more() {
        let test = Sprt::against(3, 4000).unwrap();
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
    fn nothing_is_told_from_a_background_of_everything() {
        assert!(Sprt::against(60, 100).is_none());
        assert!(Sprt::between(0.0, 0.5).is_none());
        assert!(Sprt::between(f64::NAN, 0.5).is_none());
    }

    proptest! {
        #[test]
        fn harm_speaks_for_harm_and_its_absence_against(events in 0u32..1700, packets in 1u32..500, harmed in 0u32..500) {
            let harmed = harmed.min(packets);
            let test = Sprt::against(events, 4000).unwrap();
            let ratio = |packets, harmed| {
                let mut test = test;
                test.observe(packets, harmed);
                test.ratio
            };
            prop_assert!(ratio(packets, harmed) <= ratio(packets, packets));
            prop_assert!(ratio(packets, 0) < 0.0 && ratio(packets, packets) > 0.0);
            prop_assert!(test.needed() > 0);
        }
    }
}
