//! `unmangle probe run`: asks a server to be the other end, has the experiments run, and says what they show.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Usage, output, values};
use crate::config::{Interface, Ports};
use crate::diagnose::probe::control::client::ControlError;
use crate::diagnose::probe::drive::{Stage, Wishes, drive};
use crate::diagnose::probe::ends::Lost;
use crate::diagnose::probe::evidence::{Evidence, Exchange, Purpose, What};
use crate::diagnose::probe::order::{Arrival, Refusal};
use crate::diagnose::probe::pair::{Pair, PairError};
use crate::diagnose::probe::remedy::{self, Deployment, Place};
use crate::diagnose::probe::{self, Behaviour, Report};
use crate::metrics::Direction;
use crate::packet::{Flags, Ip, Tcp};

/// Find out what the path to a host does to TCP: `unmangle probe serve` has to run there.
///
/// It needs CAP_NET_RAW, and CAP_NET_ADMIN where the kernel wants it for filters; it changes nothing on either host.
/// Exit code 0 if nothing on the path needs to be undone, 1
/// if something does, 2 if it could not be found out.
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
    /// Print what is found in JSON.
    #[arg(long)]
    json: bool,
    /// Write a configuration that undoes what is found.
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
    /// For which host that is: client-sidecar for this one, server-sidecar for the other, gateway for a router between.
    #[arg(long, value_name = "MODE", default_value = "client-sidecar")]
    mode: Place,
    /// The interface there that faces the firewall [default: the one of this host that leads to HOST]
    #[arg(long, value_name = "IFACE")]
    mangled_side: Option<Interface>,
    /// For connections to these ports.
    #[arg(long, value_name = "LIST", default_value = "22,873")]
    intercept: Ports,
}

const EXAMPLES: &str = "\
Examples:
  unmangle probe run server.example
  unmangle probe run -6 server.example --idle-up-to 10min
  unmangle probe run 192.0.2.7 --write-config unmangle.toml
  unmangle probe run 192.0.2.7 --json | jq '.findings[].what'";

/// Probes, and prints what is found.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let deployment = deployment(args)?;
    if let Some((file, place)) = deployment {
        writable(file)?;
        known(place, args.mangled_side.as_ref())?;
    }
    let (mut pair, peer) = meet(args)?;
    let evidence = look(&mut pair, args);
    pair.part();
    let evidence = evidence.map_err(|lost| Usage(lost.to_string()))?;
    tried(&evidence)?;
    let mut report = probe::judge(&evidence);
    let faces = match &args.mangled_side {
        Some(interface) => Some(interface.clone()),
        None => towards(peer),
    };
    if let Some(interface) = &faces {
        report.recommended.name_interface(interface);
    }
    if args.port != super::PORT {
        report.recommended.name_port(args.port.get());
    }
    if let Some((file, _)) = &deployment {
        report.recommended.name_file(&file.display().to_string());
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => probe::render(&report, in_colour()),
    };
    output::print(text).map_err(|error| Usage(format!("cannot print what was found: {error}")))?;
    let mut found = report.findings.iter();
    if found.any(|finding| finding.behaviour == Behaviour::EndedOnTheWay) {
        return Err(Usage(format!(
            "something between ends TCP {}: what lies behind it was not compared; probe by ports that it does not take \
             (--port and --flow-port of `unmangle probe serve`)",
            evidence.path.port
        ))
        .into());
    }
    if let Some((file, place)) = deployment {
        let interface = faces.ok_or_else(|| {
            Usage(
                "--write-config: name the interface that faces the firewall by --mangled-side"
                    .to_owned(),
            )
        })?;
        write(file, &report, place, interface, args)?;
    }
    Ok(ExitCode::from(u8::from(report.problems > 0)))
}

/// The file that is to be written, and for where; another host's interfaces are not known here.
fn deployment(args: &Args) -> Result<Option<(&std::path::Path, Place)>, Usage> {
    match (&args.write_config, args.mode, &args.mangled_side) {
        (None, ..) => Ok(None),
        (Some(file), Place::ClientSidecar, _) | (Some(file), _, Some(_)) => {
            Ok(Some((file, args.mode)))
        }
        (Some(_), place, None) => Err(Usage(format!(
            "--mode {}: name the interface there that faces the firewall by --mangled-side",
            place.name()
        ))),
    }
}

