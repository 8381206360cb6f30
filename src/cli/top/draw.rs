//! Draws the screen. Every sign has its word: colour says nothing by itself.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState};

use super::rows::{self, By};
use super::screen::Screen;
use crate::admin::{Session, Status, StuckSide, StuckWhy};
use crate::cli::status::summary::{invalid, lasted, plain, rules, time_of};
use crate::metrics::human;

/// A terminal that is smaller has no room for anything.
const SMALLEST: (u16, u16) = (40, 8);
const KEYS: [(&str, &str); 7] = [
    ("q", "quit"),
    ("arrows", "choose, order"),
    ("r", "reverse"),
    ("/", "filter"),
    ("t", "stuck"),
    ("space", "pause"),
    ("?", "help"),
];
const HELP: &str = "\
q, Ctrl-C       quit
up, down, j, k  choose a session; PgUp, PgDn, Home, End
left, right     order by another column (s, S, too)
r               the other way round
/               show those whose client, server or listener has
                what is typed; Enter keeps it, Esc takes it back
t               show those that are stuck, or all
space           hold what is shown, and go on
?, h            this";

/// Draws everything.
pub fn draw(frame: &mut Frame, screen: &mut Screen, now: Instant) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(
            Paragraph::new("too small: make it larger, or press q"),
            area,
        );
        return;
    }
    let [head, facts, flow, table, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(if area.height >= 20 { 4 } else { 0 }),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    heading(frame, screen, now, head);
    if let Some(answer) = &screen.answer {
        told(frame, &answer.status, facts);
    }
    flows(frame, screen, flow);
    sessions(frame, screen, table);
    bottom(frame, screen, keys);
    if screen.explains {
        help(frame, area);
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn bad() -> Style {
    bold().fg(Color::Red)
}

fn good() -> Style {
    bold().fg(Color::Green)
}

fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn heading(frame: &mut Frame, screen: &Screen, now: Instant, area: Rect) {
    let line = match (screen.silence(now), &screen.answer) {
        (Some((since, why)), _) => {
            let since = since.as_secs();
            let text = format!("▲ NO ANSWER for {since} s: {}", plain(why));
            Line::styled(text, bad())
        }
        (None, Some(answer)) => {
            let status = &answer.status;
            let (version, pid) = (&status.version, status.pid);
            let up = lasted(status.uptime_seconds);
            let (state, style) = match &status.not_ready {
                None => ("● ready".to_owned(), good()),
                Some(why) => (format!("▲ NOT READY: {}", plain(why)), bad()),
            };
            // What grows stands last: nothing is moved by it.
            let who = format!("   unmangle {version}, process {pid}, up {up}");
            Line::from(vec![Span::styled(state, style), Span::raw(who)])
        }
        (None, None) => Line::raw(format!("asking {}", screen.address)),
    };
    frame.render_widget(line, area);
}

fn told(frame: &mut Frame, status: &Status, area: Rect) {
    let added = match status.added_latency {
        Some(added) => {
            let [p50, p99] =
                [added.p50_seconds, added.p99_seconds].map(|time| human(time_of(time)));
            format!("p50 {p50}, p99 {p99}")
        }
        None => "nothing yet".to_owned(),
    };
    let lacks = matches!(status.rules.standing, crate::admin::RulesStanding::Missing);
    let rejects = status.conntrack.invalid.map(|count| count > 0);
    let sign = |wrong: Option<bool>| match wrong {
        Some(true) => Span::styled("▲ ", bad()),
        Some(false) => Span::styled("✓ ", good()),
        None => Span::raw("  "),
    };
    let named = |name: &'static str, value: String, wrong: Option<bool>| {
        let style = if wrong == Some(true) {
            bad()
        } else {
            Style::new()
        };
        Line::from(vec![
            Span::styled(format!("{name:<9}"), quiet()),
            sign(wrong),
            Span::styled(plain(&value), style),
        ])
    };
    let lines = vec![
        named("rules", rules(&status.rules), Some(lacks)),
        named("INVALID", invalid(&status.conntrack), rejects),
        named("added", added, None),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn flows(frame: &mut Frame, screen: &Screen, area: Rect) {
    if area.height == 0 {
        return;
    }
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(area);
    let last = screen.rates.back().copied().unwrap_or_default();
    type Of = fn(&(u64, u64)) -> u64;
    let sides: [(&str, u64, Of, Color); 2] = [
        ("client to server", last.0, |rates| rates.0, Color::Blue),
        ("server to client", last.1, |rates| rates.1, Color::Yellow),
    ];
    for ((name, now, of, color), area) in sides.into_iter().zip(halves) {
        let room = usize::from(area.width.saturating_sub(2));
        let skipped = screen.rates.len().saturating_sub(room);
        let data: Vec<u64> = screen.rates.iter().skip(skipped).map(of).collect();
        let most = data.iter().copied().max().unwrap_or(0);
        let title = Line::from(vec![
            Span::raw(format!(" {name} ")),
            Span::styled(format!("{:>7}/s ", amount(now)), bold()),
        ]);
        let most = Line::styled(format!(" most {:>7}/s ", amount(most)), quiet());
        let block = Block::bordered().title(title).title(most.right_aligned());
        let line = Sparkline::default().style(Style::new().fg(color));
        frame.render_widget(line.block(block).data(data), area);
    }
}

/// Name, width and alignment of each column; those at the end go first where there is no room.
const COLUMNS: [(By, &str, u16, Alignment); 7] = [
    (By::Client, "client", 22, Alignment::Left),
    (By::Server, "server", 22, Alignment::Left),
    (By::Rate, "rate", 10, Alignment::Right),
    (By::Bytes, "bytes", 9, Alignment::Right),
    (By::Age, "age", 8, Alignment::Right),
    (By::Rtt, "rtt", 8, Alignment::Right),
    (By::Retransmits, "resent", 8, Alignment::Right),
];

fn sessions(frame: &mut Frame, screen: &mut Screen, area: Rect) {
    let shown = screen.shown();
    let header = COLUMNS.map(|(by, name, _, alignment)| {
        // The sign stands on the side away from the edge that the column is aligned to: no name moves.
        let sign = if screen.reversed { "▲" } else { "▼" };
        let (text, style) = match (by == screen.by, alignment) {
            (false, _) => (name.to_owned(), Style::new()),
            (true, Alignment::Right) => (format!("{sign} {name}"), bold()),
            (true, _) => (format!("{name} {sign}"), bold()),
        };
        Cell::from(Line::styled(text, style).alignment(alignment))
    });
    let header = header.into_iter().chain([Cell::from(" listener")]);
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let table_rows = shown.iter().map(|session| row(session));
    let widths = COLUMNS.map(|(_, _, width, _)| Constraint::Length(width));
    let widths = widths.into_iter().chain([Constraint::Fill(1)]);
    let (live, count) = match &screen.answer {
        Some(answer) => (answer.sessions.live, shown.len()),
        None => (0, 0),
    };
    let mut title = format!(" {count} of {live} sessions ");
    if !screen.filter.text.is_empty() {
        title += &format!("with {:?} ", screen.filter.text);
    }
    if screen.filter.stuck {
        title += "that are stuck ";
    }
    let table = Table::new(table_rows, widths)
        .header(header)
        .column_spacing(1)
        .highlight_symbol("> ")
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::bordered().title(title));
    let mut state = TableState::new()
        .with_offset(screen.top)
        .with_selected(screen.chosen_row());
    frame.render_stateful_widget(table, area, &mut state);
    screen.top = state.offset();
}

fn row(session: &Session) -> Row<'static> {
    let right = |text: String| Cell::from(Line::raw(text).alignment(Alignment::Right));
    let rtt = match rows::rtt(session) {
        0.0 => "-".to_owned(),
        rtt => human(time_of(rtt)),
    };
    let stuck: Vec<String> = session
        .stuck
        .iter()
        .map(|each| {
            let at = match each.side {
                StuckSide::Client => "client",
                StuckSide::Server => "server",
                StuckSide::Relay => "relay",
            };
            let why = match each.why {
                StuckWhy::Window => "does not read",
                StuckWhy::Unacknowledged => "does not answer",
                StuckWhy::Pipe => "bytes wait",
            };
            format!("STUCK {at} {why} {} s", each.for_seconds as u64)
        })
        .collect();
    let style = if stuck.is_empty() {
        Style::new()
    } else {
        bad()
    };
    let last = if stuck.is_empty() {
        session.listener.clone()
    } else {
        stuck.join(", ")
    };
    Row::new(vec![
        Cell::from(plain(&session.client)),
        Cell::from(plain(&session.server)),
        right(format!("{}/s", amount(rows::rate(session)))),
        right(amount(rows::bytes(session))),
        right(age(session.age_seconds)),
        right(rtt),
        right(rows::retransmits(session).to_string()),
        Cell::from(format!(" {}", plain(&last))),
    ])
    .style(style)
}

fn bottom(frame: &mut Frame, screen: &Screen, area: Rect) {
    let line = match (screen.types, screen.pauses) {
        (true, _) => Line::styled(format!(" filter: {}_", plain(&screen.filter.text)), bold()),
        (false, true) => Line::styled(" PAUSED, space goes on   q quit", bold()),
        (false, false) => Line::from_iter(KEYS.iter().flat_map(|(key, does)| {
            [
                Span::raw(" "),
                Span::styled(*key, bold()),
                Span::styled(format!(" {does} "), quiet()),
            ]
        })),
    };
    frame.render_widget(line, area);
}

fn help(frame: &mut Frame, area: Rect) {
    let (width, height) = (66.min(area.width), 12.min(area.height));
    let inside = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, inside);
    frame.render_widget(
        Paragraph::new(HELP).block(Block::bordered().title(" keys ")),
        inside,
    );
}

