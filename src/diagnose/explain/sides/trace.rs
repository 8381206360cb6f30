//! The segments of one capture, by connection; so many and no more.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::record::Record;
use crate::diagnose::explain::{Place, Sighting};
use crate::diagnose::tracking::Way;
use crate::packet::Flags;

/// Segments that are kept of a capture.
const MOST: usize = 400_000;

/// Segments of one side.
#[derive(Default)]
pub struct Trace {
    pub(super) tracks: Vec<Track>,
    by_ends: HashMap<(Place, SocketAddr, SocketAddr), usize>,
    kept: usize,
    /// Segments for which there was no room.
    pub(super) beyond: u64,
}

/// One connection on one interface.
pub(super) struct Track {
    pub opener: SocketAddr,
    pub answerer: SocketAddr,
    /// What each end sent.
    pub lanes: [Vec<Record>; 2],
    /// The first sequence number of each end.
    pub isn: [Option<u32>; 2],
}

// === impl Trace ===

impl Trace {
    /// Takes the next segment.
    pub fn take(&mut self, sighting: &Sighting<'_>) {
        if self.kept == MOST {
            self.beyond += 1;
            return;
        }
        let Some(record) = Record::of(sighting) else {
            return;
        };
        self.kept += 1;
        let segment = &sighting.segment;
        let (source, destination) = (segment.source, segment.destination);
        let key = (
            sighting.place,
            source.min(destination),
            source.max(destination),
        );
        let opens = record.flags.opens();
        let known = self.by_ends.get(&key).copied().filter(|at| {
            let track = &self.tracks[*at];
            let isn = track.isn[usize::from(source != track.opener)];
            !opens || isn == Some(record.sequence)
        });
        let at = known.unwrap_or_else(|| {
            let answers = record.has(Flags::SYN) && !opens;
            let [opener, answerer] = match answers {
                true => [destination, source],
                false => [source, destination],
            };
            self.tracks.push(Track {
                opener,
                answerer,
                lanes: [Vec::new(), Vec::new()],
                isn: [None; 2],
            });
            self.by_ends.insert(key, self.tracks.len() - 1);
            self.tracks.len() - 1
        });
        let track = &mut self.tracks[at];
        let way = usize::from(source != track.opener);
        if record.has(Flags::SYN) {
            track.isn[way] = Some(record.sequence);
        }
        track.lanes[way].push(record);
    }
}

// === impl Track ===

impl Track {
    pub(super) fn lane(&self, way: Way) -> &[Record] {
        &self.lanes[way as usize]
    }

    /// The SYN that was answered, and its answer.
    pub(super) fn handshake(&self) -> Option<(&Record, &Record)> {
        let answer = self.lanes[1].iter().find(|record| record.has(Flags::SYN))?;
        let syns = self.lanes[0].iter().filter(|record| record.has(Flags::SYN));
        let syn = syns.rev().find(|syn| syn.at <= answer.at)?;
        Some((syn, answer))
    }

    /// The lengths of the first segments with data, each way: what tells a connection from others whatever
    /// its addresses are.
    pub(super) fn pattern(&self) -> Vec<Vec<u32>> {
        let lane = |lane: &Vec<Record>| {
            let data = lane.iter().filter(|record| record.payload > 0);
            data.map(|record| record.payload).take(8).collect()
        };
        self.lanes.iter().map(lane).collect()
    }
}
