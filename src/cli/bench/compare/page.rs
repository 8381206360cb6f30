//! A comparison as a page: the tables, the chart, and what the columns mean. Pure.

use comfy_table::Table;
use maud::{Markup, html};

use super::table::{ask, draw, draw_idle, method, twins};
use crate::bench::compare::cores::Placement;
use crate::bench::compare::plan::Shape;
use crate::bench::compare::plot::{self, Undrawable};
use crate::bench::compare::result::{Comparison, Terms};
use crate::bench::compare::targets::shown;
use crate::chart::page::{Of, figure, page};

/// What stands in each column of figures.
const MEANINGS: [(&str, &str); 9] = [
    (
        "work",
        "What was carried: stream1 and stream8 are bulk by one and by eight connections; rr1 and rr64 requests and answers by one and by 64 connections; crr64 a connection for each request, 64 at a time; mix both together.",
    ),
    (
        "figure",
        "The median over all turns: bits or requests in a second.",
    ),
    (
        "to direct",
        "That figure as a share of what the same path carries without any relay; in brackets the interval of 95 %. More is better, 1 is as good as nothing in between.",
    ),
    (
        "to the best peer",
        "The same against the fastest of the other relays.",
    ),
    (
        "p50 us, p99 us",
        "Microseconds that half of the requests, or 99 of 100, took at most. Less is better.",
    ),
    (
        "p99 to the best peer",
        "The 99th percentile as a multiple of the best peer's. Less is better.",
    ),
    (
        "CPU relay",
        "Processor time of the relay itself: seconds for each GB of a stream, else microseconds for each request. Less is better.",
    ),
    (
        "CPU machine",
        "The same of the whole machine: what kernel, clients and servers took is in it.",
    ),
    (
        "kB each, descriptors each",
        "What a connection without traffic keeps in memory, and open files.",
    ),
];

/// Writes it.
///
/// # Errors
/// If the chart cannot be drawn.
pub(super) fn render(comparison: &Comparison) -> Result<String, Undrawable> {
    let terms = &comparison.terms;
    let svg = plot::svg(comparison)?;
    let asked = shown(comparison);
    let twins = twins(comparison);
    let head = html! {
        p.sentence { "Relays beside each other, and beside the path without any" }
        p.quiet { (told(terms)) }
    };
    let body = html! {
        section {
            h2 { "Ratio to direct" }
            p.quiet { "A dot is the ratio, the line through it the interval of 95 %. The figures themselves stand on the right." }
            (figure(Of::Panels, &svg, "For each work and relay its ratio to the direct path. The tables below have the same figures."))
        }
        @for setting in &comparison.settings {
            section {
                h2 { "Offloads " (setting.offload) }
                (rows(&draw(setting), "All figures", 2))
            }
        }
        @if !asked.is_empty() {
            section {
                h2 { "What is asked of unmangle" }
                p.quiet { "Judged by the worse end of the interval; goals by the ratio." }
                (rows(&ask(&asked), "What is asked of unmangle", 3))
            }
        }
        @if !comparison.idle.is_empty() {
            section { h2 { "Idle connections" } (rows(&draw_idle(&comparison.idle), "Idle connections", 1)) }
        }
        @if !twins.is_empty() {
            section { h2 { "The same against the same" } ul { @for line in twins.lines() { li { (line) } } } }
        }
        @if !comparison.absent.is_empty() || !comparison.failures.is_empty() {
            section {
                h2 { "Who is missing" }
                ul {
                    @for each in &comparison.absent { li { (each.candidate) " took no part: " (each.why) } }
                    @for each in &comparison.failures {
                        li.bad {
                            (each.candidate) " failed, offloads " (each.offload)
                            @if let Some(work) = each.work { ", " (work) } ": " (each.why)
                        }
                    }
                }
            }
        }
        section {
            h2 { "What the columns mean" }
            dl.meaning { @for (name, meaning) in MEANINGS { dt { (name) } dd { (meaning) } } }
        }
    };
    let foot = html! { p { (ran(terms)) } };
    Ok(page("unmangle bench compare", &head, &body, &foot))
}

