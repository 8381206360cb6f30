//! Our own engine: the two directions of a session, polled by one future.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::Interest;

use super::flow::Flow;
use super::half::{Half, HalfError};
use super::leg::Leg;
use super::legs::{Close, Legs, Party, broken};
use super::parcel::{Note, NotedHalf, NotedHeld};
use super::pipes::{Pipe, PipePool};
use super::sessions::Session;
use super::worker::{Resources, Worker};
use crate::metrics::{Direction, ListenerId};

/// The two directions of a session.
#[derive(Debug)]
pub struct Halves {
    client_to_server: Half,
    server_to_client: Half,
    first: Option<Party>,
}

/// What another process needs to go on with both.
pub struct Noted<'a> {
    /// Whose end of the stream came first, if one has come.
    pub client_ended_first: Option<bool>,
    /// From the client to the server.
    pub client_to_server: NotedHalf,
    /// From the server to the client.
    pub server_to_client: NotedHalf,
    /// The pipes that they hold, in this order.
    pub pipes: [Option<&'a Pipe>; 2],
}

// === impl Halves ===

impl Halves {
    /// Both of a session before its first byte.
    pub fn of(session: &Session) -> Self {
        Self::new(session.id, session.began.into_std(), session.flows())
    }

    /// Both of a session that was accepted for this listener at this time, before their first byte; each counts in
    /// its flow.
    pub fn new(
        listener: ListenerId,
        accepted: Instant,
        [client_to_server, server_to_client]: [Rc<Flow>; 2],
    ) -> Self {
        let half = |direction, flow| Half::new(listener, direction, flow, accepted);
        Self {
            client_to_server: half(Direction::ClientToServer, client_to_server),
            server_to_client: half(Direction::ServerToClient, server_to_client),
            first: None,
        }
    }

    /// Moves bytes both ways until both ends were passed on, or one leg breaks; then what its peer had sent
    /// before is handed over to the other. `None` if they were told to stand still, and do.
    pub async fn relay(&mut self, worker: &Worker, session: &Session) -> Option<Close> {
        let legs = &*session.legs;
        let close = self.run(worker, session).await?;
        if let Close::Broken { by, error } = &close {
            let rest = self.rest(worker, legs, *by, error.kind());
            let told_to_end = session.told_to_end(&worker.word);
            let close_timeout = session.settings.close_timeout;
            Box::pin(legs.hand_over(by.other(), rest, told_to_end, close_timeout)).await;
        }
        self.abandon(&mut worker.resources.borrow_mut());
        Some(close)
    }

    /// Both, as another process has left them.
    ///
    /// # Errors
    /// If what one holds is not what was noted.
    pub fn carried_on(
        (listener, accepted): (ListenerId, Instant),
        [there, back]: [Rc<Flow>; 2],
        note: Note,
        pipes: impl IntoIterator<Item = OwnedFd>,
        pool: &mut PipePool,
    ) -> io::Result<Self> {
        let mut ends = pipes.into_iter();
        let mut half = |direction, flow, noted: NotedHalf| {
            let pipe = match noted.held {
                NotedHeld::Pipe(_) => ends.next().zip(ends.next()).map(<[OwnedFd; 2]>::from),
                NotedHeld::Nothing | NotedHeld::Bytes(_) => None,
            };
            Half::carried_on((listener, direction), (flow, accepted), noted, pipe, pool)
        };
        Ok(Self {
            client_to_server: half(Direction::ClientToServer, there, note.client_to_server)?,
            server_to_client: half(Direction::ServerToClient, back, note.server_to_client)?,
            first: note.client_ended_first.map(|client| match client {
                true => Party::Client,
                false => Party::Server,
            }),
        })
    }

    /// What another process needs to go on.
    pub fn note<'a>(&'a self, pipes: &'a PipePool) -> Noted<'a> {
        let (client_to_server, there) = self.client_to_server.note(pipes);
        let (server_to_client, back) = self.server_to_client.note(pipes);
        Noted {
            client_ended_first: self.first.map(|party| party == Party::Client),
            client_to_server,
            server_to_client,
            pipes: [there, back],
        }
    }

