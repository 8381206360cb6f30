//! `unmangle run`: the relay, from its start to its drain.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::bring_up::{announce, relays, strips, tune, witness};
use super::hdr_log::HdrLog;
use super::logging::Logging;
use super::look::{self, Looked};
use super::relaying::{Relaying, Signals};
use super::reload::Running;

use super::standing::{Answering, Beginning, Publisher};
use super::succeeding::{self, Successor};
use super::watchdog::Watchdog;
use super::{
    Usage, activation, descriptors, effective, listener, logging, output, privileges, process,
    settings, successor,
};
use crate::admin::Doors;
use crate::config::{RulesMode, Settings};
use crate::relay::{Begins, Listeners, Queue, Server};
use crate::rules::InPlace;
use crate::rules::by_hand::{self, Language};
use crate::sys::notify::{self, State};
use crate::sys::passed::Passed;

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

    /// Take over everything from the relay that answers at this Unix socket (its --admin), sessions included; it goes on
    /// if that fails. `unmangle upgrade` has a relay start its successor so.
    #[arg(long, value_name = "SOCKET", conflicts_with = "check")]
    takeover: Option<PathBuf>,

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
  unmangle run --config /etc/unmangle/unmangle.toml --check
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix   # look before you leap

Signals:
  SIGTERM, SIGINT   take no new connection, let running ones end (--drain), exit 0; twice: at once
  SIGHUP            open --log-file anew, begin --hdr-log anew, read --config again: profiles, times, lists and limits change for
                    new sessions, running ones are not touched; what is wrong, or needs a restart, is refused as a whole
  SIGUSR1           print latency percentiles and counters on stdout";

impl Args {
    /// File and flags, as they are now.
    pub fn read(&self) -> Result<Settings, Usage> {
        settings::read(self.config.as_deref(), self.process.keys(), &self.listener)
    }
}

/// Runs the relay until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let beginning = Beginning::now();
    successor::remember();
    // Before anything else opens a descriptor, and before there is a second thread.
    let passed = Passed::take().map_err(|error| Usage(error.to_string()))?;
    let watchdog = notify::watchdog().map_err(|error| Usage(error.to_string()))?;
    let settings = args.read()?;
    if args.check {
        output::print(effective::Effective(&settings))?;
        return Ok(ExitCode::SUCCESS);
    }
    activation::check(&settings, &passed, args.takeover.is_some())?;
    let needs = privileges::step_down(&settings)?;
    let logging = logging::start(&settings.process.log)?;
    end_with_a_panic();
    let workers = match settings.process.workers {
        Some(workers) => workers,
        None => std::thread::available_parallelism()
            .context("counting the cores")?
            .get(),
    };
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(socket) = &args.takeover {
        let successor = Successor {
            settings,
            needs,
            workers,
            beginning,
            watchdog,
        };
        return runtime.block_on(succeeding::take_over(&args, &logging, successor, socket));
    }
    let looked = look::first(&settings)?;
    let mut passed = passed;
    let mut listeners = Listeners::bind(&settings.listeners, workers, &mut passed)
        .map_err(|error| Usage(error.to_string()))?;
    let queue = Queue::open(&settings.process, listeners.served())
        .map_err(|error| Usage(error.to_string()))?;
    let doors = Doors::bind(&settings.process.admin, &mut passed)
        .map_err(|error| Usage(error.to_string()))?;
    listeners.are_not_alone(doors.ports());
    // Last, because it puts aside what is there: a relay that cannot start has changed nothing.
    let hdr_log = settings.process.hdr_log.as_ref().map(HdrLog::open);
    let hdr_log = hdr_log.transpose()?;
    let legacy = looked.as_ref().is_some_and(|looked| looked.legacy);
    privileges::settle(needs.with_legacy(legacy), &settings.process)?;
    runtime.block_on(fresh(
        &args,
        &logging,
        settings,
        (listeners, queue, doors),
        (looked, hdr_log),
        (beginning, watchdog),
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

/// Puts everything in place, and relays.
async fn fresh(
    args: &Args,
    logging: &Logging,
    settings: Settings,
    (listeners, queue, doors): (Listeners, Option<Queue>, Doors),
    (looked, hdr_log): (Option<Looked>, Option<HdrLog>),
    (beginning, watchdog): (Beginning, Option<Duration>),
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let ways_in = listeners.ways_in().to_vec();
    let server = Server::start(&settings.process, listeners, queue, Begins::AtOnce)
        .context("starting the workers")?;
    let standing = Publisher::new(&settings);
    let answering = Answering::of(&server, &settings, &ways_in, beginning);
    let asked = answering
        .start(doors, &standing)
        .context("starting the thread that answers")?;
    let mut plan = settings::plan(&settings, &ways_in);
    let needs_rules = plan.is_some();
    let witness = match &mut plan {
        Some(plan) if settings.process.rules == RulesMode::Own => witness(plan),
        _ => None,
    };
    let strips = strips(plan.as_ref());
    let rules = match (plan, settings.process.rules, looked) {
        (Some(plan), RulesMode::Own, Some(Looked { lock, queueing, .. })) => {
            let plan = plan.queued_by(queueing);
            InPlace::own(plan, settings.process.fail, lock).await?
        }
        (Some(plan), RulesMode::Print, _) => {
            let command = super::rules::command();
            output::print(by_hand::relay(&plan, Language::Nft, &command)?)?;
            InPlace::foreign()
        }
        _ => InPlace::foreign(),
    };
    let tuned = match tune(&settings, &strips) {
        Ok(tuned) => tuned,
        Err(error) => {
            rules.remove().await;
            return Err(error);
        }
    };
    let running = Running::new(server, rules, settings, ways_in);
    relays(&standing, &running, needs_rules);
    let hdr_log = hdr_log.map(|log| log.start(running.server.handle().clone()));
    let hdr_log = hdr_log.transpose().context("starting the histogram log")?;
    let watchdog = Watchdog::start(watchdog, running.server.handle());
    announce(State::Ready);
    let relay = Relaying {
        running,
        standing,
        asked: Some(asked),
        witness,
        tuned,
        hdr_log,
        watchdog,
        before: None,
    };
    relay.until_the_end(args, logging, signals).await
}
