//! `unmangle bench`: the load generator, and what is measured with it.

mod compare;

use std::process::ExitCode;

/// Load a TCP path and time it honestly.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Compare(compare::Args),
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Compare(args) => compare::main(args),
    }
}
