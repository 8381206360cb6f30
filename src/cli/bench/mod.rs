//! `unmangle bench`: loads a TCP path and times it.

mod merge;
mod table;

use std::process::ExitCode;

/// Load a TCP path and time it, direct and by another way.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Merge(merge::Args),
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Merge(args) => merge::main(args),
    }
}
