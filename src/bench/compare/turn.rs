//! One turn of one candidate: the generator runs as a child, as a user would run it, and the cost is read
//! meanwhile.

use std::time::Duration;

use crate::bench::compare::beside::{Beside, carried};
use crate::bench::compare::cores::{Bound, Cores};
use crate::bench::compare::cost::{Meter, Spent};
use crate::bench::compare::generator::{Failed, Generator, ask, errors};
use crate::bench::compare::plan::{Measure, Plan, Work};
use crate::bench::compare::stand::Standing;
use crate::bench::report::{Part, PathReport, Report};
use crate::bench::work::Mode;
use crate::lab::{self, Interrupt};

/// How long a generator may take beside load and warm-up before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the cost is read: time between two readings is taken to be spent evenly, and at the end of a turn it is
/// not.
const READING: Duration = Duration::from_millis(15);

/// What was measured in a turn.
pub type Figures = Vec<(Measure, f64)>;

/// Measures one candidate once.
///
/// # Errors
/// An interrupt, or a generator that cannot be started. What the candidate is to blame for is inside.
pub fn take(
    standing: &Standing,
    work: Work,
    plan: &Plan,
    interrupt: &Interrupt,
) -> lab::Result<Result<Figures, Failed>> {
    let (slice, warmup) = (plan.slice, plan.warmup);
    let patience = slice + warmup + PATIENCE;
    let beside = match work.has_stream_beside() {
        true => match Beside::start(standing, patience, interrupt)? {
            Ok(beside) => Some(beside),
            Err(failed) => return Ok(Err(failed.with(&standing.last_words()))),
        },
        false => None,
    };
    let mut command = standing.bench_run();
    ask(&mut command, work.mode(), work.connections(), slice, warmup);
    // As real receivers do: a direct path whose receiver costs nothing is nobody's path.
    command.arg("--read");
    let bound = match work.cores(plan.placement) {
        Cores::One => match Bound::to_one_core(standing.processes()) {
            Ok(bound) => Some(bound),
            Err(error) => {
                let what = format!("putting it on one core: {error}");
                return Ok(Err(Failed(what)));
            }
        },
        Cores::Any => None,
    };
    // It inherits the core.
    let mut generator = Generator::start(&mut command, standing)?;
    if let Some(bound) = &bound {
        bound.release_this_thread();
    }
    let meter = Meter::new(standing.process());
    let mut samples: Vec<Spent> = meter.spent().into_iter().collect();
    let read = || samples.extend(meter.spent());
    let Some(status) = generator.wait(patience, interrupt, READING, read)? else {
        return Ok(Err(Failed(
            "the generator did not come to an end".to_owned(),
        )));
    };
    samples.extend(meter.spent());
    let beside = match beside.map(|beside| beside.end(interrupt)).transpose()? {
        Some(Ok(report)) => Some(report),
        Some(Err(failed)) => return Ok(Err(failed.with(&standing.last_words()))),
        None => None,
    };
    Ok(generator
        .report(status)
        .and_then(|report| figures(work, &report, beside.as_ref(), &samples))
        .map_err(|failed| failed.with(&standing.last_words())))
}

/// Sees that bytes get through.
///
/// # Errors
/// As for [`take`].
pub fn check(standing: &Standing, interrupt: &Interrupt) -> lab::Result<Result<(), Failed>> {
    let mut command = standing.bench_run();
    let soon = Duration::from_millis(100);
    ask(&mut command, Mode::Rr, 1, soon, Duration::ZERO);
    command.arg("--verify");
    let mut generator = Generator::start(&mut command, standing)?;
    let Some(status) = generator.wait(PATIENCE, interrupt, PATIENCE, || {})? else {
        return Ok(Err(Failed("no bytes get through".to_owned())));
    };
    let answered = generator
        .report(status)
        .and_then(|report| match report.paths.first() {
            Some(path) if path.operations() > 0 => Ok(()),
            _ => Err(Failed("no request was answered".to_owned())),
        });
    Ok(answered.map_err(|failed| failed.with(&standing.last_words())))
}

