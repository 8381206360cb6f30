//! A comparison as tables; they are Markdown, so that they can be pasted.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::bench::compare::cores::Placement;
use crate::bench::compare::idle::Idle;
use crate::bench::compare::paired::{self, Ratio};
use crate::bench::compare::plan::{Measure, Offload, Work};
use crate::bench::compare::plot::rounded;
use crate::bench::compare::result::{Compared, Comparison, Figure, Setting, Terms};
use crate::bench::compare::targets::{Against, Quantity, Shown, shown};

const HEADER: [&str; 10] = [
    "work",
    "candidate",
    "figure",
    "to direct",
    "to the best peer",
    "p50 us",
    "p99 us",
    "p99 to the best peer",
    "CPU relay",
    "CPU machine",
];

const ASKED_HEADER: [&str; 8] = [
    "work", "measure", "to", "ratio", "must", "shown", "goal", "how far",
];

const IDLE_HEADER: [&str; 5] = [
    "idle",
    "sessions",
    "kB each",
    "descriptors each",
    "processes",
];

/// Draws all of it.
pub(super) fn render(comparison: &Comparison) -> String {
    let mut text = terms(&comparison.terms);
    for setting in &comparison.settings {
        let drawn = draw(setting);
        write!(text, "\noffloads {}\n\n{drawn}\n", setting.offload).expect("a String takes it");
    }
    let twins = twins(comparison);
    if !twins.is_empty() {
        write!(text, "\nthe same against the same\n\n{twins}").expect("a String takes it");
    }
    text += &asked(&shown(comparison));
    if !comparison.idle.is_empty() {
        write!(text, "\n{}\n", draw_idle(&comparison.idle)).expect("a String takes it");
    }
    for absent in &comparison.absent {
        let (candidate, why) = (&absent.candidate, &absent.why);
        write!(text, "\n{candidate} took no part: {why}\n").expect("a String takes it");
    }
    text
}

fn terms(terms: &Terms) -> String {
    let Terms {
        shape,
        rounds,
        slices,
        slice_s,
        cores,
        placement,
        kernel,
        ..
    } = terms;
    format!(
        "shape {shape}, {rounds} rounds of {slices} turns of {slice_s} s each, {cores} cores, Linux {kernel}\n\
         medians; paired ratios with intervals of 95 % ({})\n\
         CPU of streams in seconds for each GB, else in microseconds for each request\n\
         {}\n",
        method(*rounds),
        match placement {
            Placement::Work => "rr1: client, relay and server on one core",
            Placement::Scheduler => "cores: left to the scheduler",
        }
    )
}

/// What those say who take part twice: how well this run tells the same from the same.
pub(super) fn twins(comparison: &Comparison) -> String {
    let lines = comparison.settings.iter().flat_map(|setting| {
        let compared = setting.compared.iter();
        compared.flat_map(|compared| {
            let figures = compared.figures.iter();
            figures.filter_map(|figure| twin(setting.offload, compared, figure))
        })
    });
    lines.collect()
}

/// A line about a figure of a candidate that took part before under its plain name.
fn twin(offload: Offload, compared: &Compared, twin: &Figure) -> Option<String> {
    let (kind, _) = twin.candidate.split_once('#')?;
    let first = compared.figure(kind)?;
    let told = paired::ratio(&twin.turns, &first.turns)?;
    let interval = told.interval?;
    let without = match interval.contains(1.0) {
        true => "",
        false => ", WITHOUT 1.00",
    };
    let Compared { work, measure, .. } = compared;
    Some(format!(
        "{} to {kind}, {work}, {measure}, offloads {offload}: {}, {:.1} % wide{without}\n",
        twin.candidate,
        ratio(told),
        interval.width() * 100.0,
    ))
}

/// By what the intervals of so many rounds are found.
pub(super) fn method(rounds: u32) -> &'static str {
    match rounds {
        1 => "none: one round",
        2..6 => "Student's t on logarithms",
        _ => "Hodges-Lehmann, Wilcoxon",
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table.force_no_tty();
    table
}

pub(super) fn draw(setting: &Setting) -> Table {
    let mut table = table(HEADER);
    for (work, about, name) in headings() {
        let Some(compared) = setting.find(work, about) else {
            continue;
        };
        for figure in &compared.figures {
            let candidate = figure.candidate.as_str();
            // Beside the streams of a mix its latencies would stand twice.
            let of = |measure| match (work, about) {
                (Work::Mix | Work::Rr64Bulk, Measure::Gbits) => None,
                _ => setting.find(work, measure)?.figure(candidate),
            };
            let told = |measure| of(measure).map(|figure| rounded(figure.median));
            let best = compared.best_peer.as_deref() == Some(candidate);
            table.add_row([
                Cell::new(&name),
                Cell::new(candidate),
                number(Some(format!(
                    "{} {}",
                    rounded(figure.median),
                    unit(compared)
                ))),
                number(
                    figure
                        .to_direct
                        .filter(|_| candidate != "direct")
                        .map(ratio),
                ),
                number(match best {
                    true => Some("best peer".to_owned()),
                    false => figure.to_best_peer.map(ratio),
                }),
                number(told(Measure::P50)),
                number(told(Measure::P99)),
                number(
                    of(Measure::P99)
                        .and_then(|figure| figure.to_best_peer)
                        .map(ratio),
                ),
                number(told(Measure::CpuRelay).filter(|_| candidate != "direct")),
                number(told(Measure::CpuMachine)),
            ]);
        }
    }
    table
}

