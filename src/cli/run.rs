//! `unmangle run`: the relay, from its start to its drain.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{Usage, effective, listener, logging};
use crate::config::{Contents, Keys, Listener, Mode, Settings, file};
use crate::relay::{Listeners, Outcome, Server, WayIn};
use crate::rules::survey::{self, Forward};
use crate::rules::{self, ListenPorts, Owned, Plan};

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

impl ProcessFlags {
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.set_flag("override-forward", self.override_forward.then_some(true));
        for (key, value) in [
            ("drain", &self.drain),
            ("connect-timeout", &self.connect_timeout),
            ("keepalive", &self.keepalive),
            ("engine", &self.engine),
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
    raise_descriptor_limit();
    let workers = match settings.process.workers {
        Some(workers) => workers,
        None => std::thread::available_parallelism().context("counting the cores")?.get(),
    };
    look_first(&settings)?;
    let listeners = Listeners::bind(&settings.listeners, workers)
        .map_err(|error| Usage(error.to_string()))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(relay(settings, listeners))
}

/// File and flags, checked.
fn settings(args: &Args) -> Result<Settings, Usage> {
    let usage = |error: &dyn std::fmt::Display| Usage(error.to_string());
    let contents = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Usage(format!("--config: {}: {error}", path.display())))?;
            file::parse(path, &text).map_err(|error| usage(&error))?
        }
        None => Contents::default(),
    };
    Settings::resolve(contents, args.process.keys(), args.listener.keys())
        .map_err(|error| usage(&error))
}
