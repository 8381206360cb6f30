//! What was seen means this.

use std::net::IpAddr;

use super::echo::ping_size;
use super::hops::{Change, Trace};
use super::quote::{ABSENT, Field};
use super::seen::{Cliff, Harm, Open, Sack, Seen, Sizes, Target, Tcp};
use super::told::{self, Finding, Id, Report, Status};

/// A share above this is all of them.
const ALL: f64 = 0.99;
/// Every host takes packets of so many bytes (RFC 791).
const LEAST_MTU: u16 = 576;

/// Why a sweep has nothing to say; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The port resets.
    #[error(
        "{0}: TCP port {1} is closed (it answers with a reset): name one that is open by --port"
    )]
    Closed(IpAddr, u16),
    /// Only pings are answered.
    #[error(
        "{0}: pings are answered, TCP port {1} is silent: a firewall drops what is for it; let TCP to that port pass, or name \
         a port that is open by --port"
    )]
    Filtered(IpAddr, u16),
    /// Nothing is answered.
    #[error(
        "{0}: neither a ping nor TCP port {1} is answered: check the address; if the host is up, a firewall blocks both: \
         let TCP to that port pass, or name a port that is open by --port"
    )]
    Silent(IpAddr, u16),
    /// Somebody says so.
    #[error(
        "{0} cannot be reached, says {2}: check the address and the route; TCP port {1} has to be let pass"
    )]
    Unreachable(IpAddr, u16, IpAddr),
    /// This host's rules.
    #[error(
        "{0}: this host's own rules let no probe leave: let TCP to port {1} and ICMP echo pass in OUTPUT, without a look at \
         their state"
    )]
    Forbidden(IpAddr, u16),
}

/// Judges.
///
/// # Errors
/// If too little was answered to say that nothing is wrong, and nothing wrong was found.
pub fn judge(seen: &Seen) -> Result<Report, Unanswered> {
    let Target { host, port, .. } = seen.target;
    let mut findings = Vec::new();
    let mut untried = Vec::new();
    sizes(seen, &mut findings, &mut untried);
    if let Some(trace) = &seen.trace {
        findings.extend(trace.changes.iter().map(changed));
        if trace.rich_answered == Some(false) {
            findings.push(note(
                Id::UnusualSyn,
                "A SYN with an unknown option, DSCP 10 and an offer of ECN is not answered; a plain one is."
                    .into(),
            ));
        }
    }
    let unusable = match (&seen.tcp, &seen.echo) {
        (Tcp::Open(_), _) => None,
        (Tcp::Closed, _) => Some(Unanswered::Closed(host, port)),
        (Tcp::Unreachable(by), _) => Some(Unanswered::Unreachable(host, port, *by)),
        (Tcp::Forbidden, _) => Some(Unanswered::Forbidden(host, port)),
        (Tcp::Silent, Sizes::Silent) => Some(Unanswered::Silent(host, port)),
        (Tcp::Silent, _) => Some(Unanswered::Filtered(host, port)),
    };
    findings.sort_by_key(|finding| finding.status == Status::Note);
    let problems = findings
        .iter()
        .filter(|finding| finding.status == Status::Problem)
        .count();
    if let Some(unusable) = unusable {
        if problems == 0 {
            return Err(unusable);
        }
        untried.push(unusable.to_string());
    }
    let profile = profile(seen, &findings);
    let open = open(seen);
    let trace = seen.trace.clone().unwrap_or_default();
    Ok(Report {
        host,
        port,
        from: seen.target.own,
        longest: seen.target.longest,
        seconds: (seen.took.as_secs_f64() * 10.0).round() / 10.0,
        problems,
        verdict: verdict(seen, problems, findings.len() > problems, &untried),
        next: next(&seen.target, profile, problems, smallest_cliff(seen)),
        profile: profile.map(str::to_owned),
        ping: told(&seen.echo, Some(&seen.target)),
        tcp: open.map(|open| told(&open.sizes, None)),
        syn_ack: open.map(|open| told::SynAck {
            mss: open.offered.mss,
            window_scale: open.offered.window_scale,
            sack_permitted: open.offered.sack_permitted,
            timestamps: open.offered.timestamps.is_some(),
        }),
        hops: hops(&trace),
        reached: trace.reached,
        findings,
        untried,
    })
}

fn open(seen: &Seen) -> Option<&Open> {
    match &seen.tcp {
        Tcp::Open(open) => Some(open),
        _ => None,
    }
}

