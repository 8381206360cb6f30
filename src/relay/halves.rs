//! Our own engine: the two directions of a session, polled by one future.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::Interest;

use super::half::{Half, HalfError};
use super::leg::Leg;
use super::legs::{Close, Legs, Party, broken};
use super::sessions::{Flow, Session};
use super::worker::{Resources, Worker};
use crate::metrics::{Direction, ListenerId};

/// The two directions of a session.
pub struct Halves {
    client_to_server: Half,
    server_to_client: Half,
    first: Option<Party>,
}

// === impl Halves ===

impl Halves {
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
    /// before is handed over to the other.
    pub async fn relay(mut self, worker: &Worker, session: &Session) -> Close {
        let legs = &*session.legs;
        let close = self.run(worker, session).await;
        if let Close::Broken { by, error } = &close {
            let rest = self.rest(worker, legs, *by, error.kind());
            let told_to_end = session.told_to_end(&worker.abort);
            let close_timeout = session.settings.close_timeout;
            Box::pin(legs.hand_over(by.other(), rest, told_to_end, close_timeout)).await;
        }
        self.abandon(&mut worker.resources.borrow_mut());
        close
    }

    async fn run(&mut self, worker: &Worker, session: &Session) -> Close {
        let legs = &*session.legs;
        let close_timeout = session.settings.close_timeout;
        let mut downstream_broken = pin!(legs.downstream.ready(Interest::ERROR));
        let mut upstream_broken = pin!(legs.upstream.ready(Interest::ERROR));
        let mut told_to_end = pin!(session.told_to_end(&worker.abort));
        let mut overdue = None;
        let mut registered = false;
        poll_fn(|cx| {
            if let Poll::Ready(close) = self.poll(cx, worker, legs) {
                return Poll::Ready(close);
            }
            // A direction that does not read would not notice that its sender has reset; these do.
            if !self.client_to_server.reads() && downstream_broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(broken(Party::Client, &legs.downstream));
            }
            if !self.server_to_client.reads() && upstream_broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(broken(Party::Server, &legs.upstream));
            }
            // Made when one stream has ended: most sessions never need its timer.
            if let Some(to) = self.still_receives() {
                let overdue =
                    overdue.get_or_insert_with(|| Box::pin(legs.overdue(to, close_timeout)));
                if overdue.as_mut().poll(cx).is_ready() {
                    let error = io::ErrorKind::TimedOut.into();
                    return Poll::Ready(Close::Broken { by: to, error });
                }
            }
            // Once it is registered, its wake-up comes by itself: a look at the flag is enough.
            if (!registered || session.is_told_to_end() || worker.abort.is_set())
                && let Poll::Ready(close) = told_to_end.as_mut().poll(cx)
            {
                return Poll::Ready(close);
            }
            registered = true;
            Poll::Pending
        })
        .await
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
