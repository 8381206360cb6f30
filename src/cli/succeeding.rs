//! A relay that begins in the place of another: everything is ready before the other lets go of anything.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::oneshot;

use super::bring_up::{announce, can_go_over, relays, show, strips, tune};
use super::hdr_log::HdrLog;
use super::logging::Logging;
use super::privileges::{self, Needs};
use super::relaying::{Before, Relaying, Signals};
use super::reload::Running;
use super::run::Args;
use super::standing::{Answering, Beginning, Publisher};
use super::taking::{Event, Taking};
use super::watchdog::Watchdog;
use super::{Usage, settings};
use crate::admin::{Doors, HandedDoor};
use crate::config::{RulesMode, Settings, Side};
use crate::relay::{Begins, Listeners, Listening, Move, Server, Witness};
use crate::rules::{Handed, InPlace, Plan};
use crate::sys::notify::State;
use crate::takeover::Standing;

/// What this process is to relay with.
pub struct Successor {
    /// Its settings.
    pub settings: Settings,
    /// What it may keep of its privileges.
    pub needs: Needs,
    /// How many workers it has.
    pub workers: usize,
    /// When it was started.
    pub beginning: Beginning,
    /// How long a service manager waits for a word of it.
    pub watchdog: Option<Duration>,
}

/// Everything is ready, and nothing has changed.
struct Ready {
    running: Running,
    witness: Option<Witness>,
    /// The rules as this process would have written them.
    plan: Option<Plan>,
    doors: Doors,
}

/// Takes over from the relay that answers at this socket, and relays.
///
/// # Errors
/// If the other goes on: why.
pub async fn take_over(
    args: &Args,
    logging: &Logging,
    successor: Successor,
    socket: &Path,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let mut taking = Taking::begin(socket)?;
    let (ready, sessions) = until_begun(&mut taking, &successor).await?;
    let Ready {
        mut running,
        witness,
        plan,
        doors,
    } = ready;
    tracing::info!(sessions, "taken over");
    // Sockets that listen have what the process before has set on them, until here.
    if let Err(error) = running.server.reload(&successor.settings) {
        tracing::error!(%error, "connections are accepted with the options of the process before");
    }
    let standing = Publisher::new(&successor.settings);
    let needs_rules = plan.is_some();
    let strips = strips(plan.as_ref());
    if let Some(plan) = plan
        && let Err(error) = running.rules.renew(plan).await
    {
        tracing::error!(%error, "the rules stay as the process before has made them");
    }
    let tuned = tune(&successor.settings, &strips).unwrap_or_else(|error| {
        tracing::error!(%error, "the host is not tuned");
        None
    });
    relays(&standing, &running, needs_rules);
    let hdr_log = running.settings.process.hdr_log.as_ref();
    let hdr_log = hdr_log.map(HdrLog::succeed);
    let hdr_log = hdr_log
        .transpose()
        .map_err(anyhow::Error::from)
        .and_then(|log| {
            let relay = running.server.handle().clone();
            Ok(log.map(|log| log.start(relay)).transpose()?)
        })
        .unwrap_or_else(|error| {
            tracing::error!("no histogram log: {error:#}");
            None
        });
    let watchdog = Watchdog::start(successor.watchdog, running.server.handle());
    announce(State::Ready);
    let answering = Answering::of(
        &running.server,
        &running.settings,
        running.ways_in(),
        successor.beginning,
    );
    let relay = Relaying {
        running,
        standing,
        asked: None,
        witness,
        tuned,
        hdr_log,
        watchdog,
        before: Some(Before {
            taking,
            doors: Some((doors, answering)),
        }),
    };
    relay.until_the_end(args, logging, signals).await
}

/// Gets ready, and waits until it is this process that relays: with so many sessions.
async fn until_begun(taking: &mut Taking, successor: &Successor) -> anyhow::Result<(Ready, usize)> {
    let mut ready = None;
    loop {
        match taking.next().await {
            Event::Adopt(standing, descriptors, answer) => {
                ready = answered(answer, adopt(successor, standing, descriptors).await);
            }
            Event::Begun(sessions) => {
                let ready = ready.context("it was begun before it was ready")?;
                return Ok((ready, sessions));
            }
            Event::DoorsFree => {}
            Event::Over(Err(why)) => {
                return Err(
                    Usage(format!("not taken over, the other relay goes on: {why}")).into(),
                );
            }
            Event::Over(Ok(end)) => bail!("it was over before it was begun: {end:?}"),
        }
    }
}

/// Says what has become of it.
fn answered(
    answer: oneshot::Sender<anyhow::Result<Move>>,
    adopted: anyhow::Result<Ready>,
) -> Option<Ready> {
    let (ready, told) = match adopted {
        Ok(ready) => {
            let moving = ready.running.server.moving();
            (Some(ready), Ok(moving))
        }
        Err(error) => (None, Err(error)),
    };
    // Whoever asked may have given up.
    let _ = answer.send(told);
    ready
}

/// Makes everything ready, and changes nothing.
async fn adopt(
    successor: &Successor,
    standing: Standing,
    descriptors: Vec<OwnedFd>,
) -> anyhow::Result<Ready> {
    let Successor {
        settings,
        needs,
        workers,
        ..
    } = successor;
    can_go_over(settings)?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        let next = descriptors.next();
        next.ok_or_else(|| anyhow!("a descriptor is missing"))
    };
    let mut sockets = Vec::new();
    for listener in &standing.listeners {
        for socket in &listener.sockets {
            let side = match socket.mangled_side {
                true => Side::Mangled,
                false => Side::Clean,
            };
            sockets.push(Listening {
                listener: listener.name.clone(),
                worker: socket.worker,
                side,
                socket: next()?,
            });
        }
    }
    let handed_rules = match standing.rules {
        Some(note) => Some(Handed::from_parts(note, [next()?, next()?, next()?])),
        None => None,
    };
    let mut doors = Vec::new();
    for address in standing.doors {
        let lasts = standing.lasting_doors.contains(&address);
        doors.push(HandedDoor {
            address,
            lasts,
            socket: next()?,
        });
    }
    let witness = match standing.witness {
        true => Some(Witness::take_on(next()?)?),
        false => None,
    };
    let mut listeners = Listeners::adopt(&settings.listeners, *workers, sockets)?;
    let doors = Doors::adopt(&settings.process.admin, doors)?;
    listeners.are_not_alone(doors.ports());
    privileges::settle(*needs, &settings.process)?;
    let ways_in = listeners.ways_in().to_vec();
    let mut plan = settings::plan(settings, &ways_in);
    if let (Some(plan), true) = (&mut plan, witness.is_some()) {
        show(plan);
    }
    let rules = match (&plan, settings.process.rules, handed_rules) {
        (Some(plan), RulesMode::Own, Some(handed)) => {
            InPlace::adopt(handed, plan.clone(), settings.process.fail).await?
        }
        (Some(_), RulesMode::Own, None) | (_, RulesMode::Print | RulesMode::None, Some(_)) => {
            bail!("whose the rules are would change (rules): restart instead")
        }
        (None, _, Some(_)) => bail!("there are rules, and no listener needs any: restart instead"),
        (_, _, None) => InPlace::foreign(),
    };
    let server = Server::start(&settings.process, listeners, None, Begins::WhenTold)
        .context("starting the workers")?;
    Ok(Ready {
        running: Running::new(server, rules, settings.clone(), ways_in),
        witness,
        plan,
        doors,
    })
}
