//! `unmangle lab`: the place where it is proven.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::lab::wire;

/// Prove it: hosts in network namespaces around an emulated firewall.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// One wire of the lab; started by the lab itself.
    #[command(hide = true)]
    Wire {
        /// A JSON file that holds the wire's specification.
        #[arg(long)]
        spec: PathBuf,
    },
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Wire { spec } => {
            let spec: wire::WireSpec = serde_json::from_slice(&std::fs::read(spec)?)?;
            wire::run(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
