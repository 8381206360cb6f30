//! Fields of the headers that are not what they were when they were sent.

use std::collections::HashMap;
use std::hash::Hash;

use super::Lane;
use super::record::Record;
use super::told::{Change, Example, Field};
use crate::diagnose::tracking::Way;
use crate::packet::Flags;

/// ECE and CWR.
const ECN_FLAGS: u8 = 0xc0;
const URG: u8 = 0x20;

/// Pairs that differ in one way, counted.
pub(super) struct Tally {
    packets: u64,
    of: u64,
    example: Option<Example>,
}

// === impl Tally ===

impl Tally {
    /// Looks at all pairs that have what it is about: `look` gives what stood there and what stands there now.
    pub(super) fn of<T: PartialEq + ToString>(
        lane: &Lane<'_>,
        look: impl Fn(&Record, &Record) -> Option<(T, T)>,
    ) -> Self {
        let mut tally = Self {
            packets: 0,
            of: 0,
            example: None,
        };
        for (sent, arrived) in lane.pairs() {
            let Some((before, after)) = look(sent, arrived) else {
                continue;
            };
            tally.of += 1;
            if before != after {
                tally.packets += 1;
                tally.example.get_or_insert_with(|| Example {
                    sent: sent.number,
                    arrived: Some(arrived.number),
                    before: before.to_string(),
                    after: after.to_string(),
                });
            }
        }
        tally
    }

    /// The change, if there is one. `{before}` and `{after}` in its words are those of the example.
    pub(super) fn change(self, lane: &Lane<'_>, field: Field, what: &str) -> Option<Change> {
        let example = self.example?;
        Some(Change {
            field,
            from_opener: lane.way == Way::Original,
            packets: self.packets,
            of: self.of,
            what: what
                .replace("{before}", &example.before)
                .replace("{after}", &example.after),
            example: Some(example),
        })
    }
}

/// The commonest of some values, and how often it is there.
pub(super) fn commonest<T: Eq + Hash + Copy + Ord>(
    values: impl Iterator<Item = T>,
) -> Option<(T, u64)> {
    let mut counts: HashMap<T, u64> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(value, count)| (*count, *value))
}

/// By how much, said as the smaller of the two ways around.
pub(super) fn shift(offset: u32) -> String {
    match offset {
        0 => "not at all".to_owned(),
        up if up <= i32::MAX as u32 => format!("by +{up}"),
        down => format!("by -{}", down.wrapping_neg()),
    }
}

/// Appends what differs in the fixed headers, and in SACK.
pub(super) fn changes(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    sequence(lane, changes);
    acknowledgement(lane, changes);
    sack(lane, changes);
    let mut add = |field, what: &str, tally: Tally| changes.extend(tally.change(lane, field, what));
    let window = Tally::of(lane, |a, b| Some((a.window, b.window)));
    add(
        Field::Window,
        "the window is changed, from {before} to {after} in one of them",
        window,
    );
    let urgent = Tally::of(lane, |a, b| {
        let urgent = |record: &Record| match record.flags.0 & URG {
            0 => "not urgent".to_owned(),
            _ => format!("urgent up to {}", record.urgent),
        };
        Some((urgent(a), urgent(b)))
    });
    add(Field::Urgent, "{before} becomes {after}", urgent);
    let bits = |record: &Record| {
        let flags = record.flags.0 & ECN_FLAGS;
        format!("bits {:02b}, flags {:02b}", record.class & 3, flags >> 6)
    };
    let ecn = Tally::of(lane, |a, b| Some((bits(a), bits(b))));
    add(Field::Ecn, "ECN: {before} becomes {after}", ecn);
    let dscp = Tally::of(lane, |a, b| Some((a.class >> 2, b.class >> 2)));
    add(Field::Dscp, "DSCP {before} becomes {after}", dscp);
    // What is longer is no cut: it came together with what was sent after it.
    let cut = Tally::of(lane, |a, b| {
        (a.payload > 0).then_some((a.payload, a.payload.min(b.payload)))
    });
    let joined = Tally::of(lane, |a, b| {
        (a.payload > 0).then_some((a.payload, a.payload.max(b.payload)))
    });
    add(
        Field::Length,
        "data is cut: {before} bytes become {after}",
        cut,
    );
    add(
        Field::Length,
        "data is joined: {before} bytes become {after}",
        joined,
    );
    // Captures may hold more of a packet on one side.
    let data = Tally::of(lane, |a, b| {
        (a.data.0 > 0 && a.data.0 == b.data.0).then(|| {
            let hash = |record: &Record| format!("data with hash {:08x}", record.data.1);
            (hash(a), hash(b))
        })
    });
    add(
        Field::Data,
        "data is changed: its checksums do not say so, or are wrong",
        data,
    );
    let hops = lane
        .pairs()
        .map(|(a, b)| i16::from(a.ttl) - i16::from(b.ttl));
    if let Some((hops, packets)) = commonest(hops)
        && hops != 0
    {
        changes.push(Change {
            field: Field::Ttl,
            from_opener: lane.way == Way::Original,
            packets,
            of: lane.pairs().count() as u64,
            what: match hops {
                1.. => format!("TTL is lower by {hops}: so many routers are between the captures"),
                _ => format!("TTL is higher by {}, which no router does", -hops),
            },
            example: None,
        });
    }
}

