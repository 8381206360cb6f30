//! A report for people.

use super::told::{Harm, Hop, Report, Sizes, Status};

/// The report as text.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut lines = vec![
        report.verdict.clone(),
        String::new(),
        format!(
            "{} to {}, TCP port {}, {} s",
            report.from, report.host, report.port, report.seconds
        ),
    ];
    lines.push(format!("  pings         {}", sizes(&report.ping)));
    if let Some(tcp) = &report.tcp {
        lines.push(format!(
            "  TCP packets   {}{}",
            sizes(tcp),
            ceiling(report, tcp)
        ));
    }
    if let Some(answer) = &report.syn_ack {
        let number =
            |value: Option<u16>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        let yes = |is: bool| if is { "yes" } else { "no" };
        lines.push(format!(
            "  SYN-ACK       MSS {}, window scale {}, SACK {}, timestamps {}",
            number(answer.mss),
            number(answer.window_scale.map(u16::from)),
            yes(answer.sack_permitted),
            yes(answer.timestamps)
        ));
    }
    lines.push(String::new());
    lines.extend(report.hops.iter().map(hop));
    if let Some(reached) = report.reached {
        lines.push(format!("  {reached:>3}  {} (the host)", report.host));
    }
    if !report.findings.is_empty() {
        lines.push(String::new());
    }
    for finding in &report.findings {
        let status = match finding.status {
            Status::Problem => "problem",
            Status::Note => "note",
        };
        lines.push(format!("  {status:8} {}", finding.sentence));
    }
    if !report.untried.is_empty() {
        lines.push("\nnot looked at".to_owned());
        lines.extend(report.untried.iter().map(|why| format!("  {why}")));
    }
    lines.push("\nnext".to_owned());
    lines.extend(report.next.iter().map(|next| format!("  {next}")));
    lines.join("\n") + "\n"
}

/// Why no larger ones were tried, if the interface would take them: no sender makes them of this connection.
fn ceiling(report: &Report, tcp: &Sizes) -> String {
    let (Some(passes), None, Some(answer)) = (tcp.passes, tcp.harmed, &report.syn_ack) else {
        return String::new();
    };
    if passes >= report.longest {
        return String::new();
    }
    let headers = if report.host.is_ipv4() { 40 } else { 60 };
    let why = match answer.mss {
        Some(mss) if mss.saturating_add(headers) == passes => {
            format!("its SYN-ACK says MSS {mss}")
        }
        None => "its SYN-ACK says no MSS".to_owned(),
        Some(_) => "its window has no room for them".to_owned(),
    };
    format!("; larger ones are not asked for by {} ({why})", report.host)
}

fn sizes(sizes: &Sizes) -> String {
    let ping = |size: Option<u16>| size.map_or(String::new(), |size| format!(" (ping -s {size})"));
    let (passes, harmed) = match (sizes.passes, sizes.harmed) {
        (None, _) => return "not known".to_owned(),
        (Some(passes), None) => return format!("all sizes pass, up to {passes} bytes"),
        (Some(passes), Some(harmed)) => (passes, harmed),
    };
    let harm = match (sizes.harm, sizes.lost_percent, sizes.cut_to) {
        (Some(Harm::Cut), _, Some(to)) => format!("are cut to {to}"),
        (Some(Harm::Lost), Some(percent), _) if percent < 99.0 => format!("lose {percent} %"),
        (Some(Harm::TooBig), ..) => "are too big, says a router".to_owned(),
        _ => "vanish".to_owned(),
    };
    format!(
        "{passes} bytes pass{}, {harmed} bytes{} {harm}",
        ping(sizes.ping_passes),
        ping(sizes.ping_harmed)
    )
}

fn hop(hop: &Hop) -> String {
    let (Some(by), Some(ms)) = (hop.by, hop.ms) else {
        return format!("  {:>3}  *", hop.hop);
    };
    let by = by.to_string();
    let told = match (hop.changed.as_slice(), hop.quotes_options) {
        ([], true) => "SYN as sent".to_owned(),
        ([], false) => "quotes too little to tell options".to_owned(),
        (changed, _) => {
            let names: Vec<&str> = changed.iter().map(|field| field.name()).collect();
            format!("changed up to here: {}", names.join(", "))
        }
    };
    format!("  {:>3}  {by:24} {ms:>7} ms  {told}", hop.hop)
}
