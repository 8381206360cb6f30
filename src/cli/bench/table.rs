//! A report for people: a block for each path, in a mix for each kind of its connections, then what the second
//! path costs.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::report::{Difference, LoadTold, Loop, Part, PathReport, Report, Times};
use crate::bench::work::{Direction, Mode, Payload, Peer};
use crate::metrics::human;

/// Draws it.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", load(&report.load));
    for path in &report.paths {
        text.push_str(&format!("\n{}\n", path_head(path, report.load.clients)));
        for part in &path.parts {
            text.push_str(&format!("\n{}", block(path, part)));
        }
        if path.parts.len() > 1 {
            text.push_str(&format!("\n all kinds together\n{}", generator(path)));
        }
    }
    if let (Some(difference), [first, second]) = (&report.difference, report.paths.as_slice()) {
        text.push_str(&format!("\n{}", costs(difference, first, second)));
    }
    text
}

/// What was asked for, in words.
fn load(load: &LoadTold) -> String {
    let mut text = format!(
        "{} over {} at a time",
        load.mode,
        counted(load.connections, "connection")
    );
    if load.clients > 1 {
        text.push_str(&format!(" from {} clients", load.clients));
    }
    match load.mode {
        Mode::Stream => text.push_str(match load.direction {
            Direction::Upload => ", upload",
            Direction::Download => ", download",
            Direction::Both => ", upload and download at once",
        }),
        _ => text.push_str(&format!(
            ", requests of {}, responses of {}",
            counted(load.request.into(), "byte"),
            counted(load.response.into(), "byte")
        )),
    }
    text.push_str(match load.peer {
        Peer::Serve => ", against `unmangle bench serve`",
        Peer::Bare => ", against a plain server",
    });
    text.push_str(match load.payload {
        Payload::Discarded => "",
        Payload::Read => ", what arrived read into memory",
        Payload::Verified => ", every byte that arrived compared",
    });
    text.push('.');
    if load.mode != Mode::Stream {
        text.push('\n');
        text.push_str(&match (load.pace, load.rate) {
            (Loop::Closed, _) => "Closed loop: a request was sent once the last one was answered; \
                                  latency counts from the sending."
                .to_owned(),
            (Loop::Open, rate) => format!(
                "Open loop{}: requests had their times, answered or not; latency counts from the \
                 time at which one was to be sent.",
                rate.map(|rate| format!(", {rate} requests a second"))
                    .unwrap_or_default()
            ),
        });
    }
    text
}

fn path_head(path: &PathReport, clients: u64) -> String {
    let mut text = format!(
        "{} to {}, measured for {:.1} s",
        path.name, path.to, path.elapsed_s
    );
    if path.windows.len() > 1 {
        text.push_str(&format!(" in {} windows", path.windows.len()));
    }
    if clients > 1 {
        let common = format!(", for {:.1} s of it by all clients at once", path.common_s);
        text.push_str(&common);
    }
    text
}

/// One kind of connection on one path.
fn block(path: &PathReport, part: &Part) -> String {
    let mut times = plain_table([
        &*part.mode.to_string(),
        "count",
        "min",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
    ]);
    for (name, of) in [
        ("latency", &part.latency),
        ("connect", &part.connect),
        ("RTT of the kernel", &part.rtt),
    ] {
        if of.count > 0 {
            times.add_row(times_row(name, of));
        }
    }
    let mut text = format!("{}\n", aligned(times));
    if part.mode != Mode::Stream {
        text.push_str(&line(
            "requests",
            &part.operations.to_string(),
            &format!("{} a second", rate(part.operations_per_s)),
        ));
    }
    for (name, bytes, bits) in [
        ("up", part.bytes_up, part.bits_per_s_up),
        ("down", part.bytes_down, part.bits_per_s_down),
    ] {
        if bytes > 0 {
            let bits = format!("{}bit/s", decimal(bits));
            text.push_str(&line(name, &format!("{}B", decimal(bytes as f64)), &bits));
        }
    }
    text.push_str(&line("retransmits", &part.retransmits.to_string(), ""));
    text.push_str(&line("errors", &errors(part).to_string(), &kinds(part)));
    if path.parts.len() == 1 {
        text.push_str(&generator(path));
    }
    text
}

fn times_row(name: &str, times: &Times) -> Vec<String> {
    let mut cells = vec![name.to_owned(), times.count.to_string()];
    let told = [
        times.min_ns,
        times.p50_ns,
        times.p90_ns,
        times.p99_ns,
        times.p999_ns,
        times.max_ns,
    ];
    cells.extend(told.map(|nanos| human(Duration::from_nanos(nanos))));
    cells
}

fn errors(part: &Part) -> u64 {
    part.errors.values().sum()
}

/// `reset 3, timed out 1`.
fn kinds(part: &Part) -> String {
    let kinds = part.errors.iter().filter(|(_, times)| **times > 0);
    let kinds: Vec<String> = kinds
        .map(|(kind, times)| format!("{kind} {times}"))
        .collect();
    kinds.join(", ")
}

/// What the load itself cost: per request, or per GB where there are none.
fn generator(path: &PathReport) -> String {
    let requests = path.operations();
    let bytes: u64 = path
        .parts
        .iter()
        .map(|part| part.bytes_up + part.bytes_down)
        .sum();
    let streams = path.parts.iter().any(|part| part.mode == Mode::Stream);
    let each = match (streams, path.parts.len()) {
        (true, 1) if bytes > 0 => {
            format!("{:.2} s a GB", path.generator_cpu_s / (bytes as f64 / 1e9))
        }
        (false, _) if requests > 0 => {
            let each = path.generator_cpu_s.max(0.0) / requests as f64;
            format!("{} a request", human(Duration::from_secs_f64(each)))
        }
        _ => String::new(),
    };
    line(
        "generator CPU",
        &format!("{:.2} s", path.generator_cpu_s),
        &each,
    )
}

