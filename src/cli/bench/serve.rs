//! `unmangle bench serve`: the other end of a load.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::values;
use crate::bench::serve::{Serve, Server, Stall};
use crate::bench::work::Mode;
use crate::cli::descriptors::raise_limit;
use crate::cli::output::print;
use crate::cli::{Usage, interrupts};

/// Be the other end of `unmangle bench run`: answer, discard and send as it asks.
///
/// It serves everybody who can reach it, as much as they ask for: let it run for a measurement only.
/// SIGTERM or Ctrl-C is how it ends: exit code 0.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An address to listen on, HOST:PORT; port 0 takes a free one. May be given several times.
    #[arg(long, required = true, value_name = "ADDR")]
    listen: Vec<String>,
    /// Serve this mode only, and tell others so.
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Stand still now and then, to see whether a load generator notices: 200ms/1s is 200 ms in every
    /// second.
    #[arg(long, value_name = "TIME/TIME", value_parser = values::stall)]
    stall: Option<Stall>,
}

const EXAMPLES: &str = "\
Examples:
  unmangle bench serve --listen 0.0.0.0:7000
  unmangle bench serve --listen 127.0.0.1:7000 --stall 200ms/1s";

/// Serves until it is told to end.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    if args.mode == Some(Mode::Mix) {
        let what = "--mode mix: a mix is made of the other modes; leave --mode out to serve all";
        return Err(Usage(what.to_owned()).into());
    }
    let mut listen = Vec::new();
    for text in &args.listen {
        let target = values::target(text).map_err(|error| Usage(format!("--listen {error:#}")))?;
        listen.push(target.address);
    }
    raise_limit();
    let server = Server::bind(Serve {
        listen,
        threads: match args.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().context("counting the cores")?,
        },
        only: args.mode,
        stall: args.stall,
    })
    .map_err(|error| Usage(format!("--listen: {error}")))?;
    let ended = Arc::new(AtomicBool::new(false));
    interrupts::set(&ended)?;
    for address in server.addresses() {
        print(format!("listening {address}\n"))?;
    }
    let totals = server.run(&ended)?;
    tracing::info!(
        connections = totals.connections,
        bytes = totals.bytes,
        failed = totals.failed,
        foreign = totals.foreign,
        refused = (totals.refused > 0).then_some(totals.refused),
        "served"
    );
    debug_assert!(ended.load(Ordering::Relaxed));
    Ok(ExitCode::SUCCESS)
}
