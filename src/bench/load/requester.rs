//! A connection that asks and is answered: `rr`, `crr` and `idle`.

use std::time::Instant;

use super::clock::APART;
use super::connection::{Received, closed_early};
use super::link::{Greet, Link};
use super::worker::{Context, Next};
use crate::bench::failure::{Failure, Kind};
use crate::bench::poller::Interest;
use crate::bench::schedule::Schedule;
use crate::bench::work::{Mode, Peer};

/// In `crr` the kernel is asked about one connection of so many.
const SAMPLED: u64 = 64;

/// One of the connections.
#[derive(Debug)]
pub(super) struct Requester {
    link: Link,
    /// When requests are due; none in a closed loop.
    schedule: Option<Schedule>,
    state: State,
}

/// Where it stands.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is under way.
    Resting,
    /// A request is under way.
    Asking(Request),
    /// All is said.
    Over,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// What its latency counts from.
    since: Instant,
    /// Bytes left to send and to receive.
    to_send: u64,
    to_receive: u64,
}

/// When the next request is to be sent.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// Now; latency counts from then.
    Now(Instant),
    /// Later.
    At(Instant),
    /// Never: the time is over.
    Never,
}

// === impl Requester ===

impl Requester {
    pub fn new(link: Link, schedule: Option<Schedule>) -> Self {
        Self {
            link,
            schedule,
            state: State::Resting,
        }
    }

    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Before the run: makes the connection; in `crr` makes one, to see who answers, and closes it.
    pub fn prepare(&mut self, cx: &mut Context) -> Result<Next, Failure> {
        if let Some(next) = self.link.raise(cx, Greet::First)? {
            return Ok(next);
        }
        if self.link.mode() == Mode::Crr {
            self.link.close();
        }
        Ok(Next::Ready)
    }

    /// Goes on as far as it can.
    pub fn advance(&mut self, cx: &mut Context) -> Next {
        loop {
            let step = match self.state {
                State::Resting => self.rest(cx),
                State::Asking(request) => self.ask(cx, request),
                State::Over => return Next::Over,
            };
            match step {
                Ok(None) => {}
                Ok(Some(next)) => return next,
                Err(failure) => {
                    self.link.fail(cx, failure);
                    self.state = match self.link.mode() {
                        // It is asked once; a new connection would not be the one that was idle.
                        Mode::Idle => State::Over,
                        _ => State::Resting,
                    };
                }
            }
        }
    }

    /// Waits until a request is due, on a connection if connections stay.
    fn rest(&mut self, cx: &mut Context) -> Result<Option<Next>, Failure> {
        if self.link.mode() != Mode::Crr
            && !cx.is_stopped()
            && let Some(next) = self.link.raise(cx, Greet::First)?
        {
            return Ok(Some(next));
        }
        // In a closed loop the respite of a connection that failed is nobody's latency.
        if self.schedule.is_none()
            && !cx.is_stopped()
            && let Some(from) = self.link.is_left_until(cx.now)
        {
            return Ok(Some(Next::At(from)));
        }
        match self.due(cx) {
            Due::Now(since) => {
                self.state = State::Asking(Request {
                    since,
                    to_send: cx.load.request.get().into(),
                    to_receive: cx.load.response.get().into(),
                });
                Ok(None)
            }
            Due::At(at) => {
                if let Some(connection) = self.link.up() {
                    // Nothing was asked: only an end or a failure can be there.
                    match connection.receive(1, cx.block)? {
                        Received::End => return Err(closed_early()),
                        Received::All(0) => {}
                        Received::All(_) | Received::Some(_) => {
                            let what = "a response that nobody asked for";
                            return Err(Failure::new(Kind::Corrupt, what));
                        }
                    }
                }
                Ok(Some(Next::At(at)))
            }
            Due::Never => Ok(Some(self.over(cx))),
        }
    }

