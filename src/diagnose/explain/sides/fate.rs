//! What became of segments: lost, cut off by their size, late, out of order, twice.

use std::collections::BTreeMap;

use super::Lane;
use super::record::Record;
use super::told::{Change, Example, Field, Travelled};
use crate::diagnose::tracking::Way;

/// So much later than the median is late, in nanoseconds; and so many times as late.
const LATE: i128 = 3_000_000;
const TIMES_LATE: i128 = 3;
/// So many lost in a row, at the end or in between, are no accident.
const ROW: usize = 4;
/// What is smaller is small, whatever the limit may be.
const LARGE: u32 = 600;

// === what is told of every direction ===

pub(super) fn travelled(lane: &Lane<'_>) -> Travelled {
    let delays = delays(lane);
    let at = |index: usize| delays.get(index).map_or(0.0, |delay| *delay as f64 / 1e9);
    Travelled {
        sent: lane.sent.len() as u64,
        lost: lost(lane).count() as u64,
        resegmented: lane.resegmented.iter().filter(|is| **is).count() as u64,
        least_delay_s: at(0),
        median_delay_s: at(delays.len() / 2),
        most_delay_s: at(delays.len().saturating_sub(1)),
    }
}

fn delays(lane: &Lane<'_>) -> Vec<i128> {
    let mut delays: Vec<i128> = lane.pairs().map(|(a, b)| lane.delay(a, b)).collect();
    delays.sort_unstable();
    delays
}

fn lost<'a>(lane: &'a Lane<'_>) -> impl Iterator<Item = (usize, &'a Record)> {
    let gone = |at: usize| lane.paired[at].is_none() && !lane.resegmented[at];
    let sent = lane.sent.iter().enumerate();
    sent.filter(move |(at, _)| gone(*at))
}

// === changes ===

/// Appends what was lost, late, out of order or added.
pub(super) fn changes(lanes: &[Lane<'_>; 2], changes: &mut Vec<Change>) {
    let limit = size_limit(lanes);
    for lane in lanes {
        let from_opener = lane.way == Way::Original;
        let sent = lane.sent.len() as u64;
        let mut add = |field, packets: usize, what: String, example| {
            if packets > 0 {
                changes.push(Change {
                    field,
                    from_opener,
                    packets: packets as u64,
                    of: sent,
                    what,
                    example,
                });
            }
        };
        let first_lost = lost(lane).next().map(|(_, record)| example(record));
        let count = lost(lane).count();
        add(
            Field::Loss,
            count,
            "packets do not arrive".to_owned(),
            first_lost,
        );
        if let Some((what, at, packets)) = silence(lane, lanes) {
            add(Field::Silence, packets, what, Some(example(&lane.sent[at])));
        }
        order(lane, &mut add);
        late(lane, &mut add);
        twice(lane, &mut add);
    }
    changes.extend(limit);
}

fn example(record: &Record) -> Example {
    Example {
        sent: record.number,
        arrived: None,
        before: format!("{} bytes", record.length),
        after: "not there".to_owned(),
    }
}

fn order(lane: &Lane<'_>, add: &mut impl FnMut(Field, usize, String, Option<Example>)) {
    let mut farthest = None;
    let mut behind = 0;
    let mut example = None;
    for (sent, paired) in lane.sent.iter().zip(&lane.paired) {
        let Some(at) = *paired else { continue };
        if farthest.is_some_and(|farthest| at < farthest) {
            behind += 1;
            example.get_or_insert_with(|| Example {
                sent: sent.number,
                arrived: Some(lane.arrived[at].number),
                before: "sent later".to_owned(),
                after: "arrived earlier".to_owned(),
            });
        }
        farthest = farthest.max(Some(at));
    }
    add(
        Field::Order,
        behind,
        "packets arrive before what was sent earlier".to_owned(),
        example,
    );
}

fn late(lane: &Lane<'_>, add: &mut impl FnMut(Field, usize, String, Option<Example>)) {
    let delays = delays(lane);
    let (Some(least), Some(median)) = (delays.first(), delays.get(delays.len() / 2)) else {
        return;
    };
    // What all have in common is the way, or the clocks.
    let limit = median + LATE.max((median - least) * TIMES_LATE);
    let is_late = |(a, b): &(&Record, &Record)| lane.delay(a, b) > limit;
    let count = lane.pairs().filter(is_late).count();
    let worst = lane.pairs().max_by_key(|(a, b)| lane.delay(a, b));
    let example = worst.map(|(a, b)| Example {
        sent: a.number,
        arrived: Some(b.number),
        before: format!("a median of {}", millis(*median)),
        after: millis(lane.delay(a, b)),
    });
    let most = millis(*delays.last().unwrap_or(median));
    let what = format!(
        "packets are more than {} later than most, up to {most}",
        millis(limit - median)
    );
    add(Field::Delay, count, what, example);
}

fn millis(nanos: i128) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

fn twice(lane: &Lane<'_>, add: &mut impl FnMut(Field, usize, String, Option<Example>)) {
    let mut used = vec![false; lane.arrived.len()];
    for at in lane.paired.iter().flatten() {
        used[*at] = true;
    }
    // What arrives in other portions was sent, too.
    let resegmented = lane.resegmented.contains(&true);
    let extra = lane
        .arrived
        .iter()
        .zip(used)
        .filter(|(record, used)| !(*used || resegmented && record.payload > 0))
        .map(|(record, _)| record);
    let first = extra.clone().next().map(|record| Example {
        sent: 0,
        arrived: Some(record.number),
        before: "not sent, or not a second time".to_owned(),
        after: format!("{} bytes", record.length),
    });
    let what = "packets arrive twice, or were not sent by the other end".to_owned();
    add(Field::Added, extra.count(), what, first);
}

/// Where many in a row are lost: what happened, which is the first, and how many.
fn silence(lane: &Lane<'_>, lanes: &[Lane<'_>; 2]) -> Option<(String, usize, usize)> {
    let gone: Vec<usize> = lost(lane).map(|(at, _)| at).collect();
    let run = gone
        .chunk_by(|a, b| a + 1 == *b)
        .max_by_key(|run| run.len())?;
    if run.len() < ROW {
        return None;
    }
    let first = &lane.sent[run[0]];
    let last = &lane.sent[run[run.len() - 1]];
    let lasts = last.at.saturating_sub(first.at).as_secs_f64();
    let sizes = (first.length, last.length);
    // A size that does not pass looks the same; then others in between do.
    let others = lanes.iter().any(|other| {
        let shift = if std::ptr::eq(other, lane) {
            0
        } else {
            other.shift
        };
        let from = first.at.as_nanos() as i128 + shift;
        let to = last.at.as_nanos() as i128 + shift;
        other
            .pairs()
            .any(|(sent, _)| (from..=to).contains(&(sent.at.as_nanos() as i128)))
    });
    if others || (run.len() < 2 * ROW && sizes.0 != sizes.1 && lasts == 0.0) {
        return None;
    }
    let before = lanes
        .iter()
        .flat_map(|other| {
            let shift = if std::ptr::eq(other, lane) {
                0
            } else {
                -other.shift
            };
            let at = move |record: &Record| record.at.as_nanos() as i128 + shift;
            other.pairs().map(move |(sent, _)| at(sent))
        })
        .filter(|at| *at < first.at.as_nanos() as i128)
        .max()?;
    let quiet = (first.at.as_nanos() as i128 - before) as f64 / 1e9;
    let ends = run[run.len() - 1] + 1 == lane.sent.len();
    let what = match (quiet >= 1.0, ends) {
        (true, _) => format!("after a silence of {quiet:.1} s nothing arrives any more"),
        (false, true) => format!("nothing arrives any more, for {lasts:.3} s"),
        (false, false) => format!("for {lasts:.3} s nothing arrives"),
    };
    Some((what, run[0], run.len()))
}

