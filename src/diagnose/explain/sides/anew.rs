//! Whether something between ends a connection and begins it anew, as a relay or a proxy does. Addresses may be the
//! same then, and the bytes are; segments, acknowledgements and options are another connection's.

use std::collections::{HashMap, HashSet};

use super::Lane;
use super::pairs::{Key, SLACK, key};
use super::record::Record;
use crate::packet::Flags;

/// Fewer than these tell nothing.
const FEW: usize = 4;
/// What a segment may carry where its SYN does not say.
const USUAL: u16 = 1_460;
/// Clocks run apart by no more than one part of this.
const DRIFT: i128 = 2_000;

/// Whether this is one connection on one side and another one on the other.
pub(super) fn is(lanes: &[Lane<'_>; 2]) -> bool {
    !same_packets(lanes)
        && (not_sent(lanes) || lanes.iter().any(|lane| cut_anew(lane, lanes)) || too_early(lanes))
}

/// IPv4's identification is that of the sender, and stays what it is.
fn same_packets(lanes: &[Lane<'_>; 2]) -> bool {
    let (mut of, mut same) = (0, 0);
    for (sent, arrived) in lanes.iter().flat_map(|lane| lane.pairs()) {
        if sent.identification != 0 && arrived.identification != 0 {
            of += 1;
            same += usize::from(sent.identification == arrived.identification);
        }
    }
    same >= FEW && same * 2 > of
}

/// Most acknowledgements that arrive acknowledge what the other end never acknowledged so: whatever offloads do
/// to data, they leave pure acknowledgements alone.
fn not_sent(lanes: &[Lane<'_>; 2]) -> bool {
    let (mut of, mut strange) = (0, 0);
    for lane in lanes {
        let sent: HashSet<Key> = keys(lane.sent, lane.sent_isn).map(|(key, _)| key).collect();
        // Of what is beyond the end of a capture nothing is known.
        let last = sent.iter().map(|key| key.3).max().unwrap_or(0);
        for (key, _) in keys(lane.arrived, lane.arrived_isn) {
            // The third of the handshake is always alike.
            if key.3 > 1 && key.3 <= last {
                of += 1;
                strange += usize::from(!sent.contains(&key));
            }
        }
    }
    strange >= FEW && strange * 2 > of
}

/// Pure acknowledgements.
fn keys(records: &[Record], isn: [u32; 2]) -> impl Iterator<Item = (Key, &Record)> {
    let others = Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0;
    records
        .iter()
        .filter(move |record| {
            record.payload == 0 && record.has(Flags::ACK) && record.flags.0 & others == 0
        })
        .map(move |record| (key(record, isn, 0), record))
}

/// The same bytes are in other segments, and no offload is at work, nor are they cut off at their ends.
fn cut_anew(lane: &Lane<'_>, lanes: &[Lane<'_>; 2]) -> bool {
    let all = lanes.iter().flat_map(|lane| [lane.sent, lane.arrived]);
    let mss = all.flatten().filter_map(|record| record.options.mss).min();
    let most = u32::from(mss.unwrap_or(USUAL));
    let records = || lane.sent.iter().chain(lane.arrived);
    if records().any(|record| record.payload > most) {
        return false;
    }
    let begins = |records: &[Record], isn: u32| -> HashSet<u32> {
        let data = records.iter().filter(|record| record.payload > 0);
        data.map(|record| record.sequence.wrapping_sub(isn))
            .collect()
    };
    let sent = begins(lane.sent, lane.sent_isn[0]);
    let arrived = begins(lane.arrived, lane.arrived_isn[0]);
    let end = |begins: &HashSet<u32>| begins.iter().copied().max().unwrap_or(0);
    let both = end(&sent).min(end(&arrived));
    let strange = |ours: &HashSet<u32>, theirs: &HashSet<u32>| {
        let within = || ours.iter().filter(|begin| **begin <= both);
        let alone = within().filter(|begin| !theirs.contains(begin)).count();
        alone >= FEW && alone * 2 > within().count()
    };
    strange(&sent, &arrived) && strange(&arrived, &sent)
}

/// What arrives was not yet sent, however the clocks may be set: what the clocks take from the shortest way there
/// they give to the shortest way back.
fn too_early(lanes: &[Lane<'_>; 2]) -> bool {
    let least = lanes.each_ref().map(least);
    let [Some(there), Some(back)] = least else {
        return false;
    };
    let at = |record: &Record| record.at.as_nanos() as i128;
    let lasts = lanes.iter().map(|lane| {
        let ends = lane.sent.first().zip(lane.sent.last());
        ends.map_or(0, |(first, last)| at(last) - at(first))
    });
    there + back < -(SLACK + lasts.max().unwrap_or(0) / DRIFT)
}

/// The least time from the first sight of a segment on one side to that on the other.
fn least(lane: &Lane<'_>) -> Option<i128> {
    let mut sent: HashMap<Key, &Record> = HashMap::new();
    for record in lane.sent {
        sent.entry(key(record, lane.sent_isn, record.payload))
            .or_insert(record);
    }
    let mut seen: HashSet<Key> = HashSet::new();
    let firsts = lane.arrived.iter().filter_map(|record| {
        let key = key(record, lane.arrived_isn, record.payload);
        seen.insert(key).then_some(())?;
        let sent = sent.get(&key)?;
        // Of a SYN that is repeated the first may never have been answered.
        (!record.has(Flags::SYN)).then(|| lane.delay(sent, record))
    });
    firsts.min()
}
