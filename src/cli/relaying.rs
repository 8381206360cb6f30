//! A relay that runs: what it does until it ends, or another process relays in its place.

use std::convert::Infallible;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::bring_up::announce;
use super::giving::{Giving, Step};
use super::hdr_log::Writing;
use super::logging::Logging;
use super::reload::Running;
use super::run::Args;
use super::standing::{Answering, Asked, Publisher};
use super::successor;
use super::taking::{Event, Taking};
use super::watchdog::Watchdog;
use crate::admin::{Ask, Doors, Upgraded};
use crate::config::Engine;
use crate::relay::{Outcome, Server, Witness};
use crate::rules::InPlace;
use crate::rules::tuning::Tuned;
use crate::sys::notify::State;
use crate::takeover::End;

/// A relay that runs.
pub struct Relaying {
    /// Its workers, its rules and its settings.
    pub running: Running,
    /// What is said of it.
    pub standing: Publisher,
    /// Who may ask for something; nobody while the process before answers.
    pub asked: Option<Asked>,
    /// What the rules show.
    pub witness: Option<Witness>,
    /// What was changed on the host.
    pub tuned: Option<Tuned>,
    /// The histogram log.
    pub hdr_log: Option<Writing>,
    /// What says that it is alive, to a service manager that waits for it.
    pub watchdog: Option<Watchdog>,
    /// What may still come of the process before.
    pub before: Option<Before>,
}

/// The process before, which may still have sessions.
pub struct Before {
    /// What it has for us.
    pub taking: Taking,
    /// Where we answer once it does not.
    pub doors: Option<(Doors, Answering)>,
}

/// The signals that a relay listens to.
pub struct Signals {
    ends: Ends,
    tell: Signal,
    hang_up: Signal,
}

/// Those that ask for the end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

/// What ends the loop.
enum Ending {
    /// It drains.
    Drain,
    /// Another process relays.
    HandedOver(Giving),
}

/// Somebody who waits for a hand-over to end.
struct Waiting {
    began: Instant,
    answer: oneshot::Sender<Result<Upgraded, String>>,
}

/// Why sessions do not get the time that the drain would have given them.
const TWICE: &str = "the end was asked for twice";

// === impl Signals ===