fn sequence(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    let offset = lane.offset();
    if offset == 0 {
        return;
    }
    let tally = Tally::of(lane, |a, b| Some((a.sequence, b.sequence)));
    let what = format!(
        "sequence numbers are shifted {}, from the first packet to the last by the same",
        shift(offset)
    );
    changes.extend(tally.change(lane, Field::Sequence, &what));
}

fn acknowledgement(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    let acks = |a: &Record, b: &Record| {
        let both = a.has(Flags::ACK) && b.has(Flags::ACK) && !a.has(Flags::RST);
        both.then_some((a.acknowledgement, b.acknowledgement))
    };
    let tally = Tally::of(lane, acks);
    let offsets = lane
        .pairs()
        .filter_map(|(a, b)| acks(a, b))
        .map(|(a, b)| b.wrapping_sub(a));
    let Some((offset, times)) = commonest(offsets) else {
        return;
    };
    let fits = match offset == lane.acknowledged_offset() {
        true => "as the numbers are that they acknowledge",
        false => "otherwise than the numbers that they acknowledge",
    };
    let constant = match times == tally.of {
        true => "all of them",
        false => "most of them",
    };
    let what = format!(
        "acknowledgement numbers are shifted {}, {constant}, {fits}",
        shift(offset)
    );
    changes.extend(tally.change(lane, Field::Acknowledgement, &what));
}

fn sack(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    let expected = lane.acknowledged_offset();
    let edge = |a: &Record, b: &Record| match (a.blocks(), b.blocks()) {
        ([first, ..], [other, ..]) => Some((first.1, other.1)),
        _ => None,
    };
    let with = |wanted: fn(u32, u32) -> bool| {
        move |a: &Record, b: &Record| {
            let (before, after) = edge(a, b)?;
            let text = |edge: u32| format!("a block up to {edge}");
            // Told as changed where it is as is wanted.
            Some(match wanted(before, after) {
                true => (text(before), format!("{} still", text(after))),
                false => (text(before), text(before)),
            })
        }
    };
    if expected != 0 {
        let same = Tally::of(lane, with(|before, after| before == after));
        let what = format!(
            "SACK blocks stay what they were, while the numbers that they are about are shifted {}: their receiver \
             never sent such bytes",
            shift(expected)
        );
        changes.extend(same.change(lane, Field::SackNotTranslated, &what));
        return;
    }
    let changed = Tally::of(lane, with(|before, after| before != after));
    changes.extend(changed.change(lane, Field::Sack, "SACK blocks are changed"));
    let gone = Tally::of(lane, |a, b| {
        (!a.blocks().is_empty()).then_some((a.options.blocks, b.options.blocks))
    });
    let what = "SACK blocks are taken away: {before} become {after}";
    changes.extend(gone.change(lane, Field::Sack, what));
}
