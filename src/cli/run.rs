//! `unmangle run`: the relay, from its start to its drain.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::logging::Logging;
use super::look::{self, Looked};
use super::reload::Running;
use super::{
    Usage, descriptors, effective, limits, listener, logging, output, privileges, settings,
};
use crate::config::{HostTuning, Intercept, Keys, Listener, Mode, RulesMode, Settings, Strip};
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
    process: ProcessFlags,
}

/// What concerns the whole process.
#[derive(clap::Args)]
struct ProcessFlags {
    /// Run although FORWARD (for a client sidecar: OUTPUT) would have dropped what is intercepted.
    #[arg(long)]
    override_forward: bool,

    /// How long running sessions may go on after SIGTERM or SIGINT [default: 30s]
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,

    /// How long a dial may take before the client is reset [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<String>,

    /// How long a peer may take nothing of the last bytes of a session that has ended [default: 2m]
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    close_timeout: Option<String>,

    /// Silence after which both legs are probed [default: 60s]
    #[arg(long, value_name = "TIME")]
    keepalive: Option<String>,

    /// Reset a session of which no byte has moved either way for this long [default: off]
    #[arg(long, value_name = "TIME|off")]
    idle_timeout: Option<String>,

    /// After how long a session is stuck, and named in the log, that has bytes to deliver and moves none
    /// [default: 30s]
    #[arg(long, value_name = "TIME|off")]
    stall_after: Option<String>,

    /// What becomes of a session that is stuck: log (it goes on) or reset [default: log]
    #[arg(long, value_name = "WHAT")]
    stall_action: Option<String>,

    #[command(flatten)]
    limits: limits::LimitFlags,

    /// What moves the bytes: splice, tokio-splice or copy [default: splice]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,

    /// What becomes of new connections when the relay is killed: open lets them flow unrelayed, closed
    /// drops them until it runs again or `unmangle rules --remove` [default: open]
    #[arg(long, value_name = "HOW")]
    fail: Option<String>,

    /// Who puts the rules in place: own, print (they are printed, nothing is touched) or none
    /// [default: own]
    #[arg(long, value_name = "WHO")]
    rules: Option<String>,

    /// Settings of the host that a leg without SACK wants: none, print, or apply and restore at the end
    /// [default: none]
    #[arg(long, value_name = "HOW")]
    host_tuning: Option<String>,

    /// How the two legs of a session are kept apart in conntrack: zones, or notrack for odd hosts
    /// [default: zones]
    #[arg(long, value_name = "HOW")]
    track: Option<String>,

    /// Bits of the packet mark that are the relay's own [default: 0x02000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    mark: Option<String>,

    /// Bits of the packet mark by which a sidecar's own dials are known [default: 0x04000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    dial_mark: Option<String>,

    /// Routing table that is the relay's own [default: 21837]
    #[arg(long, value_name = "N", hide_short_help = true)]
    table: Option<String>,

    /// Priority of the ip rule that leads there [default: 21069]
    #[arg(long, value_name = "N", hide_short_help = true)]
    priority: Option<String>,

    /// Conntrack zones of the mangled and of the clean leg [default: 21837,21838]
    #[arg(long, value_name = "N,N", hide_short_help = true)]
    zones: Option<String>,

    /// Opening packets that are held at a time with --answer after-connect; further ones are answered at
    /// once [default: 4096]
    #[arg(long, value_name = "N")]
    held_max: Option<String>,

    /// Packet queue that they are held in [default: 21837]
    #[arg(long, value_name = "N", hide_short_help = true)]
    queue: Option<String>,

    /// Three bits of the packet mark for what becomes of them [default: 0x38000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    answer_mark: Option<String>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// MiB of pipes that all workers may hold together; 0 copies every byte [default: 48]
    #[arg(long, value_name = "MIB")]
    pipe_budget: Option<String>,

    /// How the log on stderr is written: human or json [default: human]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged: error, warn, info, debug or trace, or a filter such as
    /// `info,unmangle::session=warn` [default: info]
    #[arg(long, value_name = "FILTER", env = "UNMANGLE_LOG")]
    log: Option<String>,

    /// Append the log to this file instead of stderr; it is opened anew on SIGHUP.
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,

