//! A connection that carries bytes as fast as they go.

use super::connection::{Connection, Received, closed_early};
use super::link::{Greet, Link};
use super::worker::{Context, Next};
use crate::bench::failure::{Failure, Kind};
use crate::bench::hello::TRAILER;
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
    /// What the peer had acknowledged when the last interval was told; none until there was one.
    acknowledged: Option<u64>,
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
            acknowledged: None,
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
                    self.link.fail(cx, failure);
                    self.acknowledged = None;
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

    /// An upload is over when the server says how much it received, other streams when it says no more.
    fn see_the_end(&mut self, cx: &mut Context) -> Result<Option<Next>, Failure> {
        let connection = self.link.up().expect("a stream that finishes is up");
        let seen = match cx.load.direction {
            Direction::Upload => see_count(connection)?,
            _ => see_end(connection, cx)?,
        };
        if !seen && cx.look() < cx.clock().give_up {
            return Ok(Some(match cx.lone {
                true => Next::Again,
                false => Next::Wait,
            }));
        }
        self.state = State::Over;
        match seen {
            true => Ok(None),
            false => Err(Failure::new(
                Kind::Unanswered,
                "the server did not say that it has received everything",
            )),
        }
    }

    /// An interval begins, and the one before it is told unless this is the first.
    pub fn mark(&mut self, tally: Option<&mut Tally>) {
        let Some(info) = self.link.up().and_then(|up| up.info().ok()) else {
            return;
        };
        let now = info.acknowledged;
        let before = self.acknowledged.replace(now).unwrap_or(now);
        let down = std::mem::take(&mut self.down);
        if let Some(tally) = tally {
            tally.up += now.saturating_sub(before);
            tally.down += down;
            self.link.sample(tally);
        }
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

/// Whether the server has said how much it received.
fn see_count(connection: &mut Connection) -> Result<bool, Failure> {
    let Some(count) = connection.receive_trailer::<TRAILER>()? else {
        return Ok(false);
    };
    let (sent, received) = (connection.sent(), u64::from_be_bytes(count));
    if sent == received {
        return Ok(true);
    }
    let what = format!("{sent} bytes were sent, the server received {received}");
    Err(Failure::new(Kind::Short, what))
}

/// Whether the server has said that it sends no more; what it sent until then is thrown away.
fn see_end(connection: &mut Connection, cx: &mut Context) -> Result<bool, Failure> {
    loop {
        match connection.receive(u64::MAX, cx.block)? {
            Received::End => return Ok(true),
            Received::All(_) => return Ok(false),
            Received::Some(_) => {}
        }
    }
}