fn sizes(seen: &Seen, findings: &mut Vec<Finding>, untried: &mut Vec<String>) {
    match &seen.echo {
        Sizes::Cliff(cliff) => {
            let [passes, harmed] = [cliff.between.passes, cliff.between.harmed];
            let sizes = [passes, harmed].map(|size| ping_size(&seen.target, size));
            let (status, means) = pings_alone(seen, cliff);
            let sentence = format!(
                "Pings of {passes} bytes pass (ping -s {}), those of {harmed} do not (ping -s {}): {}.{means}",
                sizes[0],
                sizes[1],
                harm(&cliff.harm)
            );
            findings.push(of(Id::PingSize, status, sentence));
        }
        Sizes::Silent => untried.push("Pings are not answered.".into()),
        Sizes::Untold(why) => untried.push(format!("Sizes of pings: {why}.")),
        Sizes::Whole(_) => {}
    }
    let Some(open) = open(seen) else { return };
    match &open.sizes {
        Sizes::Cliff(cliff) => {
            let [passes, harmed] = [cliff.between.passes, cliff.between.harmed];
            let between = match cliff.between.is_exact() {
                true => format!("of {passes} bytes pass, those of {harmed} bytes and more do not"),
                false => format!(
                    "of {passes} bytes pass, those of {harmed} bytes do not (the exact size was not found in time)"
                ),
            };
            let sentence = format!("TCP packets to the host {between}: {}.", harm(&cliff.harm));
            match is_bandwidth(cliff) {
                true => findings.push(note(
                    Id::Bandwidth,
                    sentence
                        + " Every host has to take packets of that size, so it is the rate that harms them, and \
                           not the size: the way carries little, or somebody limits it.",
                )),
                false => findings.push(of(Id::TcpSize, weight(cliff), sentence)),
            }
        }
        Sizes::Silent => untried.push("Sizes of TCP segments: nothing was acknowledged.".into()),
        Sizes::Untold(why) => untried.push(format!("Sizes of TCP segments: {why}.")),
        Sizes::Whole(_) => {}
    }
    match open.sack {
        Sack::Shifted(_) => findings.push(problem(
            Id::SackNotTranslated,
            "Sequence numbers are rewritten on the way, and SACK blocks are not translated: acknowledgement numbers fit \
             what was sent, the edges of SACK blocks do not. Strict connection trackers call such packets INVALID."
                .into(),
        )),
        Sack::Missing => findings.push(note(
            Id::SackMissing,
            "SACK was agreed upon, and an acknowledgement that should carry a SACK block carries none.".into(),
        )),
        Sack::Unanswered => untried.push("SACK blocks: data that leaves a gap is not acknowledged.".into()),
        Sack::NotAgreed => untried.push("SACK blocks: the SYN-ACK does not permit SACK.".into()),
        Sack::Right => {}
    }
    let is_seen_taken = |change: &Change| change.field == Field::WindowScale;
    let is_told = seen
        .trace
        .as_ref()
        .is_some_and(|trace| trace.changes.iter().any(is_seen_taken));
    if open.offered.window_scale.is_none() && !is_told {
        findings.push(note(
            Id::NoWindowScale,
            "The SYN-ACK offers no window scale, although the SYN did: either the host uses none, or a firewall took it \
             (unmangle probe run tells)."
                .into(),
        ));
    }
    if let Some((echo, sent)) = open.echoed
        && echo != sent
    {
        findings.push(note(
            Id::TimestampEcho,
            "The timestamp that is echoed is not the one that was sent: timestamps are rewritten one way only.".into(),
        ));
    }
}

fn harm(harm: &Harm) -> String {
    match harm {
        Harm::Lost(share, _) if *share > ALL => "they vanish and nobody is told".into(),
        Harm::Lost(share, below) => format!(
            "{:.1} % of the larger ones vanish and nobody is told ({:.1} % of small ones are lost)",
            share * 100.0,
            below * 100.0
        ),
        Harm::Cut(to) => format!("they are cut to {to} bytes"),
        Harm::TooBig(by, 0) => format!("{by} says that they are too big, without an MTU"),
        Harm::TooBig(by, mtu) => format!("{by} says that the path MTU is {mtu}, as it should"),
    }
}

