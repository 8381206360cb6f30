//! `unmangle bench merge`: the reports of several clients as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::table;
use crate::bench::merge::{Source, merge};
use crate::bench::plot::plot;
use crate::bench::report::Report;
use crate::cli::Usage;
use crate::cli::output::print;

/// Merge the reports of clients that loaded one server together.
///
/// Histograms and counts are added, nothing is averaged. With one file it is told as it is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// What `unmangle bench run --json` wrote, one file a client.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the merged report in JSON.
    #[arg(long)]
    json: bool,
    /// Draw latency by percentile and throughput over time.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let sources = args.files.iter().map(|file| read(file));
    let sources = sources.collect::<Result<_, Usage>>()?;
    let report = merge(sources).map_err(|error| Usage(error.to_string()))?;
    if let Some(file) = &args.plot {
        draw(&report, file)?;
    }
    if args.json {
        print(format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(table::render(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Source, Usage> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Usage(format!("{name}: {error}")))?;
    let report = Report::parse(&text).map_err(|error| Usage(format!("{name}: {error}")))?;
    Ok(Source { name, report })
}

/// Writes the picture of a report.
pub(super) fn draw(report: &Report, file: &Path) -> anyhow::Result<()> {
    let name = file.display();
    let svg = plot(report).with_context(|| format!("--plot {name}"))?;
    fs::write(file, svg).with_context(|| format!("--plot {name}"))
}
