//! `unmangle probe sweep`: what the path to a host does to packets, seen from this end alone.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use crate::cli::{Usage, output};
use crate::diagnose::sweep::here::Here;
use crate::diagnose::sweep::judge::judge;
use crate::diagnose::sweep::seen::Target;
use crate::diagnose::sweep::{self, Stage, text};

/// Look for a firewall that mangles, from this end alone: nothing has to run on HOST.
///
/// Finds the largest ping and the largest TCP packet that pass, whether sequence numbers are rewritten without those in
/// SACK, and between which hops a SYN is changed. Sends at most 20 MB in less than a minute, and nothing of it is
/// delivered to the service behind the port. Needs CAP_NET_RAW, and CAP_NET_ADMIN
/// where the kernel wants it for filters.
///
/// Exit code 0 if nothing is wrong, 1 if something is, 2 if it could not be looked at.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The host: a name or an address.
    #[arg(value_name = "HOST")]
    host: String,

    /// A TCP port of it that is open.
    #[arg(long, value_name = "PORT", default_value_t = 22)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Print what is found in JSON, as docs/sweep.schema.json describes.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unmangle probe sweep backup.example.net
  unmangle probe sweep 192.0.2.7 --port 443
  unmangle probe sweep 2001:db8::7 --json | jq .verdict";

/// Runs the subcommand.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let address = resolve(&args.host, args.port)?;
    let usage = |why: String| anyhow::Error::from(Usage(why));
    let mut here = Here::towards(address).map_err(|why| usage(why.to_string()))?;
    let target = Target {
        own: here.own(),
        host: address.ip(),
        port: args.port,
        longest: here.longest(),
    };
    let progress = output::spinner();
    let seen = sweep::sweep(&mut here, target, |stage| progress.set_message(word(stage)));
    progress.finish_and_clear();
    let seen = seen.map_err(|why| usage(why.to_string()))?;
    let report = judge(&seen).map_err(|why| usage(why.to_string()))?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => text::render(&report),
    };
    output::print(text).map_err(|error| usage(format!("cannot print what was found: {error}")))?;
    Ok(ExitCode::from(u8::from(report.problems > 0)))
}

/// The first address of a name.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, Usage> {
    let unknown = |why: String| Usage(format!("{host}: no such host is known: {why}"));
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?;
    let first = addresses.next();
    first.ok_or_else(|| unknown("the name has no address".into()))
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Echo => "pings of all sizes",
        Stage::Segments => "TCP packets of all sizes",
        Stage::Hops => "hop by hop",
    }
}
