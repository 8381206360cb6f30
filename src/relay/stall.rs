//! Whether a direction of a session is stuck, since when, and where. Pure: time and what a look has found
//! are arguments.
//!
//! A direction has something to deliver while its receiver has not acknowledged all that was written to it,
//! while the relay holds bytes, or while bytes lie unread in the socket of its sender. It is stuck if that is so and
//! for a given time no byte was read, written or acknowledged.

use std::time::{Duration, Instant};

use super::legs::Party;

/// What was counted of a direction so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes read from the sender.
    pub read: u64,
    /// Bytes that the receiver's socket has taken.
    pub passed: u64,
}

/// What a look at a direction has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Bytes that lie unread in the sender's socket.
    pub unread: u64,
    /// Bytes that were read and not passed on.
    pub held: u64,
    /// What the receiver has yet to acknowledge; nothing if `None`.
    pub on_its_way: Option<OnItsWay>,
}

/// What was written to a receiver and not acknowledged, and how its kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnItsWay {
    /// Bytes, sent or not; an end counts as one.
    pub bytes: u64,
    /// Of those: not sent yet.
    pub unsent: u64,
    /// Segments that were sent.
    pub in_flight: u32,
    /// Bytes that it has acknowledged since the connection began.
    pub acknowledged: u64,
    /// The window that it announced last, if the kernel tells.
    pub window: Option<u32>,
    /// Probes that it has not answered.
    pub unanswered_probes: u8,
    /// Retransmissions in a row.
    pub timeouts: u8,
    /// How long ago it acknowledged anything, new or not.
    pub last_acknowledgement: Duration,
}

/// Where a direction is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Whose side it is: the receiver's, or the relay's own.
    pub side: Party,
    /// What is the matter there.
    pub why: Why,
    /// Bytes that wait to be delivered, in the relay and in the sockets on both sides of it.
    pub waiting: u64,
}

/// What a direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The receiver answers and does not read: its window has no room for what is next.
    PeerWindowShut,
    /// The receiver, or the way to it, does not answer.
    Unacknowledged,
    /// The receiver has taken everything that was written to it; the rest waits in the relay, in a pipe or a
    /// buffer, or is not read.
    Pipe,
}

/// What is new of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is stuck, and has not moved for so long.
    Sticks(Stuck, Duration),
    /// It was, and moves again after so long.
    Moves(Stuck, Duration),
}

/// A direction from look to look.
#[derive(Debug, Clone)]
pub struct Course {
    counted: Counted,
    acknowledged: u64,
    /// When a byte was last seen to move; at first when the session began.
    moved: Instant,
    /// Since when there is something to deliver.
    waiting: Option<Instant>,
    /// When a look found nothing to deliver, if the last one did and nothing has moved since.
    rests: Option<Instant>,
    stuck: Option<Stuck>,
}

/// One probe may be under way, or have been lost; a receiver that has answered neither of two is silent.
const SILENT: u8 = 2;

// === impl Course ===

impl Course {
    /// A direction before its first byte.
    pub fn new(now: Instant) -> Self {
        Self {
            counted: Counted::default(),
            acknowledged: 0,
            moved: now,
            waiting: None,
            rests: None,
            stuck: None,
        }
    }

    /// Whether there was something to deliver when it was looked at last.
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Where it is stuck, if it is.
    pub fn stuck(&self) -> Option<Stuck> {
        self.stuck
    }

    /// When a byte was last seen to move.
    pub fn moved(&self) -> Instant {
        self.moved
    }

    /// Takes note of what was counted.
    pub fn count(&mut self, now: Instant, counted: Counted) -> Option<Change> {
        if counted == self.counted {
            return None;
        }
        self.counted = counted;
        self.moves(now)
    }

    /// Whether the kernel has to be asked: not while bytes move, and once in a while where there was nothing to
    /// deliver, because then nothing can be without being counted, unless the relay is at fault.
    pub fn is_worth_a_look(&self, now: Instant, once_in: Duration) -> bool {
        now > self.moved && self.rests.is_none_or(|since| now - since >= once_in)
    }

    /// Judges what a look has found; `to` is who receives. It is stuck if nothing has moved for `after`.
    pub fn judge(
        &mut self,
        now: Instant,
        look: &Look,
        to: Party,
        after: Option<Duration>,
    ) -> Option<Change> {
        if let Some(way) = look.on_its_way
            && way.acknowledged != self.acknowledged
        {
            self.acknowledged = way.acknowledged;
            self.waiting.get_or_insert(now);
            return self.moves(now);
        }
        if !look.has_something_to_deliver() {
            // That the last of it was acknowledged is known by there being no more.
            let moves = match self.stuck {
                Some(_) => self.moves(now),
                None => None,
            };
            self.waiting = None;
            self.rests = Some(now);
            return moves;
        }
        self.rests = None;
        self.waiting.get_or_insert(now);
        let still = now - self.since();
        if self.stuck.is_some() || after.is_none_or(|after| still < after) {
            return None;
        }
        let stuck = look.stuck(to, still);
        self.stuck = Some(stuck);
        Some(Change::Sticks(stuck, still))
    }

    fn moves(&mut self, now: Instant) -> Option<Change> {
        let still = now - self.since();
        self.moved = now;
        self.rests = None;
        self.stuck.take().map(|stuck| Change::Moves(stuck, still))
    }

    /// Since when something has waited and not moved.
    fn since(&self) -> Instant {
        self.waiting
            .map_or(self.moved, |since| self.moved.max(since))
    }
}

// === impl Look ===

impl Look {
    fn has_something_to_deliver(&self) -> bool {
        self.unread > 0 || self.held > 0 || self.on_its_way.is_some()
    }

    /// Where a direction is stuck that has not moved for so long.
    fn stuck(&self, to: Party, still: Duration) -> Stuck {
        let (side, why) = match &self.on_its_way {
            None => (Party::Relay, Why::Pipe),
            Some(way) if way.is_shut_out(still) => (to, Why::PeerWindowShut),
            Some(_) => (to, Why::Unacknowledged),
        };
        let written = self.on_its_way.map_or(0, |way| way.bytes);
        Stuck {
            side,
            why,
            waiting: self.unread + self.held + written,
        }
    }
}

// === impl OnItsWay ===

impl OnItsWay {
    /// Whether the receiver leaves no room, and says so still.
    fn is_shut_out(&self, still: Duration) -> bool {
        if self.in_flight == 0 {
            // Nothing is under way and nothing is sent: there is no room for the next segment.
            self.unsent > 0 && self.unanswered_probes < SILENT
        } else {
            // What was sent found no room any more; its retransmissions are answered, and take the place of probes.
            self.window == Some(0) && self.last_acknowledgement < still
        }
    }
}

// === impl Why ===

impl Why {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Why::PeerWindowShut => "peer window shut",
            Why::Unacknowledged => "unacknowledged",
            Why::Pipe => "pipe",
        }
    }
}

#[cfg(test)]
mod tests;
