//! From nothing to a connection that may be used, and again after a failure.

use std::time::{Duration, Instant};

use super::connection::{Connection, Made, Received, closed_early};
use super::worker::{Context, Next};
use crate::bench::failure::{Failure, Kind};
use crate::bench::hello::Hello;
use crate::bench::poller::Interest;
use crate::bench::tally::Tally;
use crate::bench::work::Mode;

/// How long a connection that failed is left alone before it is made anew.
const RESPITE: Duration = Duration::from_millis(100);

/// When the other end has to answer the hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greet {
    /// Before anything else is sent.
    First,
    /// The hello goes ahead of the payload, and its answer ahead of the response: no round trip is lost.
    Along,
}

/// The connection of one slot of the load.
#[derive(Debug)]
pub(super) struct Link {
    mode: Mode,
    number: u32,
    hello: Option<Hello>,
    state: State,
    /// How many connections it has made.
    made: u64,
    /// Retransmissions of the present one that were told already.
    told: u32,
}

#[derive(Debug)]
enum State {
    /// There is none; one may be made from this time on.
    Down(Option<Instant>),
    /// One is being made since then.
    Connecting(Connection, Instant),
    /// The answer to the hello is awaited since then.
    Greeting(Connection, Instant),
    /// It may be used.
    Up(Connection),
}

// === impl Link ===

impl Link {
    pub fn new(mode: Mode, number: u32, hello: Option<Hello>) -> Self {
        Self {
            mode,
            number,
            hello,
            state: State::Down(None),
            made: 0,
            told: 0,
        }
    }

    /// What its slot does.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its number among all connections of the load.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many connections it has made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// The connection, if it may be used.
    pub fn up(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Up(connection) => Some(connection),
            _ => None,
        }
    }

    /// The other end has sent its last byte, or the connection is broken.
    pub fn see_end(&mut self) {
        if let State::Greeting(connection, _) | State::Up(connection) = &mut self.state {
            connection.see_end();
        }
    }

    /// Whether it waits for the other end, and may wait for too long.
    pub fn is_being_made(&self) -> bool {
        matches!(self.state, State::Connecting(..) | State::Greeting(..))
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.state = State::Down(None);
    }

    /// Closes a connection that failed, counts that, and lets some time go by.
    pub fn fail(&mut self, cx: &mut Context, failure: Failure) {
        self.state = State::Down(Some(cx.now + RESPITE));
        cx.tally(self.mode).failures.count(failure);
    }

    /// Goes on towards a connection that may be used; `None` once there is one.
    pub fn raise(&mut self, cx: &mut Context, greet: Greet) -> Result<Option<Next>, Failure> {
        loop {
            match std::mem::replace(&mut self.state, State::Down(None)) {
                State::Down(Some(from)) if from > cx.now => {
                    self.state = State::Down(Some(from));
                    return Ok(Some(Next::At(from)));
                }
                State::Down(_) => {
                    let connection = self.begin(cx)?;
                    self.state = State::Connecting(connection, cx.now);
                }
                State::Connecting(mut connection, since) => {
                    let made = connection.made()? == Made::Yes;
                    if !made {
                        in_time(cx, since, "no connection")?;
                        self.state = State::Connecting(connection, since);
                        return Ok(Some(Next::Wait));
                    }
                    // Connections that stay are made, and timed, before the run.
                    if cx.clock.is_none_or(|clock| clock.measures(since)) {
                        let took = cx.look().duration_since(since);
                        cx.tally(self.mode).connect.record(took);
                    }
                    self.state = match greet {
                        Greet::First => State::Greeting(connection, cx.now),
                        Greet::Along => State::Up(connection),
                    };
                }
                State::Greeting(mut connection, since) => {
                    if !connection.is_welcome() {
                        connection.send(0, cx.block)?;
                        if connection.receive(0, cx.block)? == Received::End {
                            return Err(closed_early());
                        }
                    }
                    if !connection.is_welcome() {
                        in_time(cx, since, "a connection, but no answer to its hello")?;
                        self.state = State::Greeting(connection, since);
                        return Ok(Some(Next::Wait));
                    }
                    if cx.lone {
                        connection.wait_in_calls()?;
                    }
                    self.state = State::Up(connection);
                }
                State::Up(connection) => {
                    self.state = State::Up(connection);
                    return Ok(None);
                }
            }
        }
    }

    fn begin(&mut self, cx: &mut Context) -> Result<Connection, Failure> {
        let seed = cx.seed(self.number, self.made);
        let hello = self.hello.map(|hello| Hello { seed, ..hello });
        let mut connection = Connection::begin(cx.to, hello, cx.load.payload, seed)?;
        let interest = match connection.made()? {
            Made::Yes if self.mode != Mode::Stream => Interest::Incoming,
            _ => Interest::Both,
        };
        cx.watch(&connection, interest)?;
        self.made += 1;
        self.told = 0;
        Ok(connection)
    }

    /// Until when a connection that failed is left alone, if it is.
    pub fn is_left_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Down(from) => from.filter(|from| *from > now),
            _ => None,
        }
    }

    /// Retransmissions until now are not the measurement's.
    pub fn begin_to_count(&mut self) {
        if let State::Up(connection) = &self.state
            && let Ok(info) = connection.info()
        {
            self.told = info.retransmits;
        }
    }

    /// Notes what the kernel says of the connection, the retransmissions since the last time.
    pub fn sample(&mut self, tally: &mut Tally) {
        if let State::Up(connection) = &self.state
            && let Ok(info) = connection.info()
        {
            tally.rtt.record(info.rtt);
            tally.retransmits += u64::from(info.retransmits.saturating_sub(self.told));
            self.told = info.retransmits;
        }
    }
}

/// Whether what is awaited since then may still come.
fn in_time(cx: &Context, since: Instant, so_far: &str) -> Result<(), Failure> {
    let most = cx.load.connect_timeout;
    if cx.now < since + most {
        return Ok(());
    }
    let what = format!("{so_far} within {}", humantime::format_duration(most));
    Err(Failure::new(Kind::TimedOut, what))
}
