//! A status for people.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use humantime::format_duration;

use crate::admin::{RulesStanding, RulesTold, Sessions, Status, Stuck, StuckSide, StuckWhy};
use crate::diagnose::Summary;
use crate::metrics::human;

/// Draws it.
pub(super) fn render(status: &Status, stuck: &Sessions) -> String {
    let mut text = String::new();
    let line = |text: &mut String, name: &str, value: &str| {
        writeln!(text, "{name:<9} {}", plain(value)).expect("memory takes it");
    };
    let state = match (&status.not_ready, status.draining) {
        (None, _) => "ready".to_owned(),
        (Some(why), true) => why.clone(),
        (Some(why), false) => format!("NOT READY: {why}"),
    };
    let (version, pid) = (&status.version, status.pid);
    let up = lasted(status.uptime_seconds);
    let heading = format!("unmangle {version}, process {pid}, up {up}: {state}");
    writeln!(text, "{}\n", plain(&heading)).expect("memory takes it");
    line(&mut text, "rules", &rules(&status.rules));
    let sessions = match status.limits.max_connections {
        Some(most) => format!("{} of at most {most}", status.sessions),
        None => status.sessions.to_string(),
    };
    line(&mut text, "sessions", &sessions);
    if let Some(added) = status.added_latency {
        let [p50, p99] = [added.p50_seconds, added.p99_seconds].map(|time| human(time_of(time)));
        line(&mut text, "added", &format!("p50 {p50}, p99 {p99}"));
    }
    line(&mut text, "INVALID", &invalid(&status.conntrack));
    let (workers, engine) = (status.workers, &status.engine);
    line(&mut text, "workers", &format!("{workers}, engine {engine}"));
    if status.reloads + status.reloads_refused > 0 {
        let (done, refused) = (status.reloads, status.reloads_refused);
        line(
            &mut text,
            "reloads",
            &format!("{done}, and {refused} refused"),
        );
    }
    text.push('\n');
    text.push_str(&listeners(status));
    if !stuck.sessions.is_empty() {
        text.push('\n');
        text.push_str(&stuck_ones(stuck));
    }
    text
}

pub(in crate::cli) fn rules(rules: &RulesTold) -> String {
    let since = lasted(rules.since_seconds.unwrap_or_default());
    match rules.standing {
        RulesStanding::NotNeeded => "none needed".to_owned(),
        RulesStanding::SomebodyElses => "somebody else's".to_owned(),
        RulesStanding::InPlace => format!("in place for {since}"),
        RulesStanding::Missing => {
            let why = rules.why.as_deref().unwrap_or("nobody knows why");
            format!("MISSING for {since}: {why}")
        }
    }
}

/// What conntrack rejects, and why, if that is known.
pub(in crate::cli) fn invalid(conntrack: &Summary) -> String {
    let Some(invalid) = conntrack.invalid else {
        let why = conntrack.invalid_unknown.as_deref();
        return format!("not known: {}", why.unwrap_or("nobody knows why"));
    };
    let reasons = conntrack.reasons.iter().flatten();
    let reasons: Vec<_> = reasons
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    match reasons.is_empty() {
        true => format!("{invalid} packets"),
        false => format!("{invalid} packets: {}", reasons.join(", ")),
    }
}

fn listeners(status: &Status) -> String {
    let mut table = table(&["listener", "mode", "profile", "sessions", "way"], &[3]);
    for each in &status.listeners {
        let sessions = each.sessions.to_string();
        let cells = [&each.name, &each.mode, &each.profile, &sessions, &each.way];
        table.add_row(cells.map(|cell| plain(cell)));
    }
    drawn(&table)
}

fn stuck_ones(stuck: &Sessions) -> String {
    let mut table = table(
        &["stuck at", "why", "for", "client", "server", "listener"],
        &[2],
    );
    for session in &stuck.sessions {
        for Stuck {
            side,
            why,
            for_seconds,
            ..
        } in &session.stuck
        {
            let side = match side {
                StuckSide::Client => "client",
                StuckSide::Server => "server",
                StuckSide::Relay => "relay",
            };
            let why = match why {
                StuckWhy::Window => "does not read",
                StuckWhy::Unacknowledged => "does not answer",
                StuckWhy::Pipe => "pipe",
            };
            let (client, server) = (&session.client, &session.server);
            let lasted = lasted(*for_seconds);
            let cells = [side, why, &lasted, client, server, &session.listener];
            table.add_row(cells.map(plain));
        }
    }
    let more = if stuck.more { "and more\n" } else { "" };
    drawn(&table) + more
}

