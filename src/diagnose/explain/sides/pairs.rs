//! Which segment is which on the other side.

use std::collections::HashMap;
use std::time::Duration;

use super::find::Index;
use super::record::Record;
use super::told::{Change, Field, PairTold, PathTold};
use super::trace::{Trace, Track};
use super::{Lane, anew, fate, fields, options};
use crate::diagnose::explain::{Cure, Source, words};
use crate::diagnose::tracking::Way;
use crate::packet::Flags;

/// Clocks are aligned by the handshake, and no better than this.
pub(super) const SLACK: i128 = 2_000_000;

/// Connections that are told; more of them seldom say more.
const TOLD: usize = 200;

/// Which segment of a connection it is, whatever was added to its numbers.
pub(super) type Key = (u32, u32, u8, u32);

/// What the second capture shows of the connections of the first one.
#[must_use]
pub fn compare(first: &Trace, second: &Trace, other: Source, other_invalid: u64) -> PathTold {
    let mut notes = Vec::new();
    let mut index = Index::new(second);
    let mut flows = Vec::new();
    let mut alone = 0_u64;
    let mut halves = 0_u64;
    for track in &first.tracks {
        let Some((found, matched_by)) = index.take(track) else {
            alone += 1;
            continue;
        };
        let there = &second.tracks[found];
        match pair(track, there, matched_by) {
            Some(_) if flows.len() == TOLD => {}
            Some(told) => flows.push(told),
            None => halves += 1,
        }
    }
    let mut note = |count: u64, why: &str| {
        if count > 0 {
            notes.push(format!("{count} {why}"));
        }
    };
    note(
        alone,
        "connections of the first capture are not in the second",
    );
    note(
        halves,
        "connections are in both, but their SYN and SYN-ACK are not, so that they cannot be aligned",
    );
    for (trace, which) in [(first, "first"), (second, "second")] {
        let why = format!("segments of the {which} capture are beyond what is compared");
        note(trace.beyond, &why);
    }
    PathTold {
        other,
        other_invalid,
        flows,
        notes,
    }
}

fn pair(here: &Track, there: &Track, matched_by: &str) -> Option<PairTold> {
    let isn = |track: &Track| Some([track.isn[0]?, track.isn[1]?]);
    let (isn_here, isn_there) = (isn(here)?, isn(there)?);
    let ((syn, answer), (other_syn, other_answer)) = (here.handshake()?, there.handshake()?);
    let between = |from: Duration, to: Duration| to.as_nanos() as i128 - from.as_nanos() as i128;
    // An answer takes the longer the farther away one is from where it comes from.
    let nearer = between(syn.at, answer.at) >= between(other_syn.at, other_answer.at);
    let ahead = (between(syn.at, other_syn.at) + between(answer.at, other_answer.at)) / 2;
    let lanes = [Way::Original, Way::Reply].map(|way| {
        let from_here = nearer == (way == Way::Original);
        let own = |isn: [u32; 2]| [isn[way as usize], isn[way.other() as usize]];
        let (sent, arrived, sent_isn, arrived_isn, shift) = match from_here {
            true => (here, there, own(isn_here), own(isn_there), -ahead),
            false => (there, here, own(isn_there), own(isn_here), ahead),
        };
        Lane::new(way, sent, arrived, sent_isn, arrived_isn, shift)
    });
    let ends = [here, there].map(|track| [track.opener, track.answerer].map(|end| end.to_string()));
    let [[opener, answerer], others] = ends;
    let translated = [&opener, &answerer] != [&others[0], &others[1]];
    let mut told = PairTold {
        opener,
        answerer,
        other_ends: translated.then_some(others),
        matched_by: matched_by.to_owned(),
        begun_anew: anew::is(&lanes),
        nearer_to_opener: None,
        clock_ahead_s: None,
        travelled: None,
        changes: Vec::new(),
        cure: None,
    };
    if told.begun_anew {
        return Some(told);
    }
    let mut changes = Vec::new();
    for lane in &lanes {
        fields::changes(lane, &mut changes);
        options::changes(lane, &mut changes);
    }
    fate::changes(&lanes, &mut changes);
    if let Some(others) = &told.other_ends {
        let (opener, answerer) = (&told.opener, &told.answerer);
        changes.push(Change {
            field: Field::Addresses,
            from_opener: true,
            packets: 0,
            of: 0,
            what: format!(
                "{opener} -> {answerer} is {} -> {} there",
                others[0], others[1]
            ),
            example: None,
        });
    }
    told.nearer_to_opener = Some(if nearer { "first" } else { "second" }.to_owned());
    told.clock_ahead_s = Some(ahead as f64 / 1e9);
    told.travelled = Some([fate::travelled(&lanes[0]), fate::travelled(&lanes[1])]);
    told.cure = cure(&changes);
    told.changes = changes;
    Some(told)
}

// === impl Lane ===

impl<'a> Lane<'a> {
    fn new(
        way: Way,
        sent: &'a Track,
        arrived: &'a Track,
        sent_isn: [u32; 2],
        arrived_isn: [u32; 2],
        shift: i128,
    ) -> Self {
        let mut lane = Self {
            way,
            sent_isn,
            arrived_isn,
            sent: sent.lane(way),
            arrived: arrived.lane(way),
            paired: vec![None; sent.lane(way).len()],
            resegmented: vec![false; sent.lane(way).len()],
            shift,
        };
        lane.pair(|record, isn| Some(key(record, isn, record.payload)));
        // What is left may have been cut: its data begins at the same place.
        lane.pair(|record, isn| (record.payload > 0).then(|| key(record, isn, 1)));
        lane.find_resegmented();
        lane
    }

