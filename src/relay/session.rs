//! One session: a pair of legs, from accept to the line in the log.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::addr::{ClientAddr, Destination, OriginalDst};
use super::admission::{Admitted, Gate};
use super::dial::{self, DialError, Dialled, SourcePort};
use super::foreign;
use super::halves::Halves;
use super::introduction::{self, Introduced, NotIntroduced};
use super::legs::{Close, Legs, Party, Passed};
use super::listen::Accepted;
use super::refusal::{Refusal, Refused};
use super::sample::sample;
use super::sessions::{Begun, Session};
use super::sidecar;
use super::told::{Told, tell};
use super::waiting::Upstream;
use super::witness::Known;
use super::worker::{REST, Worker};
use crate::config::{Engine, Listener, Mode, Side};
use crate::metrics::{Counters, ListenerId};
use crate::sys::tcp_info::tcp_info;

/// Serves one connection from accept to its end.
pub async fn run(worker: Rc<Worker>, accepted: Accepted) {
    let _counted = worker.counted();
    let (id, settings, gate) = (
        accepted.id,
        accepted.settings.clone(),
        accepted.gate.clone(),
    );
    match serve(&worker, accepted).await {
        Ok(()) => {}
        Err(SessionError::Refused {
            client,
            via,
            server,
            refusal,
        }) => {
            let refused = Refused {
                listener: &settings.name,
                client,
                via,
                server,
            };
            refusal.tell(refused, gate.refusals(), &mut worker.counters(id));
        }
        Err(error) => {
            error.count(&mut worker.counters(id));
            tracing::warn!(target: "unmangle::session", %error, "session failed");
        }
    }
}

