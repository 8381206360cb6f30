//! `unmangle run`: the relay, from its start to its drain.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Usage, effective, listener, logging};
use crate::config::{Contents, Keys, Listener, Mode, Numbers, Settings, Track, file};
use crate::relay::{Listeners, Outcome, Server, WayIn};
use crate::rules::plan::{Interception, ListenPorts, Plan, Tracking, Zones};
use crate::rules::survey::{self, Forward};
use crate::rules::{self, Owned};

/// Relay connections, and normalise the leg that crosses the firewall.
///
/// As a gateway it takes the connections to the named ports that pass through this router, in either
/// direction, ends TCP on each side and dials the original destination from the client's own address and
/// port. Rules and routes are put in place at the start and vanish with the process, however it ends.
/// With --listen it waits for clients that come to it, and needs no privilege.
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
    /// Run although the FORWARD rules would have dropped what is intercepted (TPROXY bypasses them).
    #[arg(long)]
    override_forward: bool,

    /// How long running sessions may go on after SIGTERM or SIGINT [default: 30s]
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,

    /// How long a dial may take before the client is reset [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<String>,

    /// Silence after which both legs are probed [default: 60s]
    #[arg(long, value_name = "TIME")]
    keepalive: Option<String>,

    /// What moves the bytes: splice, tokio-splice or copy [default: splice]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,

    /// How the two legs of a session are kept apart in conntrack: zones, or notrack for odd hosts
    /// [default: zones]
    #[arg(long, value_name = "HOW")]
    track: Option<String>,

    /// Bits of the packet mark that are the relay's own [default: 0x02000000]
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    mark: Option<String>,

    /// Routing table that is the relay's own [default: 21837]
    #[arg(long, value_name = "N", hide_short_help = true)]
    table: Option<String>,

    /// Priority of the ip rule that leads there [default: 21069]
    #[arg(long, value_name = "N", hide_short_help = true)]
    priority: Option<String>,

    /// Conntrack zones of the mangled and of the clean leg [default: 21837,21838]
    #[arg(long, value_name = "N,N", hide_short_help = true)]
    zones: Option<String>,

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
}

const EXAMPLES: &str = "\
Examples:
  unmangle run --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle run --intercept 22,873 --mangled-side eth1 --profile isn-rewrite --from 10.0.0.0/8
  unmangle run --listen 0.0.0.0:2222 --to backup.example:22
  unmangle run --config /etc/unmangle.toml --check
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix   # look before you leap

Signals:
  SIGTERM, SIGINT   take no new connection, let running ones end (--drain), exit 0; twice: at once
  SIGUSR1           print latency percentiles and counters on stdout";

/// Pause between attempts to put lost rules in place again.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

impl ProcessFlags {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.set_flag("override-forward", self.override_forward.then_some(true));
        for (key, value) in [
            ("drain", &self.drain),
            ("connect-timeout", &self.connect_timeout),
            ("keepalive", &self.keepalive),
            ("engine", &self.engine),
            ("track", &self.track),
            ("mark", &self.mark),
            ("table", &self.table),
            ("priority", &self.priority),
            ("zones", &self.zones),
            ("workers", &self.workers),
            ("pipe-budget", &self.pipe_budget),
            ("log-format", &self.log_format),
            ("log", &self.log),
        ] {
            keys.set_flag(key, value);
        }
        keys
    }
}

/// Runs the relay until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let settings = settings(&args)?;
    if args.check {
        print!("{}", effective::Effective(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&settings.process.log)?;
    let workers = match settings.process.workers {
        Some(workers) => workers,
        None => std::thread::available_parallelism()
            .context("counting the cores")?
            .get(),
    };
    look_first(&settings)?;
    raise_descriptor_limit();
    let listeners =
        Listeners::bind(&settings.listeners, workers).map_err(|error| Usage(error.to_string()))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(relay(&settings, listeners))
}

/// File and flags, checked.
fn settings(args: &Args) -> Result<Settings, Usage> {
    let contents = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Usage(format!("--config {}: {error}", path.display())))?;
            file::parse(path, &text).map_err(|error| Usage(error.to_string()))?
        }
        None => Contents::default(),
    };
    Settings::resolve(contents, args.process.keys(), args.listener.keys())
        .map_err(|error| Usage(error.to_string()))
}

