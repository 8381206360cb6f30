//! The four bounds: how far a side may send, and what it may acknowledge.
//!
//! The rules are those of `tcp_in_window` in `nf_conntrack_proto_tcp.c`. Since Linux 6.1 three of them let
//! a packet pass that is a little out; up to 6.0 each makes it INVALID.

use super::{Bound, By, Kernel, Kind, Measured, Passed, Segment, Settings, Side, State, Way};
use crate::packet::Flags;

/// An ACK may be late by this much at least, however small the windows (`MAXACKWINCONST`).
const LATE: u32 = 66_000;

/// What the bounds say of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Within all of them.
    Within,
    /// Out of this one, and let pass because the tracker is liberal.
    Forgiven(Bound),
    /// Out of one, and let pass without being believed.
    Ignored(Passed, Measured),
    /// INVALID.
    Invalid(Bound, Measured),
}

/// What is remembered of the last segments, beside the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Last {
    pub way: Way,
    pub kind: Kind,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub end: u32,
    pub window: u16,
    /// Equal ACKs in a row.
    pub repeated: u8,
    /// What a SYN offered that was let pass without being believed.
    pub offer: Offer,
    /// Whether both sides have sent a SYN.
    pub simultaneous: bool,
    /// Whether such a SYN may be answered by an ACK that acknowledges nothing.
    pub challenge: bool,
}

/// What a SYN offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offer {
    pub scale: u8,
    pub scale_offered: bool,
    pub sack_permitted: bool,
}

/// The numbers of a segment, after what is corrected in them.
struct Numbers {
    seq: u32,
    end: u32,
    ack: u32,
    /// The highest number acknowledged, in the header or by SACK.
    sack: u32,
    by: By,
}

/// `a + b`, as sequence numbers add.
pub(super) fn add(a: u32, b: u32) -> u32 {
    a.wrapping_add(b)
}

/// `a - b`, as sequence numbers subtract.
pub(super) fn sub(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b)
}

/// Whether `a` comes before `b`.
pub(super) fn before(a: u32, b: u32) -> bool {
    (sub(a, b) as i32) < 0
}

/// Whether `a` comes after `b`.
pub(super) fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// Checks a segment, and remembers what it says unless it is out.
pub(super) fn check(
    sides: &mut [Side; 2],
    state: State,
    last: &mut Last,
    way: Way,
    segment: &Segment,
    settings: &Settings,
) -> Outcome {
    let kernel = settings.kernel;
    let [original, reply] = sides;
    let (sender, receiver) = match way {
        Way::Original => (original, reply),
        Way::Reply => (reply, original),
    };
    let mut numbers = Numbers::of(segment, receiver);
    if begins(segment, &numbers, state, way, sender, receiver, kernel) {
        return Outcome::Within;
    }
    numbers.correct(segment, state, sender, receiver);

    let out = match kernel {
        Kernel::V5_10 => out_until_6_0(&numbers, sender, receiver),
        Kernel::V6_1 | Kernel::V6_12 | Kernel::V6_18 => out_since_6_1(&numbers, sender, receiver),
    };
    if let Some(out) = out {
        let liberal = sender.liberal || settings.be_liberal;
        return match out {
            Outcome::Invalid(bound, _) if liberal => Outcome::Forgiven(bound),
            Outcome::Ignored(passed, _) if liberal => Outcome::Forgiven(bound_of(passed)),
            out => out,
        };
    }
    learn(&numbers, segment, sender, receiver);
    if segment.kind() == Kind::Ack {
        last.note_ack(way, &numbers, segment.window);
    }
    Outcome::Within
}

