//! The report as a page: rows and lines in, HTML out. Pure.

use maud::{Markup, PreEscaped, html};
use plotters::style::RGBColor;

use crate::chart::page::{Of, figure, page};
use crate::chart::palette::{LINES, hex};
use crate::lab::error::Result;
use crate::lab::matrix::{Family, FlowDirection, Path, label, way};
use crate::lab::report::chart::{self, Line};
use crate::lab::report::transfer::{Told, Transfer, name};
use crate::lab::row::{Outcome, Row};
use crate::lab::scenario;
use crate::lab::tool::Tool;

/// What all transfers have in common, and where they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// The terms, as they stand above the table on a terminal.
    pub(super) terms: String,
    /// Of this program.
    pub(super) version: &'static str,
    /// Of the machine.
    pub(super) kernel: String,
    /// When the page was written.
    pub(super) at: String,
}

/// What a chart is of.
type Group<'a> = (&'a str, Tool, FlowDirection, Family);

fn group(row: &Row) -> Group<'_> {
    (&row.scenario, row.tool, row.direction, row.family)
}

/// Transfers of one chart, in the order in which the charts come up.
fn groups(transfers: &[Transfer]) -> Vec<Vec<&Transfer>> {
    let mut groups: Vec<Vec<&Transfer>> = Vec::new();
    for transfer in transfers {
        let same = |each: &&mut Vec<&Transfer>| group(&each[0].row) == group(&transfer.row);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(transfer),
            None => groups.push(vec![transfer]),
        }
    }
    groups
}

/// Writes it.
pub(super) fn render(about: &About, transfers: &[Transfer]) -> Result<String> {
    let groups = groups(transfers);
    let ways = ways(transfers);
    let mut sections = Vec::new();
    for (nth, group) in groups.iter().enumerate() {
        sections.push(section(nth, group, &ways)?);
    }
    let head = html! {
        p.sentence { (sentence(transfers)) }
        p.quiet { (about.terms) }
    };
    let body = html! {
        section {
            h2 { "All transfers" }
            (table(&groups))
            p.quiet {
                "INVALID: packets that connection tracking rejected, by the host's own count; on the relay host "
                "by side, the mangled one first. A row leads to its logs and captures."
            }
        }
        @for section in &sections { (section) }
    };
    let foot = html! {
        p { "unmangle " (about.version) " on Linux " (about.kernel) ", " (about.at) ". The same in JSON: "
            a href="rows.json" { "rows.json" } "." }
    };
    Ok(page("unmangle lab", &head, &body, &foot))
}

