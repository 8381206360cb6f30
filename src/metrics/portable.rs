//! Everything that was recorded, as a value that another version of this program can read: what goes over when one
//! process takes over from another. Pure: values.
//!
//! What is counted has names here, as in the log and at `/metrics`, and no positions: a version that knows a listener,
//! a counter or a histogram less leaves it out and says so. What is 0 is left out.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::recorder::{Kept, ListenerId, Measured, Recorder, Recorders};

/// Everything that was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portable {
    /// Of each listener, by its name.
    #[serde(default)]
    listeners: BTreeMap<String, OfListener>,
    /// What concerns no listener.
    #[serde(default)]
    process: Counts,
}

/// Counters by the names of their fields.
type Counts = BTreeMap<String, u64>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct OfListener {
    #[serde(default)]
    counters: Counts,
    #[serde(default)]
    histograms: Vec<OfMetric>,
}

/// A histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfMetric {
    /// The metric's name.
    metric: String,
    /// The direction or leg, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// The exact sum, of nanoseconds or bytes: decimal, because JSON's numbers end before it may.
    sum: String,
    /// HdrHistogram's V2 encoding in base64. It is not deflated: so its length says what reading it can cost.
    counts: String,
}

/// Something in it cannot be what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was recorded of {of} cannot be read: {why}")]
pub struct Broken {
    /// Of what.
    of: String,
    why: String,
}

/// No counter, sum or histogram comes to as much: what is added to one later does not overflow.
const BEYOND: u64 = 1 << 62;
const SUM_BEYOND: u128 = 1 << 100;

// === impl Portable ===

impl Portable {
    /// What was recorded of listeners with these names, in the order of the settings.
    pub fn of(names: &[String], recorders: &Recorders) -> Self {
        let mut settled = recorders.clone();
        settled.settle();
        let each = names.iter().zip(settled.listeners());
        Self {
            listeners: each
                .map(|(name, recorder)| (name.clone(), OfListener::of(recorder)))
                .collect(),
            process: counts(&settled.process),
        }
    }

    /// The same for listeners with these names, and the names of what is not known here and was left out.
    ///
    /// # Errors
    /// The first value that cannot be what was recorded, by its name.
    pub fn into_recorders(self, names: &[String]) -> Result<(Recorders, Vec<String>), Broken> {
        let mut recorders = Recorders::new(names.len());
        let mut unknown = Vec::new();
        for (listener, of) in self.listeners {
            let Some(index) = names.iter().position(|name| *name == listener) else {
                unknown.push(format!("listener {listener}"));
                continue;
            };
            let index =
                u16::try_from(index).expect("there are no more listeners than their numbers");
            of.into_recorder(&listener, recorders.of(ListenerId(index)), &mut unknown)?;
        }
        restore(
            self.process,
            "the process",
            &mut recorders.process,
            &mut unknown,
        )?;
        unknown.sort();
        unknown.dedup();
        Ok((recorders, unknown))
    }
}

// === impl OfListener ===

impl OfListener {
    fn of(recorder: &Recorder) -> Self {
        let histograms = recorder.histograms();
        let some = histograms
            .iter()
            .filter(|measured| !measured.histogram.is_empty() || measured.exact != 0);
        Self {
            counters: counts(&recorder.counters),
            histograms: some.map(OfMetric::of).collect(),
        }
    }

    fn into_recorder(
        self,
        listener: &str,
        recorder: &mut Recorder,
        unknown: &mut Vec<String>,
    ) -> Result<(), Broken> {
        let whose = format!("listener {listener}");
        restore(self.counters, &whose, &mut recorder.counters, unknown)?;
        for histogram in self.histograms {
            match recorder.kept(&histogram.metric, histogram.of.as_deref()) {
                Some(kept) => histogram.restore(kept).map_err(|why| Broken {
                    of: format!("{whose}, {}", histogram.name()),
                    why,
                })?,
                None => unknown.push(histogram.name()),
            }
        }
        Ok(())
    }
}

// === impl OfMetric ===

impl OfMetric {
    fn of(measured: &Measured<'_>) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(measured.histogram, &mut bytes)
            .expect("writing to memory does not fail");
        Self {
            metric: measured.definition.name.to_owned(),
            of: measured.of.map(str::to_owned),
            sum: measured.exact.to_string(),
            counts: STANDARD.encode(bytes),
        }
    }

    fn name(&self) -> String {
        match &self.of {
            Some(of) => format!("{} {of}", self.metric),
            None => self.metric.clone(),
        }
    }

    fn restore(&self, kept: &mut dyn Kept) -> Result<(), String> {
        let sum = self.sum.parse().ok().filter(|sum| *sum < SUM_BEYOND);
        let sum = sum.ok_or_else(|| format!("{:?} is no sum", self.sum))?;
        let bytes = STANDARD.decode(&self.counts);
        let bytes = bytes.map_err(|error| error.to_string())?;
        let (digits, most) = kept.limits();
        let histogram = read(&bytes, digits, most)?;
        kept.restore(&histogram, sum);
        Ok(())
    }
}

/// A histogram from bytes that anybody may have written. `hdrhistogram` makes room for what the head says before it
/// looks at what follows, so the head is looked at first.
fn read(bytes: &[u8], digits: u8, most: u64) -> Result<Histogram<u64>, String> {
    /// Cookie, length of what follows the head, offset, digits, least and greatest value, ratio.
    const HEAD: usize = 40;
    /// Minus the least number of all, which `hdrhistogram` would turn round: so many zeros are in none.
    const TOO_MANY_ZEROS: [u8; 9] = [0xff; 9];
    let (head, counts) = bytes
        .split_at_checked(HEAD)
        .ok_or("it ends within its head")?;
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let value = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    if usize::try_from(number(4)) != Ok(counts.len()) {
        return Err("its length is not the one in its head".to_owned());
    }
    if number(12) != u32::from(digits) || value(16) != 1 || value(24) > 2 * most {
        return Err("it is one of other values".to_owned());
    }
    if counts.windows(9).any(|each| each == TOO_MANY_ZEROS) {
        return Err("it has more zeros than values".to_owned());
    }
    let histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut &*bytes)
        .map_err(|error| error.to_string())?;
    if histogram.max() > histogram.highest_equivalent(most) {
        return Err("it has values beyond the greatest".to_owned());
    }
    if histogram.len() >= BEYOND {
        return Err("it has more values than can be".to_owned());
    }
    Ok(histogram)
}

fn counts(counters: &Counters) -> Counts {
    let named = counters.named().into_iter();
    named
        .filter(|(_, value, _)| *value != 0)
        .map(|(name, value, _)| (name.to_owned(), value))
        .collect()
}

fn restore(
    from: Counts,
    whose: &str,
    counters: &mut Counters,
    unknown: &mut Vec<String>,
) -> Result<(), Broken> {
    for (name, value) in from {
        match counters.by_name(&name) {
            Some(_) if value >= BEYOND => {
                return Err(Broken {
                    of: format!("{whose}, {name}"),
                    why: format!("{value} is more than can be"),
                });
            }
            Some(counter) => *counter = value,
            None => unknown.push(name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
