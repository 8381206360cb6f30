//! One session: a pair of legs, from accept to the line in the log.

use std::rc::Rc;
use std::time::Duration;

use super::foreign;
use super::halves::Halves;
use super::legs::Close;
use super::listen::Accepted;
use super::opening::{self, Opened, SessionError};
use super::refusal::Refused;
use super::sample::sample;
use super::still::{Origin, Taken};
use super::told::{Told, tell};
use super::witness::Known;
use super::worker::Worker;
use crate::config::{Engine, Mode};
use crate::metrics::{ListenerId, PerDirection};

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
            tracing::warn!(
                target: "unmangle::session", listener = settings.name, %error, "session failed"
            );
        }
    }
}

async fn serve(worker: &Worker, accepted: Accepted) -> Result<(), SessionError> {
    // Boxed, because a session does not need that room for the rest of its life.
    let opened = Box::pin(opening::open(worker, accepted)).await?;
    let halves = match worker.engine {
        Engine::Splice => Some(Halves::of(&opened.session)),
        Engine::TokioSplice | Engine::Copy => None,
    };
    relay(worker, opened, halves).await
}

/// Goes on with a session of another process.
pub async fn carry_on(worker: Rc<Worker>, taken: Taken) {
    let _counted = worker.counted();
    let (listener, client) = (taken.served.settings.now(), taken.parcel.note.client);
    let gone_on = match opening::carry_on(&worker, taken) {
        Ok((opened, halves)) => relay(&worker, opened, Some(halves)).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = gone_on {
        tracing::error!(
            target: "unmangle::session", listener = listener.name, %client, %error,
            "a session of the process before cannot be gone on with, and was reset"
        );
    }
}

/// Moves bytes until the session has ended, and tells of it.
async fn relay(
    worker: &Worker,
    opened: Opened,
    halves: Option<Halves>,
) -> Result<(), SessionError> {
    let Opened {
        session,
        origin,
        places,
        goes_on,
    } = opened;
    let Origin {
        local,
        port,
        connect_time,
        asked,
    } = origin;
    let (id, client, is_ours) = (session.id, session.client, halves.is_some());
    let (legs, settings) = (&session.legs, &session.settings);
    let listed = worker.sessions.list(session.clone());
    let registered = match &settings.mode {
        Mode::Gateway(_) => match Known::register(&worker.known, legs) {
            Ok(registered) => Some(registered),
            // Its DSCP matters no more, and what its peer had sent does.
            Err(error) if goes_on => {
                tracing::debug!(%error, %client, "a leg broke while its session went over");
                None
            }
            Err(error) => return Err(error.into()),
        },
        Mode::ServerSidecar(_) | Mode::ClientSidecar(_) | Mode::Forward(_) => None,
    };
    // Its SYN was shown before it could be accepted, but to another thread, which may be late.
    let shown = worker.openings.take(client, local);
    if let Some(opening) = shown {
        worker.known.borrow_mut().opened(client, local, opening);
    }
    session.offered(asked.or(shown.map(|opening| opening.offer)));
    let told_to_end = || session.told_to_end(&worker.word);
    let mut close = match halves {
        Some(mut halves) => loop {
            if let Some(close) = halves.relay(worker, &session).await {
                break close;
            }
            let stands = worker
                .still
                .stand(listed.number(), session.clone(), origin, halves);
            match Box::pin(stands).await {
                Some(back) => halves = back,
                // Another process has it: closing these copies of its legs says nothing to anybody.
                None => return Ok(()),
            }
        },
        None => {
            let close = Box::pin(foreign::relay(worker.engine, &worker.word, &session)).await;
            if let Close::Broken { by, .. } = &close {
                // What it held is lost, and cannot be skipped: only what it had passed on is waited for.
                let nothing = std::future::ready(());
                let timeout = settings.close_timeout;
                Box::pin(legs.hand_over(by.other(), nothing, told_to_end(), timeout)).await;
            }
            close
        }
    };
    let mut delivered = None;
    if let Close::Orderly { .. } = close {
        match Box::pin(legs.deliver(told_to_end(), settings.close_timeout)).await {
            Ok(infos) => delivered = Some(infos),
            Err(instead) => close = instead,
        }
    }
    let passed = session.passed();
    let infos = delivered.unwrap_or_else(|| legs.infos());
    sample(worker, &session, &infos);
    if let Close::Orderly { .. } = close {
        legs.let_go(&infos);
    }
    drop((registered, listed));
    let (listener, via, server) = (session.settings.clone(), session.via, session.server);
    let lifetime = session.began.elapsed();
    let offered = session.offer.get();
    // Closes its legs: nobody else has them for longer than a look.
    drop(session);
    // Whoever reads that it has ended may count on its place.
    drop(places);
    let shown = shown.or_else(|| worker.openings.take(client, local));
    let offer = offered.or(shown.map(|opening| opening.offer));
    settle(worker, id, &close, passed, lifetime, is_ours);
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

/// Records what a session came to.
fn settle(
    worker: &Worker,
    id: ListenerId,
    close: &Close,
    passed: PerDirection<u64>,
    lifetime: Duration,
    is_ours: bool,
) {
    worker.recorded(id, |recorder| {
        recorder.lifetime.record(lifetime);
        let bytes = &mut recorder.bytes;
        bytes.client_to_server.record(passed.client_to_server);
        bytes.server_to_client.record(passed.server_to_client);
    });
    let mut counters = worker.counters(id);
    if !is_ours {
        counters.bytes_client_to_server += passed.client_to_server;
        counters.bytes_server_to_client += passed.server_to_client;
    }
    match close {
        Close::Orderly { .. } => counters.sessions_closed += 1,
        _ => counters.sessions_aborted += 1,
    }
    *close.counter(&mut counters) += 1;
}
