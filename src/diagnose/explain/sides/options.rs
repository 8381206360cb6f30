//! Options that are not what they were when they were sent.

use super::Lane;
use super::fields::{Tally, commonest, shift};
use super::record::Record;
use super::told::{Change, Field};
use crate::diagnose::tracking::Way;
use crate::packet::Flags;

/// Appends what differs in options, but for SACK blocks.
pub(super) fn changes(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    let syn = |a: &Record| a.has(Flags::SYN);
    let what = match lane.way {
        Way::Original => "the SYN",
        Way::Reply => "the SYN-ACK",
    };
    let mut add = |field, what: &str, tally: Tally| changes.extend(tally.change(lane, field, what));

    let mss = Tally::of(lane, |a, b| {
        syn(a).then(|| (value(a.options.mss), value(b.options.mss)))
    });
    let clamped = format!("the MSS in {what}: {{before}} becomes {{after}}");
    add(Field::Mss, &clamped, mss);

    let scale = Tally::of(lane, |a, b| {
        syn(a).then(|| (value(a.options.scale), value(b.options.scale)))
    });
    let taken = format!("window scale in {what}: {{before}} becomes {{after}}");
    add(Field::WindowScale, &taken, scale);

    let sack = Tally::of(lane, |a, b| {
        let word = |record: &Record| match record.options.sack_permitted {
            true => "permitted",
            false => "absent",
        };
        syn(a).then(|| (word(a), word(b)))
    });
    let permitted = format!("SACK in {what}: {{before}} becomes {{after}}");
    add(Field::SackPermitted, &permitted, sack);

    let others = Tally::of(lane, |a, b| {
        let any = a.options.others | b.options.others;
        (any != 0).then(|| (kinds(a.options.others), kinds(b.options.others)))
    });
    add(
        Field::OtherOptions,
        "other options: {before} becomes {after}",
        others,
    );
    timestamps(lane, changes);
}

fn timestamps(lane: &Lane<'_>, changes: &mut Vec<Change>) {
    let there = |record: &Record| match record.options.timestamps {
        Some(_) => "present",
        None => "absent",
    };
    let gone = Tally::of(lane, |a, b| {
        let any = a.options.timestamps.is_some() || b.options.timestamps.is_some();
        any.then(|| (there(a), there(b)))
    });
    let what = "the timestamps option: {before} becomes {after}";
    changes.extend(gone.change(lane, Field::Timestamps, what));
    let values = |a: &Record, b: &Record| Some((a.options.timestamps?.0, b.options.timestamps?.0));
    let offsets = lane
        .pairs()
        .filter_map(|(a, b)| values(a, b))
        .map(|(a, b)| b.wrapping_sub(a));
    if let Some((offset, _)) = commonest(offsets)
        && offset != 0
    {
        let what = format!("timestamps are shifted {}", shift(offset));
        let tally = Tally::of(lane, values);
        changes.extend(tally.change(lane, Field::Timestamps, &what));
    }
}

fn value<T: ToString>(value: Option<T>) -> String {
    value.map_or("absent".to_owned(), |value| value.to_string())
}

fn kinds(kinds: u64) -> String {
    let set: Vec<String> = (0..64)
        .filter(|kind| kinds & (1 << kind) != 0)
        .map(|kind: u32| kind.to_string())
        .collect();
    match set.is_empty() {
        true => "none".to_owned(),
        false => format!("kind {}", set.join(", ")),
    }
}
