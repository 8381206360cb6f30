//! Whether a comparison is worse than one that is kept, and keeping one.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::compare::baseline::{Baseline, Found, Judged, Verdict};
use crate::bench::compare::plan::Plan;
use crate::bench::compare::result::{Absent, Comparison, Terms};
use crate::cli::Usage;
use crate::cli::output::print;

const HEADER: [&str; 7] = [
    "offloads",
    "work",
    "measure",
    "unmangle to",
    "then",
    "now",
    "verdict",
];

#[derive(clap::Args)]
pub(super) struct Flags {
    /// Compare the ratios with kept ones: exit code 1 if one is worse, or was not measured.
    #[arg(long, value_name = "FILE.json", conflicts_with = "write_baseline")]
    baseline: Option<PathBuf>,

    /// Keep the ratios for --baseline; with --from those that --peers, --engines, --work and --offload name.
    #[arg(long, value_name = "FILE.json")]
    write_baseline: Option<PathBuf>,

    /// What goes into it: by which part of a ratio another may be worse and is taken for the same.
    #[arg(long, default_value_t = 0.05, value_parser = allowance, value_name = "PART", requires = "write_baseline", conflicts_with = "baseline")]
    allowance: f64,
}

/// What is done with the ratios.
pub(super) enum Guard {
    /// They are shown.
    Off,
    /// They are compared with these.
    Against(PathBuf, Box<Baseline>),
    /// They are kept.
    Write(PathBuf, f64),
}

/// What the guard says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    Worse,
}

// === impl Guard ===

impl Guard {
    /// What these arguments ask for.
    pub(super) fn new(args: &Flags) -> Result<Self, Usage> {
        let Some(path) = &args.baseline else {
            return Ok(match &args.write_baseline {
                Some(path) => Self::Write(path.clone(), args.allowance),
                None => Self::Off,
            });
        };
        let text = fs::read(path).map_err(|error| unlike(path, &error))?;
        let baseline = Baseline::parse(&text).map_err(|error| unlike(path, &error))?;
        Ok(Self::Against(path.clone(), Box::new(baseline)))
    }

    /// Whether what this plan finds can be compared or kept: asked before an hour is spent on it.
    pub(super) fn fits(&self, plan: &Plan, absent: &[Absent]) -> Result<(), Usage> {
        match self {
            Self::Off => Ok(()),
            Self::Against(path, baseline) => {
                let fits = baseline.fits(plan);
                fits.map_err(|error| unlike(path, &error))
            }
            Self::Write(path, _) => {
                let can = Baseline::can_be_of(plan);
                can.map_err(|error| unwritable(path, &error))?;
                if let Some(Absent { candidate, .. }) = absent.first() {
                    return Err(unwritable(path, &format!("{candidate} takes no part")));
                }
                // What stands there stays until there is something better.
                let mut options = OpenOptions::new();
                let opened = options.append(true).create(true).open(path);
                opened.map_err(|error| unwritable(path, &error))?;
                Ok(())
            }
        }
    }

    /// Compares or keeps what was found of what was asked for.
    pub(super) fn conclude(
        self,
        comparison: &Comparison,
        asked: &Plan,
        json: bool,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Off => Ok(Ending::Passed),
            Self::Against(path, baseline) => {
                let judged = baseline.judge(comparison);
                let judged = judged.map_err(|error| unlike(&path, &error))?;
                let text = render(&baseline, &comparison.terms, &judged);
                // Where JSON goes there must be nothing else.
                match json {
                    true => eprint!("{text}"),
                    false => print(text)?,
                }
                Ok(complain(&judged))
            }
            Self::Write(path, allowance) => {
                let baseline = Baseline::of(comparison, asked, allowance);
                let baseline = baseline.map_err(|error| unwritable(&path, &error))?;
                let written = fs::write(&path, baseline.text()?);
                written.map_err(|error| unwritable(&path, &error))?;
                let count = baseline.entries.len();
                eprintln!("{count} ratios kept in {}", path.display());
                Ok(Ending::Passed)
            }
        }
    }
}

fn unlike(path: &Path, why: &dyn Display) -> Usage {
    Usage(format!("--baseline {}: {why}", path.display()))
}

fn unwritable(path: &Path, why: &dyn Display) -> Usage {
    Usage(format!("--write-baseline {}: {why}", path.display()))
}

