//! What is found, for people.

use std::io::IsTerminal;

use crate::diagnose::doctor::{Finding, Report, Status};

/// As wide as the longest name.
const ID: usize = 18;
/// Where a sentence begins.
const INDENT: usize = 2 + 8 + 1 + ID + 1;

/// The report, grouped; in colour on a terminal, unless `NO_COLOR` is set.
pub fn text(report: &Report) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    render(report, std::io::stdout().is_terminal() && !no_color)
}

fn render(report: &Report, coloured: bool) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(format!(
        "Linux {}, counters watched for {} seconds",
        report.kernel, report.seconds
    ));
    let mut group = None;
    for finding in &report.findings {
        if group != Some(finding.group) {
            group = Some(finding.group);
            line(format!("\n{}", finding.group.heading()));
        }
        let status = word(finding.status, coloured);
        line(format!(
            "  {status} {:ID$} {}",
            finding.id.name(),
            finding.sentence
        ));
        for remedy in remedies(finding) {
            line(format!("{:INDENT$}{remedy}", ""));
        }
    }
    if !report.unseen.is_empty() {
        line("\nnot seen".to_owned());
    }
    for unseen in &report.unseen {
        line(format!(
            "  {:8} {:ID$} {}",
            "",
            unseen.id.name(),
            unseen.sentence
        ));
    }
    let ok = report.findings.len() - report.problems - report.notes;
    let unseen = match report.unseen.len() {
        0 => String::new(),
        count => format!(", {count} not seen"),
    };
    line(format!(
        "\n{}, {}, {ok} ok{unseen}",
        counted(report.problems, "problem"),
        counted(report.notes, "note"),
    ));
    text
}

fn remedies(finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(
        finding
            .now
            .as_ref()
            .map(|command| format!("now:   {command}")),
    );
    let lasting = finding.lasting.as_ref();
    lines.extend(lasting.map(|lasting| format!("lasts: {} in {}", lasting.line, lasting.file)));
    lines
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Eight columns wide, whatever its colour.
fn word(status: Status, coloured: bool) -> String {
    let (word, colour) = match status {
        Status::Ok => ("ok", "32"),
        Status::Note => ("note", "33"),
        Status::Problem => ("problem", "31"),
    };
    let word = format!("{word:8}");
    match coloured {
        true => format!("\x1b[{colour}m{word}\x1b[0m"),
        false => word,
    }
}
