//! The rows as a table that tells the story; it is Markdown, so that it can be pasted.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use crate::cli::output::in_colour;
use crate::lab::matrix::{label, way};
use crate::lab::{Outcome, Row};

const HEADER: [&str; 11] = [
    "scenario",
    "path",
    "tool",
    "direction",
    "IP",
    "outcome",
    "seconds",
    "MB/s",
    "INVALID client",
    "server",
    "relay: mangled, clean",
];

/// Draws it; in colour on a terminal, unless `NO_COLOR` is set.
pub(super) fn render(rows: &[Row]) -> String {
    draw(rows, in_colour()).to_string()
}

/// A table without rows yet.
pub(super) fn markdown<const N: usize>(header: [&str; N], color: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// A cell for a number.
pub(super) fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn draw(rows: &[Row], color: bool) -> Table {
    let mut table = markdown(HEADER, color);
    for row in rows {
        let invalid = row.conntrack_invalid;
        table.add_row([
            Cell::new(&row.scenario),
            Cell::new(way(row.path, row.shape)),
            Cell::new(label(row.tool)),
            Cell::new(label(row.direction)),
            number(u8::from(row.family).to_string()),
            outcome(row.outcome, color),
            number(format!("{:.2}", row.seconds)),
            number(rate(row)),
            number(invalid.client.to_string()),
            number(invalid.server.to_string()),
            number(format!(
                "{}, {}",
                invalid.relay_mangled, invalid.relay_clean
            )),
        ]);
    }
    table
}

fn outcome(outcome: Outcome, color: bool) -> Cell {
    let cell = Cell::new(label(outcome));
    match outcome {
        _ if !color => cell,
        Outcome::Ok => cell.fg(Color::Green),
        _ => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

/// Megabytes per second of a transfer that was completed.
fn rate(row: &Row) -> String {
    match row.outcome {
        Outcome::Ok => format!("{:.1}", row.bytes as f64 / 1e6 / row.seconds),
        _ => "-".to_owned(),
    }
}
