//! A report for people.

use std::fmt::Write;

use super::told::{Finding, FlowTold, Report};
use super::words::{grouped, place};
use crate::diagnose::tracking::Bound;

/// Findings of a connection that are told in full; of the others one line each.
const IN_FULL: usize = 1;
/// Connections without findings that are told.
const QUIET: usize = 20;

/// The whole report. `running` says whose rules were followed and why.
#[must_use]
pub fn render(report: &Report, running: &str) -> String {
    let mut text = String::new();
    head(&mut text, report, running);
    let (found, quiet): (Vec<_>, Vec<_>) = report.flows.iter().partition(|flow| flow.invalid > 0);
    for flow in found {
        text.push('\n');
        told(&mut text, flow);
    }
    if !quiet.is_empty() {
        text.push('\n');
    }
    for flow in quiet.iter().take(QUIET) {
        let _ = writeln!(
            text,
            "{}: nothing INVALID in {} packets",
            title(flow),
            grouped(flow.packets)
        );
        for note in &flow.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    if quiet.len() > QUIET {
        let more = (quiet.len() - QUIET) as u64;
        let _ = writeln!(
            text,
            "and {} more connections without anything INVALID",
            grouped(more)
        );
    }
    text
}

fn head(text: &mut String, report: &Report, running: &str) {
    let source = &report.source;
    let _ = writeln!(
        text,
        "{}: {} packets in {:.3} s, {} of them TCP, {}",
        source.name,
        grouped(source.packets),
        source.lasts_s,
        grouped(source.segments),
        match report.connections {
            1 => "1 connection".to_owned(),
            more => format!("{} connections", grouped(more)),
        },
    );
    let liberal = if report.liberal { "1" } else { "0" };
    let _ = writeln!(
        text,
        "judged by {running}, nf_conntrack_tcp_be_liberal={liberal}"
    );
    for skipped in &source.skipped {
        let _ = writeln!(
            text,
            "left out: {} packets {}",
            grouped(skipped.packets),
            skipped.why
        );
    }
    if let Some(why) = &source.cut_short {
        let _ = writeln!(text, "not read to its end: {why}");
    }
    if report.forgotten > 0 {
        let _ = writeln!(
            text,
            "{} connections were forgotten before their time, because there were too many at once",
            grouped(report.forgotten)
        );
    }
    let told = report.flows.len() as u64;
    if report.connections > told {
        let _ = writeln!(text, "{} of the connections are told here", grouped(told));
    }
}

fn title(flow: &FlowTold) -> String {
    let on = match &flow.interface {
        Some(interface) => format!(" on {interface}"),
        None => String::new(),
    };
    format!(
        "flow {}: {} -> {}{on}",
        flow.flow, flow.opener, flow.answerer
    )
}

fn told(text: &mut String, flow: &FlowTold) {
    let _ = writeln!(
        text,
        "{}: {} of {} packets INVALID",
        title(flow),
        grouped(flow.invalid),
        grouped(flow.packets)
    );
    for note in &flow.notes {
        let _ = writeln!(text, "  {note}");
    }
    for (at, finding) in flow.findings.iter().enumerate() {
        match at < IN_FULL {
            true => in_full(text, flow, finding),
            false => in_a_line(text, finding),
        }
    }
    let kept = flow.findings.len() as u64;
    if flow.invalid > kept {
        let _ = writeln!(text, "  and {} more", grouped(flow.invalid - kept));
    }
    let _ = writeln!(
        text,
        "  with nf_conntrack_tcp_be_liberal=1 {} of the {} would pass",
        grouped(flow.liberal_would_pass),
        grouped(flow.invalid)
    );
    let Some(cure) = &flow.cure else { return };
    let _ = match &cure.profile {
        Some(profile) => writeln!(text, "  profile {profile}: {}", cure.why),
        None => writeln!(text, "  {}", cure.why),
    };
    for (at, command) in cure.commands.iter().enumerate() {
        let what = if at == 0 { "a relay" } else { "or rules alone" };
        let _ = writeln!(text, "    {what}: {command}");
    }
}

fn in_full(text: &mut String, flow: &FlowTold, finding: &Finding) {
    let packet = &finding.packet;
    let _ = writeln!(text, "  {}", finding.sentence);
    let from = if packet.from == flow.opener {
        "opener"
    } else {
        "answerer"
    };
    let _ = writeln!(
        text,
        "    packet {} at {:.6} s, byte {} of the file: {} from {} (the {from}), {} bytes of data, window {}",
        packet.number,
        packet.at_s,
        packet.offset,
        packet.flags,
        packet.from,
        packet.payload,
        packet.window,
    );
    let _ = writeln!(
        text,
        "    sequence {}, acknowledgement {}",
        place(packet.sequence),
        place(packet.acknowledgement)
    );
    if let Some(sack) = &finding.sack {
        let _ = writeln!(
            text,
            "    SACK block {}: {} to {}",
            sack.block,
            place(sack.left),
            place(sack.right)
        );
    }
    if let (Some(by), Some(seen), Some(allowed), Some(out)) =
        (&finding.by, finding.seen, finding.allowed, finding.out_by)
    {
        let limit = match is_lower(&finding.bound) {
            true => "from",
            false => "up to",
        };
        let _ = writeln!(
            text,
            "    bound {}: {} is {}, allowed is {limit} {}, out by {}",
            finding.bound,
            measured(by),
            place(seen),
            place(allowed),
            grouped(out.into())
        );
    }
    let side = |name: &str, side: &super::SideTold| {
        let scale = match side.scale_offered {
            true => format!("scaled by {}", side.scale),
            false => "not scaled".to_owned(),
        };
        format!(
            "    {name}: has sent up to {}, may send up to {}, window at most {} ({scale})\n",
            place(side.end),
            place(side.max_end),
            grouped(side.max_window.into())
        )
    };
    let _ = writeln!(text, "    state {} before it", finding.state);
    text.push_str(&side("its sender", &finding.sender));
    text.push_str(&side("its receiver", &finding.receiver));
    if let Some(kernel) = &finding.kernel_says {
        let _ = writeln!(text, "    the kernel would log: nf_ct_proto_6: {kernel}");
    }
    let _ = writeln!(text, "    {}", liberal(finding));
}

fn in_a_line(text: &mut String, finding: &Finding) {
    let packet = &finding.packet;
    let by = match (&finding.by, finding.out_by) {
        (Some(by), Some(out)) => format!(", {} out by {}", measured(by), grouped(out.into())),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "  packet {} at {:.6} s: {} from {}: {}{by}",
        packet.number, packet.at_s, packet.flags, packet.from, finding.bound
    );
}

/// Whether what is less is out.
fn is_lower(bound: &str) -> bool {
    [Bound::SeqUnderWindow, Bound::AckUnderWindow, Bound::Reset]
        .iter()
        .any(|lower| lower.name() == bound)
}

fn measured(by: &str) -> &'static str {
    match by {
        "sack" => "the SACK edge",
        "ack" => "the acknowledgement number",
        "end" => "the end of the data",
        _ => "the sequence number",
    }
}

fn liberal(finding: &Finding) -> &'static str {
    match finding.liberal_would_pass {
        true => "nf_conntrack_tcp_be_liberal=1 would let it pass",
        false => "INVALID with nf_conntrack_tcp_be_liberal=1, too",
    }
}
