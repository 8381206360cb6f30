//! Looks at the sessions of a worker: names those that are stuck, and resets those that are idle, or stuck, where
//! that is asked for.
//!
//! One timer a worker and nothing for each byte: bytes that move are seen by the counts that are kept anyway. The
//! kernel is asked only about directions whose counts stand still while it may have something to deliver.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;

use super::legs::{Ended, Party};
use super::sample;
use super::sessions::{Number, Session};
use super::stall::{self, Change, Counted, Course, Look, OnItsWay, Why};
use super::worker::Worker;
use crate::config::StallAction;
use crate::metrics::{Counters, Direction, Stuck};
use crate::sys::tcp_info::{TcpInfo, tcp_info, unacknowledged};

/// So many sessions are looked at before others have their turn.
const AT_A_TIME: usize = 32;

/// Watches for as long as the worker lives.
pub async fn watch(worker: Rc<Worker>) {
    let sessions = &worker.sessions;
    let mut last = Instant::now();
    loop {
        match sessions.pause() {
            // None that runs is watched for anything.
            None => {
                sessions.sooner().await;
                last = Instant::now();
            }
            Some(pause) => {
                let due = (last + pause).into();
                if tokio::time::timeout_at(due, sessions.sooner())
                    .await
                    .is_err()
                {
                    last = Instant::now();
                    look_at_all(&worker).await;
                }
            }
        }
    }
}

async fn look_at_all(worker: &Worker) {
    // What stands still for another process is not stuck.
    if worker.word.is_stand_still() {
        return;
    }
    let mut last: Option<Number> = None;
    let mut shortest: Option<Duration> = None;
    let mut stuck = Stuck::default();
    loop {
        // None of these is kept over an await: whoever ends closes its legs at once.
        let some = worker.sessions.some_after(last, AT_A_TIME);
        let Some((number, _)) = some.last() else {
            break;
        };
        last = Some(*number);
        for (_, session) in &some {
            let (now, pause) = (Instant::now(), session.pause());
            shortest = Some(shortest.map_or(pause, |shortest| shortest.min(pause)));
            session.keep_alive();
            look_at(worker, session, now);
            sample::in_time(worker, session, now);
            for view in session.stuck(now) {
                match view.side {
                    Party::Client => stuck.client += 1,
                    Party::Server => stuck.server += 1,
                    Party::Relay => stuck.relay += 1,
                }
            }
        }
        drop(some);
        tokio::task::yield_now().await;
    }
    worker.stuck.set(stuck);
    worker.sessions.set_pause(shortest);
}

fn look_at(worker: &Worker, session: &Session, now: Instant) {
    let watch = &session.settings.watch;
    let Some(once_in) = watch.stall_after.or(watch.idle) else {
        return;
    };
    if session.is_told_to_end() {
        return;
    }
    let mut courses = session.courses.borrow_mut();
    for direction in [Direction::ClientToServer, Direction::ServerToClient] {
        let course = courses.of(direction);
        if let Some((change, way)) = examine(session, direction, course, now, once_in) {
            tell(worker, session, direction, change, way);
        }
    }
    let (there, back) = (&courses.client_to_server, &courses.server_to_client);
    let silent = now - there.moved().max(back.moved());
    if watch.idle.is_some_and(|idle| silent >= idle) && !session.is_told_to_end() {
        session.end(Ended::Idle);
        worker.counters(session.id).idle_resets += 1;
    }
}

/// What is new of a direction, and what was found on its way if the kernel was asked.
fn examine(
    session: &Session,
    direction: Direction,
    course: &mut Course,
    now: Instant,
    once_in: Duration,
) -> Option<(Change, Option<OnItsWay>)> {
    if session.counts {
        if let Some(change) = course.count(now, session.flow(direction).counted()) {
            return Some((change, None));
        }
        if !course.is_worth_a_look(now, once_in) {
            return None;
        }
    }
    // A leg of which the kernel tells nothing is closed, and its session is about to end.
    let (look, counted) = look(session, direction).ok()?;
    let (_, to) = parties(direction);
    let after = session.settings.watch.stall_after;
    let change = course
        .count(now, counted)
        .or_else(|| course.judge(now, &look, to, after))?;
    Some((change, look.on_its_way))
}

// === looking ===

