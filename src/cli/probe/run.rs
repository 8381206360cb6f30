//! `unmangle probe run`: asks a server to be the other end, has the experiments run, and says what they show.

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Usage, output, values};
use crate::diagnose::probe::control::client::ControlError;
use crate::diagnose::probe::pair::{Pair, PairError};

/// Find out what the path to a host does to TCP: `unmangle probe serve` has to run there.
///
/// It needs CAP_NET_RAW, and changes nothing on either host. Exit code 0 if nothing on the path needs to be undone, 1
/// if something does, 2 if it could not be found out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The host where `unmangle probe serve` runs, by name or address.
    #[arg(value_name = "HOST")]
    host: String,
    /// The TCP port on which it listens.
    #[arg(long, value_name = "PORT", default_value = "7531")]
    port: NonZeroU16,
    /// Try the handshake at these TCP ports of the host, too: firewalls do not treat all alike.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "22,80,443,873"
    )]
    ports: Vec<NonZeroU16>,
    /// Find out for how long a silent connection is remembered, up to this time; it takes up to twice as long.
    #[arg(long, value_name = "TIME", value_parser = idle)]
    idle_up_to: Option<Duration>,
    /// By IPv4 only.
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// By IPv6 only.
    #[arg(short = '6')]
    v6: bool,
    /// Print what is found in JSON.
    #[arg(long)]
    json: bool,
    /// Write a configuration for `unmangle run` that undoes what is found.
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  unmangle probe run server.example
  unmangle probe run -6 server.example --idle-up-to 10min
  unmangle probe run 192.0.2.7 --write-config unmangle.toml
  unmangle probe run 192.0.2.7 --json | jq '.findings[].what'";

/// Probes, and prints what is found.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let mut pair = meet(args)?;
    let found = look(&mut pair, args);
    pair.part();
    let found = found.map_err(|lost| Usage(lost.to_string()))?;
    output::print(found).map_err(|error| Usage(format!("cannot print what was found: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Begins a session with the first of the host's addresses that answers.
fn meet(args: &Args) -> Result<Pair, Usage> {
    let mut first = None;
    for address in addresses(args)? {
        match Pair::meet(address) {
            Ok(pair) => return Ok(pair),
            Err(error) => {
                let another = error.is_of_the_address();
                let error = first.get_or_insert_with(|| Usage(told(&error)));
                if !another {
                    return Err(Usage(error.0.clone()));
                }
            }
        }
    }
    Err(first.unwrap_or_else(|| Usage(format!("{} has no address of that family", args.host))))
}

fn addresses(args: &Args) -> Result<Vec<SocketAddr>, Usage> {
    let host = args.host.trim_start_matches('[').trim_end_matches(']');
    let all = (host, args.port.get()).to_socket_addrs().map_err(|error| {
        Usage(format!(
            "{host}: this host cannot find its address: {error}"
        ))
    })?;
    let wanted = |address: &SocketAddr| match address {
        SocketAddr::V4(_) => !args.v6,
        SocketAddr::V6(_) => !args.v4,
    };
    Ok(all.filter(wanted).collect())
}

/// What is to be done about it, where that can be said.
fn told(error: &PairError) -> String {
    match error {
        PairError::Control(ControlError::Silent(server)) => {
            let (ip, port) = (server.ip(), server.port());
            format!(
                "{error}: let TCP ports {port} and {next} (or the server's --flow-port) through to {ip}, in the firewall \
                 and on {ip}",
                next = port.saturating_add(1)
            )
        }
        _ => error.to_string(),
    }
}

/// Runs the experiments, and says what they show.
fn look(pair: &mut Pair, args: &Args) -> Result<String, crate::diagnose::probe::ends::Lost> {
    let bar = progress();
    bar.finish_and_clear();
    let _ = (&args.ports, args.idle_up_to, args.json, &args.write_config);
    Ok(format!("{:#?}\n", pair.path()))
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn idle(text: &str) -> Result<Duration, String> {
    values::time(text, "10s", "1day")
}
