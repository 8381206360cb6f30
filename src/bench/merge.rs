//! The reports of several clients as one: what they counted is added, and so are their histograms; nothing
//! is averaged.

mod overlap;

pub use overlap::{Apart, Overlap};

use serde::Serialize;

use crate::bench::failure::Failure;
use crate::bench::report::{Difference, Part, PathReport, Point, Report, Times, Uncounted, Window};
use crate::bench::tally::Tally;
use crate::metrics::FineTimes;

/// Beginnings and ends that are no further apart, in seconds, are the same.
const SAME: f64 = 0.001;

/// No run counts further, and no JSON reader has to: so sums of reports do not overflow.
const MOST: u64 = 1 << 53;

/// One client's report.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in an error: a file.
    pub name: String,
    /// The report.
    pub report: Report,
}

/// What several reports come to.
#[derive(Debug, Clone)]
pub struct Merged {
    /// All of them as one.
    pub report: Report,
    /// How long the clients measured each path at one time.
    pub overlaps: Vec<Overlap>,
}

/// Why there is no merged report.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There was no report.
    #[error("there is no report to merge")]
    Nothing,
    /// Two reports are of different things.
    #[error("{name} does not fit {first}: {field} is {found} there, not {wanted}")]
    Unfit {
        /// The first report.
        first: String,
        /// The one that differs from it.
        name: String,
        /// In what.
        field: &'static str,
        /// What the first one has.
        wanted: String,
        /// What this one has.
        found: String,
    },
    /// A report was given twice.
    #[error("{name} is the same report as {first}: it would be counted twice")]
    Twice {
        /// The first report.
        first: String,
        /// The one that is the same.
        name: String,
    },
    /// The clients measured at different times.
    #[error(
        "{0}: the clients measured at no time together, so what they did a second was not reached at one \
         time; --apart merges them all the same"
    )]
    Apart(String),
    /// A histogram cannot be read.
    #[error("{name}: {path}, {part}, {field}: {error}")]
    Times {
        /// The report.
        name: String,
        /// The path.
        path: String,
        /// The kind of connection.
        part: String,
        /// Which times.
        field: &'static str,
        /// What is wrong.
        error: Uncounted,
    },
    /// A count is out of this world.
    #[error("{name}: {path}, {part}, {field}: no run counts to {found}")]
    Count {
        /// The report.
        name: String,
        /// The path.
        path: String,
        /// The kind of connection.
        part: String,
        /// What was counted.
        field: &'static str,
        /// How far.
        found: u64,
    },
}

/// Merges them. Rates are what was counted by all, divided by the time in which any of them measured.
///
/// # Errors
/// None at all, reports of different loads or paths, the same report twice, clients that measured at different
/// times, a histogram that cannot be read.
pub fn merge(sources: &[Source], apart: Apart) -> Result<Merged, MergeError> {
    let (first, rest) = sources.split_first().ok_or(MergeError::Nothing)?;
    for (at, source) in sources.iter().enumerate() {
        fit(first, source)?;
        if let Some(same) = sources[..at].iter().find(|s| s.report == source.report) {
            return Err(MergeError::Twice {
                first: same.name.clone(),
                name: source.name.clone(),
            });
        }
    }
    let mut load = first.report.load.clone();
    for other in rest.iter().map(|source| &source.report.load) {
        load.connections = load.connections.saturating_add(other.connections);
        load.clients = load.clients.saturating_add(other.clients);
        load.rate = load.rate.zip(other.rate).map(|(one, two)| one + two);
    }
    let paths = 0..first.report.paths.len();
    let overlaps: Vec<Overlap> = paths.clone().map(|at| Overlap::of(sources, at)).collect();
    if !rest.is_empty() {
        overlaps
            .iter()
            .try_for_each(|overlap| overlap.check(apart))?;
    }
    let paths = paths
        .map(|at| merge_path(sources, at, overlaps[at].common_s))
        .collect::<Result<Vec<_>, _>>()?;
    let difference = match paths.as_slice() {
        [first, second] => Some(Difference::between(first, second)),
        _ => None,
    };
    Ok(Merged {
        report: Report {
            format: first.report.format,
            load,
            paths,
            difference,
        },
        overlaps,
    })
}

/// Whether both reports are of the same thing.
fn fit(first: &Source, other: &Source) -> Result<(), MergeError> {
    let pairs = facts(&first.report).into_iter().zip(facts(&other.report));
    for ((field, wanted), (_, found)) in pairs {
        if wanted != found {
            return Err(MergeError::Unfit {
                first: first.name.clone(),
                name: other.name.clone(),
                field,
                wanted,
                found,
            });
        }
    }
    Ok(())
}

