//! `unmangle run`: the relay, from its start to its drain.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::hdr_log::{HdrLog, Writing};
use super::logging::Logging;
use super::look::{self, Looked};
use super::reload::Running;
use super::standing::{Asked, Beginning, Publisher};
use super::{
    Usage, descriptors, effective, listener, logging, output, privileges, process, settings,
};
use crate::admin::{self, Ask, Doors};
use crate::config::{HostTuning, Intercept, Listener, Mode, RulesMode, Settings, Strip};
use crate::relay::{Listeners, Outcome, Queue, Server, WayIn, Witness};
use crate::rules::tuning::{self, Tuned};
use crate::rules::{InPlace, Plan, Shown};

/// Relay connections, and normalise the leg that crosses the firewall.
///
/// As a gateway it takes the connections to the named ports that pass through this router, in either
/// direction, ends TCP on each side and dials the original destination from the client's own address and
/// port. Rules and routes are put in place at the start and vanish with the process, however it ends.
/// With --listen it waits for clients that come to it, and needs no privilege. With --mode server-sidecar or
/// client-sidecar it runs on the strict host itself, in front of a service or behind what this host opens.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read settings and listeners from this file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the settings, print what would be in force, and end.
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    listener: listener::Flags,

    #[command(flatten)]
    process: process::ProcessFlags,
}

const EXAMPLES: &str = "\
Examples:
  unmangle run --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle run --intercept 22,873 --mangled-side eth1 --profile isn-rewrite --from 10.0.0.0/8
  unmangle run --mode server-sidecar --intercept 22 --mangled-side eth0 --profile cisco-pix
  unmangle run --mode client-sidecar --intercept 22 --mangled-side eth0 --profile cisco-pix
  unmangle run --listen 0.0.0.0:2222 --to backup.example:22
  unmangle run --config /etc/unmangle.toml --check
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix   # look before you leap

Signals:
  SIGTERM, SIGINT   take no new connection, let running ones end (--drain), exit 0; twice: at once
  SIGHUP            open --log-file anew, begin --hdr-log anew, read --config again: profiles, times, lists and limits change for
                    new sessions, running ones are not touched; what is wrong, or needs a restart, is refused as a whole
  SIGUSR1           print latency percentiles and counters on stdout";

impl Args {
    /// File and flags, as they are now.
    fn read(&self) -> Result<Settings, Usage> {
        settings::read(self.config.as_deref(), self.process.keys(), &self.listener)
    }
}

/// Runs the relay until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let beginning = Beginning::now();
    let settings = args.read()?;
    if args.check {
        output::print(effective::Effective(&settings))?;
        return Ok(ExitCode::SUCCESS);
    }
    let needs = privileges::step_down(&settings)?;
    let logging = logging::start(&settings.process.log)?;
    end_with_a_panic();
    let workers = match settings.process.workers {
        Some(workers) => workers,
        None => std::thread::available_parallelism()
            .context("counting the cores")?
            .get(),
    };
    let looked = look::first(&settings)?;
    descriptors::raise_limit();
    let mut listeners =
        Listeners::bind(&settings.listeners, workers).map_err(|error| Usage(error.to_string()))?;
    let queue = Queue::open(&settings.process, listeners.served())
        .map_err(|error| Usage(error.to_string()))?;
    let doors = Doors::bind(&settings.process.admin).map_err(|error| Usage(error.to_string()))?;
    listeners.are_not_alone(doors.ports());
    // Last, because it puts aside what is there: a relay that cannot start has changed nothing.
    let hdr_log = settings.process.hdr_log.as_ref().map(HdrLog::open);
    let hdr_log = hdr_log.transpose()?;
    let legacy = looked.as_ref().is_some_and(|looked| looked.legacy);
    privileges::settle(needs.with_legacy(legacy), &settings.process)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(relay(
            &args,
            (&logging, hdr_log),
            settings,
            (listeners, queue, doors),
            looked,
            beginning,
        ))
}