/// Sees that the file can be written before anything is probed for it; leaves what is there as it is.
fn writable(file: &std::path::Path) -> Result<(), Usage> {
    let tried = match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
        Ok(meta) if meta.is_file() => OpenOptions::new().write(true).open(file).map(drop),
        // A pipe or a terminal.
        Ok(_) => Ok(()),
        Err(_) => {
            let created = OpenOptions::new().write(true).create_new(true).open(file);
            created.and_then(|_| std::fs::remove_file(file))
        }
    };
    tried.map_err(|error| {
        Usage(format!(
            "--write-config: {} cannot be written: {error}",
            file.display()
        ))
    })
}

/// Sees that the interface that is named is one of this host, if it is for this host.
fn known(place: Place, mangled_side: Option<&Interface>) -> Result<(), Usage> {
    let (Place::ClientSidecar, Some(interface)) = (place, mangled_side) else {
        return Ok(());
    };
    let named = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).and_then(
        |socket| {
            let index = rustix::net::netdevice::name_to_index(&socket, interface.as_str());
            index.map_err(Into::into)
        },
    );
    named.map(drop).map_err(|error| {
        Usage(format!(
            "--mangled-side {interface}: this host has no such interface: {error}"
        ))
    })
}

/// This host's interface that leads to an address.
fn towards(address: SocketAddr) -> Option<Interface> {
    let route = crate::sys::route::Interface::towards(address).ok()?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).ok()?;
    let name = rustix::net::netdevice::index_to_name(&socket, route.index).ok()?;
    name.parse().ok()
}

fn write(
    file: &std::path::Path,
    report: &Report,
    place: Place,
    mangled_side: Interface,
    args: &Args,
) -> anyhow::Result<()> {
    let deployment = Deployment {
        place,
        mangled_side,
        ports: args.intercept.clone(),
    };
    match remedy::config(report, &deployment) {
        Ok(text) => std::fs::write(file, text)
            .with_context(|| format!("--write-config: {} cannot be written", file.display())),
        Err(nothing) => {
            let old = match file.exists() {
                true => " (what stands there is from before)",
                false => "",
            };
            super::say(format_args!(
                "{} was not written{old}: {nothing}",
                file.display()
            ));
            Ok(())
        }
    }
}

/// Sees that something was tried: where no SYN came, nothing was.
fn tried(evidence: &Evidence) -> Result<(), Usage> {
    let path = &evidence.path;
    let Some(plain) = evidence.exchange(Purpose::Plain) else {
        return Err(Usage(format!(
            "nothing could be tried: {}",
            evidence.untried.join("; ")
        )));
    };
    let Some(syn) = plain.step(What::Syn, Direction::ClientToServer) else {
        return Err(Usage(format!(
            "no SYN could be sent: {}",
            evidence.untried.join("; ")
        )));
    };
    if !syn.arrived.is_empty() {
        return answered(evidence, plain);
    }
    if let Some(source) = syn.instead.iter().find_map(reset_from) {
        return Err(Usage(format!(
            "TCP port {port} of {server} is refused by a reset from {source}: let it through in the firewall and on \
             {server}",
            port = path.port,
            server = path.server
        )));
    }
    if !syn.instead.is_empty() {
        return Ok(());
    }
    Err(Usage(format!(
        "the control connection to {server} works, but none of {attempts} SYNs came to its port {port}: let TCP port \
         {port} through to {server} in the firewall, or give the server another port by --flow-port",
        server = path.server,
        attempts = syn.attempts,
        port = path.port
    )))
}

/// Sees that an answer to the SYN came back.
fn answered(evidence: &Evidence, plain: &Exchange) -> Result<(), Usage> {
    let (server, port) = (evidence.path.server, evidence.path.port);
    let Some(syn_ack) = plain.step(What::SynAck, Direction::ServerToClient) else {
        let untried = evidence.untried.join("; ");
        return Err(Usage(
            match untried.contains(&Refusal::Forbidden.to_string()) {
                true => format!(
                    "{server} cannot send from TCP port {port}: its own rules (OUTPUT) let nothing leave from there: \
                     let it through on {server}"
                ),
                false => format!("no SYN-ACK could be sent by {server}: {untried}"),
            },
        ));
    };
    if syn_ack.arrived.is_empty() && syn_ack.instead.is_empty() {
        return Err(Usage(format!(
            "SYNs come to TCP port {port} of {server}, but no answer from port {port} comes back: let it through both \
             ways, in the firewall and on both hosts"
        )));
    }
    Ok(())
}

/// Who sent this, if it is a reset.
fn reset_from(arrival: &Arrival) -> Option<IpAddr> {
    let header = &arrival.header.0;
    let ip = Ip::parse(header).ok()?;
    let tcp = Tcp::parse(header.get(ip.payload..)?).ok()?;
    tcp.flags().has(Flags::RST).then_some(ip.source)
}

fn in_colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !no_color
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
    let bar = progress();
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