/// A session that never came to relaying.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the accepted socket, or its server's, is unusable: {0}")]
    Downstream(#[from] io::Error),
    #[error(transparent)]
    NotIntroduced(#[from] NotIntroduced),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("telling {server} who {client} is: {error}")]
    NotTold {
        server: SocketAddr,
        client: ClientAddr,
        error: io::Error,
    },
    #[error("{peer} was reset before it was known who the client is: the drain deadline")]
    Unknown { peer: SocketAddr },
    #[error("{client} was refused: {refusal}")]
    Refused {
        client: ClientAddr,
        via: Option<SocketAddr>,
        server: Option<SocketAddr>,
        refusal: Refusal,
    },
    #[error("{client} was reset while {destination} was being dialled: the drain deadline")]
    Aborted {
        client: ClientAddr,
        destination: Destination,
    },
    #[error("{client} gave up while {destination} was being dialled")]
    ClientGone {
        client: ClientAddr,
        destination: Destination,
    },
}

// === impl SessionError ===

impl SessionError {
    /// Counts it, by whose side failed and what went wrong.
    fn count(&self, counters: &mut Counters) {
        let counter = match self {
            Self::Dial(error) => {
                counters.dial_failures += 1;
                return error.count(counters);
            }
            // Counted as it is told.
            Self::Refused { .. } => return,
            Self::Downstream(_) => &mut counters.legs_unusable,
            Self::NotIntroduced(_) => &mut counters.headers_refused,
            Self::NotTold { .. } => &mut counters.dials_otherwise_failed,
            Self::Unknown { .. } | Self::Aborted { .. } => &mut counters.dials_aborted,
            Self::ClientGone { .. } => &mut counters.clients_gone,
        };
        *counter += 1;
    }
}

async fn serve(worker: &Worker, accepted: Accepted) -> Result<(), SessionError> {
    let Accepted {
        socket,
        side,
        id,
        settings,
        gate,
        seat,
        at: began,
    } = accepted;
    let downstream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    let (peer, local) = (downstream.peer_addr()?, downstream.local_addr()?);
    let introduced = tokio::select! {
        biased;
        introduced = introduction::introduce(&downstream, peer, local, &settings) => introduced,
        () = worker.abort.aborted() => return Err(SessionError::Unknown { peer }),
    };
    // Dropping the leg resets it: it lingers for zero seconds.
    let introduced = introduced?;
    let Introduced { client, via, .. } = introduced;
    let refuse = |server, refusal| SessionError::Refused {
        client,
        via,
        server,
        refusal,
    };
    // Dropping the leg resets a client that is refused: it lingers for zero seconds.
    let destination = destination(&downstream, OriginalDst(local), &settings)
        .ok_or_else(|| refuse(Some(local), Refusal::Own(local)))?;
    let waiting = waiting(worker, client, &destination);
    let asked = waiting.as_ref().map(|upstream| upstream.asked);
    let (dialled, connect_time, admitted): (_, _, Admitted) = match waiting {
        Some(upstream) => {
            let connect_time = upstream.connect_time;
            let (dialled, admitted) = upstream.into_dialled()?;
            (Ok(dialled), connect_time, admitted)
        }
        None => {
            let meant = destination.meant(local);
            let admitted = gate
                .admit(client, meant, Instant::now())
                .map_err(|refusal| refuse(meant, refusal))?;
            let to = (&destination, side.other());
            let dialling = dial(worker, id, client, to, &settings, &gate);
            let dialled = tokio::select! {
                biased;
                dialled = dialling => dialled,
                _ = downstream.ready(Interest::ERROR) => {
                    return Err(SessionError::ClientGone { client, destination });
                }
                () = worker.abort.aborted() => {
                    return Err(SessionError::Aborted { client, destination });
                }
            };
            (dialled, began.elapsed(), admitted)
        }
    };
    let Dialled {
        leg: upstream,
        server,
        port,
    } = match dialled {
        Ok(dialled) => dialled,
        Err(DialError::Refused { refusal, .. }) => {
            return Err(refuse(destination.address(), refusal));
        }
        // Dropping the downstream leg resets the client at once: it lingers for zero seconds.
        Err(error) => return Err(error.into()),
    };
    if let Some(version) = settings.identity().and_then(|identity| identity.send) {
        let told = introduced.pass_on(&upstream, version).await;
        told.map_err(|error| SessionError::NotTold {
            server,
            client,
            error,
        })?;
    }
    worker.recorded(id, |recorder| {
        recorder.connect.record(connect_time);
        recorder.setup.record(began.elapsed());
    });
    worker.counters(id).port_fallbacks += u64::from(port == SourcePort::Fallback);
    let legs = Legs {
        downstream,
        upstream,
        may_be_urgent: !settings.rules_clear_urgent(),
    };
    let session = Session::new(Begun {
        id,
        settings,
        engine: worker.engine,
        side,
        client,
        via,
        server,
        legs,
        began,
    });
    let (legs, settings) = (&session.legs, &session.settings);
    let listed = worker.sessions.list(session.clone());
    let registered = match &settings.mode {
        Mode::Gateway(_) => Some(Known::register(&worker.known, legs)?),
        Mode::ServerSidecar(_) | Mode::ClientSidecar(_) | Mode::Forward(_) => None,
    };
    // Its SYN was shown before it could be accepted, but to another thread, which may be late.
    let shown = worker.openings.take(client, local);
    if let Some(opening) = shown {
        worker.known.borrow_mut().opened(client, local, opening);
    }
    session.offered(asked.or(shown.map(|opening| opening.offer)));
    let told_to_end = || session.told_to_end(&worker.abort);
    let mut close = match worker.engine {
        Engine::Splice => {
            let flows = [Party::Client, Party::Server].map(|from| session.flow_from(from).clone());
            let halves = Halves::new(id, began.into_std(), flows);
            halves.relay(worker, &session).await
        }
        engine => {
            let close = foreign::relay(engine, &worker.abort, &session).await;
            if let Close::Broken { by, .. } = &close {
                // What it held is lost, and cannot be skipped: only what it had passed on is waited for.
                let nothing = std::future::ready(());
                legs.hand_over(by.other(), nothing, told_to_end(), settings.close_timeout)
                    .await;
            }
            close
        }
    };
    if let Close::Orderly { .. } = close
        && let Err(instead) = legs.deliver(told_to_end(), settings.close_timeout).await
    {
        close = instead;
    }
    let passed = session.passed();
    let infos = (tcp_info(&legs.downstream), tcp_info(&legs.upstream));
    sample(worker, &session, &infos);
    if let Close::Orderly { .. } = close {
        legs.let_go();
    }
    drop((registered, listed));
    let listener = session.settings.clone();
    let lifetime = session.began.elapsed();
    // Closes its legs: nobody else has them for longer than a look.
    drop(session);
    // Whoever reads that it has ended may count on its place.
    drop((admitted, seat));
    let shown = shown.or_else(|| worker.openings.take(client, local));
    let offer = asked.or(shown.map(|opening| opening.offer));
    settle(worker, id, &close, &passed, lifetime);
    tell(&Told {
        listener: &listener.name,
        client,
        via,
        server,
        port,
        close,
        passed,
        connect_time,
        lifetime,
        infos,
        offer,
    });
    Ok(())
}

/// The server that was dialled before this client was answered, if it was held.
fn waiting(worker: &Worker, client: ClientAddr, destination: &Destination) -> Option<Upstream> {
    match (&worker.held, destination) {
        (Some(held), Destination::Original(server)) => held.claim(client, *server),
        _ => None,
    }
}

/// Where this client is to be passed on to; nothing if it asked for the relay's own listener.
fn destination(
    downstream: &TcpStream,
    server: OriginalDst,
    settings: &Listener,
) -> Option<Destination> {
    match &settings.mode {
        Mode::Forward(forward) => Some(Destination::Fixed(forward.to.clone())),
        Mode::Gateway(_) if server.0.ip().is_loopback() => None,
        Mode::Gateway(_) => Some(Destination::Original(server)),
        Mode::ServerSidecar(settings) => sidecar::service(settings, server),
        Mode::ClientSidecar(_) => sidecar::meant(downstream),
    }
}

/// Dials; if this host has run out of something, again and again until the time for it is over.
async fn dial(
    worker: &Worker,
    id: ListenerId,
    client: ClientAddr,
    (destination, side): (&Destination, Side),
    settings: &Listener,
    gate: &Gate,
) -> Result<Dialled, DialError> {
    let began = tokio::time::Instant::now();
    loop {
        let dialled = dial::dial(client, destination, side, settings, gate, began).await;
        let Err(error) = &dialled else { return dialled };
        let Some(shortage) = error.shortage() else {
            return dialled;
        };
        {
            let mut counters = worker.counters(id);
            shortage.count(&mut counters);
            counters.dial_pauses += 1;
            match gate.troubles().next(Instant::now()) {
                Some(left_out) => tracing::warn!(%error, left_out, "cannot dial, resting"),
                None => counters.lines_left_out += 1,
            }
        }
        if began.elapsed() >= settings.connect_timeout {
            return dialled;
        }
        tokio::time::sleep(REST).await;
    }
}

/// Records what a session came to.
fn settle(worker: &Worker, id: ListenerId, close: &Close, passed: &Passed, lifetime: Duration) {
    worker.recorded(id, |recorder| {
        recorder.lifetime.record(lifetime);
        let bytes = &mut recorder.bytes;
        bytes.client_to_server.record(passed.client_to_server);
        bytes.server_to_client.record(passed.server_to_client);
    });
    let mut counters = worker.counters(id);
    if worker.engine != Engine::Splice {
        counters.bytes_client_to_server += passed.client_to_server;
        counters.bytes_server_to_client += passed.server_to_client;
    }
    match close {
        Close::Orderly { .. } => counters.sessions_closed += 1,
        _ => counters.sessions_aborted += 1,
    }
    *close.counter(&mut counters) += 1;
}
