//! The command line: one file per subcommand, and what each prints.
//!
//! Exit codes: 0 it worked; 1 it ran and failed; 2 it was asked for something that cannot be done
//! (bad arguments, missing privilege, a kernel without a feature), and nothing was changed.

mod activation;
mod bench;
mod bring_up;
mod descriptors;
mod doctor;
pub mod effective;
mod explain;
mod giving;
mod hdr_log;
mod interrupts;
mod lab;
mod limits;
mod listener;
mod logging;
mod look;
mod normalise;
mod output;
mod privileges;
mod probe;
mod process;
mod relaying;
mod reload;
mod rules;
mod run;
mod settings;
mod standing;
mod status;
mod succeeding;
mod successor;
mod taking;
mod top;
mod upgrade;
mod values;
mod watchdog;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A transparent TCP relay and normaliser for paths through firewalls that mangle TCP.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Status(status::Args),
    Top(top::Args),
    Upgrade(upgrade::Args),
    Rules(Box<rules::Args>),
    Normalise(normalise::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Probe(probe::Args),
    Lab(lab::Args),
    Bench(bench::Args),
}

/// A request that cannot be carried out as it stands; nothing was changed. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Parses the arguments, runs the subcommand and reports its error in one line on stderr.
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(args) => run::main(*args),
        Command::Status(args) => status::main(args),
        Command::Top(args) => top::main(args),
        Command::Upgrade(args) => upgrade::main(args),
        Command::Rules(args) => rules::main(*args),
        Command::Normalise(args) => normalise::main(args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Explain(args) => explain::main(args),
        Command::Probe(args) => probe::main(args),
        Command::Lab(args) => lab::main(args),
        Command::Bench(args) => bench::main(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("unmangle: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
