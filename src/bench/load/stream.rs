//! A connection that carries bytes as fast as they go.

use std::cmp::Ordering;

use super::connection::{Connection, Received, closed_early};
use super::link::{Greet, Link};
use super::worker::{Context, Next};
use crate::bench::failure::{Failure, Kind};
use crate::bench::tally::Tally;
use crate::bench::work::{Direction, Peer};

/// How often a stream sends or receives before others have their turn.
const TURN: usize = 4;

/// One of the connections.
#[derive(Debug)]
pub(super) struct Stream {
    link: Link,
    state: State,
    /// Payload received that no interval has been told of.
    down: u64,
    /// The same of payload that was acknowledged on connections that have failed.
    up: u64,
    /// How much of what is acknowledged on the present connection is in a tally, or was before the measurement.
    told: u64,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes flow.
    Flowing,
    /// Our end has said that it sends no more.
    Finishing,
    /// All is said.
    Over,
}

/// Whether a call can follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Perhaps,
    No,
}

// === impl Stream ===

impl Stream {
    pub fn new(link: Link) -> Self {
        Self {
            link,
            state: State::Flowing,
            down: 0,
            up: 0,
            told: 0,
        }
    }

    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Before the run: makes the connection.
    pub fn prepare(&mut self, cx: &mut Context) -> Result<Next, Failure> {
        Ok(self.link.raise(cx, Greet::First)?.unwrap_or(Next::Ready))
    }

    /// Goes on as far as it can, or until others should have their turn.
    pub fn advance(&mut self, cx: &mut Context) -> Next {
        loop {
            let step = match self.state {
                State::Flowing if cx.is_stopped() => self.finish(cx),
                State::Flowing => self.flow(cx).map(Some),
                State::Finishing => self.see_the_end(cx),
                State::Over => return Next::Over,
            };
            match step {
                Ok(None) => {}
                Ok(Some(next)) => return next,
                Err(failure) => {
                    self.up += self.newly_acknowledged();
                    self.told = 0;
                    self.link.fail(cx, failure);
                    if self.state == State::Finishing {
                        self.state = State::Over;
                    }
                }
            }
        }
    }

    fn flow(&mut self, cx: &mut Context) -> Result<Next, Failure> {
        if let Some(next) = self.link.raise(cx, Greet::First)? {
            return Ok(next);
        }
        let direction = cx.load.direction;
        let connection = self.link.up().expect("the link is up");
        let mut more = More::No;
        for _ in 0..TURN {
            more = More::No;
            if direction.up() && connection.send(u64::MAX, cx.block)? > 0 {
                more = More::Perhaps;
            }
            // What nobody should send may be the end, or a reset.
            let is_told = direction.down() || more == More::No;
            if is_told && receive(connection, cx, &mut self.down)? == More::Perhaps {
                more = More::Perhaps;
            }
            if more == More::No {
                break;
            }
        }
        Ok(match more {
            More::No if !cx.lone => Next::Wait,
            _ => {
                cx.look();
                Next::Again
            }
        })
    }

    /// Says that no more is sent.
    fn finish(&mut self, cx: &mut Context) -> Result<Option<Next>, Failure> {
        self.state = State::Over;
        if let Some(connection) = self.link.up() {
            connection.finish()?;
            if cx.load.peer == Peer::Serve {
                self.state = State::Finishing;
            }
        }
        Ok(None)
    }

    /// A stream is over when the server has said what it had of it, and no more.
    fn see_the_end(&mut self, cx: &mut Context) -> Result<Option<Next>, Failure> {
        let connection = self.link.up().expect("a stream that finishes is up");
        let seen = see_end(connection, cx)?;
        if !seen && cx.look() < cx.clock().give_up {
            return Ok(Some(match cx.lone {
                true => Next::Again,
                false => Next::Wait,
            }));
        }
        match seen {
            true => expect_whole(connection)?,
            false => {
                let what = "the server did not say that it has received everything";
                return Err(Failure::new(Kind::Unanswered, what));
            }
        }
        self.state = State::Over;
        Ok(None)
    }

    /// An interval begins, and the one before it is told unless this is the first.
    pub fn mark(&mut self, tally: Option<&mut Tally>) {
        let newly = self.newly_acknowledged();
        self.told += newly;
        let up = newly + std::mem::take(&mut self.up);
        let down = std::mem::take(&mut self.down);
        if let Some(tally) = tally {
            tally.up += up;
            tally.down += down;
            self.link.sample(tally);
        }
    }

    /// Payload that was acknowledged on the present connection since it was last told.
    fn newly_acknowledged(&mut self) -> u64 {
        let now = self.link.up().and_then(|up| up.acknowledged().ok());
        now.map_or(0, |now| now.saturating_sub(self.told))
    }
}

/// Takes what has arrived.
fn receive(connection: &mut Connection, cx: &mut Context, down: &mut u64) -> Result<More, Failure> {
    match (connection.receive(u64::MAX, cx.block)?, cx.load.direction) {
        (Received::End, _) => Err(closed_early()),
        (Received::All(0), _) => Ok(More::No),
        (Received::All(_) | Received::Some(_), Direction::Upload) => Err(Failure::new(
            Kind::Corrupt,
            "bytes arrived where none should",
        )),
        (Received::All(got), _) => {
            *down += got;
            Ok(More::No)
        }
        (Received::Some(got), _) => {
            *down += got;
            Ok(More::Perhaps)
        }
    }
}

/// Whether the server has closed its side; what it sent until then is compared, if at all, and thrown away.
fn see_end(connection: &mut Connection, cx: &mut Context) -> Result<bool, Failure> {
    loop {
        match connection.receive_rest(cx.block)? {
            Received::End => return Ok(true),
            Received::All(_) => return Ok(false),
            // Who sends on for ever is not listened to for ever.
            Received::Some(_) if cx.look() >= cx.clock().give_up => return Ok(false),
            Received::Some(_) => {}
        }
    }
}

/// Whether each end has received what the other has sent.
fn expect_whole(connection: &Connection) -> Result<(), Failure> {
    let Some(trailer) = connection.trailer() else {
        let what =
            "the other end closed the connection without having said what it received and sent";
        return Err(Failure::new(Kind::ClosedEarly, what));
    };
    let (sent, received) = (connection.sent(), trailer.received);
    expect_same(sent, received, || {
        format!("{sent} bytes were sent, the server received {received}")
    })?;
    let (sent, received) = (trailer.sent, connection.received());
    expect_same(sent, received, || {
        format!("the server sent {sent} bytes, {received} were received")
    })
}

fn expect_same(sent: u64, received: u64, what: impl FnOnce() -> String) -> Result<(), Failure> {
    let kind = match received.cmp(&sent) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => Kind::Short,
        Ordering::Greater => Kind::Corrupt,
    };
    Err(Failure::new(kind, what()))
}