/// What must be the same in all reports, as it stands in the file.
fn facts(report: &Report) -> [(&'static str, String); 10] {
    let names: Vec<&str> = report.paths.iter().map(|path| path.name.as_str()).collect();
    let parts: Vec<Vec<_>> = report
        .paths
        .iter()
        .map(|path| path.parts.iter().map(|part| part.mode).collect())
        .collect();
    let load = &report.load;
    [
        ("format", json(&report.format)),
        ("load.mode", json(&load.mode)),
        ("load.loop", json(&load.pace)),
        ("load.request", json(&load.request)),
        ("load.response", json(&load.response)),
        ("load.direction", json(&load.direction)),
        ("load.peer", json(&load.peer)),
        ("load.payload", json(&load.payload)),
        ("the name of the paths", json(&names)),
        ("the mode of the parts", json(&parts)),
    ]
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a plain value")
}

/// One path of all reports, which fit.
fn merge_path(sources: &[Source], at: usize, common_s: f64) -> Result<PathReport, MergeError> {
    let paths: Vec<&PathReport> = sources.iter().map(|s| &s.report.paths[at]).collect();
    let mut windows: Vec<Window> = paths.iter().flat_map(|path| path.windows.clone()).collect();
    windows.sort_by(|a, b| a.from.total_cmp(&b.from));
    let elapsed_s = Window::covered(&windows);
    let parts = (0..paths[0].parts.len())
        .map(|part| merge_part(sources, at, part, elapsed_s))
        .collect::<Result<_, _>>()?;
    Ok(PathReport {
        name: paths[0].name.clone(),
        to: addresses(&paths),
        windows,
        elapsed_s,
        common_s,
        generator_cpu_s: paths.iter().map(|path| path.generator_cpu_s).sum(),
        parts,
    })
}

/// Clients may know the server by different addresses.
fn addresses(paths: &[&PathReport]) -> String {
    let mut addresses: Vec<&str> = Vec::new();
    for path in paths {
        if !addresses.contains(&path.to.as_str()) {
            addresses.push(&path.to);
        }
    }
    addresses.join(", ")
}

fn merge_part(
    sources: &[Source],
    path: usize,
    part: usize,
    elapsed_s: f64,
) -> Result<Part, MergeError> {
    let mut all = Tally::default();
    let mut series = Vec::new();
    for source in sources {
        let path = &source.report.paths[path];
        let part = &path.parts[part];
        all.add(&tally(source, path, part)?);
        series.extend_from_slice(&part.series);
    }
    let mode = sources[0].report.paths[path].parts[part].mode;
    let mut merged = Part::new(mode, &all, elapsed_s);
    merged.series = merge_series(series);
    Ok(merged)
}

/// What a report counted, as it was counted.
fn tally(source: &Source, path: &PathReport, part: &Part) -> Result<Tally, MergeError> {
    let times = |field: &'static str, times: &Times| -> Result<FineTimes, MergeError> {
        times.decode().map_err(|error| MergeError::Times {
            name: source.name.clone(),
            path: path.name.clone(),
            part: part.mode.to_string(),
            field,
            error,
        })
    };
    let count = |field: &'static str, found: u64| match found {
        sane if sane <= MOST => Ok(sane),
        found => Err(MergeError::Count {
            name: source.name.clone(),
            path: path.name.clone(),
            part: part.mode.to_string(),
            field,
            found,
        }),
    };
    let mut tally = Tally {
        latency: times("latency", &part.latency)?,
        connect: times("connect", &part.connect)?,
        rtt: times("rtt", &part.rtt)?,
        operations: count("operations", part.operations)?,
        up: count("bytes_up", part.bytes_up)?,
        down: count("bytes_down", part.bytes_down)?,
        retransmits: count("retransmits", part.retransmits)?,
        ..Tally::default()
    };
    for (kind, times) in &part.errors {
        let times = count("errors", *times)?;
        tally.failures.count_times(Failure::new(*kind, ""), times);
    }
    Ok(tally)
}

/// All points in the order of their beginning. Those of the same interval become one; the others stay as they
/// are, because what a client did within an interval is not known: at any time the rate of all is the sum
/// over the points that cover it.
fn merge_series(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut merged: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        let near = merged.iter_mut().rev();
        let mut near = near.take_while(|earlier| point.at - earlier.at < SAME);
        match near.find(|earlier| (end(earlier) - end(&point)).abs() < SAME) {
            Some(same) => {
                same.operations = same.operations.saturating_add(point.operations);
                same.bytes_up = same.bytes_up.saturating_add(point.bytes_up);
                same.bytes_down = same.bytes_down.saturating_add(point.bytes_down);
                same.p99_ns = same.p99_ns.max(point.p99_ns);
            }
            None => merged.push(point),
        }
    }
    merged
}

fn end(point: &Point) -> f64 {
    point.at + point.length_s
}

#[cfg(test)]
mod tests;