fn allowance(text: &str) -> Result<f64, String> {
    let part: f64 = text
        .parse()
        .map_err(|_| "it is a number, as 0.05".to_owned())?;
    match (0.0..1.0).contains(&part) {
        true => Ok(part),
        false => Err("it must be from 0 to less than 1".to_owned()),
    }
}

fn render(baseline: &Baseline, now: &Terms, judged: &[Judged]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(HEADER);
    table.force_no_tty();
    for each in judged {
        let told = |found: Option<Found>| found.map_or("-".to_owned(), |found| found.to_string());
        table.add_row([
            each.of.offload.to_string(),
            each.of.work.to_string(),
            each.of.measure.to_string(),
            each.of.to.clone(),
            told(each.then),
            told(each.now),
            each.verdict.to_string(),
        ]);
    }
    for column in [4, 5] {
        let column = table.column_mut(column).expect("the header has it");
        column.set_cell_alignment(CellAlignment::Right);
    }
    let count = |verdict| judged.iter().filter(|each| each.verdict == verdict).count();
    format!(
        "\nratios of unmangle beside those of the baseline\n\
         then: {}; now: {}\n\
         worse: the whole interval is, by more than {:.3} % of what the ratio was\n\n\
         {table}\n\n\
         {} the same, {} better, {} worse, {} not measured, {} new\n",
        terms(&baseline.terms),
        terms(now),
        baseline.allowance * 100.0,
        count(Verdict::Same),
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::NotMeasured),
        count(Verdict::New),
    )
}

fn terms(terms: &Terms) -> String {
    let Terms {
        rounds,
        slices,
        cores,
        kernel,
        ..
    } = terms;
    format!("{rounds} rounds of {slices} turns, {cores} cores, Linux {kernel}")
}

fn complain(judged: &[Judged]) -> Ending {
    let mut ending = Ending::Passed;
    for Judged {
        of,
        then,
        now,
        verdict,
    } in judged
    {
        if !verdict.is_bad() {
            continue;
        }
        ending = Ending::Worse;
        match (then, now) {
            (Some(then), Some(now)) => eprintln!("unmangle: worse: {of}: {then} then, {now} now"),
            _ => eprintln!("unmangle: not measured, but in the baseline: {of}"),
        }
    }
    ending
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::bench::compare::baseline::Subject;
    use crate::cli::bench::compare;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: compare::Args,
    }

    /// What the Makefile gives to `bench compare`.
    fn bench_check() -> Vec<String> {
        let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile");
        let makefile = fs::read_to_string(makefile).unwrap();
        let mut lines = makefile.lines();
        let words = lines.find_map(|line| line.strip_prefix("BENCH_CHECK := "));
        let words = words.expect("the Makefile has it").split_whitespace();
        words.map(str::to_owned).collect()
    }

    #[test]
    fn make_bench_check_measures_what_the_kept_baseline_has_within_six_minutes() {
        let words = std::iter::once("compare".to_owned()).chain(bench_check());
        let args = Line::try_parse_from(words).unwrap().args;
        let kept = args.guard.baseline.as_deref().unwrap();
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(kept);
        let baseline = Baseline::parse(&fs::read(kept).unwrap()).unwrap();
        let plan = compare::asked(&args);
        baseline.fits(&plan).unwrap();
        // And nothing that it measures goes unguarded.
        let mut unguarded = plan.works.iter().flat_map(|work| {
            let others = plan
                .candidates
                .iter()
                .filter(|other| other.name != "unmangle");
            let pairs = others.flat_map(|other| plan.offloads.iter().map(move |at| (other, *at)));
            pairs.map(|(other, offload)| Subject {
                offload,
                work: *work,
                measure: work.measures()[0],
                to: other.name.clone(),
            })
        });
        let entries = &baseline.entries;
        let unguarded = unguarded.find(|of| !entries.iter().any(|entry| entry.of == *of));
        assert_eq!(unguarded, None);
        assert!(
            plan.estimate() < Duration::from_secs(360),
            "{:?}",
            plan.estimate()
        );
    }

    #[test]
    fn an_allowance_is_a_part() {
        assert_eq!(allowance("0.05"), Ok(0.05));
        for refused in ["5%", "1", "-0.1", "NaN"] {
            assert!(allowance(refused).is_err(), "{refused}");
        }
    }
}
