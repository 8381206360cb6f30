//! All connections: found by addresses and ports, forgotten after their time, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::flow::{Flow, Lease, Step};
use super::state::go_together;
use super::{Bound, Fault, Invalid, Moment, Segment, Settings, Side, State, Verdict, Way};

/// No slot.
const NONE: u32 = u32::MAX;

/// One connection, from its first packet until it is forgotten; a connection opened anew between the same
/// two is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(u64);

/// What the tracker makes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its connection; none if it is INVALID and of no connection.
    pub flow: Option<FlowId>,
    /// Which way it goes; the original one if it has no connection.
    pub way: Way,
    /// The verdict.
    pub verdict: Verdict,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which it is.
    pub flow: FlowId,
    /// Its state.
    pub state: State,
    /// How long it will be remembered, if nothing more comes.
    pub left: Duration,
    /// Whether packets went both ways.
    pub answered: bool,
    /// Whether it was seen to work; a full table drops others first.
    pub assured: bool,
}

/// Every connection that the tracker knows.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    by_key: HashMap<Key, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The slot used last, and the one not used for the longest.
    newest: u32,
    oldest: u32,
    opened: u64,
    evicted: u64,
}

/// Two ends, the lower first, so that both ways have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    addresses: [u128; 2],
    ports: [u16; 2],
    zone: u16,
    v4: bool,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    id: FlowId,
    /// Whether the lower end sent the first packet.
    from_lower: bool,
    flow: Flow,
    expires: Duration,
    newer: u32,
    older: u32,
}

// === impl Table ===

