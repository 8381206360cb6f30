//! `unmangle rules`: prints the plan and touches nothing.

use std::process::ExitCode;

use super::plan;
use crate::rules::nft::{self, Ownership};
use crate::rules::routes::{self, FAMILIES, Family};
use crate::rules::{ListenPorts, Plan, iptables};

/// Print the rules and routes that `unmangle run` would put in place, and touch nothing.
///
/// The printed nftables table has no owner: whoever loads it has to remove it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    plan: plan::Wanted,

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
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix --format iptables";

/// The language rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    Iptables,
}

/// Prints the plan.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let (intercept, profile) = args.plan.parse()?;
    let listen = ListenPorts {
        mangled: args.mangled_port,
        clean: args.clean_port,
    };
    let plan = Plan::new(intercept, &profile, listen);
    match args.format {
        Format::Nft => print!("{}", nft::table(&plan, Ownership::Nobody)),
        Format::Iptables => {
            for family in FAMILIES {
                let program = match family {
                    Family::V4 => "iptables-restore",
                    Family::V6 => "ip6tables-restore",
                };
                print!(
                    "# {program} --noflush\n{}",
                    iptables::restore(&plan, family)
                );
            }
        }
    }
    println!("\n# What leads marked packets to the relay:");
    for command in routes::commands(&plan).lines() {
        println!("# {command}");
    }
    if args.format == Format::Nft {
        println!("\n# A host whose INPUT drops by default needs one line there:");
        println!("# {} accept", nft::input_match(&plan));
    }
    Ok(ExitCode::SUCCESS)
}