fn table(head: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    table.force_no_tty();
    for (index, column) in table.column_iter_mut().enumerate() {
        let before = if index == 0 { 0 } else { 1 };
        column.set_padding((before, 1));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table without what is empty at the ends of its lines.
fn drawn(table: &Table) -> String {
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// What comes from elsewhere must not do to a terminal what it likes.
pub(in crate::cli) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain
}

pub(in crate::cli) fn time_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The two largest units of it.
pub(in crate::cli) fn lasted(seconds: f64) -> String {
    let seconds = time_of(seconds).as_secs();
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    format_duration(Duration::from_secs(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{AddedLatency, Flow, Leg, LegName, Limits, ListenerTold, Pipes, Session};

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 4711,
            started: "2026-01-01T00:00:00Z".to_owned(),
            uptime_seconds: 11_545.6,
            ready: true,
            not_ready: None,
            draining: false,
            rules: RulesTold {
                standing: RulesStanding::InPlace,
                since_seconds: Some(65.0),
                why: None,
                parts: vec![],
            },
            workers: 2,
            engine: "splice".to_owned(),
            sessions: 812,
            limits: Limits {
                max_connections: Some(5000),
                max_descriptors: None,
            },
            listeners: vec![ListenerTold {
                name: "back\u{1b}ups".to_owned(),
                mode: "gateway".to_owned(),
                way: "22 on eth1".to_owned(),
                profile: "cisco-pix".to_owned(),
                clean_profile: "clean".to_owned(),
                sessions: 811,
                max_connections: None,
            }],
            reloads: 2,
            reloads_refused: 1,
            pipes: Pipes::default(),
            added_latency: Some(AddedLatency {
                p50_seconds: 38e-6,
                p99_seconds: 0.21e-3,
            }),
            conntrack: Summary {
                invalid: Some(7),
                invalid_unknown: None,
                entries: Some(1),
                entries_limit: Some(9),
                reasons: Some([("window".to_owned(), 4)].into()),
                reasons_unknown: vec![],
            },
            settings: String::new(),
        }
    }

    #[test]
    fn a_relay_that_does_well_is_told_in_a_dozen_lines() {
        let told = render(&status(), &Sessions::default());
        let expected = "\
unmangle 0.1.0, process 4711, up 3h 12m: ready

rules     in place for 1m 5s
sessions  812 of at most 5000
added     p50 38.0 us, p99 210 us
INVALID   7 packets: window 4
workers   2, engine splice
reloads   2, and 1 refused

listener       mode     profile    sessions  way
back\\u{1b}ups  gateway  cisco-pix       811  22 on eth1
";
        assert_eq!(told, expected);
    }

    fn stuck_session() -> Session {
        Session {
            id: "0-17".to_owned(),
            listener: "backups".to_owned(),
            mode: "gateway".to_owned(),
            mangled_leg: LegName::Upstream,
            client: "192.0.2.7:4000".to_owned(),
            via: None,
            server: "198.51.100.2:22".to_owned(),
            age_seconds: 123.4,
            engine: "splice".to_owned(),
            client_to_server: Flow::default(),
            server_to_client: Flow::default(),
            downstream: Leg::default(),
            upstream: Leg::default(),
            client_offer: None,
            stuck: vec![Stuck {
                direction: "server_to_client".to_owned(),
                side: StuckSide::Client,
                why: StuckWhy::Window,
                waiting_bytes: 65_536,
                for_seconds: 90.0,
            }],
        }
    }

    #[test]
    fn what_is_wrong_cannot_be_overlooked() {
        let mut status = status();
        status.ready = false;
        status.not_ready = Some("the rules are missing for 3 s: nft ended".to_owned());
        status.rules = RulesTold {
            standing: RulesStanding::Missing,
            since_seconds: Some(3.2),
            why: Some("nft ended".to_owned()),
            parts: vec![],
        };
        let stuck = stuck_session();
        let sessions = Sessions {
            live: 1,
            more: true,
            sessions: vec![stuck],
        };
        status.conntrack.invalid = None;
        status.conntrack.invalid_unknown = Some("no conntrack here".to_owned());
        let told = render(&status, &sessions);
        assert!(
            told.contains("INVALID   not known: no conntrack here\n"),
            "{told}"
        );
        assert!(
            told.contains(": NOT READY: the rules are missing"),
            "{told}"
        );
        assert!(told.contains("MISSING for 3s: nft ended"), "{told}");
        assert!(
            told.contains("client    does not read  1m 30s  192.0.2.7:4000"),
            "{told}"
        );
        assert!(told.ends_with("and more\n"), "{told}");
    }
}
