//! One connection: the state machine around the bounds (`nf_conntrack_tcp_packet` in the kernel).

use std::time::Duration;

use super::state::{Next, next};
use super::window::{self, Last, Offer, Outcome};
use super::{
    Bound, By, Ignored, Invalid, Kernel, Kind, Measured, Moment, Passed, Segment, Settings, Side,
    State, Verdict, Way,
};

/// A connection that has less than this to live is not shortened.
const SHORT: Duration = Duration::from_secs(120);

/// One connection, as the tracker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    sides: [Side; 2],
    state: State,
    last: Last,
    /// Whether packets went both ways (`IPS_SEEN_REPLY`).
    answered: bool,
    /// Whether it was seen to work (`IPS_ASSURED`).
    assured: bool,
}

/// What a packet does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A verdict, and how long the connection has now.
    Verdict(Verdict, Lease),
    /// The connection is over and the packet begins another between the same two.
    Reopened,
}

/// How long a connection has after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// As long as before.
    Same,
    /// This long from now.
    Until(Duration),
    /// It is forgotten at once.
    Over,
}

/// What the state machine says before the bounds are looked at.
enum Before {
    /// Look at them; then this is the state.
    Check(State),
    /// Do not look at them; this is the state.
    Within(State),
    Ignored(Passed),
    Invalid(Bound, Option<Measured>),
    Reopened,
}

// === impl Flow ===

impl Flow {
    /// What is known after a packet of which no connection is known; none if it begins none.
    pub(super) fn open(segment: &Segment, settings: &Settings) -> Option<Self> {
        let sides = match next(Way::Original, segment.kind(), State::None) {
            Next::To(State::SynSent) => [Side::of_syn(segment), Side::default()],
            Next::To(_) if settings.loose => [Side::of_middle(segment), Side::unknown()],
            _ => return None,
        };
        Some(Self {
            sides,
            state: State::None,
            last: Last::default(),
            answered: false,
            assured: false,
        })
    }

    /// Judges a packet. `left` is how long the connection has to live.
    pub(super) fn see(
        &mut self,
        way: Way,
        segment: &Segment,
        left: Duration,
        settings: &Settings,
    ) -> Step {
        let kind = segment.kind();
        let moment = self.moment(way, kind);
        let invalid = |bound, measured| Verdict::Invalid(Invalid::new(bound, measured, moment));
        let ignored = |why, measured| {
            let ignored = Ignored {
                why,
                measured,
                moment,
            };
            Step::Verdict(Verdict::Ignored(ignored), Lease::Same)
        };
        let (from, state, outcome) = match self.before(way, kind, segment, settings) {
            Before::Reopened => return Step::Reopened,
            Before::Ignored(why) => {
                self.answered |= way == Way::Reply;
                return ignored(why, None);
            }
            Before::Invalid(bound, measured) => {
                return Step::Verdict(invalid(bound, measured), Lease::Same);
            }
            Before::Within(state) => (moment.state, state, Outcome::Within),
            Before::Check(state) => {
                let (sides, last) = (&mut self.sides, &mut self.last);
                let outcome = window::check(sides, moment.state, last, way, segment, settings);
                (moment.state, state, outcome)
            }
        };
        let forgiven = match outcome {
            Outcome::Within => None,
            Outcome::Forgiven(bound) => Some(bound),
            Outcome::Ignored(why, measured) => {
                self.answered |= way == Way::Reply;
                return ignored(why, Some(measured));
            }
            Outcome::Invalid(bound, measured) => {
                let lease = self.shortened(way, kind, left, settings);
                return Step::Verdict(invalid(bound, Some(measured)), lease);
            }
        };
        let lease = self.believe(way, kind, from, state, settings);
        self.answered |= way == Way::Reply;
        let verdict = Verdict::Tracked {
            from,
            state,
            forgiven,
        };
        Step::Verdict(verdict, lease)
    }

    /// What is known now, for whoever asks why.
    pub(super) fn moment(&self, way: Way, kind: Kind) -> Moment {
        Moment {
            state: self.state,
            kind,
            way,
            sender: *self.side(way),
            receiver: *self.side(way.other()),
        }
    }

    /// The state, whether it was answered, and whether it was seen to work.
    pub(super) fn standing(&self) -> (State, bool, bool) {
        (self.state, self.answered, self.assured)
    }

    fn side(&self, way: Way) -> &Side {
        &self.sides[way as usize]
    }

    fn side_mut(&mut self, way: Way) -> &mut Side {
        &mut self.sides[way as usize]
    }

    /// Established and seen to work.
    fn runs(&self) -> bool {
        self.state == State::Established && self.assured
    }