    async fn run(&mut self, worker: &Worker, session: &Session) -> Option<Close> {
        let _relaying = worker.still.relaying();
        let legs = &*session.legs;
        let close_timeout = session.settings.close_timeout;
        let mut downstream_broken = pin!(legs.downstream.ready(Interest::ERROR));
        let mut upstream_broken = pin!(legs.upstream.ready(Interest::ERROR));
        let mut told_to_end = pin!(session.told_to_end(&worker.word));
        let mut overdue = None;
        let mut heard = None;
        let close = poll_fn(|cx| {
            let said = worker.word.last();
            if said.is_stand_still() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(close) = self.poll(cx, worker, legs) {
                return Poll::Ready(Some(close));
            }
            // A direction that does not read would not notice that its sender has reset; these do.
            if !self.client_to_server.reads() && downstream_broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(broken(Party::Client, &legs.downstream)));
            }
            if !self.server_to_client.reads() && upstream_broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(broken(Party::Server, &legs.upstream)));
            }
            // Made when one stream has ended: most sessions never need its timer.
            if let Some(to) = self.still_receives() {
                let overdue =
                    overdue.get_or_insert_with(|| Box::pin(legs.overdue(to, close_timeout)));
                if overdue.as_mut().poll(cx).is_ready() {
                    let error = io::ErrorKind::TimedOut.into();
                    return Poll::Ready(Some(Close::Broken { by: to, error }));
                }
            }
            // Once it is registered, its wake-up comes by itself: a look at the flag is enough. Any word is such a
            // wake-up, and after it there is none.
            if (heard.replace(said) != Some(said) || session.is_told_to_end())
                && let Poll::Ready(close) = told_to_end.as_mut().poll(cx)
            {
                return Poll::Ready(Some(close));
            }
            Poll::Pending
        })
        .await;
        if close.is_none() {
            self.client_to_server.pause();
            self.server_to_client.pause();
        }
        close
    }

    /// Who is the receiver of the only stream that has not ended, if there is only one.
    fn still_receives(&self) -> Option<Party> {
        match (
            self.client_to_server.is_done(),
            self.server_to_client.is_done(),
        ) {
            (true, false) => Some(Party::Client),
            (false, true) => Some(Party::Server),
            _ => None,
        }
    }

    /// Passes on what a party had sent before its leg broke.
    async fn rest(&mut self, worker: &Worker, legs: &Legs, by: Party, how: io::ErrorKind) {
        let Some(half) = self.left_by(by, how) else {
            return;
        };
        let (from, to) = (legs.leg(by), legs.leg(by.other()));
        // Whatever breaks now, nobody is left to be told.
        let _ = poll_fn(|cx| half.poll(cx, from, to, &mut worker.resources.borrow_mut())).await;
    }

    /// Gives back what both hold.
    fn abandon(&mut self, resources: &mut Resources) {
        self.client_to_server.abandon(resources);
        self.server_to_client.abandon(resources);
    }

    /// The direction in which bytes may be left of a party whose leg broke, if it has not ended.
    fn left_by(&mut self, by: Party, how: io::ErrorKind) -> Option<&mut Half> {
        let half = match by {
            Party::Server => &mut self.server_to_client,
            Party::Client | Party::Relay => &mut self.client_to_server,
        };
        // To the kernel a reset after the peer's FIN is a broken pipe: that end was one.
        if how != io::ErrorKind::BrokenPipe {
            half.sever();
        }
        (!half.is_done()).then_some(half)
    }

    fn poll(&mut self, cx: &mut Context, worker: &Worker, legs: &Legs) -> Poll<Close> {
        let resources = &mut *worker.resources.borrow_mut();
        if let Some(wake) = &mut resources.wake {
            wake.turn();
        }
        self.advance(cx, &legs.downstream, &legs.upstream, resources)
    }

    /// Moves bytes both ways until there is nothing to do but wait.
    fn advance(
        &mut self,
        cx: &mut Context,
        downstream: &impl Leg,
        upstream: &impl Leg,
        resources: &mut Resources,
    ) -> Poll<Close> {
        if !self.client_to_server.is_done()
            && let Poll::Ready(Err(error)) = self
                .client_to_server
                .poll(cx, downstream, upstream, resources)
        {
            return Poll::Ready(error.into_close(Party::Client, Party::Server));
        }
        if self.client_to_server.saw_end() {
            self.first.get_or_insert(Party::Client);
        }
        if !self.server_to_client.is_done()
            && let Poll::Ready(Err(error)) = self
                .server_to_client
                .poll(cx, upstream, downstream, resources)
        {
            return Poll::Ready(error.into_close(Party::Server, Party::Client));
        }
        if self.server_to_client.saw_end() {
            self.first.get_or_insert(Party::Server);
        }
        if self.client_to_server.is_done() && self.server_to_client.is_done() {
            let first = self.first.unwrap_or(Party::Relay);
            return Poll::Ready(Close::Orderly { first });
        }
        Poll::Pending
    }
}

impl HalfError {
    fn into_close(self, reader: Party, writer: Party) -> Close {
        match self {
            HalfError::Read(error) => Close::Broken { by: reader, error },
            HalfError::Write(error) => Close::Broken { by: writer, error },
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