    /// Sends the request and receives the response, in `crr` on a connection made for it.
    fn ask(&mut self, cx: &mut Context, mut request: Request) -> Result<Option<Next>, Failure> {
        if cx.now >= cx.clock().give_up {
            let what = "no response before the end";
            let failure = Failure::new(Kind::Unanswered, what);
            cx.tally(self.link.mode()).failures.count(failure);
            return Ok(Some(self.over(cx)));
        }
        if let Some(next) = self.link.raise(cx, Greet::Along)? {
            return Ok(Some(next));
        }
        let connection = self.link.up().expect("the link is up");
        let just_asked = request.to_send > 0;
        let is_new = request.to_send == u64::from(cx.load.request.get());
        while request.to_send > 0 {
            match connection.send(request.to_send, cx.block)? {
                0 => break,
                went => request.to_send -= went,
            }
            // A long request to somebody slow must not outlast the run.
            if request.to_send > 0 && cx.look() >= cx.until {
                self.state = State::Asking(request);
                return Ok(Some(Next::Again));
            }
        }
        if just_asked && request.to_send > 0 {
            cx.rewatch(&*connection, Interest::Both)?;
        }
        // An echo begins before the request has ended, and takes no more of it until it is received.
        let may_come = request.to_send == 0 || cx.load.peer == Peer::Bare;
        // What comes after a request that went in one go will be told. After a part of one, the echo of
        // that part may have been told of already.
        let is_early = is_new && request.to_send == 0 && !cx.lone;
        while may_come && !is_early && request.to_receive > 0 {
            match connection.receive(request.to_receive, cx.block)? {
                Received::Some(got) => request.to_receive -= got,
                Received::All(got) => {
                    request.to_receive -= got;
                    break;
                }
                Received::End => return Err(closed_early()),
            }
        }
        if request.to_receive == 0 {
            return Ok(self.answered(cx, request));
        }
        self.state = State::Asking(request);
        Ok(Some(match cx.lone {
            true => Next::Again,
            false => Next::Wait,
        }))
    }

    fn answered(&mut self, cx: &mut Context, request: Request) -> Option<Next> {
        let now = cx.look();
        let clock = cx.clock();
        let mode = self.link.mode();
        let [asked, responded] =
            [cx.load.request, cx.load.response].map(|size| u64::from(size.get()));
        let tally = cx.tally(mode);
        if clock.measures(request.since) {
            tally.latency.record(now.duration_since(request.since));
        }
        // An idle connection is asked after the time is over; that is what it is there for.
        if clock.rates(now) || mode == Mode::Idle {
            tally.operations += 1;
            tally.up += asked;
            tally.down += responded;
        }
        self.state = State::Resting;
        match mode {
            Mode::Crr => {
                if self.link.made().is_multiple_of(SAMPLED) {
                    self.link.sample(tally);
                }
                self.link.close();
            }
            Mode::Idle => return Some(self.over(cx)),
            _ => {}
        }
        // A thread that serves one connection must look at the clock now and then.
        cx.is_wanted_elsewhere().then_some(Next::Again)
    }

    /// When the next request is to be sent.
    fn due(&mut self, cx: &Context) -> Due {
        let clock = cx.clock();
        if self.link.mode() == Mode::Idle {
            let at = clock.stop + APART * self.link.number();
            return match (self.link.up().is_some(), at <= cx.now) {
                (false, _) => Due::Never,
                (true, true) => Due::Now(at),
                (true, false) => Due::At(at),
            };
        }
        let Some(schedule) = &mut self.schedule else {
            return match cx.now < clock.stop {
                true => Due::Now(cx.now),
                false => Due::Never,
            };
        };
        // What is late is sent all the same, for a while.
        match clock.start.checked_add(schedule.due()) {
            Some(at) if at >= clock.stop || cx.now >= clock.last => Due::Never,
            Some(at) if at > cx.now => Due::At(at),
            Some(at) => {
                schedule.advance();
                Due::Now(at)
            }
            None => Due::Never,
        }
    }

    /// The end: what was due and not sent is counted.
    fn over(&mut self, cx: &mut Context) -> Next {
        let clock = cx.clock();
        if let Some(schedule) = &self.schedule {
            let unsent = schedule.unsent(clock.stop.duration_since(clock.start));
            let what = "requests were due and could not be sent in time";
            let failure = Failure::new(Kind::Unsent, what);
            let failures = &mut cx.tally(self.link.mode()).failures;
            failures.count_times(failure, unsent);
        }
        self.state = State::Over;
        Next::Over
    }
}