/// Sets up a side that was not heard before, or begins it anew. `true` if that is all there is to do.
fn begins(
    segment: &Segment,
    numbers: &Numbers,
    state: State,
    way: Way,
    sender: &mut Side,
    receiver: &mut Side,
    kernel: Kernel,
) -> bool {
    let syn = segment.flags.has(Flags::SYN);
    let acks = segment.flags.has(Flags::ACK);
    if sender.max_window == 0 && syn {
        sender.restart(segment, kernel);
        if way == Way::Reply || kernel == Kernel::V5_10 {
            settle_scale(sender, receiver);
        }
        return !acks;
    }
    if sender.max_window == 0 {
        let window = u32::from(segment.window) << sender.scale;
        sender.end = numbers.end;
        sender.max_window = window.max(1);
        sender.max_end = add(numbers.end, sender.max_window);
        if receiver.max_window == 0 {
            receiver.end = numbers.sack;
            receiver.max_end = numbers.sack;
        } else if numbers.sack == add(receiver.end, 1) {
            // The answer to a probe that asks whether anybody is there.
            receiver.end = numbers.sack;
        }
        return false;
    }
    if !after(numbers.end, sender.end) {
        return false;
    }
    if kernel == Kernel::V5_10 {
        // Whatever the segment is; and scales are not settled again.
        let anew = match way {
            Way::Original => state == State::SynSent,
            Way::Reply => state == State::SynRecv,
        };
        if anew {
            sender.restart(segment, kernel);
        }
        return false;
    }
    if !syn || !matches!(state, State::SynSent | State::SynRecv) {
        return false;
    }
    sender.restart(segment, kernel);
    if way == Way::Reply {
        settle_scale(sender, receiver);
    }
    way == Way::Reply && !acks
}

/// Windows are scaled only if both sides have offered to (RFC 7323).
fn settle_scale(sender: &mut Side, receiver: &mut Side) {
    if !(sender.scale_offered && receiver.scale_offered) {
        sender.scale = 0;
        receiver.scale = 0;
    }
}

fn out_since_6_1(numbers: &Numbers, sender: &mut Side, receiver: &Side) -> Option<Outcome> {
    if after(numbers.seq, sender.max_end) {
        let measured = seq_over(numbers, sender);
        let overshot = add(sub(numbers.end, sender.max_end), 1);
        let little = receiver.max_window != 0
            && overshot <= receiver.max_window
            && !seq_is_under(numbers, sender, receiver)
            && !ack_is_under(numbers, sender, receiver)
            && !ack_is_over(numbers, receiver);
        if !little {
            return Some(Outcome::Invalid(Bound::SeqOverWindow, measured));
        }
        // Should rules let it pass, its ACK must not be out as well.
        sender.end = numbers.end;
        sender.unacknowledged = true;
        let measured = Measured {
            by: By::End,
            seen: numbers.end,
            allowed: sender.max_end,
            out_by: sub(numbers.end, sender.max_end),
        };
        return Some(Outcome::Ignored(Passed::Overshot, measured));
    }
    if ack_is_over(numbers, receiver) {
        return Some(Outcome::Invalid(
            Bound::AckOverSeen,
            ack_over(numbers, receiver),
        ));
    }
    if seq_is_under(numbers, sender, receiver) {
        let measured = seq_under(numbers, sender, receiver);
        return Some(Outcome::Ignored(Passed::SeqUnderWindow, measured));
    }
    if ack_is_under(numbers, sender, receiver) {
        let measured = ack_under(numbers, sender, receiver);
        return Some(Outcome::Ignored(Passed::AckUnderWindow, measured));
    }
    None
}

fn out_until_6_0(numbers: &Numbers, sender: &Side, receiver: &Side) -> Option<Outcome> {
    let (bound, measured) = if after(numbers.seq, sender.max_end) {
        (Bound::SeqOverWindow, seq_over(numbers, sender))
    } else if seq_is_under(numbers, sender, receiver) {
        let measured = seq_under(numbers, sender, receiver);
        (Bound::SeqUnderWindow, measured)
    } else if ack_is_over(numbers, receiver) {
        (Bound::AckOverSeen, ack_over(numbers, receiver))
    } else if ack_is_under(numbers, sender, receiver) {
        let measured = ack_under(numbers, sender, receiver);
        (Bound::AckUnderWindow, measured)
    } else {
        return None;
    };
    Some(Outcome::Invalid(bound, measured))
}

/// What the two sides learn from a segment that is within the bounds.
fn learn(numbers: &Numbers, segment: &Segment, sender: &mut Side, receiver: &mut Side) {
    let mut window = u32::from(segment.window);
    if !segment.flags.has(Flags::SYN) {
        window <<= sender.scale;
    }
    // Bytes acknowledged by SACK lie within the window, too.
    let reach = add(window, sub(numbers.sack, numbers.ack));
    sender.max_window = sender.max_window.max(reach);
    if after(numbers.end, sender.end) {
        sender.end = numbers.end;
        sender.unacknowledged = true;
    }
    if segment.flags.has(Flags::ACK) && sender.max_ack.is_none_or(|max| after(numbers.ack, max)) {
        sender.max_ack = Some(numbers.ack);
    }
    if receiver.max_window != 0 && after(numbers.end, sender.max_end) {
        receiver.max_window = add(receiver.max_window, sub(numbers.end, sender.max_end));
    }
    let opened = add(numbers.sack, window);
    if after(opened, sub(receiver.max_end, 1)) {
        // A shut window may be probed with one byte.
        receiver.max_end = add(opened, u32::from(window == 0));
    }
    if numbers.ack == receiver.end {
        receiver.unacknowledged = false;
    }
}