/// Whether this host can do it and its other rules leave room for it, before anything is changed.
fn look_first(settings: &Settings) -> Result<(), Usage> {
    let somewhere = WayIn::Intercepted {
        mangled: 1,
        clean: 2,
    };
    let ways_in = vec![somewhere; settings.listeners.len()];
    let Some(plan) = plan(settings, &ways_in) else {
        return Ok(());
    };
    let warnings = rules::preflight::check(&plan).map_err(|error| Usage(error.to_string()))?;
    let forward = if settings.process.override_forward {
        Forward::Override
    } else {
        Forward::Respect
    };
    let doubts = survey::survey(&plan, forward).map_err(|error| Usage(error.to_string()))?;
    for warning in warnings.into_iter().chain(doubts) {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// The rules that lead connections to the listeners that intercept; none if none does.
fn plan(settings: &Settings, ways_in: &[WayIn]) -> Option<Plan> {
    let interceptions: Vec<Interception> = settings
        .listeners
        .iter()
        .zip(ways_in)
        .filter_map(|(listener, way_in)| match (&listener.mode, *way_in) {
            (Mode::Gateway(intercept), WayIn::Intercepted { mangled, clean }) => {
                let ports = ListenPorts { mangled, clean };
                Some(Interception::new(
                    intercept.clone(),
                    &listener.mangled,
                    ports,
                ))
            }
            _ => None,
        })
        .collect();
    if interceptions.is_empty() {
        return None;
    }
    let Numbers {
        mark,
        table,
        priority,
        zones: (mangled, clean),
    } = settings.process.numbers;
    let tracking = match settings.process.track {
        Track::Zones => Tracking::Zones(Zones { mangled, clean }),
        Track::Notrack => Tracking::Notrack,
    };
    Some(Plan {
        interceptions,
        mark,
        table,
        priority,
        tracking,
    })
}

/// A session takes two descriptors, and the usual limit of 1024 is meant for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}

async fn relay(settings: &Settings, listeners: Listeners) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tell = signal(SignalKind::user_defined1())?;
    let ways_in = listeners.ways_in().to_vec();
    let server = Server::start(&settings.process, listeners).context("starting the workers")?;
    let mut rules = Rules(match plan(settings, &ways_in) {
        Some(plan) => Some(Owned::apply(plan).await?),
        None => None,
    });
    for (listener, way_in) in settings.listeners.iter().zip(&ways_in) {
        tracing::info!(
            listener = listener.name,
            way = way(listener, way_in),
            "relaying"
        );
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tell.recv() => print(&server).await,
            () = rules.kept() => {}
        }
    }
    let within = settings.process.drain;
    tracing::info!(sessions = server.sessions(), ?within, "draining");
    if let Some(owned) = &mut rules.0
        && let Err(error) = owned.drain().await
    {
        tracing::warn!(%error, "the rules were gone already");
    }
    tokio::select! {
        outcome = server.drain(within) => told(outcome),
        _ = terminate.recv() => told(server.drain(Duration::ZERO).await),
        _ = interrupt.recv() => told(server.drain(Duration::ZERO).await),
    }
    if let Some(owned) = rules.0 {
        owned.remove().await;
    }
    print(&server).await;
    server.stop().context("a worker failed")?;
    Ok(ExitCode::SUCCESS)
}

/// The rules, if any listener needs them.
struct Rules(Option<Owned>);

impl Rules {
    /// Waits until the rules are lost, and tries once to put them in place again.
    async fn kept(&mut self) {
        let Some(owned) = &mut self.0 else {
            return std::future::pending().await;
        };
        owned.lost().await;
        tracing::error!("the rules' owner ended: putting the rules in place again");
        // Sessions wait for their rules; ending the relay would reset them.
        if let Err(error) = owned.restore().await {
            tracing::error!(%error, "the rules are not in place, trying again");
            tokio::time::sleep(RESTORE_EVERY).await;
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
async fn print(server: &Server) {
    let recorded = server.recorded().await;
    let mut out = std::io::stdout().lock();
    // A closed stdout must not end the relay.
    let _ = writeln!(out, "{recorded}").and_then(|()| out.flush());
}
