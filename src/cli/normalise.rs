//! `unmangle normalise`: the rules without a relay.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::rules::Format;
use super::{Usage, logging, output, rules, settings};
use crate::config::{Keys, Log, LogFormat, Normalise, Profile};
use crate::rules::Lock;
use crate::rules::by_hand;
use crate::rules::normalise::{self, Normaliser, Normalising};

/// Strip what a firewall gets wrong from SYN and SYN-ACK as they pass, and relay nothing.
///
/// For what is forwarded through this host and for its own connections, in both directions. The rules
/// vanish with the process, however it ends. What only a socket can set (keepalive, congestion control)
/// needs `unmangle run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read profiles and the one listener's profile, mangled-side, intercept, from and to from this file, as `unmangle
    /// run` does; flags win over it, and the rest of the file is the relay's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The interface that faces the firewall.
    #[arg(long, value_name = "IFACE", required_unless_present = "config")]
    mangled_side: Option<String>,

    /// What may be negotiated across that interface, such as cisco-pix or isn-rewrite, or one from the file.
    #[arg(long, value_name = "NAME", required_unless_present = "config")]
    profile: Option<String>,

    /// Only connections to these ports, separated by commas [default: every port]
    #[arg(long, value_name = "PORTS")]
    intercept: Option<String>,

    /// Only connections that come from this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    from: Vec<String>,

    /// Only connections that go to this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    to: Vec<String>,

    /// Print the rules and put nothing in place: for nft, iptables-restore or ip6tables-restore [default: nft]
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "nft")]
    print: Option<Format>,

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
  unmangle normalise --mangled-side eth1 --profile cisco-pix --print   # for nft -f
  unmangle normalise --config /etc/unmangle/unmangle.toml   # such as `unmangle probe run HOST --write-config` writes

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
    if let Some(format) = args.print {
        output::print(by_hand::normaliser(&plan, format.into(), &rules::command()))?;
        return Ok(ExitCode::SUCCESS);
    }
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
        let contents = settings::contents(self.config.as_deref())?;
        let given = Normalise::resolve(contents, self.keys());
        let given = given.map_err(|error| Usage(error.to_string()))?;
        let unfit = |error| Usage(given.profile_origin.error(error).to_string());
        normalise::fit(&given.profile).map_err(unfit)?;
        let plan = Normalising {
            mangled_side: given.mangled_side,
            ports: given.ports,
            from: given.from,
            to: given.to,
            strip: given.profile.strip,
            mss: given.profile.mss,
        };
        Ok((plan, given.profile))
    }

    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.set_flag("mangled-side", &self.mangled_side);
        keys.set_flag("profile", &self.profile);
        keys.set_flag("intercept", &self.intercept);
        keys.set_flag("from", &self.from);
        keys.set_flag("to", &self.to);
        keys
    }
}
