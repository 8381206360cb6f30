//! The bounds of the buckets that Prometheus gets, in one place: fixed, so that buckets of several hosts can
//! be added.
//!
//! The buckets are made from HdrHistograms, whose cells are as wide as their precision: 0.1 % of the value for
//! times, 1 % for sizes. A cell that lies across a bound counts as within it. So a value that is at most
//! the bound is always counted there, and one that is above it by less than the precision may be.
//!
//! A histogram keeps what is beyond its limit (1 h, 1 TiB) at the limit, which is the last bound, too. What stands
//! there counts as beyond: else every session of two hours would be one of at most an hour. So of the last bound
//! alone, a value just below it may be missing.

use hdrhistogram::Histogram;

use super::family::Distribution;

/// The bounds of the buckets of one kind of histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In the unit in which the histogram counts.
    bounds: &'static [u64],
    /// How many of that unit are one base unit.
    a_base_unit: u64,
}

/// A histogram with room for every value up to `most`, in its own unit.
pub(super) fn with_room(histogram: &Histogram<u64>, most: u64) -> Histogram<u64> {
    let mut whole =
        Histogram::new_with_bounds(1, most, histogram.sigfig()).expect("constant bounds");
    whole.add(histogram).expect("there is room");
    whole
}

// === impl Bounds ===

impl Bounds {
    /// Of histograms of microseconds: in steps of 1, 2.5 and 5 from 10 us to 10 s, then as people count, to 1 h.
    pub const TIMES: Self = Self {
        bounds: &[
            10,
            25,
            50,
            100,
            250,
            500,
            1_000,
            2_500,
            5_000,
            10_000,
            25_000,
            50_000,
            100_000,
            250_000,
            500_000,
            1_000_000,
            2_500_000,
            5_000_000,
            10_000_000,
            30_000_000,
            60_000_000,
            300_000_000,
            1_800_000_000,
            3_600_000_000,
        ],
        a_base_unit: 1_000_000,
    };

    /// Of histograms of bytes: powers of 4 from 64 B to 1 TiB.
    pub const SIZES: Self = Self {
        bounds: &[
            1 << 6,
            1 << 8,
            1 << 10,
            1 << 12,
            1 << 14,
            1 << 16,
            1 << 18,
            1 << 20,
            1 << 22,
            1 << 24,
            1 << 26,
            1 << 28,
            1 << 30,
            1 << 32,
            1 << 34,
            1 << 36,
            1 << 38,
            1 << 40,
        ],
        a_base_unit: 1,
    };

    /// Every bound in the base unit, from the least to the greatest.
    pub fn in_base_units(self) -> impl Iterator<Item = f64> {
        let each = self.bounds.iter();
        each.map(move |bound| *bound as f64 / self.a_base_unit as f64)
    }

    /// A histogram with room up to the last bound, whatever room it has itself.
    pub fn whole(self, histogram: &Histogram<u64>) -> Histogram<u64> {
        with_room(histogram, *self.bounds.last().expect("there are some"))
    }