/// What a report, that of a stream beside it, and the costs meanwhile come to.
pub fn figures(
    work: Work,
    report: &Report,
    beside: Option<&Report>,
    samples: &[Spent],
) -> Result<Figures, Failed> {
    let path = clean(report)?;
    let beside = beside.map(clean).transpose().map_err(Failed::beside)?;
    let window = path.windows.first();
    let spent = window.and_then(|window| Spent::between(samples, window.from, window.to));
    let part = |mode: Mode| path.parts.iter().find(|part| part.mode == mode);
    // What a mix is about are its requests; its streams are there to disturb them, and are told too.
    let timed = match work.mode() {
        Mode::Mix => part(Mode::Rr),
        mode => part(mode),
    };
    let mut figures = Figures::new();
    for measure in work.measures() {
        let figure = match measure {
            Measure::Gbits => match beside {
                Some(beside) => Some(carried(beside, window)?),
                None => part(Mode::Stream).map(|part| part.bits_per_s_down / 1e9),
            },
            Measure::Requests => timed.map(|part| part.operations_per_s),
            Measure::P50 => timed.map(|part| part.latency.p50_ns as f64 / 1e3),
            Measure::P99 => timed.map(|part| part.latency.p99_ns as f64 / 1e3),
            Measure::CpuRelay => timed
                .zip(spent)
                .map(|(part, spent)| for_each(part, spent.candidate)),
            Measure::CpuMachine => timed
                .zip(spent)
                .map(|(part, spent)| for_each(part, spent.machine)),
        };
        let cost = matches!(measure, Measure::CpuRelay | Measure::CpuMachine);
        match figure {
            // The direct path costs no relay anything.
            Some(figure) if figure > 0.0 || cost && figure == 0.0 => {
                figures.push((*measure, figure))
            }
            // Children that end between two readings may take away what they had used.
            _ if cost => {}
            _ => return Err(Failed(format!("nothing was carried: no {measure}"))),
        }
    }
    Ok(figures)
}

/// What a load without errors found.
fn clean(report: &Report) -> Result<&PathReport, Failed> {
    let path = report.paths.first();
    let path = path.ok_or_else(|| Failed("the report is empty".to_owned()))?;
    match path.errors() {
        0 => Ok(path),
        _ => Err(Failed(errors(&path.parts))),
    }
}

