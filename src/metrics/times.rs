//! Histograms of times: bounded error, and merging them loses nothing.

use std::marker::PhantomData;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::bounds::with_room;
use super::interval_log::encoded;

/// The unit in which a histogram counts.
pub trait Unit {
    /// How many of it are a second.
    const A_SECOND: u64;

    /// How many whole ones a time has.
    fn of(time: Duration) -> u64 {
        let whole = time.as_secs().saturating_mul(Self::A_SECOND);
        let rest = u64::from(time.subsec_nanos()) * Self::A_SECOND / 1_000_000_000;
        whole.saturating_add(rest)
    }
}

/// The longest time, in seconds.
const HOUR: u64 = 3600;
const A_BILLION: u128 = 1_000_000_000;

/// Microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Micros;

/// Nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Nanos;

/// A histogram of times from one unit to one hour, 3 significant digits.
#[derive(Debug)]
pub struct Timed<U> {
    histogram: Histogram<u64>,
    /// In nanoseconds, of times as they were before they were counted in units.
    sum: u128,
    unit: PhantomData<U>,
}

/// Times of the relay: 1 us to 1 h.
pub type Times = Timed<Micros>;

/// Times of the benchmark, where a microsecond is too coarse: 1 ns to 1 h.
pub type FineTimes = Timed<Nanos>;

/// A text that is no histogram of ours.
#[derive(Debug, thiserror::Error)]
#[error("not a histogram in the V2 encoding (deflated, base64): {0}")]
pub struct Unreadable(String);

// === impl Unit ===

impl Unit for Micros {
    const A_SECOND: u64 = 1_000_000;
}

impl Unit for Nanos {
    const A_SECOND: u64 = 1_000_000_000;
}

// === impl Timed ===

impl<U: Unit> Timed<U> {
    /// The longest time, in units.
    pub(super) const MOST: u64 = HOUR * U::A_SECOND;

    /// Records one time; below one unit counts as one, above 1 h as 1 h.
    pub fn record(&mut self, time: Duration) {
        let units = U::of(time).clamp(1, HOUR * U::A_SECOND);
        self.histogram.record(units).expect("it grows");
        self.sum += time.as_nanos();
    }

    /// What the recorded times add up to; of what was read back as exact as the histogram is.
    pub fn sum(&self) -> Duration {
        let seconds = u64::try_from(self.sum / A_BILLION).unwrap_or(u64::MAX);
        Duration::new(seconds, (self.sum % A_BILLION) as u32)
    }

    /// The same in nanoseconds, without an end.
    pub(super) fn exact(&self) -> u128 {
        self.sum
    }

    /// Becomes what was recorded elsewhere: a histogram with no value beyond the longest, and its sum in nanoseconds.
    pub(super) fn restore(&mut self, histogram: &Histogram<u64>, sum: u128) {
        *self = Self::default();
        self.histogram.add(histogram).expect("it grows");
        self.sum = sum;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // What nothing was recorded in is not touched: its memory is not even there.
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.sum = 0;
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time that `percent` of the recorded ones do not exceed; `percent` is 0 to 100.
    pub fn percentile(&self, percent: f64) -> Duration {
        // As other HdrHistogram libraries do it: what rounding adds to the rank is taken off again.
        let quantile = (percent / 100.0).next_down().max(0.0);
        Self::time(self.histogram.value_at_quantile(quantile))
    }

    /// The shortest time that was recorded; zero if there is none.
    pub fn min(&self) -> Duration {
        Self::time(self.histogram.min())
    }

    /// The longest time that was recorded.
    pub fn max(&self) -> Duration {
        Self::time(self.histogram.max())
    }

    /// The mean of what was recorded; zero if there is nothing.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.histogram.mean() / U::A_SECOND as f64)
    }

    /// Adds what another one has recorded; nothing is averaged.
    pub fn add(&mut self, other: &Self) {
        if !other.histogram.is_empty() {
            self.histogram.add(&other.histogram).expect("it grows");
        }
        self.sum += other.sum;
    }

    /// The same with room for every time up to the longest. A histogram grows with its values, and some libraries
    /// add none to one with less room.
    pub fn whole(&self) -> Histogram<u64> {
        with_room(&self.histogram, HOUR * U::A_SECOND)
    }

    /// The histogram itself, for those who draw it or look into it.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// As text: HdrHistogram's V2 encoding, deflated, in base64, as every HdrHistogram library reads it.
    pub fn encode(&self) -> String {
        encoded(&self.whole())
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// A text that is no such histogram, or one whose values lie beyond 1 h.
    pub fn decode(text: &str) -> Result<Self, Unreadable> {
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Unreadable(error.to_string()))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| Unreadable(error.to_string()))?;
        if read.max() > read.highest_equivalent(HOUR * U::A_SECOND) {
            return Err(Unreadable("it has times beyond an hour".to_owned()));
        }
        let mut times = Self::default();
        times
            .histogram
            .add(&read)
            .map_err(|error| Unreadable(error.to_string()))?;
        times.sum = (times.mean().as_nanos()) * u128::from(times.count());
        Ok(times)
    }

    fn time(units: u64) -> Duration {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(U::A_SECOND);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl<U: Unit> Default for Timed<U> {
    fn default() -> Self {
        // It grows as far as its values need. Three is a valid number of digits, so this cannot fail.
        let histogram = Histogram::new(3).expect("constant");
        Self {
            histogram,
            sum: 0,
            unit: PhantomData,
        }
    }
}

impl<U> Clone for Timed<U> {
    fn clone(&self) -> Self {
        Self {
            histogram: self.histogram.clone(),
            sum: self.sum,
            unit: PhantomData,
        }
    }
}

/// Three significant digits, in the unit that fits.
pub fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "us"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        for (micros, text) in [
            (1, "1.00 us"),
            (999, "999 us"),
            (12_340, "12.3 ms"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn times_beyond_the_bounds_are_kept_at_the_bounds() {
        let mut times = Times::default();
        times.record(Duration::ZERO);
        times.record(Duration::from_secs(100_000));
        assert_eq!(times.count(), 2);
        assert_eq!(times.percentile(0.0), Duration::from_micros(1));
        assert!(times.max() >= Duration::from_secs(3590));
    }

    #[test]
    fn fine_times_tell_nanoseconds_apart() {
        let mut times = FineTimes::default();
        times.record(Duration::from_nanos(700));
        times.record(Duration::from_nanos(710));
        assert_eq!(times.min(), Duration::from_nanos(700));
        assert_eq!(times.max(), Duration::from_nanos(710));
    }

    #[test]
    fn what_was_encoded_is_read_back_whole() {
        let mut times = FineTimes::default();
        for n in 1..1000_u64 {
            times.record(Duration::from_nanos(n * n * 997));
        }
        let read = FineTimes::decode(&times.encode()).unwrap();
        assert_eq!(read.histogram(), times.histogram());
    }

    #[test]
    fn a_text_that_is_no_histogram_is_an_error() {
        for text in ["", "!", "aGVsbG8="] {
            assert!(FineTimes::decode(text).is_err(), "{text:?}");
        }
    }
}
