//! `unmangle rules`: prints the plan and touches nothing, or removes what a killed relay left.

use std::process::ExitCode;

use super::{Usage, plan};
use crate::rules::nft::{self, Ownership};
use crate::rules::preflight::PreflightError;
use crate::rules::routes::{self, FAMILIES, Family};
use crate::rules::{ListenPorts, Plan, iptables, leftovers};

/// Print the rules and routes that `unmangle run` would put in place, and touch nothing.
///
/// The printed nftables table has no owner: whoever loads it has to remove it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    plan: Option<plan::Wanted>,

    /// Remove what a killed relay may have left: the table that fails closed, ip rules, routes, host tuning.
    #[arg(long, exclusive = true)]
    remove: bool,

    /// The language to print them in.
    #[arg(long, value_enum, default_value_t = Format::Nft)]
    format: Format,

    /// Port of the listener for connections that come from the mangled side.
    #[arg(long, value_name = "PORT", default_value_t = 21069, value_parser = clap::value_parser!(u16).range(1..))]
    mangled_port: u16,

    /// Port of the listener for connections that come from the other side.
    #[arg(long, value_name = "PORT", default_value_t = 21070, value_parser = clap::value_parser!(u16).range(1..))]
    clean_port: u16,
}

const EXAMPLES: &str = "\
Examples:
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix --format iptables
  unmangle rules --remove   # after a relay was killed";

/// The language rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    Iptables,
}

/// Prints the plan.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = match (args.remove, args.plan) {
        (true, _) => return remove(),
        (false, Some(wanted)) => wanted,
        (false, None) => return Err(Usage("say what is wanted, or --remove".to_owned()).into()),
    };
    let (intercept, profile) = wanted.parse()?;
    let listen = ListenPorts {
        mangled: args.mangled_port,
        clean: args.clean_port,
    };
    print(&Plan::new(intercept, &profile, listen), args.format);
    Ok(ExitCode::SUCCESS)
}

/// Removes what a killed relay has left, and says what it was.
fn remove() -> anyhow::Result<ExitCode> {
    let removed = leftovers::remove().map_err(|error| match error {
        PreflightError::Tool(_) => anyhow::Error::from(error),
        _ => Usage(error.to_string()).into(),
    })?;
    for what in &removed {
        println!("removed {what}");
    }
    if removed.is_empty() {
        println!("nothing was left");
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan, and what else is needed, on stdout.
pub(super) fn print(plan: &Plan, format: Format) {
    match format {
        Format::Nft => print!("{}", nft::table(plan, Ownership::Nobody)),
        Format::Iptables => {
            for family in FAMILIES {
                let program = match family {
                    Family::V4 => "iptables-restore",
                    Family::V6 => "ip6tables-restore",
                };
                print!("# {program} --noflush\n{}", iptables::restore(plan, family));
            }
        }
    }
    println!("\n# What leads marked packets to the relay:");
    for command in routes::commands(plan).lines() {
        println!("# {command}");
    }
    if format == Format::Nft {
        println!("\n# A host whose INPUT drops by default needs one line there:");
        println!("# {} accept", nft::input_match(plan));
    }
}