/// What has lines of its own, and what the lines are called.
fn headings() -> Vec<(Work, Measure, String)> {
    let headings = Work::ALL.into_iter().flat_map(|work| match work {
        Work::Stream1 | Work::Stream8 => vec![(work, Measure::Gbits, work.to_string())],
        Work::Mix => vec![
            (work, Measure::Requests, "mix: requests".to_owned()),
            (work, Measure::Gbits, "mix: streams".to_owned()),
        ],
        Work::Rr64Bulk => vec![
            (work, Measure::Requests, "rr64bulk: requests".to_owned()),
            (work, Measure::Gbits, "rr64bulk: stream".to_owned()),
        ],
        _ => vec![(work, Measure::Requests, work.to_string())],
    });
    headings.collect()
}

fn unit(compared: &Compared) -> &str {
    match compared.measure {
        Measure::Requests => "/s",
        _ => &compared.unit,
    }
}

/// What is asked of `unmangle`, and whether it was shown; nothing if nothing of it was measured.
fn asked(shown: &[Shown]) -> String {
    if shown.is_empty() {
        return String::new();
    }
    format!(
        "\nwhat is asked of unmangle: by the worse end of the interval; goals by the ratio\n\n{}\n",
        ask(shown)
    )
}

/// The same as a table.
pub(super) fn ask(shown: &[Shown]) -> Table {
    let mut table = table(ASKED_HEADER);
    for each in shown {
        let target = &each.target;
        let measure = match target.quantity {
            Quantity::Whole(measure) => measure.to_string(),
            Quantity::Added(measure) => format!("{measure} added"),
        };
        let against = match target.against {
            Against::BestPeer => format!("best peer: {}", each.other),
            Against::Direct | Against::Peer(_) => each.other.clone(),
        };
        let must = match each.missed_by {
            Some(missed) if missed > 0.0 => format!("MISSED by {}", percent(missed)),
            Some(_) => "met".to_owned(),
            None => "one round shows nothing".to_owned(),
        };
        let goal = each.goal_missed_by.map(|missed| match missed > 0.0 {
            true => format!("{} short", percent(missed)),
            false => "reached".to_owned(),
        });
        table.add_row([
            Cell::new(format!("{}, offloads {}", target.work, each.offload)),
            Cell::new(measure),
            Cell::new(against),
            number(Some(ratio(each.found))),
            number(Some(format!("{:.2}", target.must))),
            Cell::new(must),
            number(target.goal.map(|goal| format!("{goal:.2}"))),
            Cell::new(goal.unwrap_or_else(|| "-".to_owned())),
        ]);
    }
    table
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

pub(super) fn draw_idle(idle: &[Idle]) -> Table {
    let mut table = table(IDLE_HEADER);
    for each in idle {
        table.add_row([
            Cell::new(&each.candidate),
            number(Some(each.sessions.to_string())),
            number(
                each.resident_bytes
                    .map(|bytes| format!("{:.1}", bytes / 1e3)),
            ),
            number(each.descriptors.map(|count| format!("{count:.1}"))),
            number(each.processes.map(|count| count.to_string())),
        ]);
    }
    table
}

/// A ratio with its interval.
fn ratio(ratio: Ratio) -> String {
    match ratio.interval {
        Some(interval) => format!(
            "{:.2} [{:.2}, {:.2}]",
            ratio.ratio, interval.low, interval.high
        ),
        None => format!("{:.2}", ratio.ratio),
    }
}

/// A cell for a number.
fn number(text: Option<String>) -> Cell {
    Cell::new(text.unwrap_or_else(|| "-".to_owned())).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::candidate::named;
    use crate::bench::compare::gathered::Gathered;
    use crate::bench::compare::order::tests::at;
    use crate::bench::compare::result::FORMAT;
    use crate::bench::compare::result::tests::terms;

    #[test]
    fn the_same_is_told_against_the_same_whoever_is_best() {
        let candidates = named(["haproxy", "haproxy", "nginx"].map(|name| name.parse().unwrap()));
        let mut gathered = Gathered::default();
        for round in 0..3 {
            for (candidate, figure) in [10.0, 11.0, 20.0].into_iter().enumerate() {
                let figures = [(Measure::Requests, figure)];
                gathered.keep(Work::Rr1, candidate, at(round, 0), figures);
            }
        }
        let comparison = Comparison {
            format: FORMAT,
            terms: terms(3),
            absent: Vec::new(),
            settings: vec![gathered.told(Offload::On, &[Work::Rr1], &candidates)],
            idle: Vec::new(),
            failures: Vec::new(),
        };
        let text = render(&comparison);
        assert!(
            text.contains("\nthe same against the same\n\nhaproxy#2"),
            "{text}"
        );
        let line = "haproxy#2 to haproxy, rr1, requests, offloads on: 1.10 [1.10, 1.10], 0.0 % wide, WITHOUT 1.00\n";
        assert!(text.contains(line), "{text}");
    }
}
