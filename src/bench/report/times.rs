//! Times in a report: all of them, and what is read off them most often.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{FineTimes, Unreadable};

/// A histogram of times, and what is read off it most often; all in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// How many times.
    pub count: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: u64,
    /// Half of them were no longer.
    pub p50_ns: u64,
    /// 90 % of them were no longer.
    pub p90_ns: u64,
    /// 99 % of them were no longer.
    pub p99_ns: u64,
    /// 99.9 % of them were no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// All of them: HdrHistogram V2, deflated, in base64.
    pub histogram: String,
}

/// Times whose histogram cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Uncounted {
    /// The text is no histogram.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It is one of other times.
    #[error("the histogram holds {held} times, the report says {told}")]
    Other {
        /// How many it holds.
        held: u64,
        /// How many there are said to be.
        told: u64,
    },
}

// === impl Times ===

impl Times {
    /// Reads them off a histogram.
    pub fn of(times: &FineTimes) -> Self {
        if times.count() == 0 {
            return Self::default();
        }
        let at = |percent| nanos(times.percentile(percent));
        Self {
            count: times.count(),
            min_ns: nanos(times.min()),
            mean_ns: nanos(times.mean()),
            p50_ns: at(50.0),
            p90_ns: at(90.0),
            p99_ns: at(99.0),
            p999_ns: at(99.9),
            max_ns: nanos(times.max()),
            histogram: times.encode(),
        }
    }

    /// All of them, as they were recorded.
    ///
    /// # Errors
    /// A text that is no histogram, or that holds another number of times than [`Self::count`].
    pub fn decode(&self) -> Result<FineTimes, Uncounted> {
        let times = match (self.count, self.histogram.as_str()) {
            (0, "") => FineTimes::default(),
            (_, text) => FineTimes::decode(text)?,
        };
        match times.count() {
            held if held == self.count => Ok(times),
            held => Err(Uncounted::Other {
                held,
                told: self.count,
            }),
        }
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
