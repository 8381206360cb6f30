//! `unmangle normalise`: the rules without a relay.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{Usage, logging};
use crate::config::{Log, LogFormat, Networks, Profile};
use crate::rules::Lock;
use crate::rules::normalise::{self, Normaliser, Normalising};

/// Strip what a firewall gets wrong from SYN and SYN-ACK as they pass, and relay nothing.
///
/// For what is forwarded through this host and for its own connections, in both directions. The rules
/// vanish with the process, however it ends. What only a socket can set (keepalive, congestion control)
/// needs `unmangle run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The interface that faces the firewall.
    #[arg(long, value_name = "IFACE")]
    mangled_side: String,

    /// What may be negotiated across that interface, such as cisco-pix or isn-rewrite.
    #[arg(long, value_name = "NAME")]
    profile: String,

    /// Only connections to these ports, separated by commas [default: every port]
    #[arg(long, value_name = "PORTS")]
    intercept: Option<String>,

    /// Only connections that come from this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    from: Vec<String>,

    /// Only connections that go to this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    to: Vec<String>,

    /// How the log on stderr is written: human or json.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace.
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
  unmangle normalise --mangled-side eth1 --profile cisco-pix
  unmangle normalise --mangled-side eth1 --profile isn-rewrite --intercept 22,873 --to 10.0.0.0/8

Signals:
  SIGTERM, SIGINT   take the rules away, exit 0; connections that were opened meanwhile go on";

/// Keeps the rules in place until it is told to end.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    logging::start(&Log {
        format: args.log_format,
        filter: args.log.clone(),
        file: None,
    })?;
    let (plan, profile) = args.parse()?;
    let lock = Lock::normaliser().map_err(|error| Usage(error.to_string()))?;
    normalise::check(&plan).map_err(|error| Usage(error.to_string()))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(normalise(plan, &profile, lock))
}

async fn normalise(plan: Normalising, profile: &Profile, lock: Lock) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ports = plan.ports.as_ref().map(ToString::to_string);
    let what = format!(
        "{} on {} with profile {}",
        ports.as_deref().unwrap_or("every port"),
        plan.mangled_side,
        profile.name
    );
    let mut rules = Normaliser::apply(&plan, lock).await?;
    tracing::info!(connections = what, "normalising");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = rules.keep() => match never {},
    }
    rules.remove().await;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn parse(&self) -> Result<(Normalising, Profile), Usage> {
        fn refuse<E: std::fmt::Display>(flag: &'static str) -> impl Fn(E) -> Usage {
            move |error| Usage(format!("{flag}: {error}"))
        }
        let networks = |nets: &[String]| Networks::parse(nets.iter().map(String::as_str));
        let profile: Profile = self.profile.parse().map_err(refuse("--profile"))?;
        normalise::fit(&profile).map_err(refuse("--profile"))?;
        let ports = self.intercept.as_ref().map(|ports| ports.parse());
        let plan = Normalising {
            mangled_side: self
                .mangled_side
                .parse()
                .map_err(refuse("--mangled-side"))?,
            ports: ports.transpose().map_err(refuse("--intercept"))?,
            from: networks(&self.from).map_err(refuse("--from"))?,
            to: networks(&self.to).map_err(refuse("--to"))?,
            strip: profile.strip,
            mss: profile.mss,
        };
        Ok((plan, profile))
    }
}
