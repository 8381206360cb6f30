//! `unmangle probe`: what the path to a host does to TCP.

mod sweep;

use std::process::ExitCode;

/// Find out what the path to a host does to TCP.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Sweep(sweep::Args),
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Sweep(args) => sweep::main(&args),
    }
}
