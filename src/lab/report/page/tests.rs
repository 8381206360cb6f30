use std::time::Duration;

use super::*;
use crate::lab::report::series::Carried;
use crate::lab::report::transfer::Objection;
use crate::lab::row::Invalid;
use crate::lab::topology::Role;

fn transfer(scenario: &str, path: Path, outcome: Outcome) -> Transfer {
    let rejected = u64::from(outcome == Outcome::Reset);
    Transfer {
        row: Row {
            bytes: 30_000_000,
            seconds: if outcome == Outcome::Stall { 40.0 } else { 0.5 },
            conntrack_invalid: Invalid {
                client: rejected,
                ..Invalid::default()
            },
            ..Row::sample(scenario, path, outcome)
        },
        directory: format!("001-{scenario}"),
        carried: Some(Carried {
            begun: Duration::from_secs(1),
            points: vec![(0.1, 1_000_000), (0.4, 30_000_000)],
            last: (0.4, 30_000_000),
            reset: None,
        }),
        objection: (rejected > 0).then_some(Objection {
            host: Role::Client,
            at: 0.2,
        }),
    }
}

fn rendered(transfers: &[Transfer]) -> String {
    let about = About {
        terms: "30 MB <&> more".to_owned(),
        version: "1.2.3",
        kernel: "6.12".to_owned(),
        at: "2026-01-01T00:00:00Z".to_owned(),
    };
    render(&about, transfers).unwrap()
}

fn story() -> Vec<Transfer> {
    vec![
        transfer("pix", Path::Direct, Outcome::Reset),
        transfer("pix", Path::Relay, Outcome::Ok),
        transfer("clean", Path::Direct, Outcome::Ok),
        transfer("clean", Path::Liberal, Outcome::Stall),
    ]
}

#[test]
fn there_is_one_chart_for_each_scenario_and_a_line_for_each_path() {
    let page = rendered(&story());
    assert_eq!(page.matches("<figure").count(), 2);
    assert_eq!(page.matches("<li data-path=").count(), 4);
    assert_eq!(page.matches("<tr").count(), 5);
    for chart in page.split("<figure").skip(1) {
        let svg = &chart[chart.find("<svg").unwrap()..chart.find("</svg>").unwrap() + 6];
        roxmltree::Document::parse(svg).unwrap();
    }
}

#[test]
fn tools_directions_and_families_have_charts_of_their_own() {
    let mut transfers = story();
    transfers[1].row.family = Family::V6;
    transfers[3].row.direction = FlowDirection::Download;
    let page = rendered(&transfers);
    assert_eq!(page.matches("<figure").count(), 4);
    assert!(page.contains("pix, IPv6") && page.contains("clean, download"));
    assert!(page.contains("server to client"), "{page}");
}

#[test]
fn the_first_invalid_packet_is_marked_where_there_was_one() {
    let page = rendered(&story());
    let legend = |path: &str| {
        let (_, item) = page
            .split_once(&format!("<li data-path=\"{path}\""))
            .unwrap();
        item.split("</li>").next().unwrap().to_owned()
    };
    assert!(legend("direct").contains("first INVALID</span> after 0.20 s, on the client"));
    assert!(!legend("relay").contains("INVALID"));
    // In the chart of pix, and not in that of clean.
    let marks: Vec<usize> = page
        .split("<figure")
        .skip(1)
        .map(|chart| chart.split("</figure>").next().unwrap())
        .map(|chart| {
            chart
                .matches("first INVALID of direct, on the client")
                .count()
        })
        .collect();
    assert_eq!(marks, [1, 0]);
}

#[test]
fn how_it_ended_is_told_by_a_word_and_a_sign() {
    let page = rendered(&story());
    for (sign, word) in [("✕", "reset"), ("●", "ok"), ("■", "stall")] {
        assert!(
            page.contains(&format!("aria-hidden=\"true\">{sign}</b> {word}")),
            "{word}"
        );
    }
    assert!(page.contains("given up after 40.00 s, with 30.0 MB of 30.0 MB acknowledged"));
    assert!(page.contains(
        "Through the relay 1 of 1 arrived, 0 packets INVALID; without it 1 of 3 arrived, 1 packets"
    ));
}

#[test]
fn what_was_given_is_text_and_nothing_comes_from_elsewhere() {
    let mut transfers = story();
    transfers[0].directory = "a\"><script>".to_owned();
    let page = rendered(&transfers);
    assert!(page.contains("30 MB &lt;&amp;&gt; more"));
    assert!(!page.contains("<script"), "{page}");
    for outside in ["src=", "url(", "@import", "href=\"http"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_transfer_without_a_connection_has_a_row_and_no_line() {
    let mut transfers = story();
    transfers[1].carried = None;
    let page = rendered(&transfers);
    assert!(page.contains("no connection was opened"));
    transfers.truncate(1);
    transfers[0].carried = None;
    assert_eq!(rendered(&transfers).matches("<figure").count(), 1);
}

#[test]
fn transfers_of_one_chart_need_not_follow_one_another() {
    let mut transfers = story();
    transfers[1].row.family = Family::V6;
    transfers.push(transfer("pix", Path::Relay, Outcome::Ok));
    let page = rendered(&transfers);
    assert_eq!(page.matches("<figure").count(), 3);
    let (_, first) = page.split_once("id=\"group-1\"").unwrap();
    let first = first.split("</section>").next().unwrap();
    assert_eq!(first.matches("<li data-path=").count(), 2);
}

#[test]
fn a_stall_is_cut_off_where_others_have_ended_and_shown_where_none_has() {
    let [ok, stall] = [Outcome::Ok, Outcome::Stall].map(|how| transfer("pix", Path::Relay, how));
    assert_eq!(chart::shown([&ok, &stall].into_iter()), 1.0);
    assert_eq!(chart::shown([&stall].into_iter()), 40.0);
    assert!((0.4..0.5).contains(&chart::shown([&ok].into_iter())));
}

/// The last corner of a line and what is marked there are at the edge, whatever came later.
#[test]
fn what_a_stall_carried_beyond_the_chart_is_not_drawn() {
    let mut stall = transfer("pix", Path::Direct, Outcome::Stall);
    let carried = stall.carried.as_mut().unwrap();
    carried.points = vec![(0.1, 1_000_000), (39.0, 30_000_000)];
    carried.last = (39.0, 30_000_000);
    let page = rendered(&[transfer("pix", Path::Relay, Outcome::Ok), stall]);
    let (_, chart) = page.split_once("<figure").unwrap();
    let line = chart.split("stroke=\"#B04A00\"").nth(1).unwrap();
    let line = line.split("points=\"").nth(1).unwrap();
    let line = line.split('"').next().unwrap();
    let heights: Vec<&str> = line
        .split_whitespace()
        .map(|point| point.split_once(',').unwrap().1)
        .collect();
    assert_eq!(heights.len(), 4, "{line}");
    assert_eq!(heights[2], heights[3], "{line}");
}