    fn before(&mut self, way: Way, kind: Kind, segment: &Segment, settings: &Settings) -> Before {
        match next(way, kind, self.state) {
            Next::Invalid => Before::Invalid(Bound::State, None),
            Next::Ignored => self.ignore(way, kind, segment, settings.kernel),
            Next::To(State::SynSent) if matches!(self.state, State::TimeWait | State::Close) => {
                let closed = self.sides.iter().any(|side| side.closed_first);
                let was_reset = self.last.way == way && self.last.kind == Kind::Rst;
                match closed || was_reset {
                    true => Before::Reopened,
                    false => self.ignore(way, kind, segment, settings.kernel),
                }
            }
            Next::To(State::TimeWait) if self.is_challenged(way, kind) => {
                self.last.challenge = false;
                Before::Ignored(Passed::ChallengeAck)
            }
            Next::To(State::SynSent2) => {
                self.last.simultaneous = true;
                Before::Check(State::SynSent2)
            }
            Next::To(State::SynRecv)
                if way == Way::Reply && kind == Kind::Ack && self.last.simultaneous =>
            {
                Before::Check(State::Established)
            }
            Next::To(State::Close) if kind == Kind::Rst => match settings.kernel {
                Kernel::V5_10 => self.reset_until_6_0(way, segment),
                Kernel::V6_1 | Kernel::V6_12 | Kernel::V6_18 => {
                    self.reset_since_6_1(way, segment, settings)
                }
            },
            Next::To(state) => Before::Check(state),
        }
    }

    /// A SYN in the middle of a connection is answered by an ACK (RFC 5961) that must not be taken for
    /// the acknowledgement of the last FIN.
    fn is_challenged(&self, way: Way, kind: Kind) -> bool {
        self.state == State::LastAck
            && kind == Kind::Ack
            && self.last.way != way
            && self.last.kind == Kind::Syn
            && self.last.challenge
    }

    /// The tracker may be wrong about this connection, and client and server in agreement: what they
    /// say passes, and is noted, so that the answer can be understood.
    fn ignore(&mut self, way: Way, kind: Kind, segment: &Segment, kernel: Kernel) -> Before {
        let answers = kind == Kind::SynAck
            && self.last.kind == Kind::Syn
            && self.last.way != way
            && segment.acknowledgement == self.last.end;
        if answers {
            self.resume(way, kernel);
            return Before::Check(State::SynRecv);
        }
        self.last.kind = kind;
        self.last.way = way;
        self.last.sequence = segment.sequence;
        self.last.end = segment.end();
        self.last.window = segment.window;
        if kind == Kind::Syn && way == Way::Original {
            self.last.offer = Offer {
                scale: segment.options.scale.unwrap_or(0),
                scale_offered: segment.options.scale.is_some(),
                sack_permitted: segment.options.sack_permitted,
            };
            self.last.simultaneous = false;
            self.last.challenge = self.state == State::LastAck;
        }
        // It may be the answer to a SYN in the middle of a connection; a reset that answers it is
        // believed.
        if self.state == State::SynSent && kind == Kind::Ack && way == Way::Reply {
            self.last.acknowledgement = segment.acknowledgement;
        }
        Before::Ignored(Passed::State)
    }

    /// A SYN-ACK answers a SYN that was not believed: both hosts agree, and the tracker follows.
    fn resume(&mut self, way: Way, kernel: Kernel) {
        let Last {
            end, window, offer, ..
        } = self.last;
        *self.side_mut(way.other()) = Side {
            end,
            max_end: end,
            max_window: u32::from(window).max(1),
            scale: offer.scale,
            scale_offered: offer.scale_offered,
            sack_permitted: offer.sack_permitted,
            ..Side::default()
        };
        self.side_mut(way).forget(kernel);
        self.last.challenge = false;
    }

    fn reset_since_6_1(&self, way: Way, segment: &Segment, settings: &Settings) -> Before {
        // The same two may be about to connect again: old numbers say nothing.
        if self.state.ends() {
            return Before::Within(State::Close);
        }
        let mut state = State::Close;
        if self.last.kind != Kind::Syn
            && let Some(max_ack) = self.side(way.other()).max_ack
        {
            let seq = segment.sequence;
            if seq == 0 && !self.runs() {
                return Before::Check(state);
            }
            if window::before(seq, max_ack) && !settings.ignore_invalid_rst {
                return Before::Invalid(Bound::Reset, Some(reset_under(seq, max_ack)));
            }
            if !self.runs() || seq == max_ack || self.follows(way, seq) {
                return Before::Check(state);
            }
            // It is not exact: its receiver may answer by an ACK, and the connection goes on.
            state = self.state;
        }
        let refuses_syn = self.answered && self.last.kind == Kind::Syn && self.last.way != way;
        if (refuses_syn || self.is_half_open()) && segment.acknowledgement == self.last.end {
            return Before::Within(state);
        }
        let answers_challenge = self.state == State::SynSent
            && self.last.kind == Kind::Ack
            && self.last.way == Way::Reply
            && segment.sequence == self.last.acknowledgement;
        match answers_challenge {
            true => Before::Within(state),
            false => Before::Check(state),
        }
    }