    /// What a histogram has, in buckets. Its sum is known better by who recorded the values: in base units.
    pub fn distribution(self, histogram: &Histogram<u64>, sum: f64) -> Distribution {
        let limit = histogram.lowest_equivalent(*self.bounds.last().expect("there are some"));
        let mut cumulative = vec![0; self.bounds.len()];
        for cell in histogram.iter_recorded() {
            let least = histogram.lowest_equivalent(cell.value_iterated_to());
            if least >= limit {
                break;
            }
            let nth = self.bounds.partition_point(|bound| *bound < least);
            if let Some(within) = cumulative.get_mut(nth) {
                *within += cell.count_at_value();
            }
        }
        let mut so_far = 0;
        for within in &mut cumulative {
            so_far += *within;
            *within = so_far;
        }
        Distribution {
            buckets: self.in_base_units().zip(cumulative).collect(),
            count: histogram.len(),
            sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded(digits: u8, most: u64, values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, most, digits).unwrap();
        for value in values {
            histogram.saturating_record(*value);
        }
        histogram
    }

    /// Both kinds: bounds, digits, greatest value.
    const KINDS: [(Bounds, u8, u64); 2] = [
        (Bounds::TIMES, 3, 3_600_000_000),
        (Bounds::SIZES, 2, 1 << 40),
    ];

    /// Values of every magnitude, many of them at a bound or beside it.
    fn values(bounds: Bounds) -> impl Strategy<Value = Vec<u64>> {
        let near = (0..bounds.bounds.len(), -3_i64..=3)
            .prop_map(move |(nth, off)| bounds.bounds[nth].saturating_add_signed(off));
        let any = (0_u32..44, any::<u64>()).prop_map(|(shift, bits)| bits >> (63 - shift));
        proptest::collection::vec(prop_oneof![near, any], 0..400)
    }

    fn expect_near_a_naive_count((bounds, digits, most): (Bounds, u8, u64), values: &[u64]) {
        let made = bounds.distribution(&recorded(digits, most, values), 0.0);
        assert_eq!(made.count, values.len() as u64);
        assert_eq!(made.buckets.len(), bounds.bounds.len());
        assert!(made.buckets.is_sorted_by(|(a, m), (b, n)| a < b && m <= n));
        let precision = 10_f64.powi(-i32::from(digits));
        let up_to = |bound: f64| {
            let within = values.iter().filter(|value| **value as f64 <= bound);
            within.count() as u64
        };
        for (nth, (bound, (_, count))) in bounds.bounds.iter().zip(&made.buckets).enumerate() {
            let bound = *bound as f64;
            let is_limit = nth + 1 == bounds.bounds.len();
            let least = up_to(bound * if is_limit { 1.0 - precision } else { 1.0 });
            let most = up_to(bound * (1.0 + precision));
            assert!(
                (least..=most).contains(count),
                "{bound}: {count} of {least} to {most}"
            );
        }
        assert!(
            made.buckets
                .last()
                .is_none_or(|(_, last)| *last <= made.count)
        );
    }

    proptest! {
        #[test]
        fn times_are_off_by_no_more_than_those_within_the_precision_of_a_bound(values in values(Bounds::TIMES)) {
            expect_near_a_naive_count(KINDS[0], &values);
        }

        #[test]
        fn sizes_are_off_by_no_more_than_those_within_the_precision_of_a_bound(values in values(Bounds::SIZES)) {
            expect_near_a_naive_count(KINDS[1], &values);
        }

        #[test]
        fn buckets_of_two_hosts_add_up_to_those_of_one_that_saw_both(
            one in values(Bounds::TIMES),
            two in values(Bounds::TIMES),
        ) {
            let made = |values: &[u64]| Bounds::TIMES.distribution(&recorded(3, 3_600_000_000, values), 0.0);
            let added: Vec<_> = made(&one)
                .buckets
                .into_iter()
                .zip(made(&two).buckets)
                .map(|((bound, here), (_, there))| (bound, here + there))
                .collect();
            assert_eq!(added, made(&[one, two].concat()).buckets);
        }
    }

    #[test]
    fn a_value_at_a_bound_is_within_it_and_the_next_one_that_can_be_told_is_not() {
        for (bounds, digits, most) in KINDS {
            let (limit, others) = bounds.bounds.split_last().unwrap();
            assert_eq!(*limit, most);
            for (nth, bound) in others.iter().enumerate() {
                let within = |value: u64| {
                    bounds
                        .distribution(&recorded(digits, most, &[value]), 0.0)
                        .buckets[nth]
                        .1
                };
                let next = recorded(digits, most, &[]).next_non_equivalent(*bound);
                assert_eq!((within(*bound), within(next)), (1, 0), "{bound}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_last_bound_is_in_the_count_alone() {
        // Just below the limit, at it, just above it, and kept at it.
        let values = [3_590_000_000, 3_600_000_000, 4_000_000_000, u64::MAX];
        let histogram = recorded(3, 3_600_000_000, &values);
        let made = Bounds::TIMES.distribution(&histogram, 1e9);
        assert_eq!(made.buckets.last(), Some(&(3600.0, 1)));
        assert_eq!((made.count, made.sum), (4, 1e9));
    }

    #[test]
    fn an_empty_histogram_has_every_bucket() {
        let made = Bounds::SIZES.distribution(&recorded(2, 1 << 40, &[]), 0.0);
        assert!(made.buckets.iter().all(|(_, count)| *count == 0));
        assert_eq!(made.buckets.first(), Some(&(64.0, 0)));
        assert_eq!(made.buckets.last(), Some(&(1_099_511_627_776.0, 0)));
    }
}
