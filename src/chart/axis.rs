//! Scales: where their marks are, and what stands there.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One axis of a chart.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows.
    pub title: String,
    range: Range<f64>,
    marks: Vec<(f64, String)>,
}

/// A unit of throughput, and how many of the base unit it is.
pub type Scale = (f64, &'static str);

// === impl Axis ===

impl Axis {
    /// Shares of all requests up to `reach`, which is a number of nines: at 0 stands the shortest, at 1 90 %, at 2
    /// 99 % and so on.
    pub fn nines(title: &str, reach: f64) -> Self {
        let mut marks = vec![
            (0.0, "0 %".to_owned()),
            (std::f64::consts::LOG10_2, "50 %".to_owned()),
        ];
        let whole = reach.floor().max(0.0) as usize;
        marks.extend((1..=whole).map(|nines| (nines as f64, share(nines))));
        Self {
            title: title.to_owned(),
            range: 0.0..reach,
            marks,
        }
    }

    /// Times on a logarithmic scale, values being the logarithms of nanoseconds; from a mark below `least` to
    /// one above `most`.
    pub fn times(title: &str, least: f64, most: f64) -> Self {
        // Few decades have room for marks in between.
        let steps: &[f64] = match most - least {
            span if span <= 3.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let all: Vec<f64> = (-1..=14)
            .flat_map(|decade| {
                steps
                    .iter()
                    .map(move |step| f64::from(decade) + step.log10())
            })
            .collect();
        let below = |at: &&f64| **at <= least;
        let from = all.iter().rev().find(below).copied().unwrap_or(least);
        // Two things that are the same are still drawn inside.
        let above = |at: &&f64| **at >= most && **at > from;
        let to = all.iter().find(above).copied().unwrap_or(most);
        let marks = all.into_iter().filter(|at| (from..=to).contains(at));
        Self {
            title: title.to_owned(),
            range: from..to,
            marks: marks.map(|at| (at, time(at))).collect(),
        }
    }

    /// From zero to `most`, which is in `scale`; with room above if that is asked for.
    pub fn linear(title: &str, most: f64, room: bool) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most / 8.0);
        let end = match room {
            true => (most * 1.05 / step).ceil() * step,
            false => most,
        };
        let marks = (0..=20)
            .map(|n| f64::from(n) * step)
            .filter(|at| *at <= end * (1.0 + 1e-9));
        Self {
            title: title.to_owned(),
            range: 0.0..end,
            marks: marks.map(|at| (at, plain(at, step))).collect(),
        }
    }
}

impl Ranged for Axis {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        let mut marks = self.marks.iter();
        let found = marks.find(|(mark, _)| (mark - at).abs() < 1e-9);
        found.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// The largest of these units that `most` reaches, or the smallest.
pub fn scale(most: f64, scales: &[Scale]) -> Scale {
    let fits = |(size, _): &&Scale| most >= *size;
    *scales.iter().find(fits).or(scales.last()).expect("a unit")
}

/// 1 is 90 %, 2 is 99 %, 3 is 99.9 %.
fn share(nines: usize) -> String {
    match nines {
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

/// A time whose logarithm this is, in whole units.
fn time(log_nanos: f64) -> String {
    let nanos = 10_f64.powf(log_nanos);
    let (size, unit) = scale(
        nanos * 1.001,
        &[(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")],
    );
    format!("{} {unit}", (nanos / size * 100.0).round() / 100.0)
}

/// The smallest of 1, 2, 5, 10, 20 and so on that is no smaller.
fn step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let mut factors = [1.0, 2.0, 5.0].into_iter();
    let fits = |factor: &f64| factor * decade >= least * (1.0 - 1e-9);
    factors.find(fits).unwrap_or(10.0) * decade
}

/// With as many digits as the step needs.
fn plain(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.marks.iter().map(|(_, label)| label.clone()).collect()
    }

    #[test]
    fn each_further_nine_has_the_same_room() {
        let axis = Axis::nines("", 4.2);
        assert_eq!(
            labels(&axis),
            ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
        let at: Vec<i32> = (1..=4).map(|n| axis.map(&f64::from(n), (0, 420))).collect();
        assert_eq!(at, [100, 200, 300, 400]);
        assert_eq!(axis.format_ext(&3.0), "99.9 %");
    }

    #[test]
    fn times_stand_in_the_unit_that_fits_and_the_marks_enclose_them() {
        let axis = Axis::times("", 12_000_f64.log10(), 1_300_000_f64.log10());
        assert_eq!(
            labels(&axis),
            [
                "10 us", "20 us", "50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms"
            ]
        );
        let wide = Axis::times("", 900_f64.log10(), 2e9_f64.log10());
        assert_eq!(labels(&wide).first().unwrap(), "100 ns");
        assert_eq!(labels(&wide).last().unwrap(), "10 s");
        let same = Axis::times("", 4.0, 4.0).range();
        assert!(same.start <= 4.0 && same.end > 4.0);
    }

    #[test]
    fn a_linear_scale_begins_at_zero_and_has_round_marks() {
        let axis = Axis::linear("", 9.4, true);
        assert_eq!(labels(&axis), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::linear("", 0.0, false))[..2], ["0.0", "0.2"]);
    }

    #[test]
    fn a_unit_is_the_largest_that_is_reached() {
        let bits = [(1e9, "Gbit/s"), (1e6, "Mbit/s")];
        assert_eq!(scale(3e9, &bits).1, "Gbit/s");
        assert_eq!(scale(3e8, &bits).1, "Mbit/s");
        assert_eq!(scale(3.0, &bits).1, "Mbit/s");
    }
}