/// Who sends and who receives.
fn parties(direction: Direction) -> (Party, Party) {
    match direction {
        Direction::ClientToServer => (Party::Client, Party::Server),
        Direction::ServerToClient => (Party::Server, Party::Client),
    }
}

/// Asks the kernel about a direction; it has counted the bytes, too, where the engine does not.
fn look(session: &Session, direction: Direction) -> io::Result<(Look, Counted)> {
    let (from, to) = parties(direction);
    let (from, to) = (session.legs.leg(from), session.legs.leg(to));
    let unread = ioctl_fionread(from)?;
    let bytes = u64::from(unacknowledged(to)?);
    let info = match bytes > 0 || !session.counts {
        true => Some(tcp_info(to)?),
        false => None,
    };
    let counted = match &info {
        Some(info) if !session.counts => Counted {
            read: tcp_info(from)?.received.saturating_sub(unread),
            passed: info.acknowledged + bytes,
        },
        _ => session.flow(direction).counted(),
    };
    // The kernel's counts begin with the handshake, and may have a PROXY header in them: no difference.
    let held = match session.counts {
        true => counted.read.saturating_sub(counted.passed),
        false => 0,
    };
    let on_its_way = info
        .filter(|_| bytes > 0)
        .map(|info| on_its_way(bytes, &info));
    let look = Look {
        unread,
        held,
        on_its_way,
    };
    Ok((look, counted))
}

fn on_its_way(bytes: u64, info: &TcpInfo) -> OnItsWay {
    OnItsWay {
        bytes,
        unsent: info.unsent.into(),
        in_flight: info.in_flight,
        acknowledged: info.acknowledged,
        window: info.peer_window,
        unanswered_probes: info.unanswered_probes,
        timeouts: info.timeouts,
        last_acknowledgement: info.last_acknowledgement,
    }
}

// === telling ===

/// Logs and counts what is new, and ends a session that is stuck if that is asked for.
fn tell(
    worker: &Worker,
    session: &Session,
    direction: Direction,
    change: Change,
    way: Option<OnItsWay>,
) {
    let mut counters = worker.counters(session.id);
    match change {
        Change::Sticks(stuck, still) => {
            *counter(&mut counters, stuck) += 1;
            tracing::warn!(
                target: "unmangle::session",
                listener = session.settings.name,
                client = %session.client,
                via = session.via.map(tracing::field::display),
                server = %session.server,
                direction = direction.name(),
                side = stuck.side.name(),
                why = stuck.why.name(),
                waiting_bytes = stuck.waiting,
                still_ms = still.as_millis() as u64,
                window_bytes = way.and_then(|way| way.window),
                unsent_bytes = way.map(|way| way.unsent),
                in_flight_segments = way.map(|way| way.in_flight),
                timeouts = way.map(|way| way.timeouts),
                unanswered_probes = way.map(|way| way.unanswered_probes),
                last_acknowledgement_ms = way.map(|way| way.last_acknowledgement.as_millis() as u64),
                "session is stuck"
            );
            if session.settings.watch.stall_action == StallAction::Reset {
                session.end(Ended::Stuck);
                counters.stall_resets += 1;
            }
        }
        Change::Moves(stuck, still) => {
            counters.stalls_over += 1;
            tracing::warn!(
                target: "unmangle::session",
                listener = session.settings.name,
                client = %session.client,
                via = session.via.map(tracing::field::display),
                server = %session.server,
                direction = direction.name(),
                side = stuck.side.name(),
                why = stuck.why.name(),
                still_ms = still.as_millis() as u64,
                "session moves again"
            );
        }
    }
}

/// What counts stalls of this kind.
fn counter(counters: &mut Counters, stuck: stall::Stuck) -> &mut u64 {
    match (stuck.why, stuck.side) {
        (Why::Pipe, _) | (_, Party::Relay) => &mut counters.stalls_pipe,
        (Why::PeerWindowShut, Party::Client) => &mut counters.stalls_window_client,
        (Why::PeerWindowShut, Party::Server) => &mut counters.stalls_window_server,
        (Why::Unacknowledged, Party::Client) => &mut counters.stalls_unacked_client,
        (Why::Unacknowledged, Party::Server) => &mut counters.stalls_unacked_server,
    }
}
