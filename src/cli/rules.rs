//! `unmangle rules`.

use std::process::ExitCode;

/// Not built yet.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn main(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
