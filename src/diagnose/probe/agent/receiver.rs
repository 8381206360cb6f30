//! The end that receives trains: counts them, and says when to acknowledge.

use super::payload::{Content, Kind, Label};
use crate::diagnose::probe::order::{Harvest, Spec, Transit};

/// Trains that are received.
#[derive(Debug)]
pub struct Receiver {
    ack: Spec,
    from: u32,
    /// By number, from `from` on.
    seen: Vec<bool>,
    highest: Option<u32>,
    /// The highest end of data, in the terms in which it came.
    end: Option<u32>,
    since_ack: u32,
    harvest: Harvest,
    transits: Vec<i64>,
}

/// A segment of a train, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// What it carries.
    pub content: Content,
    /// Whether its checksum is right.
    pub checksum_right: bool,
    /// Its sequence number.
    pub sequence: u32,
    /// Bytes of the packet.
    pub length: u16,
    /// Bytes of its headers.
    pub headers: u16,
    /// Whether this is the first of several fragments.
    pub is_first: bool,
    /// Time since it was sent, on clocks that do not agree.
    pub transit_us: i64,
}

/// An acknowledgement is due after so many segments, if none is asked for before.
const ACK_EVERY: u32 = 8;
/// Numbers that are further on than any train is long are no numbers.
const MOST: u32 = 1 << 16;

// === impl Receiver ===

impl Receiver {
    /// Counts segments from this number on.
    pub fn new(ack: Spec, from: u32) -> Self {
        Self {
            ack,
            from,
            seen: Vec::new(),
            highest: None,
            end: None,
            since_ack: 0,
            harvest: Harvest::default(),
            transits: Vec::new(),
        }
    }

    /// Counts a segment; what is to be acknowledged by, if it is time.
    pub fn take(&mut self, came: &Came) -> Option<Spec> {
        let label = match came.content {
            Content::Right(label) => label,
            Content::Short => {
                self.cut(came.length);
                return None;
            }
            Content::Wrong => {
                self.harvest.corrupted += 1;
                return None;
            }
        };
        let offset = label.number.wrapping_sub(self.from);
        if offset >= MOST {
            return None; // a late one of an earlier train
        }
        let is_cut = label.length > came.length && !came.is_first;
        if !is_cut && !came.is_first && !came.checksum_right {
            self.harvest.corrupted += 1;
            return None;
        }
        if self.note(offset) {
            self.harvest.duplicated += 1;
        } else {
            if self.highest.is_some_and(|highest| offset < highest) {
                self.harvest.reordered += 1;
            }
            self.highest = self.highest.max(Some(offset));
            self.transits.push(came.transit_us);
            if is_cut {
                self.cut(came.length);
            } else {
                self.harvest.arrived += 1;
                self.harvest.fragmented += u32::from(came.is_first);
            }
        }
        self.acknowledge(came, label)
    }

    /// That the tap had no room for so many packets.
    pub fn missed(&mut self, packets: u32) {
        self.harvest.missed = self.harvest.missed.saturating_add(packets);
    }

    /// What came so far.
    pub fn harvest(&self) -> Harvest {
        let mut transits = self.transits.clone();
        transits.sort_unstable();
        let transit_us = transits.first().map(|least| Transit {
            least: *least,
            median: transits[transits.len() / 2],
            most: transits[transits.len() - 1],
        });
        Harvest {
            transit_us,
            ..self.harvest.clone()
        }
    }

    /// Remembers a number; whether it came before.
    fn note(&mut self, offset: u32) -> bool {
        let at = offset as usize;
        if at >= self.seen.len() {
            self.seen.resize(at + 1, false);
        }
        std::mem::replace(&mut self.seen[at], true)
    }

    fn cut(&mut self, length: u16) {
        self.harvest.truncated += 1;
        let least = self.harvest.truncated_to.unwrap_or(u16::MAX);
        self.harvest.truncated_to = Some(least.min(length));
    }

    fn acknowledge(&mut self, came: &Came, label: Label) -> Option<Spec> {
        // What was cut is acknowledged as if it were whole, or the train would wait for what never comes.
        let data = label.length.saturating_sub(came.headers);
        let end = came.sequence.wrapping_add(data.into());
        let is_ahead = |known: u32| (end.wrapping_sub(known) as i32) > 0;
        if self.end.is_none_or(is_ahead) {
            self.end = Some(end);
        }
        self.since_ack += 1;
        if self.since_ack < ACK_EVERY && label.kind != Kind::TrainAsks {
            return None;
        }
        self.since_ack = 0;
        Some(Spec {
            acknowledgement: self.end.unwrap_or(end),
            ..self.ack.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(number: u32) -> Came {
        Came {
            is_first: false,
            content: Content::Right(Label {
                kind: Kind::Train,
                number,
                sent_us: 0,
                length: 140,
            }),
            checksum_right: true,
            sequence: number * 100,
            length: 140,
            headers: 40,
            transit_us: i64::from(number),
        }
    }

    #[test]
    fn every_number_counts_once_and_in_its_order() {
        let mut receiver = Receiver::new(Spec::default(), 10);
        for number in [10, 11, 13, 12, 13, 9, 14] {
            receiver.take(&came(number));
        }
        let harvest = receiver.harvest();
        assert_eq!(harvest.arrived, 5);
        assert_eq!(harvest.duplicated, 1);
        assert_eq!(harvest.reordered, 1);
        assert_eq!(harvest.lost(6), 1);
        let transit = harvest.transit_us.unwrap();
        assert_eq!((transit.least, transit.median, transit.most), (10, 12, 14));
    }

    #[test]
    fn what_is_cut_or_damaged_is_counted_apart() {
        let mut receiver = Receiver::new(Spec::default(), 0);
        receiver.take(&Came {
            length: 90,
            checksum_right: false,
            ..came(1)
        });
        receiver.take(&Came {
            content: Content::Short,
            length: 45,
            ..came(2)
        });
        receiver.take(&Came {
            content: Content::Wrong,
            ..came(3)
        });
        receiver.take(&Came {
            checksum_right: false,
            ..came(4)
        });
        let harvest = receiver.harvest();
        assert_eq!((harvest.arrived, harvest.truncated), (0, 2));
        assert_eq!((harvest.corrupted, harvest.truncated_to), (2, Some(45)));
    }

    #[test]
    fn the_highest_end_is_acknowledged_after_eight_or_when_asked() {
        let mut receiver = Receiver::new(Spec::default(), 0);
        let acks: Vec<_> = (0..9).filter_map(|n| receiver.take(&came(n))).collect();
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].acknowledgement, 800);
        let mut asking = came(5); // an old one does not take back what was acknowledged
        if let Content::Right(label) = &mut asking.content {
            label.kind = Kind::TrainAsks;
        }
        assert_eq!(receiver.take(&asking).unwrap().acknowledgement, 900);
    }
}
