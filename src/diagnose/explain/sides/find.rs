//! Which connection is which on the other side.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::trace::{Trace, Track};

/// Segments with data that have to be alike, where addresses are others.
const ALIKE: usize = 3;
/// So many that begin alike are looked at, and no more.
const LOOKED_AT: usize = 1_000;

/// Both ends, and whose SYN was seen.
type Ends = (SocketAddr, SocketAddr, [bool; 2]);
/// A direction, and the lengths of its first two segments with data.
type Begin = (usize, u32, u32);
type Pattern = Vec<Vec<u32>>;

/// The connections of the other capture that are not found yet.
pub(super) struct Index {
    taken: Vec<bool>,
    by_ends: HashMap<Ends, VecDeque<usize>>,
    by_begin: HashMap<Begin, Vec<usize>>,
    /// Empty where there is too little data to tell.
    patterns: Vec<Pattern>,
}

// === impl Index ===

impl Index {
    pub(super) fn new(other: &Trace) -> Self {
        let mut index = Self {
            taken: vec![false; other.tracks.len()],
            by_ends: HashMap::new(),
            by_begin: HashMap::new(),
            patterns: Vec::with_capacity(other.tracks.len()),
        };
        for (at, track) in other.tracks.iter().enumerate() {
            index.by_ends.entry(ends(track)).or_default().push_back(at);
            let pattern = pattern(track);
            for begin in begins(&pattern) {
                index.by_begin.entry(begin).or_default().push(at);
            }
            index.patterns.push(pattern);
        }
        index
    }

    /// The connection that is this one, and how it is known; it is not found again.
    pub(super) fn take(&mut self, track: &Track) -> Option<(usize, &'static str)> {
        let found = match self.with_ends(track) {
            Some(at) => (at, "addresses"),
            None => (self.with_pattern(track)?, "pattern"),
        };
        self.taken[found.0] = true;
        Some(found)
    }

    fn with_ends(&mut self, track: &Track) -> Option<usize> {
        let same = self.by_ends.get_mut(&ends(track))?;
        loop {
            let at = same.pop_front()?;
            if !self.taken[at] {
                return Some(at);
            }
        }
    }

    /// Translated addresses: the same lengths in the same order, and the most of them.
    fn with_pattern(&mut self, track: &Track) -> Option<usize> {
        let pattern = pattern(track);
        let mut best: Option<(usize, usize)> = None;
        // Three that are alike are two of one direction at least.
        for begin in begins(&pattern) {
            let Some(candidates) = self.by_begin.get_mut(&begin) else {
                continue;
            };
            candidates.retain(|at| !self.taken[*at]);
            for at in candidates.iter().take(LOOKED_AT) {
                let theirs = &self.patterns[*at];
                if *theirs == pattern {
                    return Some(*at);
                }
                let count = alike(&pattern, theirs);
                if count >= ALIKE && best.is_none_or(|(most, _)| count > most) {
                    best = Some((count, *at));
                }
            }
        }
        best.map(|(_, at)| at)
    }
}

fn ends(track: &Track) -> Ends {
    let seen = track.isn.map(|isn| isn.is_some());
    (track.opener, track.answerer, seen)
}

fn pattern(track: &Track) -> Pattern {
    let pattern = track.pattern();
    match pattern.iter().map(Vec::len).sum::<usize>() >= ALIKE {
        true => pattern,
        false => Pattern::new(),
    }
}

fn begins(pattern: &Pattern) -> impl Iterator<Item = Begin> {
    let ways = pattern.iter().enumerate();
    ways.filter_map(|(way, lengths)| Some((way, *lengths.first()?, *lengths.get(1)?)))
}

fn alike(ours: &Pattern, theirs: &Pattern) -> usize {
    let lanes = ours.iter().zip(theirs);
    lanes
        .map(|(a, b)| match a.iter().zip(b).all(|(a, b)| a == b) {
            true => a.len().min(b.len()),
            false => 0,
        })
        .sum()
}