/// What the second path costs beside the first.
fn costs(difference: &Difference, first: &PathReport, second: &PathReport) -> String {
    let title = format!("{} beside {}", second.name, first.name);
    let mut table = plain_table([&*title, "throughput", "p50", "p90", "p99", "p99.9", "max"]);
    for part in &difference.parts {
        let ratio = part.throughput_ratio;
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("x {ratio:.3}"));
        let mut cells = vec![part.mode.to_string(), ratio];
        let added = [
            part.added_p50_ns,
            part.added_p90_ns,
            part.added_p99_ns,
            part.added_p999_ns,
            part.added_max_ns,
        ];
        cells.extend(added.map(|nanos| nanos.map_or("-".to_owned(), signed)));
        table.add_row(cells);
    }
    format!("{}\n", aligned(table))
}

// === cells and lines ===

fn plain_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.force_no_tty();
    table
}

fn aligned(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn line(name: &str, value: &str, more: &str) -> String {
    let text = format!(" {name:<18}{value:>14}  {more}");
    format!("{}\n", text.trim_end())
}

fn counted(number: u64, of: &str) -> String {
    match number {
        1 => format!("1 {of}"),
        more => format!("{more} {of}s"),
    }
}

/// A number a second, in whole ones where there are many.
fn rate(a_second: f64) -> String {
    match a_second {
        many if many >= 100.0 => format!("{many:.0}"),
        few => format!("{few:.2}"),
    }
}

/// Three digits or more and a prefix: `1.25 G`.
fn decimal(value: f64) -> String {
    let (size, prefix) = match value {
        v if v >= 1e12 => (1e12, "T"),
        v if v >= 1e9 => (1e9, "G"),
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e3 => (1e3, "k"),
        _ => return format!("{value:.0} "),
    };
    format!("{:.2} {prefix}", value / size)
}

fn signed(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    format!(
        "{sign}{}",
        human(Duration::from_nanos(nanos.unsigned_abs()))
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::failure::Kind;
    use crate::bench::report::{FORMAT, Window};
    use crate::bench::tally::Tally;

    fn part(mode: Mode, micros: u64) -> Part {
        let mut tally = Tally {
            operations: 1000,
            down: 64_000,
            ..Tally::default()
        };
        for n in 0..1000 {
            tally.latency.record(Duration::from_micros(micros + n % 10));
        }
        let mut part = Part::new(mode, &tally, 2.0);
        part.errors = BTreeMap::from([(Kind::Reset, 3), (Kind::TimedOut, 1)]);
        part
    }

    fn path(name: &str, parts: Vec<Part>) -> PathReport {
        PathReport {
            name: name.to_owned(),
            to: "192.0.2.1:7000".to_owned(),
            windows: vec![Window { from: 0.0, to: 2.0 }],
            elapsed_s: 2.0,
            common_s: 2.0,
            generator_cpu_s: 0.05,
            parts,
        }
    }

    fn report(pace: Loop, paths: Vec<PathReport>) -> Report {
        let difference = match paths.as_slice() {
            [first, second] => Some(Difference::between(first, second)),
            _ => None,
        };
        Report {
            format: FORMAT,
            load: LoadTold {
                mode: paths[0].parts[0].mode,
                pace,
                rate: (pace == Loop::Open).then_some(500.0),
                connections: 4,
                clients: 1,
                request: 64,
                response: 64,
                direction: Direction::Upload,
                peer: Peer::Serve,
                payload: Payload::Discarded,
            },
            paths,
            difference,
        }
    }

    #[test]
    fn the_table_says_from_what_latency_counts() {
        let open = render(&report(
            Loop::Open,
            vec![path("direct", vec![part(Mode::Rr, 50)])],
        ));
        assert!(open.contains("Open loop, 500 requests a second"), "{open}");
        assert!(
            open.contains("from the time at which one was to be sent"),
            "{open}"
        );
        let closed = render(&report(
            Loop::Closed,
            vec![path("direct", vec![part(Mode::Rr, 50)])],
        ));
        assert!(
            closed.contains("latency counts from the sending"),
            "{closed}"
        );
    }

    #[test]
    fn errors_are_told_by_kind_and_cpu_by_request() {
        let text = render(&report(
            Loop::Closed,
            vec![path("direct", vec![part(Mode::Rr, 50)])],
        ));
        assert!(text.contains("timed out 1, reset 3"), "{text}");
        assert!(text.contains("50.0 us a request"), "{text}");
        assert!(text.contains("500 a second"), "{text}");
    }

    #[test]
    fn the_second_path_is_told_beside_the_first() {
        let direct = path("direct", vec![part(Mode::Rr, 50)]);
        let via = path("via", vec![part(Mode::Rr, 80)]);
        let text = render(&report(Loop::Closed, vec![direct, via]));
        assert!(text.contains("via beside direct"), "{text}");
        assert!(text.contains("x 1.000"), "{text}");
        assert!(text.contains("+30."), "{text}");
    }

    #[test]
    fn every_kind_of_connection_of_a_mix_has_a_block() {
        let parts = vec![part(Mode::Rr, 50), part(Mode::Crr, 90)];
        let text = render(&report(Loop::Closed, vec![path("direct", parts)]));
        for head in ["\n rr ", "\n crr "] {
            assert!(text.contains(head), "{head:?} in\n{text}");
        }
        assert_eq!(text.matches("generator CPU").count(), 1, "{text}");
    }
}
