//! What was found, for people.

use super::finding::{Finding, Status, Ways};
use super::told::{Kind, Passage, Report};

/// As wide as the longest name.
const NAME: usize = 26;
/// As wide as lines of prose are.
const WIDTH: usize = 100;

/// The whole report; in colour if that is wanted.
#[must_use]
pub fn render(report: &Report, coloured: bool) -> String {
    let path = &report.path;
    let mut text = format!(
        "{} -> {}, {} ms there and back, MTU {}",
        path.client,
        path.server,
        milliseconds(path.round_trip_ms),
        mtu(path.client_mtu, path.server_mtu)
    );
    text.push_str("\n\n");
    table(&mut text, &report.passages, coloured);
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        found(&mut text, finding, coloured);
    }
    if !report.untried.is_empty() {
        text.push_str("\nnot tried\n");
        for sentence in &report.untried {
            paragraph(&mut text, sentence, 2);
        }
    }
    text.push('\n');
    paragraph(&mut text, &report.verdict, 0);
    let recommended = &report.recommended;
    if recommended.kind != Kind::MendElsewhere && !recommended.elsewhere.is_empty() {
        text.push_str("\nto be mended on the path\n");
        for sentence in &recommended.elsewhere {
            paragraph(&mut text, sentence, 2);
        }
    }
    if !recommended.commands.is_empty() {
        text.push('\n');
    }
    for command in &recommended.commands {
        text.push_str(&format!("  {command}\n"));
    }
    text.push_str(&format!(
        "\n{}, {}\n",
        counted(report.problems, "problem"),
        counted(report.notes, "note")
    ));
    text
}

/// Rows of which nothing was tried are left out.
fn table(text: &mut String, passages: &[Passage], coloured: bool) {
    let rows: Vec<&Passage> = passages
        .iter()
        .filter(|row| row.client_to_server.is_some() || row.server_to_client.is_some())
        .collect();
    let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
    let width = |of: &dyn Fn(&Passage) -> usize, least: &str| {
        rows.iter()
            .map(|row| of(row))
            .chain([least.len()])
            .max()
            .unwrap_or_default()
    };
    let (there, back) = ("client to server", "server to client");
    let first = width(&|row| row.what.len(), "");
    let second = width(&|row| cell(&row.client_to_server).len(), there);
    text.push_str(&format!("  {:first$}  {there:second$}  {back}\n", ""));
    for row in rows {
        let one = painted(&cell(&row.client_to_server), second, coloured);
        let two = painted(&cell(&row.server_to_client), 0, coloured);
        text.push_str(&format!("  {:first$}  {one}  {two}\n", row.what));
    }
}

/// What is not kept is seen at a glance.
fn painted(cell: &str, width: usize, coloured: bool) -> String {
    let padded = format!("{cell:width$}");
    let is_plain = cell == "-" || cell.starts_with("kept") || cell.starts_with("remembered");
    match coloured && !is_plain {
        true => format!("\x1b[33m{padded}\x1b[0m"),
        false => padded,
    }
}

fn found(text: &mut String, finding: &Finding, coloured: bool) {
    let (word, colour) = match finding.status {
        Status::Note => ("note", "33"),
        Status::Problem => ("problem", "31"),
    };
    let word = match coloured {
        true => format!("\x1b[{colour}m{word:8}\x1b[0m"),
        false => format!("{word:8}"),
    };
    let way = finding.direction.map_or("", Ways::words);
    let name = finding.behaviour.name();
    text.push_str(format!("  {word} {name:NAME$} {way}").trim_end());
    text.push('\n');
    paragraph(text, &finding.sentence, 11);
    if let (Some(sent), Some(arrived)) = (&finding.sent, &finding.arrived) {
        paragraph(text, &format!("sent: {sent}; arrived: {arrived}"), 11);
    }
}

/// Prose, indented, in lines that a terminal has room for.
fn paragraph(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        match column {
            0 => {
                text.push_str(&" ".repeat(indent));
                column = indent;
            }
            _ => {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

fn mtu(client: u16, server: u16) -> String {
    match client == server {
        true => client.to_string(),
        false => format!("{client} at the client, {server} at the server"),
    }
}

fn milliseconds(time: f64) -> String {
    match time < 10.0 {
        true => format!("{time:.2}"),
        false => format!("{time:.0}"),
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