    /// Pairs what has the same key and is not paired yet. Each that arrives is the one with the same
    /// identification, or else the last that was sent before it; pure acknowledgements keep their order.
    fn pair(&mut self, key: impl Fn(&Record, [u32; 2]) -> Option<Key>) {
        let mut waiting: HashMap<Key, Vec<usize>> = HashMap::new();
        for (at, record) in self.sent.iter().enumerate() {
            if self.paired[at].is_none()
                && let Some(key) = key(record, self.sent_isn)
            {
                waiting.entry(key).or_default().push(at);
            }
        }
        let mut used = vec![false; self.arrived.len()];
        for at in self.paired.iter().flatten() {
            used[*at] = true;
        }
        for (at, arrived) in self.arrived.iter().enumerate() {
            if used[at] {
                continue;
            }
            let key = key(arrived, self.arrived_isn);
            let Some(candidates) = key.and_then(|key| waiting.get_mut(&key)) else {
                continue;
            };
            let (sent, shift) = (self.sent, self.shift);
            let was_sent = |candidate: &usize| {
                let arrives = arrived.at.as_nanos() as i128 + shift + SLACK;
                arrives >= sent[*candidate].at.as_nanos() as i128
            };
            let same = candidates.iter().position(|candidate| {
                let id = sent[*candidate].identification;
                id != 0 && id == arrived.identification && was_sent(candidate)
            });
            let place = same.or_else(|| match arrived.payload {
                0 => candidates.iter().position(was_sent),
                _ => candidates.iter().rposition(was_sent),
            });
            if let Some(place) = place {
                let chosen = candidates.remove(place);
                self.paired[chosen] = Some(at);
            }
        }
    }

    /// Data that arrived within other segments.
    fn find_resegmented(&mut self) {
        let start = |record: &Record, isn: [u32; 2]| record.sequence.wrapping_sub(isn[0]);
        let mut used = vec![false; self.arrived.len()];
        for at in self.paired.iter().flatten() {
            used[*at] = true;
        }
        let mut spans: Vec<(u32, u32)> = self
            .arrived
            .iter()
            .zip(&used)
            .filter(|(record, used)| record.payload > 0 && !**used)
            .map(|(record, _)| {
                let begin = start(record, self.arrived_isn);
                (begin, begin.wrapping_add(record.payload))
            })
            .collect();
        spans.sort_unstable();
        for (at, record) in self.sent.iter().enumerate() {
            if self.paired[at].is_some() || record.payload == 0 {
                continue;
            }
            let begin = start(record, self.sent_isn);
            let end = begin.wrapping_add(record.payload);
            let after = spans.partition_point(|(from, _)| *from <= begin);
            let covered = after > 0 && spans[after - 1].1 > begin;
            let inside = spans.get(after).is_some_and(|(from, _)| *from < end);
            self.resegmented[at] = covered || inside;
        }
    }
}

/// Relative numbers, the payload's length and what the flags say of the connection.
pub(super) fn key(record: &Record, isn: [u32; 2], payload: u32) -> Key {
    let flags = record.flags.0 & (Flags::SYN | Flags::FIN | Flags::RST).0;
    let relative = record.sequence.wrapping_sub(isn[0]);
    // Data is known by its place; an acknowledgement by what it acknowledges.
    let acknowledged = match record.has(Flags::ACK) && payload == 0 && flags == 0 {
        true => record.acknowledgement.wrapping_sub(isn[1]),
        false => 0,
    };
    (relative, payload, flags, acknowledged)
}

/// What helps against what was found.
fn cure(changes: &[Change]) -> Option<Cure> {
    let find = |field| changes.iter().find(|change| change.field == field);
    let shifted = find(Field::Sequence).is_some() && find(Field::SackNotTranslated).is_some();
    let limit = find(Field::SizeLimit);
    let asa = find(Field::Mss).is_some_and(|change| change.what.contains("1380"));
    let answer_stripped = changes
        .iter()
        .any(|change| change.field == Field::WindowScale && !change.from_opener);
    let (profile, why) = match (shifted, limit) {
        (true, Some(_)) => (
            "cisco-pix",
            "sequence numbers are changed and those in SACK blocks are not, and large packets are lost",
        ),
        (true, None) if asa => (
            "asa",
            "sequence numbers are changed and those in SACK blocks are not; the MSS is an ASA's",
        ),
        (true, None) => (
            "isn-rewrite",
            "sequence numbers are changed, those in SACK blocks are not",
        ),
        (false, _) if answer_stripped => (
            "wscale-strip",
            "window scale is changed in the SYN-ACK, so the hosts disagree about windows",
        ),
        (false, Some(_)) => ("blackhole", "large packets do not arrive"),
        (false, None) if find(Field::Silence).is_some_and(|c| c.what.contains("silence of")) => (
            "idle-drop",
            "after a silence nothing arrives any more: something between has forgotten the connection",
        ),
        (false, None) => return None,
    };
    Some(words::with(profile, why.to_owned()))
}
