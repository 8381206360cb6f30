//! `unmangle probe serve`: the other end of a probe.

use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipnet::IpNet;

use super::say;
use crate::cli::output::print;
use crate::cli::{Usage, interrupts};
use crate::diagnose::probe::serve::{Event, Serve, ServeError, Server};

/// Be the other end of `unmangle probe run`.
///
/// It needs CAP_NET_RAW, and CAP_NET_ADMIN where the kernel wants it for filters. It changes no setting of this host;
/// ports that are tried and that no service has are held while a client is there. What it sends goes to the clients that
/// ask for it and to nobody else; say with --allow who they may be. SIGTERM or Ctrl-C is how it ends: exit code 0.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The TCP port by which clients say what is to be done.
    #[arg(long, value_name = "PORT", default_value_t = super::PORT)]
    port: NonZeroU16,
    /// The TCP port of the segments that are compared; no service may have it [default: the one after --port]
    #[arg(long, value_name = "PORT")]
    flow_port: Option<NonZeroU16>,
    /// Other TCP ports that clients may have tried; what a service of this host has is only watched.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "22,80,443,873"
    )]
    ports: Vec<NonZeroU16>,
    /// Serve only clients of this network, such as 192.0.2.0/24, or of this address. May be given several times.
    #[arg(long, value_name = "NET", value_parser = network)]
    allow: Vec<IpNet>,
    /// So many clients at a time, each of another address.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=100))]
    max_sessions: u16,
}

const EXAMPLES: &str = "\
Examples:
  unmangle probe serve
  unmangle probe serve --allow 192.0.2.7
  unmangle probe serve --port 873 --flow-port 22     where only these ports are open";

/// Serves until it is told to end.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let serve = Serve {
        port: args.port.get(),
        flow_port: flow_port(&args)?,
        ports: args.ports.iter().map(|port| port.get()).collect(),
        allow: args.allow,
        sessions: args.max_sessions.into(),
    };
    let (port, flow_port) = (serve.port, serve.flow_port);
    let server = Server::bind(serve).map_err(cannot)?;
    let ended = Arc::new(AtomicBool::new(false));
    interrupts::set(&ended)?;
    print(format!(
        "listening on TCP port {port}; segments that are compared come to port {flow_port}\n"
    ))?;
    say(format_args!(
        "let TCP ports {port} and {flow_port} through to this host, in the firewall and here; then run `unmangle probe \
         run HOST{option}` on the other host",
        option = match args.port == super::PORT {
            true => String::new(),
            false => format!(" --port {port}"),
        }
    ));
    server.run(&ended, &tell)?;
    Ok(ExitCode::SUCCESS)
}

fn flow_port(args: &Args) -> Result<u16, Usage> {
    match (args.flow_port, args.port.checked_add(1)) {
        (Some(same), _) if same == args.port => Err(Usage(
            "--flow-port: it must be another port than --port".to_owned(),
        )),
        (Some(port), _) => Ok(port.get()),
        (None, Some(next)) => Ok(next.get()),
        (None, None) => Err(Usage(
            "--port 65535 has no port after it: give --flow-port".to_owned(),
        )),
    }
}

fn cannot(error: ServeError) -> Usage {
    use std::io::ErrorKind;
    Usage(match error {
        ServeError::Port(port, source) if source.kind() == ErrorKind::AddrInUse => format!(
            "TCP port {port} is taken by a service of this host: give others by --port and --flow-port"
        ),
        ServeError::Port(port, source) if source.raw_os_error() == Some(libc::EACCES) => {
            format!(
                "TCP port {port} needs CAP_NET_BIND_SERVICE: run it as root, or give others by --port and --flow-port"
            )
        }
        other => other.to_string(),
    })
}

/// A line on stderr for what happens.
fn tell(event: Event) {
    match event {
        Event::Began(peer) => say(format_args!("{peer}: a probe begins")),
        Event::Returned(peer) => say(format_args!(
            "{peer}: its connection broke, and is there again"
        )),
        Event::Ended(peer, why) => say(format_args!("{peer}: the probe ends: {why}")),
        Event::Refused(peer, why) => say(format_args!("{peer}: turned away: {why}")),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().map(|address: std::net::IpAddr| address.into());
    text.parse()
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is no network: write for example 192.0.2.0/24"))
}