/// What a cliff of pings is worth by what TCP does: ICMP alone may be limited on purpose.
fn pings_alone(seen: &Seen, cliff: &Cliff) -> (Status, String) {
    if weight(cliff) == Status::Note {
        return (Status::Note, String::new());
    }
    let unknown = match &seen.tcp {
        // The firewall of the story: pings show its cliff before TCP does.
        Tcp::Open(open) if matches!(open.sack, Sack::Shifted(_)) => {
            return (Status::Problem, String::new());
        }
        Tcp::Open(open) => match &open.sizes {
            Sizes::Cliff(tcp) => return (weight(tcp), String::new()),
            Sizes::Whole(size) => {
                let means = format!(
                    " TCP packets pass at all sizes that were tried, up to {size} bytes: only pings are limited."
                );
                return (Status::Note, means);
            }
            Sizes::Untold(why) => why.clone(),
            Sizes::Silent => "nothing was acknowledged".to_owned(),
        },
        Tcp::Closed => "its port is closed".to_owned(),
        Tcp::Silent => "its port is silent".to_owned(),
        Tcp::Unreachable(by) => format!("{by} says that its port cannot be reached"),
        Tcp::Forbidden => "this host's own rules let no probe leave".to_owned(),
    };
    let means = format!(" TCP could not be looked at: {unknown}.");
    match cliff.harm {
        Harm::Lost(share, _) if share <= ALL => (Status::Note, means),
        _ => (
            Status::Problem,
            means + " If it fares alike, connections stall as soon as much is sent.",
        ),
    }
}

/// Whether some are lost of sizes that every host takes (RFC 791): large packets are sent as often as small ones, so
/// that what carries little loses more of them.
fn is_bandwidth(cliff: &Cliff) -> bool {
    matches!(cliff.harm, Harm::Lost(share, _) if share <= ALL) && cliff.between.passes < LEAST_MTU
}

/// A router that tells the MTU does as it should.
fn weight(cliff: &Cliff) -> Status {
    match cliff.harm {
        _ if is_bandwidth(cliff) => Status::Note,
        Harm::TooBig(_, mtu) if mtu > 0 => Status::Note,
        _ => Status::Problem,
    }
}

fn changed(change: &Change) -> Finding {
    let Change {
        field, was, is, at, ..
    } = change;
    let between = match change.after {
        None => format!("between this host and hop {} ({})", at.0, at.1),
        Some((hop, by)) => format!("between hop {hop} ({by}) and hop {} ({})", at.0, at.1),
    };
    let name = field.name();
    let what = match (was.as_str(), is.as_str()) {
        (_, ABSENT) => format!("{name} is removed from the SYN"),
        (ABSENT, is) => format!("{name} is added to the SYN ({is})"),
        (was, is) => format!("{name} is changed in the SYN, from {was} to {is}"),
    };
    let status = match field {
        Field::Sequence => Status::Problem,
        Field::WindowScale => Status::Problem,
        _ => Status::Note,
    };
    let mut sentence = format!("{what}, {between}.");
    sentence[..1].make_ascii_uppercase();
    Finding {
        field: Some(*field),
        ..of(Id::SynChanged, status, sentence)
    }
}

fn hops(trace: &Trace) -> Vec<told::Hop> {
    let hop = |hop: &super::hops::Hop| told::Hop {
        hop: hop.hop,
        by: hop.by,
        ms: hop
            .by
            .map(|_| (hop.took.as_secs_f64() * 1e4).round() / 10.0),
        changed: trace
            .changes
            .iter()
            .filter(|change| change.at.0 == hop.hop)
            .map(|change| change.field)
            .collect(),
        quotes_options: hop.plain.as_ref().is_some_and(|quoted| quoted.whole),
    };
    trace.hops.iter().map(hop).collect()
}

fn told(sizes: &Sizes, ping: Option<&Target>) -> told::Sizes {
    let mut told = told::Sizes::default();
    match sizes {
        Sizes::Silent | Sizes::Untold(_) => {}
        Sizes::Whole(size) => told.passes = Some(*size),
        Sizes::Cliff(cliff) => {
            told.passes = Some(cliff.between.passes);
            told.harmed = Some(cliff.between.harmed);
            told.harm = Some(match cliff.harm {
                Harm::Lost(share, _) => {
                    told.lost_percent = Some((share * 1000.0).round() / 10.0);
                    told::Harm::Lost
                }
                Harm::Cut(to) => {
                    told.cut_to = Some(to);
                    told::Harm::Cut
                }
                Harm::TooBig(by, mtu) => {
                    told.told_by = Some(by);
                    told.told_mtu = Some(mtu);
                    told::Harm::TooBig
                }
            });
        }
    }
    if let Some(target) = ping {
        told.ping_passes = told.passes.map(|size| ping_size(target, size));
        told.ping_harmed = told.harmed.map(|size| ping_size(target, size));
    }
    told
}