/// Bytes, in at most seven characters.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    match (unit, value) {
        ("B", _) => format!("{bytes} B"),
        (_, value) if value < 9.995 => format!("{value:.2} {unit}"),
        (_, value) if value < 99.95 => format!("{value:.1} {unit}"),
        (_, value) => format!("{value:.0} {unit}"),
    }
}

/// A time in whole units, in at most seven characters: `59 s`, `3m 07s`, `2h 05m`, `12d 03h`.
fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600, whole / 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => format!("{minutes}m {rest:02}s"),
        (0, hours, minutes) => format!("{hours}h {:02}m", minutes % 60),
        (days, hours, _) => format!("{days}d {:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::screen::tests::screen;
    use super::*;

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now = Instant::now();
        terminal.draw(|frame| draw(frame, screen, now)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| -> String {
            (0..width)
                .map(|x| buffer[(x, y)].symbol().to_owned())
                .collect()
        };
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn everything_that_is_told_is_drawn_with_its_unit() {
        let mut screen = screen(&[(1_234_000, 5_000_000), (10, 0)]);
        let text = drawn(&mut screen, 110, 24);
        for part in [
            "ready",
            "rules    ✓ none needed",
            "INVALID",
            "client to server 5.00 MB/s",
            "2 of 2 sessions",
            "192.0.2.1:40000",
            "1.23 MB",
            "▼ rate",
            "q quit",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    #[test]
    fn no_name_of_a_column_moves_when_another_is_chosen() {
        let places = |by| {
            let mut screen = screen(&[(10, 1)]);
            screen.by = by;
            let text = drawn(&mut screen, 110, 24);
            let header = text.lines().find(|line| line.contains("listener")).unwrap();
            let header: Vec<char> = header.chars().collect();
            COLUMNS.map(|(_, name, ..)| {
                let name: Vec<char> = name.chars().collect();
                header.windows(name.len()).position(|part| part == name)
            })
        };
        assert!(places(By::Client).iter().all(Option::is_some));
        for by in By::ALL {
            assert_eq!(places(by), places(By::Client), "{by:?}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_sign_and_what_is_right_another() {
        let mut screen = screen(&[]);
        let line = |screen: &mut _, name: &str| {
            let text = drawn(screen, 110, 24);
            let line = text.lines().find(|line| line.starts_with(name));
            line.unwrap().trim_end().to_owned()
        };
        screen.answer.as_mut().unwrap().status.conntrack.invalid = Some(0);
        assert!(line(&mut screen, "INVALID").starts_with("INVALID  ✓ 0"));
        screen.answer.as_mut().unwrap().status.conntrack.invalid = Some(3);
        assert!(line(&mut screen, "INVALID").starts_with("INVALID  ▲ 3"));
    }

    #[test]
    fn a_row_stays_in_its_columns_whatever_the_numbers_are() {
        let column = |bytes, rate| {
            let text = drawn(&mut screen(&[(bytes, rate)]), 110, 24);
            let row = text.lines().find(|line| line.contains("192.0.2.1:40000"));
            row.unwrap().find("/s").unwrap()
        };
        assert_eq!(column(0, 0), column(u64::MAX, u64::MAX / 2));
    }

    #[test]
    fn every_size_of_a_terminal_is_drawn() {
        for (width, height) in [(1, 1), (40, 8), (41, 9), (80, 24), (200, 60)] {
            let text = drawn(&mut screen(&[(1, 1), (2, 2)]), width, height);
            let fits = width >= 40 && height >= 8;
            assert_eq!(
                text.contains("sessions"),
                fits,
                "{width} x {height}:\n{text}"
            );
        }
    }

    #[test]
    fn amounts_and_ages_are_short_and_have_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_999, "10.0 kB"),
            (99_960, "100 kB"),
            (1_234_567_890, "1.23 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
        for (seconds, text) in [
            (0.4, "0 s"),
            (187.0, "3m 07s"),
            (7500.0, "2h 05m"),
            (1_047_600.0, "12d 03h"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
