//! Whether packets are lost as often as the path loses any, or more often: a sequential probability ratio test
//! (Wald 1945), which asks for no more packets than it takes.

/// How often either answer may be wrong: a search asks some fifteen times.
const WRONG: f64 = 1e-4;
/// No path is taken to lose less.
const LEAST: f64 = 0.003;
/// Harm is at least this much more than what the path loses anyway.
const HARM: f64 = 0.012;

/// How often packets are lost: as everywhere on the path, and where they are harmed. Both from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    background: f64,
    harmed: f64,
}

/// A test that goes on until it knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequential {
    rates: Rates,
    ratio: f64,
}

/// What the test knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// They are lost as often as any.
    AsBackground,
    /// They are lost more often.
    Harmed,
}

// === impl Rates ===

impl Rates {
    /// What the path loses, by what became of packets that nothing harms. `None` where it loses so much that nothing can
    /// be told apart.
    #[must_use]
    pub fn of(sent: u32, lost: u32) -> Option<Self> {
        let share = (f64::from(lost) + 0.5) / (f64::from(sent) + 1.0);
        let background = (share * 1.2).max(LEAST);
        let harmed = background + HARM.max(background);
        (harmed < 0.6).then_some(Self { background, harmed })
    }
}

// === impl Sequential ===

impl Sequential {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, ratio: 0.0 }
    }

    /// What became of some more.
    pub fn see(&mut self, sent: u32, lost: u32) {
        let Rates { background, harmed } = self.rates;
        let arrived = sent.saturating_sub(lost);
        self.ratio += f64::from(lost) * (harmed / background).ln();
        self.ratio += f64::from(arrived) * ((1.0 - harmed) / (1.0 - background)).ln();
    }

    /// What is known by now.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        let bound = ((1.0 - WRONG) / WRONG).ln();
        match self.ratio {
            ratio if ratio >= bound => Some(Answer::Harmed),
            ratio if ratio <= -bound => Some(Answer::AsBackground),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// How many it took, and what the answer was, of a path that loses this share.
    fn run(rates: Rates, share: f64, seed: u64) -> (u32, Answer) {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut test = Sequential::new(rates);
        for sent in 1..20_000 {
            test.see(1, u32::from(dice.random_bool(share)));
            if let Some(answer) = test.answer() {
                return (sent, answer);
            }
        }
        panic!("it never knows");
    }

    #[test]
    fn two_percent_more_than_the_path_loses_is_told_from_what_it_loses() {
        let rates = Rates::of(1200, 7).unwrap();
        for seed in 0..300 {
            assert_eq!(run(rates, 0.006, seed).1, Answer::AsBackground, "{seed}");
            assert_eq!(run(rates, 0.026, seed).1, Answer::Harmed, "{seed}");
        }
    }

    #[test]
    fn what_never_arrives_is_known_at_once_and_what_always_does_soon() {
        let rates = Rates::of(1200, 0).unwrap();
        assert!(run(rates, 1.0, 1).0 < 12);
        assert!(run(rates, 0.0, 1).0 < 1000);
    }

    #[test]
    fn a_path_that_loses_a_third_tells_nothing() {
        assert_eq!(Rates::of(300, 100), None);
    }
}
