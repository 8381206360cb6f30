//! Repetitions in one line: how many arrived, and how long that took.

use comfy_table::{Cell, Table};

use super::table::{markdown, number};
use crate::cli::output::in_colour;
use crate::lab::matrix::{label, way};
use crate::lab::{Outcome, Row};

const HEADER: [&str; 9] = [
    "scenario",
    "path",
    "tool",
    "direction",
    "IP",
    "runs",
    "median s",
    "worst s",
    "INVALID",
];

/// Draws a line for every transfer that was repeated; it is Markdown, too.
pub(super) fn render(rows: &[Row]) -> String {
    format!(
        "All runs of a transfer; median and worst are of those that arrived.\n\n{}",
        draw(rows, in_colour())
    )
}

fn draw(rows: &[Row], color: bool) -> Table {
    let mut table = markdown(HEADER, color);
    for runs in rows.chunk_by(same_transfer) {
        let first = &runs[0];
        let seconds = arrived(runs);
        let time = |seconds: Option<f64>| {
            number(seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}")))
        };
        let invalid: u64 = runs.iter().map(|row| row.conntrack_invalid.sum()).sum();
        table.add_row([
            Cell::new(&first.scenario),
            Cell::new(way(first.path, first.shape)),
            Cell::new(label(first.tool)),
            Cell::new(label(first.direction)),
            number(u8::from(first.family).to_string()),
            Cell::new(outcomes(runs)),
            time(median(&seconds)),
            time(seconds.last().copied()),
            number(invalid.to_string()),
        ]);
    }
    table
}

/// Repetitions follow one another, so neighbours that differ in the run alone belong together.
fn same_transfer(one: &Row, other: &Row) -> bool {
    let what = |row: &Row| {
        (
            row.scenario.clone(),
            (row.path, row.shape, row.tool, row.direction, row.family),
        )
    };
    what(one) == what(other)
}

/// How long those took that arrived, the quickest first.
fn arrived(runs: &[Row]) -> Vec<f64> {
    let ok = runs.iter().filter(|row| row.outcome == Outcome::Ok);
    let mut seconds: Vec<f64> = ok.map(|row| row.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// The middle of sorted numbers: of two in the middle, their mean.
fn median(sorted: &[f64]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some((sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0)
}

/// `4 ok, 1 reset`: each outcome there was.
fn outcomes(runs: &[Row]) -> String {
    [Outcome::Ok, Outcome::Reset, Outcome::Stall, Outcome::Error]
        .into_iter()
        .filter_map(|outcome| {
            let count = runs.iter().filter(|row| row.outcome == outcome).count();
            (count > 0).then(|| format!("{count} {}", label(outcome)))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Path;

    fn row(path: Path, run: u32, outcome: Outcome, seconds: f64) -> Row {
        Row {
            run,
            seconds,
            ..Row::sample("pix", path, outcome)
        }
    }

    #[test]
    fn a_line_tells_median_and_worst_of_the_runs_that_arrived_and_counts_the_others() {
        let rows = [
            row(Path::Split, 1, Outcome::Stall, 40.0),
            row(Path::Split, 2, Outcome::Ok, 3.0),
            row(Path::Split, 3, Outcome::Ok, 1.0),
            row(Path::Relay, 1, Outcome::Reset, 0.2),
        ];
        let text = draw(&rows, false).to_string();
        let words = |line: &str| {
            line.replace('|', " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let lines: Vec<_> = text.lines().skip(2).map(words).collect();
        assert_eq!(
            lines,
            [
                "pix split scp upload 4 2 ok, 1 stall 2.00 3.00 0",
                "pix relay scp upload 4 1 reset - - 0",
            ]
        );
    }

    #[test]
    fn the_median_of_none_is_none_and_of_an_odd_number_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
    }
}
