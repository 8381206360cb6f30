//! `unmangle bench`: loads a TCP path and times it.

mod compare;
mod merge;
mod run;
mod serve;
mod table;
mod values;

use std::io::Write;
use std::process::ExitCode;

/// Measure: load a TCP path, direct and by way of a relay, and time it honestly.
#[derive(clap::Args)]
pub struct Args {
    /// What is logged on stderr: error, warn, info, debug or trace, or a filter.
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "warn",
        env = "UNMANGLE_LOG"
    )]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(serve::Args),
    Run(Box<run::Args>),
    Compare(compare::Args),
    Merge(merge::Args),
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    super::logging::start(&crate::config::Log {
        format: crate::config::LogFormat::Human,
        filter: args.log,
        file: None,
    })?;
    match args.command {
        Command::Serve(args) => serve::main(args),
        Command::Run(args) => run::main(*args),
        Command::Compare(args) => compare::main(args),
        Command::Merge(args) => merge::main(args),
    }
}

/// A line on stderr; that nobody reads it any more (`2>&1 | head`) is no reason to panic.
fn say(line: std::fmt::Arguments) {
    let _ = writeln!(std::io::stderr(), "unmangle: {line}");
}