/// The largest packet that is known to pass everywhere, if larger ones are harmed without a word, and not pings alone.
fn smallest_cliff(seen: &Seen) -> Option<u16> {
    let open = open(seen)?;
    let pings = match &seen.echo {
        Sizes::Cliff(cliff) if pings_alone(seen, cliff).0 == Status::Problem => {
            tcp_may_suffer(open).then_some(cliff.between.passes)
        }
        _ => None,
    };
    let tcp = match &open.sizes {
        Sizes::Cliff(cliff) if weight(cliff) == Status::Problem => Some(cliff.between.passes),
        _ => None,
    };
    pings.into_iter().chain(tcp).min()
}

/// Whether a cliff of pings is more than a suspicion.
fn tcp_may_suffer(open: &Open) -> bool {
    matches!(open.sack, Sack::Shifted(_)) || matches!(open.sizes, Sizes::Cliff(_))
}

/// The largest ping that passes, if larger ones do not and nobody knows of TCP.
fn suspected(seen: &Seen) -> Option<u16> {
    match &seen.echo {
        Sizes::Cliff(cliff) if pings_alone(seen, cliff).0 == Status::Problem => {
            Some(cliff.between.passes)
        }
        _ => None,
    }
}

fn profile(seen: &Seen, findings: &[Finding]) -> Option<&'static str> {
    let is = |id: Id| {
        findings
            .iter()
            .any(|finding| finding.id == id && finding.status == Status::Problem)
    };
    let changed = |field: Field| findings.iter().any(|each| each.field == Some(field));
    let rewritten = is(Id::SackNotTranslated) || changed(Field::Sequence);
    match (rewritten, smallest_cliff(seen).is_some()) {
        (true, true) => Some("cisco-pix"),
        (true, false) => Some("isn-rewrite"),
        (false, true) => Some("blackhole"),
        (false, false) => changed(Field::WindowScale).then_some("wscale-strip"),
    }
}

fn verdict(seen: &Seen, problems: usize, notes: bool, untried: &[String]) -> String {
    if problems == 0 {
        let but = match (untried.is_empty(), notes) {
            (false, _) => "; not everything could be looked at",
            (true, true) => "; what the notes say may be meant so",
            (true, false) => "",
        };
        return format!("Nothing is wrong, as far as this end can see{but}.");
    }
    let shifted = open(seen).is_some_and(|open| matches!(open.sack, Sack::Shifted(_)));
    match (shifted, smallest_cliff(seen)) {
        (true, Some(size)) => format!(
            "A firewall on the way rewrites sequence numbers without those in SACK, and harms packets of more than {size} \
             bytes: this breaks scp, rsync and the like."
        ),
        (true, None) => {
            "A firewall on the way rewrites sequence numbers without those in SACK: the first lost packet of a connection \
             may end it."
                .into()
        }
        (false, Some(size)) => format!(
            "Packets of more than {size} bytes are harmed on the way: connections stall or crawl as soon as much is sent."
        ),
        (false, None) => match suspected(seen).filter(|_| problems == 1) {
            Some(size) => format!(
                "Pings of more than {size} bytes are harmed on the way, and TCP could not be looked at: if it fares \
                 alike, connections stall as soon as much is sent."
            ),
            None => "Something on the way changes TCP so that the two ends may disagree.".into(),
        },
    }
}

fn next(
    target: &Target,
    profile: Option<&'static str>,
    problems: usize,
    cliff: Option<u16>,
) -> Vec<String> {
    let mut next = Vec::new();
    if let Some(profile) = profile {
        next.push(format!(
            "on a host between the firewall and the hosts: unmangle run --profile {profile} (unmangle run --help says how)"
        ));
        let headers = if target.host.is_ipv4() { 40 } else { 60 };
        if let Some(size) = cliff.filter(|size| size - headers < 940) {
            next.push(format!(
                "segments of that profile are longer than what passes here: give it an MSS of {} (docs/config.md)",
                size - headers
            ));
        }
    }
    if problems > 0 {
        next.push(format!(
            "the whole picture, both directions: unmangle probe serve on {host}, then unmangle probe run {host} here",
            host = target.host
        ));
    } else {
        next.push(format!(
            "if connections still break: unmangle probe serve on {host}, then unmangle probe run {host} here",
            host = target.host
        ));
    }
    next
}

fn problem(id: Id, sentence: String) -> Finding {
    of(id, Status::Problem, sentence)
}

fn note(id: Id, sentence: String) -> Finding {
    of(id, Status::Note, sentence)
}

fn of(id: Id, status: Status, sentence: String) -> Finding {
    Finding {
        id,
        status,
        field: None,
        sentence,
    }
}
