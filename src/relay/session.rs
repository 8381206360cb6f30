//! One session: a pair of legs, from accept to the line in the log.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::addr::{ClientAddr, OriginalDst};
use super::dial::{self, DialError, Dialled, SourcePort};
use super::half::{Half, HalfError};
use super::listen::Accepted;
use super::worker::Worker;
use crate::metrics::Direction;
use crate::sys::tcp_info::{TcpInfo, tcp_info, unacknowledged};

/// The two legs of a session.
struct Legs {
    downstream: TcpStream,
    upstream: TcpStream,
}

/// The two directions of a session.
struct Halves {
    client_to_server: Half,
    server_to_client: Half,
    first: Option<Party>,
}

/// Who ended a session, or its side of it, first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Client,
    Server,
    Relay,
}

/// How a session ended.
#[derive(Debug)]
enum Close {
    /// Both ends were passed on, and every byte before them.
    Orderly { first: Party },
    /// One leg broke; the other was reset.
    Broken { by: Party, error: io::Error },
    /// The relay had to end it: the drain deadline.
    Aborted,
}

/// The first and the longest pause before a leg is looked at again whose last bytes are under way.
const LOOK_AGAIN: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(100);

/// Serves one connection from accept to its end.
pub async fn run(worker: Rc<Worker>, accepted: Accepted) {
    let _counted = worker.counted();
    if let Err(error) = serve(&worker, accepted).await {
        tracing::warn!(target: "unmangle::session", %error, "session failed");
    }
}

/// A session that never came to relaying.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the accepted socket is unusable: {0}")]
    Downstream(#[from] io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{client} asked for the relay's own listener {server}: refused")]
    Own {
        client: ClientAddr,
        server: OriginalDst,
    },
    #[error("{client} was reset while {server} was being dialled: the drain deadline")]
    Aborted {
        client: ClientAddr,
        server: OriginalDst,
    },
    #[error("{client} gave up while {server} was being dialled")]
    ClientGone {
        client: ClientAddr,
        server: OriginalDst,
    },
}

async fn serve(worker: &Worker, accepted: Accepted) -> Result<(), SessionError> {
    let began = accepted.at;
    let downstream = TcpStream::from_std(std::net::TcpStream::from(accepted.socket))?;
    let client = ClientAddr(downstream.peer_addr()?);
    let server = OriginalDst(downstream.local_addr()?);
    if server.0.ip().is_loopback() {
        return Err(SessionError::Own { client, server });
    }
    let server_side = accepted.side.other();
    let dialling = dial::dial(client, server, server_side, &worker.settings);
    let dialled = tokio::select! {
        biased;
        dialled = dialling => dialled,
        _ = downstream.ready(Interest::ERROR) => {
            return Err(SessionError::ClientGone { client, server });
        }
        () = worker.abort.aborted() => {
            return Err(SessionError::Aborted { client, server });
        }
    };
    let connect_time = began.elapsed();
    let Dialled {
        leg: upstream,
        port,
    } = match dialled {
        Ok(dialled) => dialled,
        Err(error) => {
            // Dropping the downstream leg resets the client at once: it lingers for zero seconds.
            worker
                .resources
                .borrow_mut()
                .recorder
                .counters
                .dial_failures += 1;
            return Err(error.into());
        }
    };
    {
        let recorder = &mut worker.resources.borrow_mut().recorder;
        recorder.connect.record(connect_time);
        recorder.counters.port_fallbacks += u64::from(port == SourcePort::Fallback);
    }
    let legs = Legs {
        downstream,
        upstream,
    };
    let mut halves = Halves::new();
    let mut close = halves.relay(worker, &legs).await;
    if let Close::Orderly { .. } = close
        && !legs.deliver(worker).await
    {
        close = Close::Aborted;
    }
    let infos = (tcp_info(&legs.downstream), tcp_info(&legs.upstream));
    if let Close::Orderly { .. } = close {
        legs.let_go();
    }
    drop(legs);
    let lifetime = began.elapsed();
    halves.settle(worker, &close, lifetime);
    tell(&Told {
        client,
        server,
        port,
        close,
        halves,
        connect_time,
        lifetime,
        infos,
    });
    Ok(())
}

// === impl Legs ===

impl Legs {
    /// Waits until the peers have taken the last bytes: until then the session needs its rules, and a
    /// killed relay must reset it. False if the drain deadline came first.
    async fn deliver(&self, worker: &Worker) -> bool {
        let mut pause = LOOK_AGAIN.start;
        while self.is_undelivered() {
            tokio::select! {
                () = worker.abort.aborted() => return false,
                () = tokio::time::sleep(pause) => pause = LOOK_AGAIN.end.min(2 * pause),
            }
        }
        true
    }