// === sizes ===

/// Whether packets over some size are lost and others are not. If all large ones go one way, those of the other
/// way have to do for the small ones.
fn size_limit(lanes: &[Lane<'_>; 2]) -> Option<Change> {
    let each: Vec<&Lane<'_>> = lanes.iter().collect();
    let single = each.iter().find_map(|lane| limit(&[*lane], ""));
    single.or_else(|| {
        let note = "; the small ones are mostly those of the other direction";
        let found = limit(&each, note)?;
        let lane = each
            .iter()
            .find(|lane| (lane.way == Way::Original) == found.from_opener)?;
        let small = lane
            .sent
            .iter()
            .filter(|record| record.length < LARGE)
            .count() as f64;
        let rate = found.packets as f64 / found.of as f64;
        // As many small ones would have been lost as large ones: then it is not for their size.
        (small * rate < 3.0).then_some(found)
    })
}

/// Losses of these directions, by length.
fn limit(lanes: &[&Lane<'_>], note: &str) -> Option<Change> {
    // Of each length: how many were sent, and how many of them lost.
    let mut sizes: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for lane in lanes {
        for record in lane.sent {
            sizes.entry(record.length).or_default().0 += 1;
        }
        for (_, record) in lost(lane) {
            sizes.entry(record.length).or_default().1 += 1;
        }
    }
    let all: (u64, u64) = sizes.values().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let mut below = (0, 0);
    let mut best: Option<(f64, u32, (u64, u64))> = None;
    for (length, (sent, lost)) in &sizes {
        below = (below.0 + sent, below.1 + lost);
        let above = (all.0 - below.0, all.1 - below.1);
        if let Some(score) = differs(below, above)
            && best.is_none_or(|(found, ..)| score > found)
        {
            best = Some((score, *length, below));
        }
    }
    let (_, length, below) = best?;
    let above = (all.0 - below.0, all.1 - below.1);
    let next = sizes
        .range(length + 1..)
        .next()
        .map(|(length, _)| *length)?;
    let share = |(sent, lost): (u64, u64)| 100.0 * lost as f64 / sent as f64;
    let over = |(_, record): &(usize, &Record)| record.length > length;
    let from = lanes
        .iter()
        .find(|lane| lost(lane).any(|each| over(&each)))?;
    let shown = lost(from).find(over).map(|(_, record)| example(record));
    Some(Change {
        field: Field::SizeLimit,
        from_opener: from.way == Way::Original,
        packets: above.1,
        of: above.0,
        what: format!(
            "packets of {next} bytes and more are lost ({:.1} %), those of up to {length} bytes less often ({:.1} %){note}",
            share(above),
            share(below)
        ),
        example: shown,
    })
}

/// How surely the larger ones are lost more often, in standard deviations; none if it may be chance.
fn differs(below: (u64, u64), above: (u64, u64)) -> Option<f64> {
    if above.1 < 3 || below.0 < 10 {
        return None;
    }
    let [n, m] = [below.0 as f64, above.0 as f64];
    let [p, q] = [below.1 as f64 / n, above.1 as f64 / m];
    let pooled = (below.1 + above.1) as f64 / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let score = (q - p) / deviation;
    (score > 4.0 && q > 3.0 * p).then_some(score)
}