/// What it comes to, in a line.
fn sentence(transfers: &[Transfer]) -> String {
    let (relayed, others): (Vec<&Row>, Vec<&Row>) = transfers
        .iter()
        .map(|transfer| &transfer.row)
        .partition(|row| row.path == Path::Relay);
    let told = |name: &str, rows: &[&Row]| {
        let ok = rows.iter().filter(|row| row.outcome == Outcome::Ok).count();
        let invalid: u64 = rows.iter().map(|row| row.conntrack_invalid.sum()).sum();
        let count = rows.len();
        (count > 0).then(|| format!("{name} {ok} of {count} arrived, {invalid} packets INVALID"))
    };
    let parts = [
        told("Through the relay", &relayed),
        told(
            if relayed.is_empty() {
                "Without the relay"
            } else {
                "without it"
            },
            &others,
        ),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ") + "."
}

// === the table ===

fn table(groups: &[Vec<&Transfer>]) -> Markup {
    html! {
        div.rows tabindex="0" role="region" aria-label="All transfers" {
            table {
                thead { tr {
                    th scope="col" { "Scenario" } th scope="col" { "Path" } th scope="col" { "Outcome" }
                    th.number scope="col" { "Seconds" } th.number scope="col" { "MB/s" }
                    th.number scope="col" { "INVALID" br; "client" } th.number scope="col" { br; "server" }
                    th.number scope="col" { "relay:" br; "mangled" } th.number scope="col" { br; "clean" }
                    th scope="col" { "SHA-256" }
                } }
                tbody { @for (nth, group) in groups.iter().enumerate() {
                    @for (first, transfer) in group.iter().enumerate().map(|(at, each)| (at == 0, each)) {
                        (line(nth, first, transfer))
                    }
                } }
            }
        }
    }
}

fn line(group: usize, first: bool, transfer: &Transfer) -> Markup {
    let row = &transfer.row;
    let invalid = row.conntrack_invalid;
    let rate = match row.outcome {
        Outcome::Ok if row.tool.is_bulk() => format!("{:.1}", row.bytes as f64 / 1e6 / row.seconds),
        _ => "–".to_owned(),
    };
    html! {
        tr.begins[first && group > 0] data-outcome=(Told::from(row.outcome).word) {
            th scope="row" { @if first { a href=(format!("#group-{}", group + 1)) { (title(row)) } } }
            td { a href=(format!("{}/", transfer.directory)) { (name(row)) } }
            td { (outcome(row.outcome)) }
            td.number { (format!("{:.2}", row.seconds)) }
            td.number { (rate) }
            @for count in [invalid.client, invalid.server, invalid.relay_mangled, invalid.relay_clean] {
                td.number { @if count > 0 { span.rejected.bad { (count) } } @else { "0" } }
            }
            td { @if row.sha256_ok { "equal" } @else { span.bad { "differs" } } }
        }
    }
}

fn outcome(outcome: Outcome) -> Markup {
    let Told { sign, word, class } = outcome.into();
    html! { span.outcome.(class) { b aria-hidden="true" { (sign) } " " (word) } }
}

/// The scenario, and what else tells its transfers from others.
fn title(row: &Row) -> String {
    let mut title = row.scenario.clone();
    if row.tool != scenario_tool(row) {
        title += &format!(", {}", label(row.tool));
    }
    if row.direction == FlowDirection::Download {
        title += ", download";
    }
    if row.family == Family::V6 {
        title += ", IPv6";
    }
    title
}

fn scenario_tool(row: &Row) -> Tool {
    scenario::find(&row.scenario).map_or(Tool::Scp, |scenario| scenario.tool)
}

// === a scenario ===

fn section(nth: usize, group: &[&Transfer], ways: &[String]) -> Result<Markup> {
    let row = &group[0].row;
    let lines = lines(group, ways);
    let svg = chart::draw(&lines)?;
    let sender = match (
        row.opened_from.opener(),
        row.opened_from.listener(),
        row.direction,
    ) {
        (opener, listener, FlowDirection::Upload) => format!("{opener} to {listener}"),
        (opener, listener, FlowDirection::Download) => format!("{listener} to {opener}"),
    };
    let about = format!("{}, {sender}, IPv{}", label(row.tool), u8::from(row.family));
    let says = format!(
        "{}: bytes acknowledged over {:.2} seconds, a line for each path; what they came to stands below.",
        title(row),
        chart::shown(group.iter().copied())
    );
    Ok(html! {
        section id=(format!("group-{}", nth + 1)) {
            h2 { (title(row)) " " small { (about) } }
            @if let Ok(scenario) = scenario::find(&row.scenario) {
                p { (scenario.story) }
                p.quiet { "The relay's profile: " (scenario.profile) }
            }
            (figure(Of::Lines, &svg, &says))
            ul.legend { @for line in &lines { (legend(line)) } }
        }
    })
}

/// The ways of all transfers, in the order of their colours.
fn ways(transfers: &[Transfer]) -> Vec<String> {
    // What tells the story has the same colours in every report.
    let usual = [
        Path::Relay,
        Path::Direct,
        Path::Liberal,
        Path::Split,
        Path::Normalise,
    ];
    let mut ways: Vec<String> = usual.into_iter().map(label).collect();
    for transfer in transfers {
        let way = way(transfer.row.path, transfer.row.shape);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

fn lines<'a>(group: &[&'a Transfer], ways: &[String]) -> Vec<Line<'a>> {
    let color = |transfer: &Transfer| -> RGBColor {
        let way = way(transfer.row.path, transfer.row.shape);
        let nth = ways.iter().position(|each| *each == way).unwrap_or(0);
        LINES[nth % LINES.len()]
    };
    let mut lines: Vec<Line<'_>> = group
        .iter()
        .map(|&transfer| Line {
            transfer,
            color: color(transfer),
        })
        .collect();
    // The relay is what it is about: its line lies over the others.
    lines.sort_by_key(|line| line.transfer.row.path != Path::Relay);
    lines
}

fn legend(line: &Line<'_>) -> Markup {
    let row = &line.transfer.row;
    let sample = format!(
        "<svg viewBox=\"0 0 51 12\" aria-hidden=\"true\"><line class=\"sample\" x1=\"0\" y1=\"6\" x2=\"51\" y2=\"6\" \
         stroke=\"{}\" stroke-width=\"3\"/></svg>",
        hex(line.color)
    );
    let end = match (&line.transfer.carried, row.outcome) {
        (None, _) => "no connection was opened".to_owned(),
        (Some(carried), Outcome::Stall) => format!(
            "given up after {:.2} s, with {:.1} MB of {:.1} MB acknowledged",
            row.seconds,
            carried.last.1 as f64 / 1e6,
            row.bytes as f64 / 1e6
        ),
        (Some(_), _) => format!("after {:.2} s", line.transfer.end()),
    };
    html! {
        li data-path=(way(row.path, row.shape)) {
            (PreEscaped(sample))
            b { (name(row)) }
            span {
                (outcome(row.outcome)) " " (end)
                @if let Some(objection) = line.transfer.objection {
                    "; " span.rejected.bad { "◆ first INVALID" } (format!(" after {:.2} s, on the {}", objection.at, objection.host))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
