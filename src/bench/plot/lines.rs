//! What a report's charts show.

use plotters::style::RGBColor;

use super::PlotError;
use crate::bench::report::{Loop, Part, PathReport, Point, Report};
use crate::bench::work::{Direction, Mode};
use crate::chart::axis::{Axis, Scale, scale};
use crate::metrics::FineTimes;

/// For each path a hue, for each kind of connection in a mix a shade of it.
const COLORS: [[RGBColor; 4]; 2] = [
    [
        RGBColor(31, 119, 180),
        RGBColor(8, 64, 129),
        RGBColor(107, 174, 214),
        RGBColor(23, 190, 207),
    ],
    [
        RGBColor(217, 95, 2),
        RGBColor(153, 52, 4),
        RGBColor(253, 174, 97),
        RGBColor(214, 39, 40),
    ],
];

const REQUESTS: [Scale; 3] = [
    (1e6, "million requests a second"),
    (1e3, "thousand requests a second"),
    (1.0, "requests a second"),
];
const BITS: [Scale; 3] = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];

/// How finely a curve of latencies is drawn.
const STEPS: u32 = 400;

/// One chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) legend: Corner,
    pub(super) lines: Vec<Line>,
}

/// Where a chart of its kind has room.
#[derive(Clone, Copy)]
pub(super) enum Corner {
    UpperLeft,
    LowerRight,
}

/// One line of a chart.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) color: RGBColor,
    /// It is interrupted where nothing was measured.
    pub(super) stretches: Vec<Vec<(f64, f64)>>,
}

/// Two lines above it all.
pub(super) fn heading(report: &Report) -> [String; 2] {
    let load = &report.load;
    let pace = match (load.pace, load.rate) {
        (Loop::Closed, _) => "closed loop".to_owned(),
        (Loop::Open, Some(rate)) => format!("open loop, {rate} requests a second"),
        (Loop::Open, None) => "open loop".to_owned(),
    };
    let mut first = format!(
        "unmangle bench: {}, {} connections",
        load.mode, load.connections
    );
    if load.mode != Mode::Stream {
        first.push_str(", ");
        first.push_str(&pace);
    }
    if load.clients > 1 {
        first.push_str(&format!(", {} clients", load.clients));
    }
    let paths = report.paths.iter();
    let paths = paths.map(|path| format!("{} to {}", path.name, path.to));
    [first, paths.collect::<Vec<_>>().join(", ")]
}

/// The charts for which there is something to show.
pub(super) fn charts(report: &Report) -> Result<Vec<Chart>, PlotError> {
    let requests = |mode| mode != Mode::Stream;
    let bytes = |mode| mode == Mode::Stream;
    let bits = match report.load.direction {
        Direction::Both => "throughput, both ways together",
        _ => "throughput",
    };
    let charts = [
        latency(report)?,
        over_time(report, "requests", &REQUESTS, requests, |point| {
            point.operations as f64
        }),
        over_time(report, bits, &BITS, bytes, |point| {
            (point.bytes_up as f64 + point.bytes_down as f64) * 8.0
        }),
    ];
    Ok(charts.into_iter().flatten().collect())
}

// === latency by percentile ===

fn latency(report: &Report) -> Result<Option<Chart>, PlotError> {
    let mut curves = Vec::new();
    for (at, path) in report.paths.iter().enumerate() {
        for (shade, part) in path.parts.iter().enumerate() {
            let times = decoded(path, part)?;
            if times.count() > 0 {
                curves.push(Line {
                    label: label(path, part),
                    color: COLORS[at % COLORS.len()][shade % COLORS[0].len()],
                    stretches: vec![curve(&times)],
                });
            }
        }
    }
    let points = || curves.iter().flat_map(|line| line.stretches[0].iter());
    let reach = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let least = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let most = points().map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    Ok((!curves.is_empty()).then(|| Chart {
        title: "latency by percentile",
        x: Axis::nines("share of the requests that took no longer", reach),
        y: Axis::times("latency", least, most),
        legend: Corner::UpperLeft,
        lines: curves,
    }))
}

fn decoded(path: &PathReport, part: &Part) -> Result<FineTimes, PlotError> {
    part.latency.decode().map_err(|error| PlotError::Times {
        path: path.name.clone(),
        part: part.mode.to_string(),
        error,
    })
}

/// Number of nines, logarithm of nanoseconds. It ends where one single request is left, and there it goes up
/// to the longest.
fn curve(times: &FineTimes) -> Vec<(f64, f64)> {
    let reach = (times.count() as f64)
        .log10()
        .max(std::f64::consts::LOG10_2);
    let height = |percent: f64| (times.percentile(percent).as_nanos().max(1) as f64).log10();
    let mut points: Vec<(f64, f64)> = (0..=STEPS)
        .map(|step| {
            let nines = reach * f64::from(step) / f64::from(STEPS);
            (nines, height(100.0 * (1.0 - 10_f64.powf(-nines))))
        })
        .collect();
    points.push((reach, height(100.0)));
    points
}

/// The path, and in a mix the kind of connection.
fn label(path: &PathReport, part: &Part) -> String {
    match path.parts.len() {
        1 => path.name.clone(),
        _ => format!("{}, {}", path.name, part.mode),
    }
}

// === throughput over time ===