/// How it was measured.
fn told(terms: &Terms) -> String {
    let way = match terms.shape {
        Shape::Forward => "clients come to the relay",
        Shape::Gateway => "the relay takes what passes by (TPROXY)",
    };
    let placed = match terms.placement {
        Placement::Work => "rr1 on one core",
        Placement::Scheduler => "cores left to the scheduler",
    };
    let Terms {
        rounds,
        slices,
        slice_s,
        ..
    } = terms;
    format!(
        "{way}; {rounds} rounds of {slices} turns of {slice_s} s each; intervals: {}; {placed}",
        method(*rounds)
    )
}

/// On what, and when.
fn ran(terms: &Terms) -> String {
    let Terms { cores, kernel, .. } = terms;
    let processor = terms.processor.as_deref().unwrap_or("processor not kept");
    let at = terms.at.as_deref().unwrap_or("date not kept");
    format!("{processor}, {cores} cores, Linux {kernel}; {at}")
}

/// A table as it is printed; behind so many columns of words there are numbers.
fn rows(table: &Table, name: &str, words: usize) -> Markup {
    let cells = |row: &comfy_table::Row| -> Vec<String> {
        row.cell_iter().map(comfy_table::Cell::content).collect()
    };
    let header = table.header().map(cells).unwrap_or_default();
    let rows: Vec<Vec<String>> = table.row_iter().map(cells).collect();
    let works: Vec<&[Vec<String>]> = rows.chunk_by(|one, other| one[0] == other[0]).collect();
    html! {
        div.rows tabindex="0" role="region" aria-label=(name) {
            table {
                thead { tr { @for (nth, text) in header.iter().enumerate() {
                    th.number[nth >= words] scope="col" { (text) }
                } } }
                tbody { @for (nth, rows) in works.iter().enumerate() {
                    @for (first, cells) in rows.iter().enumerate().map(|(at, cells)| (at == 0, cells)) {
                        tr.begins[first && nth > 0 && rows.len() > 1] {
                            th scope="row" { @if first { (cells[0]) } }
                            @for (nth, text) in cells.iter().enumerate().skip(1) {
                                td.number[nth >= words] { (text) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::gathered::tests::gathered;
    use crate::bench::compare::plan::{Offload, Work};
    use crate::bench::compare::result::tests::terms;
    use crate::bench::compare::result::{Absent, FORMAT};

    fn comparison() -> Comparison {
        let (gathered, candidates) = gathered();
        let told = |offload| gathered.told(offload, &[Work::Stream1], &candidates);
        Comparison {
            format: FORMAT,
            terms: terms(3),
            absent: vec![Absent {
                candidate: "socat".to_owned(),
                why: "<not> installed".to_owned(),
            }],
            settings: vec![told(Offload::On), told(Offload::Off)],
            idle: Vec::new(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_page_has_every_figure_of_the_printed_tables_and_the_chart() {
        let comparison = comparison();
        let page = render(&comparison).unwrap();
        for setting in &comparison.settings {
            for row in draw(setting).row_iter() {
                for cell in row.cell_iter() {
                    assert!(page.contains(&format!(">{}<", cell.content())), "{cell:?}");
                }
            }
        }
        assert_eq!(page.matches("<svg").count(), 1);
        let svg = &page[page.find("<svg").unwrap()..page.find("</svg>").unwrap() + 6];
        roxmltree::Document::parse(svg).unwrap();
    }

    #[test]
    fn every_column_is_explained() {
        let comparison = comparison();
        let table = draw(&comparison.settings[0]);
        for cell in table.header().unwrap().cell_iter() {
            let name = cell.content();
            let explained = MEANINGS.iter().any(|(names, _)| names.contains(&name));
            assert!(explained || name == "candidate", "{name}");
        }
    }

    #[test]
    fn machine_and_date_are_told_or_that_they_were_not_kept() {
        let mut comparison = comparison();
        assert!(render(&comparison).unwrap().contains("date not kept"));
        comparison.terms.at = Some("2026-01-01T00:00:00Z".to_owned());
        comparison.terms.processor = Some("A <fast> one".to_owned());
        let page = render(&comparison).unwrap();
        assert!(
            page.contains("A &lt;fast&gt; one, 2 cores, Linux 6.12; 2026-01-01T00:00:00Z"),
            "{page}"
        );
    }

    #[test]
    fn what_was_said_is_text_and_nothing_comes_from_elsewhere() {
        let page = render(&comparison()).unwrap();
        assert!(page.contains("socat took no part: &lt;not&gt; installed"));
        for outside in ["<script", "src=", "url(", "@import", "href=\"http"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
