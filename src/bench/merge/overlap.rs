//! Whether the clients measured at one time. Pure.

use std::fmt;

use super::{MergeError, Source};
use crate::bench::report::{PathReport, Window};

/// What is done with clients that measured at no time together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// They are refused: what they reached together was never reached.
    Refused,
    /// They are merged all the same.
    Merged,
}

/// How long all clients measured a path at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// The path.
    pub path: String,
    /// How long all of them did, in seconds.
    pub common_s: f64,
    /// How long the one did that measured for the shortest time.
    pub shortest_s: f64,
}

// === impl Overlap ===

impl Overlap {
    /// Of the path at this place of all reports. Clients that measured nothing are left out.
    pub(super) fn of(sources: &[Source], at: usize) -> Self {
        let paths = sources.iter().map(|source| &source.report.paths[at]);
        let measured: Vec<&PathReport> = paths.filter(|path| !path.windows.is_empty()).collect();
        let mut common = measured
            .first()
            .map_or_else(Vec::new, |path| path.windows.clone());
        for path in measured.iter().skip(1) {
            common = in_both(&common, &path.windows);
        }
        let shortest = |of: fn(&PathReport) -> f64| {
            let all = measured.iter().map(|path| of(path));
            all.reduce(f64::min).unwrap_or_default()
        };
        Self {
            path: sources[0].report.paths[at].name.clone(),
            // What is merged already may have been apart.
            common_s: Window::covered(&common).min(shortest(|path| path.common_s)),
            shortest_s: shortest(|path| Window::covered(&path.windows)),
        }
    }

    /// Whether there is too little of it for the sum of what the clients did a second to be what they reached
    /// together.
    pub fn is_little(&self) -> bool {
        self.common_s < self.shortest_s / 2.0
    }

    /// Refuses clients that measured at no time together, unless they are to be merged.
    pub(super) fn check(&self, apart: Apart) -> Result<(), MergeError> {
        let is_none = self.common_s <= 0.0 && self.shortest_s > 0.0;
        match is_none && apart == Apart::Refused {
            true => Err(MergeError::Apart(self.path.clone())),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            common_s,
            shortest_s,
        } = self;
        write!(
            f,
            "{path}: all clients measured together for {common_s:.1} s only, each for {shortest_s:.1} s or more: what is told a \
             second was not reached at one time"
        )
    }
}

/// The time that is in one of these and in one of those. What overlaps among either may be there twice.
fn in_both(these: &[Window], those: &[Window]) -> Vec<Window> {
    let pairs = these
        .iter()
        .flat_map(|one| those.iter().map(move |other| (one, other)));
    pairs
        .map(|(one, other)| Window {
            from: one.from.max(other.from),
            to: one.to.min(other.to),
        })
        .filter(|window| window.from < window.to)
        .collect()
}
