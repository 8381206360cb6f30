//! What is found, for people.

use crate::cli::output::in_colour;
use crate::diagnose::doctor::{Finding, Report, Status};

/// As wide as the longest name.
const ID: usize = 18;
/// Where a sentence begins.
const INDENT: usize = 2 + 8 + 1 + ID + 1;

/// The report, grouped; in colour on a terminal, unless `NO_COLOR` is set.
pub fn text(report: &Report) -> String {
    render(report, in_colour())
}

fn render(report: &Report, coloured: bool) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(format!(
        "Linux {}, counters watched for {} s",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::doctor::{Findings, Id};

    fn report() -> Report {
        let mut found = Findings::default();
        found.ok(Id::TcpSack, "SACK is offered.");
        let problem = found.problem(Id::IpForward, "It is 0.");
        problem.sysctl("net.ipv4.ip_forward", "1");
        found.unseen(Id::Dnat, "not seen without root: rules");
        found.report("6.12", 2.0)
    }

    #[test]
    fn groups_have_their_order_and_what_is_to_be_mended_stands_below_its_finding() {
        let expected = "\
Linux 6.12, counters watched for 2 s

routing
  problem  ip-forward         It is 0.
                              now:   sysctl -w net.ipv4.ip_forward=1
                              lasts: net.ipv4.ip_forward = 1 in /etc/sysctl.d/99-unmangle.conf

TCP
  ok       tcp-sack           SACK is offered.

not seen
           dnat               not seen without root: rules

1 problem, 0 notes, 1 ok, 1 not seen
";
        assert_eq!(render(&report(), false), expected);
    }

    #[test]
    fn colour_is_only_the_word() {
        let coloured = render(&report(), true);
        assert!(coloured.contains("  \x1b[31mproblem \x1b[0m ip-forward"));
        let plain = coloured.replace("\x1b[31m", "").replace("\x1b[32m", "");
        assert_eq!(plain.replace("\x1b[0m", ""), render(&report(), false));
    }

    #[test]
    fn no_name_is_wider_than_its_column() {
        assert!(Id::ALL.iter().all(|id| id.name().len() <= ID));
    }
}
