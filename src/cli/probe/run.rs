//! `unmangle probe run`: asks a server to be the other end, has the experiments run, and says what they show.

mod file;
mod tried;

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Usage, output, values};
use crate::diagnose::probe::control::client::ControlError;
use crate::diagnose::probe::drive::{Stage, Wishes, drive};
use crate::diagnose::probe::ends::Lost;
use crate::diagnose::probe::evidence::Evidence;
use crate::diagnose::probe::pair::{Pair, PairError};
use crate::diagnose::probe::{self, Behaviour, Finding};

/// Find out what the path to a host does to TCP: `unmangle probe serve` has to run there.
///
/// It needs CAP_NET_RAW, and CAP_NET_ADMIN where the kernel wants it for filters; it changes nothing on either host.
/// Exit code 0 if nothing on the path needs to be undone, 1 if something does, 2 if it could not be found out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The host where `unmangle probe serve` runs, by name or address.
    #[arg(value_name = "HOST")]
    host: String,
    /// The TCP port on which it listens.
    #[arg(long, value_name = "PORT", default_value_t = super::PORT)]
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
    /// Print what is found in JSON, as docs/probe.schema.json describes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: file::Flags,
}

const EXAMPLES: &str = "\
Examples:
  unmangle probe run server.example
  unmangle probe run -6 server.example --idle-up-to 10min
  unmangle probe run 192.0.2.7 --write-config unmangle.toml
  unmangle probe run 192.0.2.7 --json | jq '.findings[].behaviour'";

/// Probes, and prints what is found.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    args.file.check()?;
    let (mut pair, peer) = meet(args)?;
    let evidence = look(&mut pair, args);
    pair.part();
    let evidence = evidence.map_err(|lost| Usage(lost.to_string()))?;
    tried::tried(&evidence)?;
    let mut report = probe::judge(&evidence);
    let faces = args.file.mangled_side(peer);
    if let Some(interface) = &faces {
        report.recommended.name_interface(interface);
    }
    if args.port != super::PORT {
        report.recommended.name_port(args.port.get());
    }
    if let Some(file) = args.file.path() {
        report.recommended.name_file(&file.display().to_string());
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => probe::render(&report, output::in_colour()),
    };
    output::print(text).map_err(|error| Usage(format!("cannot print what was found: {error}")))?;
    let ended = |finding: &Finding| finding.behaviour == Behaviour::EndedOnTheWay;
    if report.findings.iter().any(ended) {
        return Err(Usage(format!(
            "something between ends TCP {}: what lies behind it was not compared; probe by ports that it does not take \
             (--port and --flow-port of `unmangle probe serve`)",
            evidence.path.port
        ))
        .into());
    }
    args.file.write(&report, faces)?;
    Ok(ExitCode::from(u8::from(report.problems > 0)))
}

/// Begins a session with the first of the host's addresses that answers.
fn meet(args: &Args) -> Result<(Pair, SocketAddr), Usage> {
    let mut first = None;
    for address in addresses(args)? {
        match Pair::meet(address) {
            Ok(pair) => return Ok((pair, address)),
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
            format!("{error}: {}", let_through(*server))
        }
        PairError::Control(ControlError::NobodyListens(server)) => format!(
            "nothing listens on {server}, or a firewall refuses it: run `unmangle probe serve` there, and {}",
            let_through(*server)
        ),
        // So the kernel calls what ICMP and ICMPv6 say of a firewall: icmp_err_convert, icmpv6_err_convert.
        PairError::Control(ControlError::Unreachable(server, why))
            if matches!(
                why.raw_os_error(),
                Some(libc::EHOSTUNREACH | libc::EACCES | libc::EPERM)
            ) =>
        {
            format!(
                "{error}: the host is down, or a firewall forbids it: {}",
                let_through(*server)
            )
        }
        _ => error.to_string(),
    }
}

fn let_through(server: SocketAddr) -> String {
    let (ip, port) = (server.ip(), server.port());
    format!(
        "let TCP ports {port} and {next} (or the server's --flow-port) through to {ip}, in the firewall and on {ip}",
        next = port.saturating_add(1)
    )
}

/// Runs the experiments.
fn look(pair: &mut Pair, args: &Args) -> Result<Evidence, Lost> {
    let bar = output::spinner();
    let wishes = Wishes {
        idle: args.idle_up_to,
        ports: args.ports.iter().map(|port| port.get()).collect(),
        largest: u16::MAX,
        seed: rand::random(),
    };
    let path = pair.path();
    let evidence = drive(pair, path, &wishes, &mut |stage| {
        bar.set_message(words(stage))
    });
    bar.finish_and_clear();
    let mut evidence = evidence?;
    evidence.path.broken = pair.path().broken;
    Ok(evidence)
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Exchanges => "segments are compared",
        Stage::IcmpSizes => "echoes of all sizes",
        Stage::Trains => "many small segments",
        Stage::TcpSizes => "segments of all sizes",
        Stage::Ports => "other ports",
        Stage::Idle => "silent connections",
    }
}

fn idle(text: &str) -> Result<Duration, String> {
    values::time(text, "10s", "1day")
}
