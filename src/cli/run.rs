//! `unmangle run`: the relay, from its start to its drain.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Usage, logging, plan};
use crate::config::{Keepalive, Profile, Sessions, Side};
use crate::relay::{Listeners, Outcome, Server};
use crate::rules::survey::{self, Forward};
use crate::rules::{self, ListenPorts, Owned, Plan};

/// Relay connections that pass through this gateway, and normalise the leg that faces the firewall.
///
/// Takes the connections to the named ports that cross the gateway, in either direction, ends TCP on
/// each side and dials the original destination from the client's own address and port. Rules and
/// routes are put in place at the start and vanish with the process, however it ends.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    plan: plan::Wanted,

    /// Run although the FORWARD rules would have dropped what is intercepted (TPROXY bypasses them).
    #[arg(long)]
    override_forward: bool,

    /// How long running sessions may go on after SIGTERM or SIGINT.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    drain: Duration,

    /// How long a dial may take before the client is reset.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,

    /// Silence after which both legs are probed.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    keepalive: Duration,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// MiB of pipes that all workers may hold together; 0 copies every byte.
    #[arg(long, value_name = "MIB", default_value_t = 48, value_parser = clap::value_parser!(u32).range(0..=65536))]
    pipe_budget: u32,

    /// How the log on stderr is written.
    #[arg(long, value_enum, default_value_t = logging::Format::Human)]
    log_format: logging::Format,

    /// What is logged: error, warn, info, debug or trace, or a filter such as `info,unmangle::session=warn`.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "UNMANGLE_LOG"
    )]
    log: String,
}

const EXAMPLES: &str = "\
Examples:
  unmangle run --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle run --intercept 22,873 --mangled-side eth1 --profile isn-rewrite --from 10.0.0.0/8
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix   # look before you leap

Signals:
  SIGTERM, SIGINT   take no new connection, let running ones end (--drain), exit 0; twice: at once
  SIGUSR1           print latency percentiles and counters on stdout";

/// Pause between attempts to put lost rules in place again.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

/// Runs the relay until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format, &args.log)?;
    let (intercept, profile) = args.plan.parse()?;
    let workers = match args.workers {
        Some(workers) => workers.into(),
        None => std::thread::available_parallelism()
            .context("counting the cores")?
            .get(),
    };
    let sessions = Sessions {
        mangled: profile.clone(),
        clean: Profile::clean(),
        connect_timeout: args.connect_timeout,
        keepalive: Keepalive {
            idle: args.keepalive,
            ..Keepalive::default()
        },
        workers,
        pipe_budget: args.pipe_budget as usize * (1 << 20),
    };
    let trial = Plan::new(
        intercept.clone(),
        &profile,
        ListenPorts {
            mangled: 1,
            clean: 2,
        },
    );
    let refused = |error: rules::preflight::PreflightError| Usage(error.to_string());
    for warning in rules::preflight::check(&trial).map_err(refused)? {
        tracing::warn!("{warning}");
    }
    let forward = if args.override_forward {
        Forward::Override
    } else {
        Forward::Respect
    };
    for doubt in survey::survey(&trial, forward).map_err(|error| Usage(error.to_string()))? {
        tracing::warn!("{doubt}");
    }
    raise_descriptor_limit();
    let listeners = Listeners::bind(&sessions).map_err(|error| Usage(error.to_string()))?;
    let ports = ListenPorts {
        mangled: listeners.port(Side::Mangled),
        clean: listeners.port(Side::Clean),
    };
    let plan = Plan::new(intercept, &profile, ports);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(relay(plan, sessions, listeners, args.drain))
}

/// A session takes two descriptors, and the usual limit of 1024 is meant for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}

async fn relay(
    plan: Plan,
    sessions: Sessions,
    listeners: Listeners,
    drain: Duration,
) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tell = signal(SignalKind::user_defined1())?;
    let announced = format!(
        "{} on {} with profile {}",
        plan.interceptions[0].intercept.ports,
        plan.interceptions[0].intercept.mangled_side,
        sessions.mangled.name
    );
    let server = Server::start(sessions, listeners).context("starting the workers")?;
    let mut owned = Owned::apply(plan).await?;
    tracing::info!(intercepting = announced, "relaying");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tell.recv() => print(&server).await,
            () = owned.lost() => {
                tracing::error!("the rules' owner ended: putting the rules in place again");
                // Sessions wait for their rules; ending the relay would reset them.
                if let Err(error) = owned.restore().await {
                    tracing::error!(%error, "the rules are not in place, trying again");
                    tokio::time::sleep(RESTORE_EVERY).await;
                }
            }
        }
    }
    tracing::info!(sessions = server.sessions(), within = ?drain, "draining");
    if let Err(error) = owned.drain().await {
        tracing::warn!(%error, "the rules were gone already");
    }
    tokio::select! {
        outcome = server.drain(drain) => told(outcome),
        _ = terminate.recv() => told(server.drain(Duration::ZERO).await),
        _ = interrupt.recv() => told(server.drain(Duration::ZERO).await),
    }
    owned.remove().await;
    print(&server).await;
    server.stop().context("a worker failed")?;
    Ok(ExitCode::SUCCESS)
}

fn told(outcome: Outcome) {
    match outcome {
        Outcome::Drained => tracing::info!("drained"),
        Outcome::Aborted(sessions) => {
            tracing::warn!(sessions, "the drain deadline is over: sessions were reset");
        }
    }
}

/// Latency percentiles and counters, on stdout.
async fn print(server: &Server) {
    let recorded = server.recorded().await;
    let mut out = std::io::stdout().lock();
    // A closed stdout must not end the relay.
    let _ = writeln!(out, "{recorded}").and_then(|()| out.flush());
}