    fn reset_until_6_0(&self, way: Way, segment: &Segment) -> Before {
        let mut state = State::Close;
        if let Some(max_ack) = self.side(way.other()).max_ack {
            let seq = segment.sequence;
            if window::before(seq, max_ack) {
                return Before::Invalid(Bound::Reset, Some(reset_under(seq, max_ack)));
            }
            if !self.runs() || seq == max_ack || self.follows(way, seq) {
                return Before::Check(state);
            }
            state = self.state;
        }
        let refuses_syn = self.answered && self.last.kind == Kind::Syn;
        match (refuses_syn || self.is_half_open()) && segment.acknowledgement == self.last.end {
            true => Before::Within(state),
            false => Before::Check(state),
        }
    }

    /// Whether a reset follows at once on what the same side sent last.
    fn follows(&self, way: Way, sequence: u32) -> bool {
        self.last.kind == Kind::Ack && self.last.way == way && sequence == self.last.end
    }

    /// Whether all that was seen may have been one half of a handshake.
    fn is_half_open(&self) -> bool {
        !self.assured && self.last.kind == Kind::Ack
    }

    /// What a believed packet changes. Whether the connection was answered is what it was before it.
    fn believe(
        &mut self,
        way: Way,
        kind: Kind,
        from: State,
        state: State,
        settings: &Settings,
    ) -> Lease {
        self.last.kind = kind;
        self.last.way = way;
        self.state = state;
        if from != state && state == State::FinWait {
            self.side_mut(way).closed_first = true;
        }
        let time = self.time(kind, settings);
        let established = state == State::Established;
        if !self.answered {
            return match kind {
                Kind::Rst => Lease::Over,
                // Else a port used again and again would keep an entry alive for ever.
                Kind::Syn if from == State::SynSent && settings.kernel > Kernel::V5_10 => {
                    Lease::Same
                }
                _ if established => Lease::Until(time.min(settings.timeouts.unacknowledged)),
                _ => Lease::Until(time),
            };
        }
        if established && matches!(from, State::SynRecv | State::Established) {
            self.assured = true;
        }
        Lease::Until(time)
    }

    /// How long the connection has after a believed packet.
    fn time(&self, kind: Kind, settings: &Settings) -> Duration {
        let timeouts = &settings.timeouts;
        let time = timeouts.of(self.state);
        let unacknowledged = self.sides.iter().any(|side| side.unacknowledged);
        if self.last.repeated >= settings.max_retrans && time > timeouts.retrans {
            return timeouts.retrans;
        }
        if kind == Kind::Rst {
            match settings.kernel {
                Kernel::V5_10 | Kernel::V6_1 | Kernel::V6_18 => return timeouts.close,
                Kernel::V6_12 if self.state == State::Established => {
                    return time.min(timeouts.unacknowledged);
                }
                Kernel::V6_12 => {}
            }
        }
        if unacknowledged && time > timeouts.unacknowledged {
            return timeouts.unacknowledged;
        }
        if self.last.window == 0 {
            return time.min(timeouts.retrans);
        }
        time
    }

    /// A FIN or RST that is INVALID hints that the connection is over: if both sides sent one, it is
    /// remembered for a shorter time (since Linux 6.1).
    fn shortened(&mut self, way: Way, kind: Kind, left: Duration, settings: &Settings) -> Lease {
        let ends = |kind| matches!(kind, Kind::Fin | Kind::Rst);
        if settings.kernel == Kernel::V5_10 || !self.assured || !ends(kind) {
            return Lease::Same;
        }
        if self.last.way == way || !ends(self.last.kind) {
            self.last.kind = kind;
            self.last.way = way;
            return Lease::Same;
        }
        let time = settings.timeouts.unacknowledged;
        match left >= SHORT && left > time {
            true => Lease::Until(time),
            false => Lease::Same,
        }
    }
}

fn reset_under(seq: u32, max_ack: u32) -> Measured {
    Measured {
        by: By::Seq,
        seen: seq,
        allowed: max_ack,
        out_by: max_ack.wrapping_sub(seq),
    }
}
