//! Ratios of figures that were measured close in time, and how sure they are. Pure.
//!
//! What else happens on the machine happens to both of a pair, so their ratio says more than the ratio of two
//! medians. Ratios are compared by their logarithms: half as much is then as far from the same as twice as
//! much.
//!
//! - A round has several cycles, in each of which each candidate had a turn. The round's ratio is the
//!   Hodges-Lehmann estimate over its cycles: the median of the means of all pairs of them, each with itself
//!   too. One cycle that something else disturbed hardly moves it; undisturbed ones count nearly as in a mean.
//! - From [`ENOUGH`] rounds on the ratio is the Hodges-Lehmann estimate over the rounds, and the interval is the
//!   one that belongs to it: between those of the means of pairs that Wilcoxon's signed-rank test at 5 %
//!   would not reject. It asks of the rounds no more than that they are independent and scatter
//!   symmetrically. The distribution is worked out exactly.
//! - Of fewer rounds no such interval exists (the widest of five rounds covers 93.75 %): then it is the mean of
//!   the logarithms with Student's t. One round has no interval.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many rounds Wilcoxon's interval needs to cover 95 %.
pub const ENOUGH: usize = 6;

/// What an interval may miss on each side.
const TAIL: f64 = 0.025;

/// Quantiles of Student's t at 97.5 % for 1 to 4 degrees of freedom (NIST/SEMATECH e-Handbook of
/// Statistical Methods, 1.3.6.7.2).
const STUDENT: [f64; ENOUGH - 2] = [12.706, 4.303, 3.182, 2.776];

/// How the interval was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Hodges-Lehmann estimate, Wilcoxon's signed-rank interval.
    Wilcoxon,
    /// Geometric mean, Student's t on the logarithms.
    StudentT,
    /// One round: there is no interval.
    OneRound,
}

/// A ratio and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The one divided by the other.
    pub ratio: f64,
    /// Where it lies with 95 %.
    pub interval: Option<Interval>,
    /// How both were found.
    pub method: Method,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Figures of a round, by cycle; none where a turn has not told one.
pub type Round = Vec<Option<f64>>;
/// Rounds.
pub type Turns = Vec<Round>;

/// The ratio of one to another: figures belong together by their places.
/// None without a round in which both have figures above zero.
pub fn ratio(one: &[Round], other: &[Round]) -> Option<Ratio> {
    let rounds: Vec<f64> = one
        .iter()
        .zip(other)
        .filter_map(|(one, other)| {
            let pairs = one.iter().zip(other);
            let told = pairs.filter_map(|(one, other)| Some(((*one)?, (*other)?)));
            let measured = told.filter(|(one, other)| *one > 0.0 && *other > 0.0);
            let logs: Vec<f64> = measured.map(|(one, other)| (one / other).ln()).collect();
            (!logs.is_empty()).then(|| hodges_lehmann(&logs))
        })
        .collect();
    match rounds.len() {
        0 => None,
        1 => Some(Ratio::of(rounds[0], None, Method::OneRound)),
        n if n < ENOUGH => Some(by_student(&rounds)),
        _ => Some(by_wilcoxon(&rounds)),
    }
}

/// The middle of some values; zero of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

fn by_student(logs: &[f64]) -> Ratio {
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let error = (squares / (n - 1.0) / n).sqrt();
    let reach = STUDENT[logs.len() - 2] * error;
    Ratio::of(mean, Some((mean - reach, mean + reach)), Method::StudentT)
}

fn by_wilcoxon(logs: &[f64]) -> Ratio {
    let means = means_of_pairs(logs);
    let outside = outside(logs.len());
    let ends = (means[outside], means[means.len() - 1 - outside]);
    Ratio::of(middle(&means), Some(ends), Method::Wilcoxon)
}

/// How many of the sorted means of pairs lie outside the interval on each side, for `n` values.
fn outside(n: usize) -> usize {
    let sums = rank_sums(n);
    let all: f64 = sums.iter().sum();
    let mut below = 0.0;
    for (sum, ways) in sums.iter().enumerate() {
        below += ways / all;
        if below > TAIL {
            return sum.saturating_sub(1);
        }
    }
    unreachable!("the probabilities add up to one");
}

/// In how many ways ranks 1 to `n` can be chosen so that they add up to 0, 1, 2 and so on.
fn rank_sums(n: usize) -> Vec<f64> {
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    ways
}

fn hodges_lehmann(values: &[f64]) -> f64 {
    middle(&means_of_pairs(values))
}

/// The means of all pairs, each value with itself too, sorted.
fn means_of_pairs(values: &[f64]) -> Vec<f64> {
    let mut means: Vec<f64> = values
        .iter()
        .enumerate()
        .flat_map(|(at, a)| values[at..].iter().map(move |b| (a + b) / 2.0))
        .collect();
    means.sort_by(f64::total_cmp);
    means
}

fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

// === impl Ratio ===

impl Ratio {
    fn of(log: f64, ends: Option<(f64, f64)>, method: Method) -> Self {
        Self {
            ratio: log.exp(),
            interval: ends.map(|(low, high)| Interval {
                low: low.exp(),
                high: high.exp(),
            }),
            method,
        }
    }
}

// === impl Interval ===

impl Interval {
    /// Whether it holds this ratio.
    pub fn contains(self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio)
    }

    /// How far it is from end to end, as a part of its middle.
    pub fn width(self) -> f64 {
        (self.high - self.low) / (self.high * self.low).sqrt()
    }
}

#[cfg(test)]
mod tests;