    /// Whether more than its end is under way on a leg that still lives.
    fn is_undelivered(&self) -> bool {
        [&self.downstream, &self.upstream].into_iter().any(|leg| {
            unacknowledged(leg).is_ok_and(|bytes| bytes > 1)
                && tcp_info(leg).is_ok_and(|info| info.closing)
        })
    }

    /// After an orderly end: what the kernel still holds is delivered, not thrown away.
    fn let_go(&self) {
        for leg in [&self.downstream, &self.upstream] {
            if let Err(error) = SockRef::from(leg).set_linger(None) {
                tracing::warn!(%error, "a leg keeps its linger: its last bytes may be reset");
            }
        }
    }
}

// === impl Halves ===

impl Halves {
    fn new() -> Self {
        Self {
            client_to_server: Half::new(Direction::ClientToServer),
            server_to_client: Half::new(Direction::ServerToClient),
            first: None,
        }
    }

    /// Moves bytes both ways until both ends were passed on, or one leg breaks.
    async fn relay(&mut self, worker: &Worker, legs: &Legs) -> Close {
        let mut downstream_broken = pin!(legs.downstream.ready(Interest::ERROR));
        let mut upstream_broken = pin!(legs.upstream.ready(Interest::ERROR));
        let mut aborted = pin!(worker.abort.aborted());
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
            // Once it is registered, its wake-up comes by itself: a look at the flag is enough.
            if (!registered || worker.abort.is_set()) && aborted.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Close::Aborted);
            }
            registered = true;
            Poll::Pending
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context, worker: &Worker, legs: &Legs) -> Poll<Close> {
        let resources = &mut *worker.resources.borrow_mut();
        let Legs {
            downstream,
            upstream,
        } = legs;
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

    fn settle(&mut self, worker: &Worker, close: &Close, lifetime: Duration) {
        let resources = &mut *worker.resources.borrow_mut();
        self.client_to_server.abandon(resources);
        self.server_to_client.abandon(resources);
        let recorder = &mut resources.recorder;
        recorder.lifetime.record(lifetime);
        recorder.counters.bytes_client_to_server += self.client_to_server.bytes;
        recorder.counters.bytes_server_to_client += self.server_to_client.bytes;
        match close {
            Close::Orderly { .. } => recorder.counters.sessions_closed += 1,
            _ => recorder.counters.sessions_aborted += 1,
        }
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

fn broken(by: Party, leg: &TcpStream) -> Close {
    let error = match leg.take_error() {
        Ok(Some(error)) => error,
        // The direction that reads or writes has already taken it.
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    };
    Close::Broken { by, error }
}

// === the line in the log ===

struct Told {
    client: ClientAddr,
    server: OriginalDst,
    port: SourcePort,
    close: Close,
    halves: Halves,
    connect_time: Duration,
    lifetime: Duration,
    infos: (io::Result<TcpInfo>, io::Result<TcpInfo>),
}

/// One line at the end of each session.
fn tell(told: &Told) {
    let (closed_by, how) = match &told.close {
        Close::Orderly { first } => (*first, "fin"),
        Close::Broken { by, error } => (*by, how(error)),
        Close::Aborted => (Party::Relay, "drain"),
    };
    let down = told.infos.0.as_ref().copied().unwrap_or_default();
    let up = told.infos.1.as_ref().copied().unwrap_or_default();
    tracing::info!(
        target: "unmangle::session",
        client = %told.client,
        server = %told.server,
        port_kept = told.port == SourcePort::Kept,
        client_to_server_bytes = told.halves.client_to_server.bytes,
        server_to_client_bytes = told.halves.server_to_client.bytes,
        duration_ms = millis(told.lifetime),
        connect_ms = millis(told.connect_time),
        closed_by = closed_by.name(),
        how,
        downstream_rtt_ms = millis(down.rtt),
        downstream_retransmits = down.retransmits,
        upstream_rtt_ms = millis(up.rtt),
        upstream_retransmits = up.retransmits,
        "session ended"
    );
}

impl Party {
    fn name(self) -> &'static str {
        match self {
            Party::Client => "client",
            Party::Server => "server",
            Party::Relay => "relay",
        }
    }
}

fn how(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "rst",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ => "error",
    }
}

/// Milliseconds to the microsecond, as a number that a script can read.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