fn seq_is_under(numbers: &Numbers, sender: &Side, receiver: &Side) -> bool {
    let lowest = sub(sender.end, receiver.max_window);
    receiver.max_window != 0 && !after(numbers.end, sub(lowest, 1))
}

fn ack_is_over(numbers: &Numbers, receiver: &Side) -> bool {
    !before(numbers.sack, add(receiver.end, 1))
}

fn ack_is_under(numbers: &Numbers, sender: &Side, receiver: &Side) -> bool {
    !after(numbers.sack, sub(latest_ack(sender, receiver), 1))
}

/// The lowest acknowledgement that is not too late.
fn latest_ack(sender: &Side, receiver: &Side) -> u32 {
    sub(receiver.end, sender.max_window.max(LATE))
}

fn seq_over(numbers: &Numbers, sender: &Side) -> Measured {
    Measured {
        by: By::Seq,
        seen: numbers.seq,
        allowed: sender.max_end,
        out_by: sub(numbers.seq, sender.max_end),
    }
}

fn ack_over(numbers: &Numbers, receiver: &Side) -> Measured {
    Measured {
        by: numbers.by,
        seen: numbers.sack,
        allowed: receiver.end,
        out_by: sub(numbers.sack, receiver.end),
    }
}

fn seq_under(numbers: &Numbers, sender: &Side, receiver: &Side) -> Measured {
    let allowed = sub(sender.end, receiver.max_window);
    Measured {
        by: By::End,
        seen: numbers.end,
        allowed,
        out_by: sub(allowed, numbers.end),
    }
}

fn ack_under(numbers: &Numbers, sender: &Side, receiver: &Side) -> Measured {
    let allowed = latest_ack(sender, receiver);
    Measured {
        by: numbers.by,
        seen: numbers.sack,
        allowed,
        out_by: sub(allowed, numbers.sack),
    }
}

/// The bound that a packet has broken which is let pass.
fn bound_of(passed: Passed) -> Bound {
    match passed {
        Passed::SeqUnderWindow => Bound::SeqUnderWindow,
        Passed::AckUnderWindow => Bound::AckUnderWindow,
        Passed::Overshot => Bound::SeqOverWindow,
        Passed::State | Passed::ChallengeAck => Bound::State,
    }
}

// === impl Numbers ===

impl Numbers {
    fn of(segment: &Segment, receiver: &Side) -> Self {
        let ack = segment.acknowledgement;
        let (sack, by) = match segment.options.sack {
            Some(block) if receiver.sack_permitted => (block.right, By::Sack(block)),
            _ => (ack, By::Ack),
        };
        Self {
            seq: segment.sequence,
            end: segment.end(),
            ack,
            sack,
            by,
        }
    }

    /// A segment without ACK acknowledges nothing wrong, nor does a reset with 0; and a reset with 0 as
    /// its sequence number is right as the answer to a SYN.
    fn correct(&mut self, segment: &Segment, state: State, sender: &Side, receiver: &Side) {
        let reset = segment.flags.has(Flags::RST);
        if !segment.flags.has(Flags::ACK) || (reset && self.ack == 0) {
            self.ack = receiver.end;
            self.sack = receiver.end;
            self.by = By::Ack;
        }
        if reset && self.seq == 0 && state == State::SynSent {
            self.seq = sender.end;
            self.end = sender.end;
        }
    }
}

// === impl Last ===

impl Last {
    fn note_ack(&mut self, way: Way, numbers: &Numbers, window: u16) {
        let same = self.way == way
            && self.sequence == numbers.seq
            && self.acknowledgement == numbers.ack
            && self.end == numbers.end
            && self.window == window;
        if same {
            self.repeated = self.repeated.wrapping_add(1);
            return;
        }
        self.way = way;
        self.sequence = numbers.seq;
        self.acknowledgement = numbers.ack;
        self.end = numbers.end;
        self.window = window;
        self.repeated = 0;
    }
}