/// CPU seconds for each GB of a stream, CPU microseconds for each request of anything else.
fn for_each(part: &Part, cpu: f64) -> f64 {
    match part.mode {
        Mode::Stream => cpu / ((part.bytes_up + part.bytes_down) as f64 / 1e9),
        _ => cpu * 1e6 / part.operations as f64,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::bench::failure::Kind;
    use crate::bench::report::{FORMAT, LoadTold, Point, Window};
    use crate::bench::tally::Tally;
    use crate::bench::work::{Direction, Load, Pace, Payload, Peer};

    /// Half a second from 10.0 on, with what each kind of connection did.
    fn report(mode: Mode, parts: Vec<Part>) -> Report {
        let one = NonZeroU32::MIN;
        let load = Load {
            mode,
            pace: Pace::AsAnswered,
            connections: one,
            threads: one,
            duration: Duration::from_millis(500),
            warmup: Duration::ZERO,
            interval: Duration::from_secs(1),
            request: one,
            response: one,
            direction: Direction::Download,
            peer: Peer::Serve,
            payload: Payload::Read,
            connect_timeout: PATIENCE,
            grace: PATIENCE,
        };
        Report {
            format: FORMAT,
            load: LoadTold::from(&load),
            paths: vec![PathReport {
                name: "direct".to_owned(),
                to: "192.0.2.1:5201".to_owned(),
                windows: vec![Window {
                    from: 10.0,
                    to: 10.5,
                }],
                elapsed_s: 0.5,
                common_s: 0.5,
                generator_cpu_s: 0.1,
                parts,
            }],
            difference: None,
        }
    }

    /// One CPU second a second by the candidate, two by the machine.
    fn samples() -> Vec<Spent> {
        let at = |at: f64| Spent {
            at,
            candidate: at,
            machine: 2.0 * at,
        };
        vec![at(9.0), at(10.2), at(11.0)]
    }

    fn part(mode: Mode, operations: u64, down: u64) -> Part {
        let mut tally = Tally {
            operations,
            down,
            ..Tally::default()
        };
        tally.latency.record(Duration::from_micros(50));
        Part::new(mode, &tally, 0.5)
    }

    fn figure(figures: &Figures, measure: Measure) -> f64 {
        let found = figures.iter().find(|(of, _)| *of == measure);
        (found.unwrap().1 * 1000.0).round() / 1000.0
    }

    #[test]
    fn a_stream_is_told_in_bits_and_costs_seconds_for_each_gigabyte() {
        let stream = report(Mode::Stream, vec![part(Mode::Stream, 0, 1_000_000_000)]);
        let figures = figures(Work::Stream1, &stream, None, &samples()).unwrap();
        assert_eq!(figure(&figures, Measure::Gbits), 16.0);
        assert_eq!(figure(&figures, Measure::CpuRelay), 0.5);
        assert_eq!(figure(&figures, Measure::CpuMachine), 1.0);
    }

    #[test]
    fn requests_are_told_with_their_latencies_and_cost_microseconds_each() {
        let rr = report(Mode::Rr, vec![part(Mode::Rr, 10_000, 640_000)]);
        let figures = figures(Work::Rr1, &rr, None, &samples()).unwrap();
        assert_eq!(figure(&figures, Measure::Requests), 20_000.0);
        assert_eq!(figure(&figures, Measure::CpuRelay), 50.0);
        assert!((49.0..51.0).contains(&figure(&figures, Measure::P99)));
    }

    #[test]
    fn a_mix_is_told_by_its_requests_and_its_streams() {
        let parts = vec![part(Mode::Stream, 0, 1_000_000_000), part(Mode::Rr, 500, 1)];
        let mix = report(Mode::Mix, parts);
        let figures = figures(Work::Mix, &mix, None, &samples()).unwrap();
        assert_eq!(figure(&figures, Measure::Requests), 1000.0);
        assert_eq!(figure(&figures, Measure::Gbits), 16.0);
    }

    /// A stream that began at 9.5 and carried a GB in each half second until this moment.
    fn stream_until(end: f64) -> Report {
        let mut stream = part(Mode::Stream, 0, 1_000_000_000);
        let halves = ((end - 9.5) / 0.5).round() as u32;
        stream.series = (0..halves)
            .map(|nth| Point {
                at: 9.5 + f64::from(nth) * 0.5,
                length_s: 0.5,
                operations: 0,
                bytes_up: 0,
                bytes_down: 1_000_000_000,
                p99_ns: 0,
            })
            .collect();
        report(Mode::Stream, vec![stream])
    }

    #[test]
    fn requests_beside_a_stream_are_told_with_what_it_carried_meanwhile() {
        let rr = report(Mode::Rr, vec![part(Mode::Rr, 10_000, 640_000)]);
        let told = |stream: Report| figures(Work::Rr64Bulk, &rr, Some(&stream), &samples());
        let figures = told(stream_until(11.0)).unwrap();
        assert_eq!(figure(&figures, Measure::Requests), 20_000.0);
        assert!((49.0..51.0).contains(&figure(&figures, Measure::P99)));
        assert_eq!(figure(&figures, Measure::Gbits), 16.0);
        let too_short = told(stream_until(10.0)).unwrap_err();
        assert!(too_short.0.contains("did not last"), "{too_short}");
    }

    #[test]
    fn errors_of_a_stream_beside_them_are_errors_of_the_turn() {
        let rr = report(Mode::Rr, vec![part(Mode::Rr, 10_000, 1)]);
        let mut stream = stream_until(11.0);
        stream.paths[0].parts[0].errors.insert(Kind::Reset, 1);
        let failed = figures(Work::Rr64Bulk, &rr, Some(&stream), &samples());
        let why = "the stream beside them: 1 reset".to_owned();
        assert_eq!(failed, Err(Failed(why)));
    }

    #[test]
    fn a_turn_with_errors_or_without_anything_carried_has_no_figures() {
        let mut reset = part(Mode::Rr, 10_000, 1);
        reset.errors.insert(Kind::Reset, 3);
        let failed = figures(Work::Rr1, &report(Mode::Rr, vec![reset]), None, &samples());
        assert_eq!(failed, Err(Failed("3 reset".to_owned())));
        let nothing = report(Mode::Stream, vec![part(Mode::Stream, 0, 0)]);
        assert!(figures(Work::Stream1, &nothing, None, &samples()).is_err());
    }
}
