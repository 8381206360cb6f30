//! All of it in plain words, for somebody who does not know what SACK is.

use super::evidence::Path;
use super::finding::{self, Behaviour, Finding, Status, Ways};
use super::told::{Kind, Recommended};

/// How much could be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// All that was to be.
    All,
    /// Not all of it.
    Part,
    /// No segment's headers were compared.
    NoHeaders,
}

/// One paragraph.
pub(super) fn verdict(
    path: &Path,
    findings: &[Finding],
    recommended: &Recommended,
    looked: Looked,
) -> String {
    let between = format!("between {} and {}", path.client, path.server);
    let problems = || findings.iter().filter(|one| one.status == Status::Problem);
    let (resets, causes): (Vec<&Finding>, Vec<&Finding>) =
        problems().partition(|one| finding::is_consequence(one, findings));
    let mut told: Vec<&str> = Vec::new();
    for finding in &causes {
        let words = plain(finding.behaviour);
        if !told.contains(&words) {
            told.push(words);
        }
    }
    let mut sentences = Vec::new();
    match told.as_slice() {
        [] if looked == Looked::NoHeaders => sentences.push(format!(
            "Whether anything {between} changes TCP is not known: no segment could be compared with what was sent."
        )),
        [] if looked == Looked::Part => {
            sentences.push(format!("Nothing was found {between} that breaks connections."));
        }
        [] if findings.is_empty() => {
            sentences.push(format!("Nothing {between} changes TCP or holds it up."));
        }
        [] => sentences.push(format!(
            "Nothing {between} breaks connections; what is changed there does no harm by itself."
        )),
        [only] => match host_alone(findings) {
            Some(whose) => sentences.push(format!(
                "Nothing was found {between} that does harm, but {only} ({whose})."
            )),
            None => sentences.push(format!("Something {between} does harm: {only}.")),
        },
        several => sentences.push(format!(
            "Something {between} does harm in {} ways: {}.",
            several.len(),
            several.join("; ")
        )),
    }
    if let Some(reset) = resets.first() {
        let whose = match resets.len() {
            1 => whose(reset.direction),
            _ => whose(Some(Ways::BothWays)),
        };
        sentences.push(format!(
            "The strict rules of {whose} already reset a connection of the probe because of it."
        ));
    }
    if recommended.kind != Kind::Nothing {
        sentences.push(recommended.why.clone());
    }
    if recommended.kind != Kind::MendElsewhere && !recommended.elsewhere.is_empty() {
        sentences.push("What no profile cures is to be mended on the path.".to_owned());
    }
    if looked != Looked::All {
        sentences.push("Not everything could be tried.".to_owned());
    }
    if recommended.kind == Kind::Nothing && looked == Looked::All {
        sentences.push(
            "If connections break here all the same, `unmangle doctor` looks at the hosts, and `unmangle explain` at \
             a capture."
                .to_owned(),
        );
    }
    sentences.join(" ")
}

/// Whose rules reset connections, if that is the only problem there is: it is not the path then, as far as was seen.
pub(super) fn host_alone(findings: &[Finding]) -> Option<&'static str> {
    let problems: Vec<&Finding> = findings
        .iter()
        .filter(|one| one.status == Status::Problem)
        .collect();
    let by_host = |one: &&Finding| one.behaviour == Behaviour::ResetByHost;
    match problems.as_slice() {
        [] => None,
        [only] if by_host(only) => Some(whose(only.direction)),
        several => several
            .iter()
            .all(by_host)
            .then_some(whose(Some(Ways::BothWays))),
    }
}

/// A reset by the client's host goes from the client to the server.
fn whose(direction: Option<Ways>) -> &'static str {
    match direction {
        Some(Ways::ClientToServer) => "the client's host",
        Some(Ways::ServerToClient) => "the server's host",
        Some(Ways::BothWays) | None => "both hosts",
    }
}

/// A problem as a clause.
fn plain(behaviour: Behaviour) -> &'static str {
    match behaviour {
        Behaviour::SackNotTranslated | Behaviour::SackChanged => {
            "the bytes of a connection are numbered anew on the way, but not in the reports of which bytes have come \
             (SACK), so that after the first lost packet these make no sense and a strict firewall resets the \
             connection"
        }
        Behaviour::SackBlocksRemoved | Behaviour::SackPermittedRemoved => {
            "the reports of which bytes have come (SACK) are taken away from one side only, so that lost packets \
             are sent again late"
        }
        Behaviour::AcknowledgementWrong => {
            "the bytes of a connection are numbered anew one way, and not back the other way, so that the two ends \
             do not understand each other"
        }
        Behaviour::WindowScaleRemoved | Behaviour::WindowScaleChanged => {
            "one end is told something else than the other about how much may be sent at a time (window scale), so \
             that transfers stall or are reset"
        }
        Behaviour::WindowChanged => "more is asked for on the way than the receiver has room for",
        Behaviour::TimestampsRemoved | Behaviour::TimestampsInconsistent => {
            "the time stamps of packets are made wrong, so that good packets are taken for old ones"
        }
        Behaviour::EcnRefused => {
            "whoever offers to be warned of congestion (ECN) gets no connection at first"
        }
        Behaviour::CongestionMarkLost => {
            "warnings of congestion (ECN) are lost, so that nobody slows down"
        }
        Behaviour::UrgentDropped => "packets with urgent data are dropped",
        Behaviour::TcpSizeCliff => {
            "large packets do not pass as small ones do, so that connections open and then crawl or die"
        }
        Behaviour::PathMtuBlackHole => {
            "large packets vanish and nobody tells their sender, so that connections open and then hang"
        }
        Behaviour::DataBlocked => "data does not pass at all",
        Behaviour::Corruption => "data is damaged",
        Behaviour::Loss => "many packets are lost",
        Behaviour::IdleForgotten => {
            "connections that are silent for a while are forgotten, so that they hang or are reset afterwards"
        }
        Behaviour::PortBlocked => "connections to some ports are blocked",
        Behaviour::ResetFromBetween => "connections are reset by somebody who is neither end",
        Behaviour::ResetByHost => {
            "the strict rules of a host reset connections because of what arrives there"
        }
        Behaviour::ControlBroken => "even a connection that carries little is broken",
        // The others are notes.
        _ => "what is listed above",
    }
}
