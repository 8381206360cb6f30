//! The histograms of each interval, as a file for other tools.

use std::path::PathBuf;
use std::time::Duration;

use super::choice::Histograms;
use super::keys::{ConfigError, Keys};
use super::log;
use super::settings::{duration, number};

/// Where histograms are logged, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HdrLog {
    /// The file that is being written.
    pub file: PathBuf,
    /// How long an interval is.
    pub every: Duration,
    /// Bytes that a file may have; with the next interval's a new one begins.
    pub most: u64,
    /// How many former files are kept.
    pub keep: usize,
}

/// Shorter ones would cost more than they tell; of a longer one each is a guess.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

// === impl HdrLog ===

impl HdrLog {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub(super) fn read(keys: &Keys) -> Result<Option<Self>, ConfigError> {
        let Some(file) = keys.parse("hdr-log", log::path)? else {
            for key in ["hdr-log-interval", "hdr-log-size", "hdr-log-keep"] {
                if let Some(given) = keys.given(key) {
                    let origin = &given.origin;
                    return Err(origin.error("this is of no use without hdr-log, the file"));
                }
            }
            return Ok(None);
        };
        if keys.parse("log-file", log::path)?.as_ref() == Some(&file) {
            let origin = &keys.given("hdr-log").expect("it was read").origin;
            return Err(origin.error("this is log-file, too; give it a file of its own"));
        }
        if keys.parse("histograms", str::parse)? == Some(Histograms::Off) {
            let origin = &keys.given("hdr-log").expect("it was read").origin;
            return Err(origin.error("histograms = \"off\" leaves nothing to log"));
        }
        Ok(Some(Self {
            file,
            every: keys
                .parse("hdr-log-interval", interval)?
                .unwrap_or(Duration::from_secs(10)),
            most: keys
                .parse("hdr-log-size", |text| number(text, 1, 1 << 20))?
                .unwrap_or(64_u64)
                << 20,
            keep: keys
                .parse("hdr-log-keep", |text| number(text, 1, 10_000))?
                .unwrap_or(7),
        }))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let (least, most) = INTERVALS;
    duration(text).and_then(|time| match (least..=most).contains(&time) {
        true => Ok(time),
        false => Err(format!("{text:?} is not a time from 1s to 1day")),
    })
}