/// A line for each path: what all of its connections of these modes did together.
fn over_time(
    report: &Report,
    title: &'static str,
    scales: &[Scale],
    of: fn(Mode) -> bool,
    amount: fn(&Point) -> f64,
) -> Option<Chart> {
    let points = |path: &PathReport| -> Vec<Point> {
        let parts = path.parts.iter().filter(|part| of(part.mode));
        parts.flat_map(|part| part.series.clone()).collect()
    };
    let begin = report
        .paths
        .iter()
        .flat_map(points)
        .map(|point| point.at)
        .fold(f64::INFINITY, f64::min);
    let mut lines: Vec<Line> = report
        .paths
        .iter()
        .zip(COLORS.iter().cycle())
        .map(|(path, hue)| Line {
            label: path.name.clone(),
            color: hue[0],
            stretches: flow(&points(path), begin, amount),
        })
        .filter(|line| !line.stretches.is_empty())
        .collect();
    let most = |of: fn(&(f64, f64)) -> f64, lines: &[Line]| {
        let points = lines
            .iter()
            .flat_map(|line| line.stretches.iter().flatten());
        points.map(of).fold(0.0, f64::max)
    };
    let highest = most(|point| point.1, &lines);
    if highest <= 0.0 {
        return None;
    }
    let (unit, y) = scale(highest, scales);
    for point in lines
        .iter_mut()
        .flat_map(|line| line.stretches.iter_mut().flatten())
    {
        point.1 /= unit;
    }
    Some(Chart {
        title,
        x: Axis::linear(
            "seconds since the start",
            most(|point| point.0, &lines),
            false,
        ),
        y: Axis::linear(y, highest / unit, true),
        legend: Corner::LowerRight,
        lines,
    })
}

/// How much a second at each time since `begin`: at any time the sum over the points that cover it, for
/// clients do not begin their intervals together. Stretches in which no point lies are left out.
fn flow(points: &[Point], begin: f64, amount: fn(&Point) -> f64) -> Vec<Vec<(f64, f64)>> {
    // What happens at the same millisecond happens at once: an interval ends where the next one begins.
    let millis = |at: f64| ((at - begin) * 1000.0).round() as i64;
    let mut turns: Vec<(i64, i64, f64)> = Vec::new();
    for point in points {
        let (from, to) = (millis(point.at), millis(point.at + point.length_s));
        if from < to {
            let rate = amount(point) * 1000.0 / (to - from) as f64;
            turns.push((from, 1, rate));
            turns.push((to, -1, -rate));
        }
    }
    turns.sort_by_key(|(at, ..)| *at);
    let mut stretches = Vec::new();
    let mut stretch: Vec<(f64, f64)> = Vec::new();
    let (mut open, mut rate) = (0, 0.0);
    for turn in turns.chunk_by(|one, other| one.0 == other.0) {
        let at = turn[0].0 as f64 / 1000.0;
        if open > 0 {
            stretch.push((at, rate));
        }
        open += turn.iter().map(|(_, opened, _)| opened).sum::<i64>();
        rate += turn.iter().map(|(_, _, more)| more).sum::<f64>();
        match open {
            // Nothing is left of what rounding has left.
            0 => {
                rate = 0.0;
                stretches.push(std::mem::take(&mut stretch));
            }
            _ => stretch.push((at, rate)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn point(at: f64, length_s: f64, operations: u64) -> Point {
        Point {
            at,
            length_s,
            operations,
            bytes_up: 0,
            bytes_down: 0,
            p99_ns: 0,
        }
    }

    fn rates(points: &[Point]) -> Vec<Vec<(f64, f64)>> {
        flow(points, 100.0, |point| point.operations as f64)
    }

    #[test]
    fn intervals_of_clients_that_overlap_are_added_where_they_do() {
        let points = [point(100.0, 2.0, 20), point(101.0, 2.0, 40)];
        assert_eq!(
            rates(&points),
            [vec![
                (0.0, 10.0),
                (1.0, 10.0),
                (1.0, 30.0),
                (2.0, 30.0),
                (2.0, 20.0),
                (3.0, 20.0)
            ]]
        );
    }

    #[test]
    fn a_line_is_interrupted_where_the_other_path_had_its_turn() {
        let points = [
            point(100.0, 1.0, 5),
            point(101.000_01, 1.0, 6),
            point(104.0, 1.0, 7),
        ];
        let stretches = rates(&points);
        assert_eq!(stretches.len(), 2);
        assert_eq!(stretches[0].len(), 4);
        assert_eq!(stretches[1], [(4.0, 7.0), (5.0, 7.0)]);
    }

    #[test]
    fn what_the_axis_calls_a_thousand_is_one() {
        for (scales, most, read) in [(&REQUESTS, 20_000.0, 20.0), (&BITS, 3e9, 3.0)] {
            let (unit, _) = scale(most, scales);
            assert!(
                (most / unit - read).abs() < 1e-9,
                "{most} reads {}",
                most / unit
            );
        }
    }

    #[test]
    fn a_curve_goes_from_the_shortest_to_the_longest() {
        let mut times = FineTimes::default();
        for micros in 1..=1000 {
            times.record(Duration::from_micros(micros));
        }
        let curve = curve(&times);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(close(curve[0].1, 3.0), "{:?}", curve[0]);
        let (x, y) = *curve.last().unwrap();
        assert!(close(x, 3.0) && close(y, 6.0), "{x} {y}");
        assert!(curve.windows(2).all(|two| two[0].1 <= two[1].1));
    }
}
