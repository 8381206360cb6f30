//! `unmangle probe`: finds out what the path between two hosts does to TCP.

mod run;
mod serve;
mod sweep;

use std::io::Write;
use std::num::NonZeroU16;
use std::process::ExitCode;

/// Where `probe serve` listens unless told otherwise.
const PORT: NonZeroU16 = NonZeroU16::new(7531).unwrap();

/// Find out what the path between two hosts does to TCP, and what would undo it.
///
/// `probe serve` runs on one host and `probe run HOST` on the other: segments made to order go both ways, and both
/// hosts see what was sent and what arrived. Where nothing can be run at the far end, `probe sweep HOST` finds out what
/// one end can see.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(serve::Args),
    Run(run::Args),
    Sweep(sweep::Args),
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::main(args),
        Command::Run(args) => run::main(&args),
        Command::Sweep(args) => sweep::main(&args),
    }
}

/// A line on stderr; that nobody reads it is no reason to end.
fn say(line: std::fmt::Arguments) {
    let _ = writeln!(std::io::stderr(), "unmangle: {line}");
}
