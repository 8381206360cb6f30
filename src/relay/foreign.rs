//! Engines that are not ours: `tokio::io::copy_bidirectional` and the `tokio-splice` crate, under the
//! same watch for broken legs and for the end of a drain.
//!
//! What they lack: the crate opens two pipes (four descriptors) for a session as long as it lives, idle
//! or not, and tells how many bytes it has passed on at its end only, not if a leg breaks; neither records latency
//! or switches between copying and splicing.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::flow::Flow;
use super::leg::{Leg, TcpLeg};
use super::legs::{Close, Party, broken};
use super::sessions::Session;
use super::word::Word;
use crate::config::Engine;

/// Moves bytes both ways until both ends were passed on, or one leg breaks.
pub async fn relay(engine: Engine, word: &Word, session: &Session) -> Close {
    let legs = &*session.legs;
    let first = Cell::new(None);
    let shared = |party: Party| Shared {
        leg: legs.leg(party),
        party,
        reads: session.flow_from(party),
        writes: session.flow_from(party.other()),
        first: &first,
        failed: Cell::new(false),
    };
    let mut downstream = shared(Party::Client);
    let mut upstream = shared(Party::Server);
    let moved = async {
        match engine {
            Engine::TokioSplice => {
                tokio_splice::zero_copy_bidirectional(&mut downstream, &mut upstream).await
            }
            Engine::Copy | Engine::Splice => {
                tokio::io::copy_bidirectional(&mut downstream, &mut upstream).await
            }
        }
    };
    let moved = tokio::select! {
        biased;
        moved = moved => moved,
        _ = legs.downstream.ready(Interest::ERROR) => {
            return broken(Party::Client, &legs.downstream);
        }
        _ = legs.upstream.ready(Interest::ERROR) => {
            return broken(Party::Server, &legs.upstream);
        }
        close = session.told_to_end(word) => return close,
    };
    match moved {
        Ok((client_to_server, server_to_client)) => {
            if !session.counts {
                session.flow_from(Party::Client).came_to(client_to_server);
                session.flow_from(Party::Server).came_to(server_to_client);
            }
            Close::Orderly {
                first: first.get().unwrap_or(Party::Relay),
            }
        }
        Err(error) => {
            let by = match (downstream.failed.get(), upstream.failed.get()) {
                (true, _) => Party::Client,
                (_, true) => Party::Server,
                // Its own pipes.
                _ => Party::Relay,
            };
            Close::Broken { by, error }
        }
    }
}

/// A leg that is lent to an engine which wants it for itself.
struct Shared<'a> {
    leg: &'a TcpLeg,
    /// Who is at the far end of it.
    party: Party,
    /// Counts what is read from it.
    reads: &'a Flow,
    /// Counts what is written to it.
    writes: &'a Flow,
    /// Whose end of the stream was passed on first.
    first: &'a Cell<Option<Party>>,
    failed: Cell<bool>,
}

impl Shared<'_> {
    /// Repeats `attempt` until it does not have to wait.
    fn poll<R>(
        &self,
        cx: &mut Context,
        ready: impl Fn(&TcpLeg, &mut Context) -> Poll<io::Result<()>>,
        mut attempt: impl FnMut(&TcpLeg) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            let result = match ready!(ready(self.leg, cx)) {
                Ok(()) => attempt(self.leg),
                Err(error) => Err(error),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(self.watch(other)),
            }
        }
    }

    fn watch<R>(&self, result: io::Result<R>) -> io::Result<R> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.failed.set(true);
        }
        result
    }
}

impl AsyncRead for Shared<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let read = |leg: &TcpLeg| {
            let read = leg.try_read(buffer.initialize_unfilled())?;
            buffer.advance(read);
            self.reads.has_read(read);
            Ok(())
        };
        self.poll(cx, TcpLeg::poll_readable, read)
    }
}

impl AsyncWrite for Shared<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, TcpLeg::poll_writable, |leg| {
            let written = leg.try_write(bytes)?;
            self.writes.has_passed(written);
            Ok(written)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        if self.first.get().is_none() {
            self.first.set(Some(self.party.other()));
        }
        Poll::Ready(self.leg.finish())
    }
}

impl AsRawFd for Shared<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.leg.as_fd().as_raw_fd()
    }
}

impl tokio_splice::Stream for Shared<'_> {
    fn poll_read_ready_n(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leg.poll_readable(cx)
    }

    fn poll_write_ready_n(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leg.poll_writable(cx)
    }

    fn try_io_n<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.watch(self.leg.try_io(interest, attempt))
    }
}