impl Table {
    /// Without any connection.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            by_key: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            opened: 0,
            evicted: 0,
        }
    }

    /// The settings it judges by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many connections it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// How many connections were forgotten before their time because there were too many. What comes of
    /// them later is judged as if it began in the middle.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What is known at `at` of the connection that such a segment would belong to.
    #[must_use]
    pub fn known(&self, at: Duration, segment: &Segment) -> Option<Known> {
        let (key, _) = Key::of(segment);
        let slot = &self.slots[*self.by_key.get(&key)? as usize];
        let left = slot
            .expires
            .checked_sub(at)
            .filter(|left| !left.is_zero())?;
        let (state, answered, assured) = slot.flow.standing();
        Some(Known {
            flow: slot.id,
            state,
            left,
            answered,
            assured,
        })
    }

    /// Judges a packet that comes at `at`, counted from any moment that stays the same.
    pub fn see(&mut self, at: Duration, segment: &Segment) -> Seen {
        let (key, from_lower) = Key::of(segment);
        let mut slot = self.by_key.get(&key).copied();
        if let Some(known) = slot
            && at >= self.slots[known as usize].expires
        {
            self.remove(known);
            slot = None;
        }
        if let Some(bound) = fault(segment) {
            return self.faulty(slot, from_lower, segment, bound);
        }
        if let Some(slot) = slot {
            let known = &mut self.slots[slot as usize];
            let way = known.way(from_lower);
            let left = known.expires.saturating_sub(at);
            match known.flow.see(way, segment, left, &self.settings) {
                Step::Verdict(verdict, lease) => {
                    let flow = Some(known.id);
                    match lease {
                        Lease::Same => self.touch(slot),
                        Lease::Until(time) => {
                            known.expires = at.saturating_add(time);
                            self.touch(slot);
                        }
                        Lease::Over => self.remove(slot),
                    }
                    return Seen { flow, way, verdict };
                }
                Step::Reopened => self.remove(slot),
            }
        }
        self.open(at, segment, key, from_lower)
    }

    /// Judges a packet of no known connection.
    fn open(&mut self, at: Duration, segment: &Segment, key: Key, from_lower: bool) -> Seen {
        let way = Way::Original;
        let unknown = |verdict| Seen {
            flow: None,
            way,
            verdict,
        };
        let Some(mut flow) = Flow::open(segment, &self.settings) else {
            let moment = no_moment(segment);
            let invalid = Invalid::new(Bound::New, None, moment);
            return unknown(Verdict::Invalid(invalid));
        };
        let left = self.settings.timeouts.of(State::None);
        let (verdict, time) = match flow.see(way, segment, left, &self.settings) {
            Step::Verdict(Verdict::Tracked { state, .. }, Lease::Until(time)) => {
                (Verdict::New(state), time)
            }
            Step::Verdict(verdict, _) => return unknown(verdict),
            Step::Reopened => unreachable!("a connection without a state is not over"),
        };
        self.opened += 1;
        let id = FlowId(self.opened);
        self.insert(
            at,
            Slot {
                key,
                id,
                from_lower,
                flow,
                expires: at.saturating_add(time),
                newer: NONE,
                older: NONE,
            },
        );
        Seen {
            flow: Some(id),
            way,
            verdict,
        }
    }

    /// A packet that is INVALID for itself changes nothing.
    fn faulty(&self, slot: Option<u32>, from_lower: bool, segment: &Segment, bound: Bound) -> Seen {
        let known = slot.map(|slot| &self.slots[slot as usize]);
        let way = known.map_or(Way::Original, |known| known.way(from_lower));
        let moment = match known {
            Some(known) => known.flow.moment(way, segment.kind()),
            None => no_moment(segment),
        };
        Seen {
            flow: known.map(|known| known.id),
            way,
            verdict: Verdict::Invalid(Invalid::new(bound, None, moment)),
        }
    }

    fn insert(&mut self, at: Duration, slot: Slot) {
        // Two at the most, so that no packet pays for the silence of many.
        for _ in 0..2 {
            if self.oldest != NONE && at >= self.slots[self.oldest as usize].expires {
                self.remove(self.oldest);
            }
        }
        if self.by_key.len() >= self.settings.capacity.max(1) {
            self.remove(self.oldest);
            self.evicted += 1;
        }
        let key = slot.key;
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_key.insert(key, place);
        self.link(place);
    }

    fn remove(&mut self, place: u32) {
        self.unlink(place);
        self.by_key.remove(&self.slots[place as usize].key);
        self.free.push(place);
    }

    /// Makes it the newest.
    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn link(&mut self, place: u32) {
        let older = self.newest;
        let slot = &mut self.slots[place as usize];
        slot.older = older;
        slot.newer = NONE;
        match older {
            NONE => self.oldest = place,
            older => self.slots[older as usize].newer = place,
        }
        self.newest = place;
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }
}

/// What is wrong with a segment, whatever its connection.
fn fault(segment: &Segment) -> Option<Bound> {
    match segment.fault {
        Some(Fault::Short | Fault::Truncated) => Some(Bound::Malformed),
        Some(Fault::Checksum) => Some(Bound::Checksum),
        None => (!go_together(segment.flags)).then_some(Bound::Flags),
    }
}

/// Nothing is known.
fn no_moment(segment: &Segment) -> Moment {
    Moment {
        state: State::None,
        kind: segment.kind(),
        way: Way::Original,
        sender: Side::default(),
        receiver: Side::default(),
    }
}

// === impl Key ===

impl Key {
    /// The key of a segment, and whether the lower end has sent it.
    fn of(segment: &Segment) -> (Self, bool) {
        let source = bits(segment.source);
        let destination = bits(segment.destination);
        let from_lower = source <= destination;
        let [lower, upper] = match from_lower {
            true => [source, destination],
            false => [destination, source],
        };
        let key = Self {
            addresses: [lower.0, upper.0],
            ports: [lower.1, upper.1],
            zone: segment.zone,
            v4: segment.source.is_ipv4(),
        };
        (key, from_lower)
    }
}

fn bits(end: SocketAddr) -> (u128, u16) {
    let address = match end.ip() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    (address, end.port())
}

// === impl Slot ===

impl Slot {
    fn way(&self, from_lower: bool) -> Way {
        match from_lower == self.from_lower {
            true => Way::Original,
            false => Way::Reply,
        }
    }
}
