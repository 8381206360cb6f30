//! `unmangle bench merge`: the reports of several clients as one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::{say, table};
use crate::bench::merge::{Apart, Merged, Source, merge};
use crate::bench::plot::plot;
use crate::bench::report::Report;
use crate::cli::Usage;
use crate::cli::output::print;

/// Merge the reports of clients that loaded one server together.
///
/// Histograms and counts are added, nothing is averaged. With one file it is told as it is.
///
/// Exit code 0 if nothing went wrong, 1 if a report has errors, 2 if they cannot be merged.
#[derive(clap::Args)]
pub(super) struct Args {
    /// What `unmangle bench run --json` wrote, one file a client.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Merge clients that measured at no time together, too.
    #[arg(long)]
    apart: bool,
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
    let sources = sources.collect::<Result<Vec<_>, Usage>>()?;
    let apart = match args.apart {
        true => Apart::Merged,
        false => Apart::Refused,
    };
    let merged = merge(&sources, apart).map_err(|error| Usage(error.to_string()))?;
    let Merged { report, overlaps } = merged;
    if args.json {
        print(format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(table::render(&report))?;
    }
    for overlap in overlaps.iter().filter(|overlap| overlap.is_little()) {
        say(format_args!("{overlap}"));
    }
    let went_wrong = tell_errors(&report);
    // Last: a picture that cannot be drawn must not take the report along.
    if let Some(file) = &args.plot {
        draw(&report, file)?;
    }
    Ok(ExitCode::from(u8::from(went_wrong)))
}

/// Says on stderr what went wrong, a line each path; whether anything did.
fn tell_errors(report: &Report) -> bool {
    let mut any = false;
    for path in &report.paths {
        let mut kinds = BTreeMap::new();
        for (kind, times) in path.parts.iter().flat_map(|part| &part.errors) {
            *kinds.entry(kind).or_insert(0) += times;
        }
        let kinds: Vec<String> = kinds
            .iter()
            .filter(|(_, times)| **times > 0)
            .map(|(kind, times)| format!("{kind} {times}"))
            .collect();
        if !kinds.is_empty() {
            any = true;
            say(format_args!("{}: errors: {}", path.name, kinds.join(", ")));
        }
    }
    any
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