impl Signals {
    /// From now on none of them ends the process by itself.
    ///
    /// # Errors
    /// If the runtime takes no signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            ends: Ends {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            tell: signal(SignalKind::user_defined1())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Ends {
    /// Ready once the end is asked for.
    async fn asked_for(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// === impl Relaying ===

impl Relaying {
    /// Relays until the process ends.
    ///
    /// # Errors
    /// If a worker has failed.
    pub async fn until_the_end(
        mut self,
        args: &Args,
        logging: &Logging,
        mut signals: Signals,
    ) -> anyhow::Result<ExitCode> {
        match self.relay(args, logging, &mut signals).await {
            Ending::Drain => self.drain(logging, signals).await,
            Ending::HandedOver(giving) => self.end_quietly(giving, signals).await,
        }
    }

    async fn relay(&mut self, args: &Args, logging: &Logging, signals: &mut Signals) -> Ending {
        loop {
            let Self {
                running,
                standing,
                asked,
                witness,
                before,
                ..
            } = self;
            let Running { server, rules, .. } = running;
            let ask = tokio::select! {
                () = signals.ends.asked_for() => return Ending::Drain,
                _ = signals.tell.recv() => {
                    print(running).await;
                    continue;
                }
                _ = signals.hang_up.recv() => {
                    announce(State::Reloading);
                    reopen(logging, self.hdr_log.as_ref());
                    running.reload(args.read()).await;
                    standing.reloaded(running);
                    announce(State::Ready);
                    continue;
                }
                event = next_event(before) => {
                    self.comes_from_before(event);
                    continue;
                }
                ask = next_ask(asked) => ask,
                never = watch(server, witness) => match never {},
                never = rules.keep(|change| standing.rules(change)) => match never {},
                () = server.failed() => {
                    tracing::error!("a worker has ended: the relay ends, too");
                    return Ending::Drain;
                }
            };
            match ask {
                Ask::Drain => {
                    tracing::info!("the drain was asked for");
                    return Ending::Drain;
                }
                Ask::Takeover(socket) => {
                    let ending = self.hand_over(socket, None, &mut signals.ends).await;
                    if let Some(ending) = ending {
                        return ending;
                    }
                }
                Ask::Upgrade { program, answer } => {
                    let began = Instant::now();
                    let waits = Some(Waiting { began, answer });
                    let comes = tokio::select! {
                        comes = successor::start(program, asked) => comes,
                        () = signals.ends.asked_for() => {
                            not_handed(&anyhow!("the end was asked for"), waits);
                            return Ending::Drain;
                        }
                        never = watch(server, witness) => match never {},
                        never = rules.keep(|change| standing.rules(change)) => match never {},
                    };
                    let ending = match comes {
                        Ok(socket) => self.hand_over(socket, waits, &mut signals.ends).await,
                        Err(error) => {
                            not_handed(&error, waits);
                            None
                        }
                    };
                    if let Some(ending) = ending {
                        return ending;
                    }
                }
            }
        }
    }

    /// Hands everything over to whoever is at the other end of this socket, up to where that relays. If it comes to
    /// nothing, everything goes on here, unless the end was asked for.
    async fn hand_over(
        &mut self,
        socket: OwnedFd,
        waits: Option<Waiting>,
        ends: &mut Ends,
    ) -> Option<Ending> {
        let given = Giving::begin(
            socket,
            &self.running,
            self.asked.as_ref(),
            self.witness.as_ref(),
            self.before.as_ref().map(|before| before.taking.comes()),
        );
        let mut giving = match given {
            Ok(giving) => giving,
            Err(error) => {
                not_handed(&error, waits);
                return None;
            }
        };
        tracing::info!(to = giving.pid, "handing over");
        let (mut waits, mut given_up) = (waits, false);
        loop {
            let Running { server, rules, .. } = &mut self.running;
            // The rules are not put back meanwhile, should they be lost: the other would not know of it.
            let step = tokio::select! {
                step = giving.next() => step,
                () = ends.asked_for() => {
                    given_up = true;
                    giving.give_up();
                    continue;
                }
                never = watch(server, &mut self.witness) => match never {},
            };
            match step {
                Ok(Step::LetGo(done)) => {
                    server.let_go_of_listeners();
                    std::mem::replace(rules, InPlace::foreign()).forget();
                    // What the host was changed to is the other's to restore.
                    (self.witness, self.tuned) = (None, None);
                    announce(State::MainPid(giving.pid));
                    // So is the watchdog: what hangs there is not to be covered up from here.
                    self.watchdog = None;
                    // Its thread waits, or has ended.
                    let _ = done.send(());
                }
                Ok(Step::CloseDoors(done)) => {
                    let (sessions, left) = (giving.moved(), giving.left());
                    let (to, took) = (giving.pid, giving.began.elapsed());
                    tracing::info!(to, sessions, left, ?took, "handed over");
                    let engine = self.running.settings.process.engine;
                    if left > 0 && engine != Engine::Splice {
                        tracing::warn!(
                            left,
                            "sessions of the engine {engine} cannot go over: they drain here"
                        );
                    }
                    if let Some(Waiting { began, answer }) = waits.take() {
                        let upgraded = Upgraded {
                            pid: giving.pid,
                            sessions,
                            left,
                            took_ms: began.elapsed().as_millis() as u64,
                        };
                        // Whoever asked may have gone.
                        let _ = answer.send(Ok(upgraded));
                    }
                    if let Some(asked) = self.asked.take() {
                        asked.let_go().await;
                    }
                    // Its thread waits, or has ended.
                    let _ = done.send(());
                    return Some(Ending::HandedOver(giving));
                }
                Err(Err(_)) if given_up => {
                    not_handed(&anyhow!("the end was asked for"), waits);
                    return Some(Ending::Drain);
                }
                Err(ended) => {
                    let error = ended.err().unwrap_or_else(|| anyhow!("it ended too early"));
                    not_handed(&error, waits);
                    return None;
                }
            }
        }
    }

    /// Waits for the sessions that could not go over, and ends.
    async fn end_quietly(
        mut self,
        mut giving: Giving,
        mut signals: Signals,
    ) -> anyhow::Result<ExitCode> {
        let ended = loop {
            tokio::select! {
                step = giving.next() => match step {
                    // There was all to do.
                    Ok(Step::LetGo(done) | Step::CloseDoors(done)) => {
                        let _ = done.send(());
                    }
                    Err(ended) => break ended,
                },
                () = signals.ends.asked_for() => giving.hurry(),
            }
        };
        let within = match ended {
            Ok(()) => {
                // What came to stand still too late, too, is told that it ends.
                self.running.server.moving().go_on();
                Duration::ZERO
            }
            Err(error) => {
                let left = self.running.server.sessions();
                tracing::error!(left, "what is left ends here: {error:#}");
                self.running.settings.process.drain
            }
        };
        let server = &self.running.server;
        let outcome = tokio::select! {
            outcome = server.drain(within) => outcome,
            () = signals.ends.asked_for() => server.drain(Duration::ZERO).await,
        };
        told(outcome, "the drain deadline is over");
        if let Some(log) = self.hdr_log.take() {
            log.finish().await;
        }
        self.running.server.stop().context("a worker failed")?;
        Ok(ExitCode::SUCCESS)
    }

    /// Something has come of the process before, which this one relays for.
    fn comes_from_before(&mut self, event: Event) {
        match event {
            Event::DoorsFree => {
                let before = self.before.as_mut();
                let Some((doors, answering)) = before.and_then(|before| before.doors.take()) else {
                    return;
                };
                match answering.start(doors, &self.standing) {
                    Ok(asked) => self.asked = Some(asked),
                    Err(error) => tracing::error!(%error, "nobody can ask how this relay does"),
                }
            }
            Event::Begun(sessions) => tracing::info!(sessions, "more sessions have come over"),
            Event::Over(end) => {
                match end {
                    Ok(End::Complete) => tracing::info!("the process before has nothing more"),
                    Ok(End::OldGone(why)) => {
                        tracing::warn!(%why, "the process before was killed, with what it had left");
                    }
                    Ok(End::OldKeepsTheRest(why)) => {
                        tracing::warn!(%why, "the process before keeps what it has left");
                    }
                    Err(why) => tracing::error!(why, "nothing has come of the process before"),
                }
                if let Some(before) = &mut self.before
                    && before.doors.is_none()
                {
                    self.before = None;
                }
            }
            // It has adopted already; without an answer nothing comes of it.
            Event::Adopt(..) => {}
        }
    }

    /// Takes no new connection, waits for those that run, takes everything away and ends.
    async fn drain(self, logging: &Logging, mut signals: Signals) -> anyhow::Result<ExitCode> {
        announce(State::Stopping);
        self.standing.drains();
        let Self {
            mut running,
            standing,
            mut witness,
            hdr_log,
            ..
        } = self;
        let within = running.settings.process.drain;
        let Running { server, rules, .. } = &mut running;
        tracing::info!(sessions = server.sessions(), ?within, "draining");
        let orderly = async {
            if let Err(error) = rules.drain().await {
                tracing::error!(%error, "new connections may still be taken");
            }
            tokio::select! {
                outcome = server.drain(within) => outcome,
                never = watch(server, &mut witness) => match never {},
                never = rules.keep(|change| standing.rules(change)) => match never {},
            }
        };
        let Signals { hang_up, ends, .. } = &mut signals;
        let reopened = async {
            while hang_up.recv().await.is_some() {
                reopen(logging, hdr_log.as_ref());
                tracing::warn!("not reloaded: the relay is about to end");
            }
            std::future::pending::<Infallible>().await
        };
        let (outcome, why) = tokio::select! {
            outcome = orderly => (outcome, "the drain deadline is over"),
            never = reopened => match never {},
            () = ends.asked_for() => (server.drain(Duration::ZERO).await, TWICE),
        };
        told(outcome, why);
        drop(self.asked);
        running.remove_rules().await;
        if let Some(tuned) = self.tuned {
            tuned.restore();
        }
        print(&running).await;
        if let Some(log) = hdr_log {
            log.finish().await;
        }
        running.server.stop().context("a worker failed")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// It came to nothing: says so.
fn not_handed(error: &anyhow::Error, waits: Option<Waiting>) {
    tracing::error!("not handed over: {error:#}");
    if let Some(Waiting { answer, .. }) = waits {
        // Whoever asked may have gone.
        let _ = answer.send(Err(format!("{error:#}")));
    }
}

async fn next_ask(asked: &mut Option<Asked>) -> Ask {
    match asked {
        Some(asked) => asked.next().await,
        None => std::future::pending().await,
    }
}

async fn next_event(before: &mut Option<Before>) -> Event {
    match before {
        Some(before) => before.taking.next().await,
        None => std::future::pending().await,
    }
}

fn reopen(logging: &Logging, hdr_log: Option<&Writing>) {
    logging.reopen();
    hdr_log.into_iter().for_each(Writing::renew);
}

/// Passes on what the rules show, for ever; if that fails, it is told once.
async fn watch(server: &Server, witness: &mut Option<Witness>) -> Infallible {
    if let Some(reading) = witness {
        let error = server.watch(reading).await;
        tracing::warn!(%error, "what the rules show can no longer be read: DSCP is not kept");
        *witness = None;
    }
    std::future::pending().await
}

fn told(outcome: Outcome, why: &str) {
    match outcome {
        Outcome::Drained => tracing::info!("drained"),
        Outcome::Aborted(sessions) => {
            tracing::warn!(sessions, "{why}: sessions were reset");
        }
    }
}

/// Latency percentiles and counters, on stdout.
async fn print(running: &Running) {
    let recorded = running.recorded().await.merged();
    let mut out = std::io::stdout().lock();
    // A closed stdout must not end the relay.
    let _ = writeln!(out, "{recorded}").and_then(|()| out.flush());
}
