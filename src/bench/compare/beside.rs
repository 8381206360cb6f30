//! A stream beside what is measured: a generator of its own, there before the other and after it.

use std::time::Duration;

use crate::bench::compare::generator::{Failed, Generator, ask};
use crate::bench::compare::stand::Standing;
use crate::bench::report::{PathReport, Point, Report, Window};
use crate::bench::work::Mode;
use crate::lab::{self, Interrupt};

/// How long one point of its series is: the shortest that a generator tells.
const INTERVAL: &str = "100ms";
/// What it says of each interval that is over: by then it has left its slow start.
const SIGN: &str = ": direct: ";
/// How long its beginning and its end may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that downloads until it is told to end; dropped, it is killed.
#[derive(Debug)]
pub struct Beside(Generator);

// === impl Beside ===

impl Beside {
    /// Starts it and waits until it flows; it would go on for longer than `patience`.
    ///
    /// # Errors
    /// An interrupt, or a generator that cannot be started. What the candidate is to blame for is inside.
    pub fn start(
        standing: &Standing,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> lab::Result<Result<Self, Failed>> {
        let mut command = standing.bench_run();
        let longer = patience + PATIENCE;
        ask(&mut command, Mode::Stream, 1, longer, Duration::ZERO);
        command.args(["--read", "--interval", INTERVAL, "--log", "info"]);
        let mut generator = Generator::start_as("beside", &mut command, standing)?;
        let flows = generator.says(SIGN, PATIENCE, interrupt)?;
        Ok(flows.map(|()| Self(generator)).map_err(Failed::beside))
    }

    /// Ends it; what it found, unless it had ended by itself.
    ///
    /// # Errors
    /// An interrupt, or a kernel that does not tell.
    pub fn end(self, interrupt: &Interrupt) -> lab::Result<Result<Report, Failed>> {
        let ended = self.0.end(PATIENCE, interrupt)?;
        Ok(ended.map_err(Failed::beside))
    }
}

// === impl Failed ===

impl Failed {
    /// Of the stream beside what is measured.
    pub(crate) fn beside(self) -> Self {
        Self(format!("the stream beside them: {}", self.0))
    }
}

/// Gbit/s of a stream in the time in which the others were measured.
///
/// # Errors
/// If it did not flow all that time: then they had it easier than they should.
pub fn carried(stream: &PathReport, window: Option<&Window>) -> Result<f64, Failed> {
    let part = stream.parts.iter().find(|part| part.mode == Mode::Stream);
    part.zip(window)
        .and_then(|(part, window)| gbits_within(&part.series, *window))
        .ok_or_else(|| Failed("it did not last as long as they did".to_owned()).beside())
}

/// Of an interval that is partly within the window, that part counts.
fn gbits_within(series: &[Point], window: Window) -> Option<f64> {
    let ends = |point: &Point| point.at + point.length_s;
    let (first, last) = (series.first()?, series.last()?);
    if first.at > window.from || ends(last) < window.to {
        return None;
    }
    let bytes: f64 = series
        .iter()
        .map(|point| {
            let within = ends(point).min(window.to) - point.at.max(window.from);
            let part = within.max(0.0) / point.length_s.max(f64::EPSILON);
            part * point.bytes_down as f64
        })
        .sum();
    Some(bytes * 8.0 / 1e9 / (window.to - window.from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second with these GB in it.
    fn point(at: f64, gigabytes: u64) -> Point {
        Point {
            at,
            length_s: 0.5,
            operations: 0,
            bytes_up: 0,
            bytes_down: gigabytes * 1_000_000_000,
            p99_ns: 0,
        }
    }

    fn window(from: f64, to: f64) -> Window {
        Window { from, to }
    }

    #[test]
    fn what_was_carried_before_and_after_does_not_count() {
        let series = [point(1.0, 9), point(1.5, 1), point(2.0, 2), point(2.5, 9)];
        assert_eq!(gbits_within(&series, window(1.5, 2.5)), Some(24.0));
        // Half of the one and half of the other.
        assert_eq!(gbits_within(&series, window(1.75, 2.25)), Some(24.0));
        assert_eq!(gbits_within(&series, window(2.0, 2.25)), Some(32.0));
    }

    #[test]
    fn a_stream_that_began_later_or_ended_earlier_has_no_figure() {
        let series = [point(1.0, 1), point(1.5, 1)];
        assert_eq!(gbits_within(&series, window(1.0, 2.0)), Some(16.0));
        assert_eq!(gbits_within(&series, window(0.9, 1.5)), None);
        assert_eq!(gbits_within(&series, window(1.5, 2.1)), None);
        assert_eq!(gbits_within(&[], window(1.0, 1.5)), None);
    }
}
