//! Histograms of sizes in bytes.

use hdrhistogram::Histogram;

/// A histogram of sizes from 1 B to 1 TiB, 2 significant digits.
#[derive(Debug, Clone)]
pub struct Sizes {
    histogram: Histogram<u64>,
    sum: u128,
}

const LARGEST: u64 = 1 << 40;

// === impl Sizes ===

impl Sizes {
    /// The greatest size.
    pub(super) const MOST: u64 = LARGEST;

    /// Records one size; nothing counts as one byte, above 1 TiB as 1 TiB. The sum is exact all the same.
    pub fn record(&mut self, bytes: u64) {
        let clamped = bytes.clamp(1, LARGEST);
        self.histogram.record(clamped).expect("it grows");
        self.sum += u128::from(bytes);
    }

    /// What they add up to, in bytes.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Becomes what was recorded elsewhere: a histogram with no value beyond the greatest, and its sum.
    pub(super) fn restore(&mut self, histogram: &Histogram<u64>, sum: u128) {
        *self = Self::default();
        self.histogram.add(histogram).expect("it grows");
        self.sum = sum;
    }

    /// Adds what another one has recorded.
    pub fn add(&mut self, other: &Self) {
        if !other.histogram.is_empty() {
            self.histogram.add(&other.histogram).expect("it grows");
        }
        self.sum += other.sum;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.sum = 0;
    }

    /// The histogram itself, for those who write it.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

impl Default for Sizes {
    fn default() -> Self {
        // It grows as far as its values need. Two is a valid number of digits, so this cannot fail.
        let histogram = Histogram::new(2).expect("constant");
        Self { histogram, sum: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_bounds_are_kept_at_the_bounds_and_summed_as_they_are() {
        let mut sizes = Sizes::default();
        for bytes in [0, 1, 3 << 40] {
            sizes.record(bytes);
        }
        assert_eq!(sizes.histogram().len(), 3);
        assert_eq!(sizes.histogram().min(), 1);
        assert_eq!(sizes.sum(), (3 << 40) + 1);
    }
}
