//! One session: a pair of legs, from accept to the line in the log.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::addr::{ClientAddr, Destination, OriginalDst};
use super::dial::{self, DialError, Dialled, SourcePort};
use super::foreign;
use super::halves::Halves;
use super::holder::Upstream;
use super::introduction::{self, Introduced, NotIntroduced};
use super::legs::{Close, Legs, Party, Passed};
use super::listen::Accepted;
use super::sessions::Session;
use super::sidecar;
use super::told::{Told, tell};
use super::witness::Known;
use super::worker::Worker;
use crate::config::{Engine, Listener, Mode};
use crate::sys::tcp_info::tcp_info;

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
    #[error("{client} asked for the relay's own listener {server}: refused")]
    Own {
        client: ClientAddr,
        server: OriginalDst,
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

async fn serve(worker: &Worker, accepted: Accepted) -> Result<(), SessionError> {
    let Accepted {
        socket,
        side,
        settings,
        at: began,
    } = accepted;
    let downstream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    let (peer, local) = (downstream.peer_addr()?, downstream.local_addr()?);
    let introduced = tokio::select! {
        biased;
        introduced = introduction::introduce(&downstream, peer, local, &settings) => introduced,
        () = worker.abort.aborted() => return Err(SessionError::Unknown { peer }),
    };
    let introduced = introduced.inspect_err(|_| {
        // Dropping the leg resets it: it lingers for zero seconds.
        let counters = &mut worker.resources.borrow_mut().recorder.counters;
        counters.headers_refused += 1;
    })?;
    let Introduced { client, via, .. } = introduced;
    let destination = destination(&downstream, OriginalDst(local), client, &settings)?;
    let waiting = waiting(worker, client, &destination);
    let asked = waiting.as_ref().map(|upstream| upstream.asked);
    let (dialled, connect_time) = match waiting {
        Some(upstream) => {
            let connect_time = upstream.connect_time;
            (Ok(upstream.into_dialled()?), connect_time)
        }
        None => {
            let dialling = dial::dial(client, &destination, side.other(), &settings);
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
            (dialled, began.elapsed())
        }
    };
    let Dialled {
        leg: upstream,
        server,
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
    if let Some(version) = settings.identity().and_then(|identity| identity.send) {
        let told = introduced.pass_on(&upstream, version).await;
        told.map_err(|error| SessionError::NotTold {
            server,
            client,
            error,
        })?;
    }
    {
        let recorder = &mut worker.resources.borrow_mut().recorder;
        recorder.connect.record(connect_time);
        recorder.counters.port_fallbacks += u64::from(port == SourcePort::Fallback);
    }
    let legs = Legs {
        downstream,
        upstream,
        may_be_urgent: !settings.rules_clear_urgent(),
    };
    let who = (client, via, server);
    let session = Session::new(settings, worker.engine, who, legs, began);
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
    let told_to_end = || session.told_to_end(&worker.abort);
    let mut close = match worker.engine {
        Engine::Splice => {
            let flow = |from| session.flow_from(from).clone();
            let halves = Halves::new(flow(Party::Client), flow(Party::Server));
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
    if let Close::Orderly { .. } = close {
        legs.let_go();
    }
    drop((registered, listed));
    let listener = session.settings.clone();
    let lifetime = session.began.elapsed();
    // Closes its legs: nobody else has them for longer than a look.
    drop(session);
    let shown = shown.or_else(|| worker.openings.take(client, local));
    let offer = asked.or(shown.map(|opening| opening.offer));
    settle(worker, &close, &passed, lifetime);
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

/// Where this client is to be passed on to.
fn destination(
    downstream: &TcpStream,
    server: OriginalDst,
    client: ClientAddr,
    settings: &Listener,
) -> Result<Destination, SessionError> {
    match &settings.mode {
        Mode::Forward(forward) => Ok(Destination::Fixed(forward.to.clone())),
        Mode::Gateway(_) => {
            if server.0.ip().is_loopback() {
                return Err(SessionError::Own { client, server });
            }
            Ok(Destination::Original(server))
        }
        Mode::ServerSidecar(settings) => {
            sidecar::service(settings, server).ok_or(SessionError::Own { client, server })
        }
        Mode::ClientSidecar(_) => {
            sidecar::meant(downstream).ok_or(SessionError::Own { client, server })
        }
    }
}

/// Records what a session came to.
fn settle(worker: &Worker, close: &Close, passed: &Passed, lifetime: Duration) {
    let recorder = &mut worker.resources.borrow_mut().recorder;
    recorder.lifetime.record(lifetime);
    recorder.counters.bytes_client_to_server += passed.client_to_server;
    recorder.counters.bytes_server_to_client += passed.server_to_client;
    match close {
        Close::Orderly { .. } => recorder.counters.sessions_closed += 1,
        _ => recorder.counters.sessions_aborted += 1,
    }
}
