//! `unmangle rules`: prints the plan and touches nothing, or removes what a killed relay left.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Usage, listener, output, settings};
use crate::config::Keys;
use crate::relay::WayIn;
use crate::rules::nft::{self, Ownership};
use crate::rules::preflight::PreflightError;
use crate::rules::routes::{self, FAMILIES, Family};
use crate::rules::{Plan, iptables, leftovers, queue_rule};

/// Print the rules and routes that `unmangle run` would put in place, and touch nothing.
///
/// The printed nftables table has no owner: whoever loads it has to remove it. Load it and run
/// `unmangle run --rules none` with the same arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read settings and listeners from this file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    listener: listener::Flags,

    /// Remove what a killed relay may have left: the table that fails closed, ip rules, routes, host tuning.
    #[arg(long, exclusive = true)]
    remove: bool,

    /// The language to print them in.
    #[arg(long, value_enum, default_value_t = Format::Nft)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix --format iptables
  unmangle rules --remove   # after a relay was killed";

/// The language rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    Iptables,
}

/// Prints the plan.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    if args.remove {
        return remove();
    }
    // A printed plan is for somebody else to load, so its ports are fixed.
    let mut process = Keys::default();
    process.set_flag("rules", ["print"]);
    let settings = settings::read(args.config.as_deref(), process, &args.listener)?;
    let fixed = settings
        .listeners
        .iter()
        .map(|listener| listener.fixed_ports.unwrap_or_default());
    let ways_in: Vec<WayIn> = fixed
        .map(|(mangled, clean)| WayIn::Intercepted { mangled, clean })
        .collect();
    let plan = settings::plan(&settings, &ways_in)
        .ok_or_else(|| Usage("no listener intercepts anything: there are no rules".to_owned()))?;
    if plan.has_sidecars() && args.format == Format::Iptables {
        return Err(
            Usage("--format iptables: a sidecar has rules for nftables only".to_owned()).into(),
        );
    }
    output::print(text(&plan, args.format))?;
    Ok(ExitCode::SUCCESS)
}

/// Removes what a killed relay has left, and says what it was.
fn remove() -> anyhow::Result<ExitCode> {
    let removed = leftovers::remove().map_err(|error| match error {
        PreflightError::Tool(_) => anyhow::Error::from(error),
        _ => Usage(error.to_string()).into(),
    })?;
    let mut told: String = removed
        .iter()
        .map(|what| format!("removed {what}\n"))
        .collect();
    if removed.is_empty() {
        told.push_str("nothing was left\n");
    }
    output::print(told)?;
    Ok(ExitCode::SUCCESS)
}

/// The plan, and what else is needed.
pub fn text(plan: &Plan, format: Format) -> String {
    let mut text = String::new();
    match format {
        Format::Nft => text += &nft::table(plan, Ownership::Nobody),
        Format::Iptables => {
            for family in FAMILIES {
                let program = match family {
                    Family::V4 => "iptables-restore",
                    Family::V6 => "ip6tables-restore",
                };
                text += &format!("# {program} --noflush\n{}", iptables::restore(plan, family));
            }
        }
    }
    if let (Some(holding), Format::Nft) = (plan.hold, format) {
        text +=
            "\n# Where nft has no `queue`, leave out the chain `hold`, and have iptables do it:\n";
        for command in queue_rule::commands(holding).lines() {
            writeln!(text, "# {command}").expect("a String takes every write");
        }
    }
    let commands = routes::commands(plan);
    if !commands.is_empty() {
        text += match plan.has_sidecars() {
            true => "\n# What leads packets back to the relay:\n",
            false => "\n# What leads marked packets to the relay:\n",
        };
    }
    for command in commands.lines() {
        writeln!(text, "# {command}").expect("a String takes every write");
    }
    if plan.has_sidecars() {
        text +=
            "\n# A host whose INPUT drops by default needs one line there:\n# iifname lo accept\n";
    } else if format == Format::Nft {
        text += "\n# A host whose INPUT drops by default needs one line there:\n";
        text += &format!("# {} accept\n", nft::input_match(plan));
    }
    text
}
