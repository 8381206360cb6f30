//! One path, or two in turn, and the report of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::bench::failure::Failures;
use crate::bench::load::{self, Error, Measurement, Outcome, unix_seconds};
use crate::bench::report::{Difference, FORMAT, LoadTold, Part, PathReport, Point, Report, Window};
use crate::bench::tally::{Interval, Tallies};
use crate::bench::work::Load;

/// Hears the name of a path, when its measurement began, and each interval.
pub type Watcher<'a> = &'a mut dyn FnMut(&'static str, SystemTime, &Interval);

/// How the direct path is called in reports.
pub const DIRECT: &str = "direct";
/// How the other path is called in reports.
pub const VIA: &str = "via";

/// One way to the server.
#[derive(Debug, Clone)]
pub struct Path {
    /// Its name in reports.
    pub name: &'static str,
    /// The address as it was given.
    pub told: String,
    /// The address.
    pub to: SocketAddr,
}

/// What came of all paths.
#[derive(Debug)]
pub struct Findings {
    /// What was measured.
    pub report: Report,
    /// What went wrong, by path; the first words of each kind are kept.
    pub failures: Vec<(&'static str, Failures)>,
}

/// What is known of one path so far.
struct Measured<'a> {
    path: &'a Path,
    tallies: Tallies,
    failures: Failures,
    windows: Vec<Window>,
    cpu: Duration,
    series: Vec<Vec<Point>>,
}

/// Measures every path for `load.duration` in all. Several take turns, each `turns` times (A B A B), so
/// that what else happens on the machine happens to all; one path is measured in one go.
///
/// # Errors
/// The machine does not give what it takes.
pub fn measure(
    load: &Load,
    paths: &[Path],
    turns: u32,
    interrupted: &AtomicBool,
    watcher: Watcher,
) -> Result<Findings, Error> {
    let turns = if paths.len() > 1 { turns } else { 1 };
    let slice = Load {
        duration: load.duration / turns,
        ..*load
    };
    let mut all: Vec<Measured> = paths.iter().map(|path| Measured::new(path, load)).collect();
    'turns: for _ in 0..turns {
        for path in &mut all {
            path.measure(&slice, interrupted, watcher)?;
            // Where connections cannot be made there is nothing to compare.
            if interrupted.load(Ordering::Relaxed) || path.windows.is_empty() {
                break 'turns;
            }
        }
    }
    let failures = all
        .iter()
        .map(|path| (path.path.name, path.failures.clone()))
        .collect();
    let paths: Vec<PathReport> = all.into_iter().map(Measured::report).collect();
    let difference = match paths.as_slice() {
        [first, second] if !first.windows.is_empty() && !second.windows.is_empty() => {
            Some(Difference::between(first, second))
        }
        _ => None,
    };
    Ok(Findings {
        report: Report {
            format: FORMAT,
            load: LoadTold::from(load),
            paths,
            difference,
        },
        failures,
    })
}

// === impl Measured ===

impl<'a> Measured<'a> {
    fn new(path: &'a Path, load: &Load) -> Self {
        let tallies = Tallies::of(load.mode);
        let parts = tallies.iter().count();
        Self {
            path,
            tallies,
            failures: Failures::default(),
            windows: Vec::new(),
            cpu: Duration::ZERO,
            series: vec![Vec::new(); parts],
        }
    }

    fn measure(
        &mut self,
        load: &Load,
        interrupted: &AtomicBool,
        watcher: Watcher,
    ) -> Result<(), Error> {
        // Points: a histogram of every interval would fill the memory in an hour.
        let mut series = std::mem::take(&mut self.series);
        let outcome = load::run(load, self.path.to, interrupted, &mut |began, interval| {
            watcher(self.path.name, began, interval);
            for ((_, tally), points) in interval.tallies.iter().zip(&mut series) {
                points.push(Point::new(unix_seconds(began), interval, tally));
            }
        })?;
        self.series = series;
        match outcome {
            Outcome::Measured(measured) => self.add(&measured),
            Outcome::NotMade { failures } => self.not_made(load, &failures),
        }
        Ok(())
    }

    fn add(&mut self, measured: &Measurement) {
        let from = unix_seconds(measured.began);
        self.windows.push(Window {
            from,
            to: from + measured.elapsed.as_secs_f64(),
        });
        self.cpu += measured.cpu;
        self.tallies.add(&measured.tallies);
        for (_, tally) in measured.tallies.iter() {
            self.failures.add(&tally.failures);
        }
    }

    /// What could not be made is told with the first kind of connection.
    fn not_made(&mut self, load: &Load, failures: &Failures) {
        self.failures.add(failures);
        let first = load.mode.of_connection(0);
        self.tallies.mode(first).failures.add(failures);
    }

    fn report(self) -> PathReport {
        let elapsed_s = Window::covered(&self.windows);
        let parts = self.tallies.iter().zip(self.series);
        PathReport {
            name: self.path.name.to_owned(),
            to: self.path.told.clone(),
            elapsed_s,
            common_s: elapsed_s,
            generator_cpu_s: self.cpu.as_secs_f64(),
            parts: parts
                .map(|((mode, tally), series)| Part {
                    series,
                    ..Part::new(mode, tally, elapsed_s)
                })
                .collect(),
            windows: self.windows,
        }
    }
}