    /// Started by root: become this user, and keep only the capabilities that the settings need
    /// [default: root, without the others]
    #[arg(long, value_name = "USER[:GROUP]")]
    run_as: Option<String>,
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
  SIGHUP            open --log-file anew, read --config again: profiles, times, lists and limits change for
                    new sessions, running ones are not touched; what is wrong, or needs a restart, is refused as a whole
  SIGUSR1           print latency percentiles and counters on stdout";

impl ProcessFlags {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        self.limits.add_to(&mut keys);
        keys.set_flag("override-forward", self.override_forward.then_some(true));
        for (key, value) in [
            ("drain", &self.drain),
            ("connect-timeout", &self.connect_timeout),
            ("close-timeout", &self.close_timeout),
            ("keepalive", &self.keepalive),
            ("idle-timeout", &self.idle_timeout),
            ("stall-after", &self.stall_after),
            ("stall-action", &self.stall_action),
            ("engine", &self.engine),
            ("fail", &self.fail),
            ("rules", &self.rules),
            ("host-tuning", &self.host_tuning),
            ("track", &self.track),
            ("mark", &self.mark),
            ("dial-mark", &self.dial_mark),
            ("table", &self.table),
            ("priority", &self.priority),
            ("zones", &self.zones),
            ("held-max", &self.held_max),
            ("queue", &self.queue),
            ("answer-mark", &self.answer_mark),
            ("workers", &self.workers),
            ("pipe-budget", &self.pipe_budget),
            ("log-format", &self.log_format),
            ("log", &self.log),
            ("log-file", &self.log_file),
            ("run-as", &self.run_as),
        ] {
            keys.set_flag(key, value);
        }
        keys
    }
}

impl Args {
    /// File and flags, as they are now.
    fn read(&self) -> Result<Settings, Usage> {
        settings::read(self.config.as_deref(), self.process.keys(), &self.listener)
    }
}

/// Runs the relay until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
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
    let listeners =
        Listeners::bind(&settings.listeners, workers).map_err(|error| Usage(error.to_string()))?;
    let queue = Queue::open(&settings.process, listeners.served())
        .map_err(|error| Usage(error.to_string()))?;
    let legacy = looked.as_ref().is_some_and(|looked| looked.legacy);
    privileges::settle(needs.with_legacy(legacy), &settings.process)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(relay(&args, &logging, settings, listeners, queue, looked))
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
    logging: &Logging,
    settings: Settings,
    listeners: Listeners,
    queue: Option<Queue>,
    looked: Option<Looked>,
) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tell = signal(SignalKind::user_defined1())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let ways_in = listeners.ways_in().to_vec();
    let server =
        Server::start(&settings.process, listeners, queue).context("starting the workers")?;
    let mut plan = settings::plan(&settings, &ways_in);
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
    for (listener, way_in) in settings.listeners.iter().zip(&ways_in) {
        tracing::info!(
            listener = listener.name,
            way = way(listener, way_in),
            "relaying"
        );
    }
    let mut running = Running::new(server, rules, settings, ways_in);
    loop {
        let Running { server, rules, .. } = &mut running;
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tell.recv() => print(&running).await,
            _ = hang_up.recv() => {
                logging.reopen();
                running.reload(args.read()).await;
            }
            never = watch(server, &mut witness) => match never {},
            never = rules.keep() => match never {},
            () = server.failed() => {
                tracing::error!("a worker has ended: the relay ends, too");
                break;
            }
        }
    }
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
            never = rules.keep() => match never {},
        }
    };
    let reopen = async {
        while hang_up.recv().await.is_some() {
            logging.reopen();
            tracing::warn!("not reloaded: the relay is about to end");
        }
        std::future::pending::<Infallible>().await
    };
    let outcome = tokio::select! {
        outcome = orderly => outcome,
        never = reopen => match never {},
        _ = terminate.recv() => server.drain(Duration::ZERO).await,
        _ = interrupt.recv() => server.drain(Duration::ZERO).await,
    };
    told(outcome);
    running.remove_rules().await;
    if let Some(tuned) = tuned {
        tuned.restore();
    }
    print(&running).await;
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

fn told(outcome: Outcome) {
    match outcome {
        Outcome::Drained => tracing::info!("drained"),
        Outcome::Aborted(sessions) => {
            tracing::warn!(sessions, "the drain deadline is over: sessions were reset");
        }
    }
}

/// Latency percentiles and counters, on stdout.
async fn print(running: &Running) {
    let recorded = running.recorded().await;
    let mut out = std::io::stdout().lock();
    // A closed stdout must not end the relay.
    let _ = writeln!(out, "{recorded}").and_then(|()| out.flush());
}