/// A session that has panicked must not close its legs as if all was said: the whole relay ends, which
/// resets every session and takes the rules away.
fn end_with_a_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn relay(
    args: &Args,
    (logging, hdr_log): (&Logging, Option<HdrLog>),
    settings: Settings,
    (listeners, queue, doors): (Listeners, Option<Queue>, Doors),
    looked: Option<Looked>,
    beginning: Beginning,
) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tell = signal(SignalKind::user_defined1())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let ways_in = listeners.ways_in().to_vec();
    let workers = listeners.workers();
    let ways: Vec<String> = settings
        .listeners
        .iter()
        .zip(&ways_in)
        .map(|(listener, way_in)| way(listener, way_in))
        .collect();
    let server = Server::start(
        &settings.process,
        listeners,
        queue,
        crate::relay::Begins::AtOnce,
    )
    .context("starting the workers")?;
    let standing = Publisher::new(&settings);
    let mut asked = Asked::start(
        doors,
        server.handle().clone(),
        &standing,
        beginning,
        workers,
        ways.clone(),
        settings.process.invalid_reasons,
    )
    .context("starting the thread that answers")?;
    let mut plan = settings::plan(&settings, &ways_in);
    let needs_rules = plan.is_some();
    let mut witness = match &mut plan {
        Some(plan) if settings.process.rules == RulesMode::Own => witness(plan),
        _ => None,
    };
    let strips: Vec<Strip> = plan
        .iter()
        .flat_map(|plan| &plan.interceptions)
        .map(|each| each.strip)
        .collect();
    let rules = match (plan, settings.process.rules, looked) {
        (Some(plan), RulesMode::Own, Some(Looked { lock, queueing, .. })) => {
            let plan = plan.queued_by(queueing);
            InPlace::own(plan, settings.process.fail, lock).await?
        }
        (Some(plan), RulesMode::Print, _) => {
            output::print(super::rules::text(&plan, super::rules::Format::Nft))?;
            InPlace::foreign()
        }
        _ => InPlace::foreign(),
    };
    // Whose rules they are not, does not know whether another relay's tuning is left over or in force.
    let how = settings.process.host_tuning;
    let ours = settings.process.rules == RulesMode::Own && !strips.is_empty();
    let tuned = if ours || how == HostTuning::Print {
        tune(how, &strips)
    } else {
        Ok(None)
    };
    let tuned = match tuned {
        Ok(tuned) => tuned,
        Err(error) => {
            rules.remove().await;
            return Err(error);
        }
    };
    standing.relays(match (rules.plan(), needs_rules) {
        (Some(_), _) => admin::Rules::InPlace {
            since: Instant::now(),
        },
        (None, true) => admin::Rules::SomebodyElses,
        (None, false) => admin::Rules::NotNeeded,
    });
    for (listener, way) in settings.listeners.iter().zip(ways) {
        tracing::info!(listener = listener.name, way, "relaying");
    }
    let mut running = Running::new(server, rules, settings, ways_in);
    let hdr_log = hdr_log.map(|log| log.start(running.server.handle().clone()));
    let hdr_log = hdr_log.transpose().context("starting the histogram log")?;
    let reopen_logs = || {
        logging.reopen();
        hdr_log.iter().for_each(Writing::renew);
    };
    loop {
        let Running { server, rules, .. } = &mut running;
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tell.recv() => print(&running).await,
            _ = hang_up.recv() => {
                reopen_logs();
                running.reload(args.read()).await;
                standing.reloaded(&running);
            }
            ask = asked.next() => match ask {
                Ask::Drain => {
                    tracing::info!("the drain was asked for");
                    break;
                }
                // Dropped, it is closed, and whoever asked sees that nothing comes.
                Ask::Takeover(_) => tracing::warn!("not handed over: this relay cannot do that"),
                Ask::Upgrade { answer, .. } => {
                    let _ = answer.send(Err("this relay cannot hand its sessions over".to_owned()));
                }
            },
            never = watch(server, &mut witness) => match never {},
            never = rules.keep(|change| standing.rules(change)) => match never {},
            () = server.failed() => {
                tracing::error!("a worker has ended: the relay ends, too");
                break;
            }
        }
    }
    standing.drains();
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
    let reopen = async {
        while hang_up.recv().await.is_some() {
            reopen_logs();
            tracing::warn!("not reloaded: the relay is about to end");
        }
        std::future::pending::<Infallible>().await
    };
    let (outcome, why) = tokio::select! {
        outcome = orderly => (outcome, "the drain deadline is over"),
        never = reopen => match never {},
        _ = terminate.recv() => (server.drain(Duration::ZERO).await, TWICE),
        _ = interrupt.recv() => (server.drain(Duration::ZERO).await, TWICE),
    };
    told(outcome, why);
    drop(asked);
    running.remove_rules().await;
    if let Some(tuned) = tuned {
        tuned.restore();
    }
    print(&running).await;
    if let Some(log) = hdr_log {
        log.finish().await;
    }
    running.server.stop().context("a worker failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Has the rules show what no socket shows. Without it sessions are relayed all the same.
fn witness(plan: &mut Plan) -> Option<Witness> {
    if plan.interceptions.is_empty() || plan.has_sidecars() {
        return None;
    }
    match Witness::open() {
        Ok(witness) => {
            // A SYN that nobody reads about need not be told.
            plan.shown = if tracing::enabled!(target: "unmangle::session", tracing::Level::INFO) {
                Shown::DscpAndOffers
            } else {
                Shown::Dscp
            };
            Some(witness)
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "no NFLOG: what clients offered is not told, and DSCP is not kept"
            );
            None
        }
    }
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

/// Changes the settings of the host that the profiles want changed, if that was asked for.
fn tune(how: HostTuning, strips: &[Strip]) -> anyhow::Result<Option<Tuned>> {
    let wanted = tuning::plan(strips);
    match how {
        HostTuning::Nothing => {
            for restored in tuning::restore_left_over() {
                tracing::info!("{restored}");
            }
            Ok(None)
        }
        HostTuning::Print => {
            output::print(tuning::commands(wanted))?;
            Ok(None)
        }
        HostTuning::Apply => {
            let tuned = tuning::apply(wanted)?;
            for refused in &tuned.refused {
                tracing::warn!("{refused}");
            }
            Ok(Some(tuned))
        }
    }
}

/// What comes to a listener, in a few words.
fn way(listener: &Listener, way_in: &WayIn) -> String {
    let profile = &listener.mangled.name;
    match (&listener.mode, way_in) {
        (Mode::Forward(forward), WayIn::Listening(address)) => {
            format!("{address} to {} with profile {profile}", forward.to)
        }
        (Mode::Forward(forward), WayIn::Intercepted { .. }) => forward.to.to_string(),
        (Mode::Gateway(intercept), _) => {
            format!(
                "{} on {} with profile {profile}",
                intercept.ports, intercept.mangled_side
            )
        }
        (Mode::ServerSidecar(sidecar), _) => {
            let Intercept {
                ports,
                mangled_side,
                ..
            } = &sidecar.intercept;
            format!("{ports} of this host on {mangled_side} with profile {profile}")
        }
        (Mode::ClientSidecar(sidecar), _) => {
            let Intercept {
                ports,
                mangled_side,
                ..
            } = &sidecar.intercept;
            let whose = &sidecar.whose;
            format!("{ports} from this host ({whose}) on {mangled_side} with profile {profile}")
        }
    }
}

/// Why sessions do not get the time that the drain would have given them.
const TWICE: &str = "the end was asked for twice";

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
