//! Histogram logs, as PyPI's `hdrhistogram` reads them.

use std::ffi::OsStr;

use serde::Deserialize;

use super::python;

/// What `tests/read_hdr_log.py` prints of an interval.
#[derive(Debug, Deserialize)]
pub struct Read {
    pub tag: String,
    pub from: f64,
    pub to: f64,
    pub count: u64,
    pub percentiles: [u64; 6],
}

/// Those that it tells.
pub const PERCENTILES: [f64; 6] = [0.0, 50.0, 90.0, 99.0, 99.9, 100.0];

/// The intervals of logs, or with `--sum` first each tag with all that they have of it.
pub fn read(words: &[&OsStr]) -> Vec<Read> {
    python::lines("read_hdr_log.py", words)
}
