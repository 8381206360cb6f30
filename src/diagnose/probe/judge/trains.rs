//! What became of many small segments: lost, overtaken, doubled, damaged.

use super::sizes::share_of;
use crate::diagnose::probe::evidence::{Carrier, Evidence, Outcome, TrainSeen};
use crate::diagnose::probe::finding::{Behaviour, Draft};
use crate::metrics::Direction;

/// Fewer than this may be an accident of the hosts.
const FEWEST: u32 = 3;
/// From this share of lost segments on a transfer suffers.
const SUFFERS: f64 = 0.01;

pub(super) fn judge(evidence: &Evidence) -> Vec<Draft> {
    let mut drafts = fragmented(evidence);
    for (direction, train) in evidence.trains.both() {
        let train = train.as_ref().filter(|train| train.harvest.missed == 0);
        if let Some(train) = train {
            let told = of(train, is_over_a_cliff(evidence, direction, train.length));
            drafts.extend(told.into_iter().map(|draft| draft.going(direction)));
            drafts.extend(slow(train).map(|draft| draft.going(direction)));
        }
        let damaged = train.map_or(0, |train| train.harvest.corrupted);
        drafts.extend(damage(evidence, direction, damaged).map(|draft| draft.going(direction)));
    }
    drafts
}

/// The way carries less than was sent at first.
fn slow(train: &TrainSeen) -> Option<Draft> {
    let faster = train.faster?;
    let share = share_of(f64::from(faster.lost) / f64::from(faster.sent.max(1)));
    let mbit = |kbit: u32| f64::from(kbit) / 1000.0;
    let (fast, pace) = (mbit(faster.kbit_per_s), mbit(train.kbit_per_s));
    let sentence = format!(
        "The way carries less than {fast} Mbit/s {{way}}: of packets that were sent as fast {share} are lost, and far \
         fewer of those sent at {pace} Mbit/s. Everything else was looked at no faster than that."
    );
    Some(Draft::note(Behaviour::BandwidthLimited, "slow", sentence))
}

/// Large packets come in fragments.
fn fragmented(evidence: &Evidence) -> Vec<Draft> {
    let ways = evidence.fragmented.both();
    ways.into_iter()
        .filter(|(_, fragmented)| **fragmented)
        .map(|(direction, _)| {
            let sentence = "Large packets come in fragments {way}, although each says that it must not be \
                            fragmented: somebody clears that mark (DF). They arrive; it costs speed."
                .to_owned();
            Draft::note(Behaviour::Fragmented, "fragmented", sentence).going(direction)
        })
        .collect()
}

/// Figures that are worth nothing.
pub(super) fn unclear(evidence: &Evidence) -> Vec<String> {
    let trains = evidence.trains.both();
    let missed = trains
        .iter()
        .any(|(_, train)| train.as_ref().is_some_and(|train| train.harvest.missed > 0));
    let sentence = "loss, reordering and duplication: an end could not keep up with what came";
    missed.then(|| sentence.to_owned()).into_iter().collect()
}

/// In a few words, for the table.
pub(super) fn short(train: &TrainSeen) -> Option<String> {
    let harvest = &train.harvest;
    if harvest.missed > 0 {
        return None;
    }
    let words: Vec<String> = [
        (train.harvest.lost(train.sent), "lost"),
        (harvest.reordered, "reordered"),
        (harvest.duplicated, "doubled"),
        (harvest.corrupted, "damaged"),
        (harvest.truncated, "cut"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    Some(match words.is_empty() {
        true => format!("kept, all {}", train.sent),
        false => format!("{} of {}", words.join(", "), train.sent),
    })
}

/// Then what is lost is not lost by chance.
fn is_over_a_cliff(evidence: &Evidence, direction: Direction, length: u16) -> bool {
    evidence.sizes.iter().any(|seen| {
        let below = matches!(&seen.outcome, Outcome::Cliff(cliff) if cliff.passes < length);
        (seen.carrier, seen.direction) == (Carrier::Tcp, direction) && below
    })
}

fn of(train: &TrainSeen, over_a_cliff: bool) -> Vec<Draft> {
    let harvest = &train.harvest;
    let mut drafts = Vec::new();
    let figure = |count: u32| {
        let share = share_of(f64::from(count) / f64::from(train.sent.max(1)));
        format!("{count} of {} segments ({share})", train.sent)
    };
    let lost = train.harvest.lost(train.sent);
    if lost >= FEWEST && !over_a_cliff && train.too_big.is_none() {
        let suffers = f64::from(lost) >= SUFFERS * f64::from(train.sent);
        let words = figure(lost);
        let draft = match suffers {
            true => Draft::problem(
                Behaviour::Loss,
                "lost",
                format!("{words} are lost {{way}}, whatever their size: transfers are slow."),
            ),
            false => Draft::note(
                Behaviour::Loss,
                "lost",
                format!("{words} are lost {{way}}, whatever their size."),
            ),
        };
        let came = format!("{} segments", train.sent - lost);
        drafts.push(draft.values(format!("{} segments", train.sent), came));
    }
    for (count, behaviour, what) in [
        (
            harvest.reordered,
            Behaviour::Reordering,
            "come after one that was sent later",
        ),
        (harvest.duplicated, Behaviour::Duplication, "come twice"),
    ] {
        if count >= FEWEST {
            let sentence = format!("{} {what} {{way}}.", figure(count));
            drafts.push(Draft::note(behaviour, what, sentence));
        }
    }
    drafts
}

/// Of trains, and of the segments that are compared one by one.
fn damage(evidence: &Evidence, direction: Direction, of_train: u32) -> Option<Draft> {
    let steps = evidence.exchanges.iter().flat_map(|each| &each.steps);
    let arrivals = steps
        .filter(|step| step.direction == direction)
        .flat_map(|step| &step.arrived);
    let damaged = arrivals.filter(|one| !one.checksum_right || !one.payload_right);
    let count = of_train + damaged.count() as u32;
    let sentence = match count {
        0 => return None,
        1 => "1 segment arrives damaged {way}: its checksum or its data is wrong.".to_owned(),
        _ => format!(
            "{count} segments arrive damaged {{way}}: their checksums or their data are wrong."
        ),
    };
    Some(Draft::problem(
        Behaviour::Corruption,
        format!("{count} damaged"),
        sentence,
    ))
}
