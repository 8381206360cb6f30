//! The size from which on packets do not pass as smaller ones do.

use std::time::Duration;

use crate::diagnose::probe::evidence::{Carrier, Cliff, Evidence, Harm, Outcome, SizesSeen};
use crate::diagnose::probe::finding::{Behaviour, Draft};

/// A share above this is all of them: what is left may be luck.
const ALL: f64 = 0.95;

pub(super) fn judge(evidence: &Evidence) -> Vec<Draft> {
    let told = |seen: &SizesSeen| {
        let draft = one(seen, &says(evidence, seen))?;
        Some(draft.going(seen.direction))
    };
    let sizes = evidence.sizes.iter();
    sizes
        .filter(|seen| !is_told_of_tcp(evidence, seen))
        .filter_map(told)
        .collect()
}

/// The path MTU of echoes is that of TCP segments, and told of those.
fn is_told_of_tcp(evidence: &Evidence, seen: &SizesSeen) -> bool {
    let tcp =
        |other: &&SizesSeen| (other.carrier, other.direction) == (Carrier::Tcp, seen.direction);
    let tcp = evidence.sizes.iter().find(tcp).and_then(path_mtu);
    seen.carrier == Carrier::Icmp && tcp.is_some() && tcp == path_mtu(seen)
}

/// What passes, and what a router says that would.
fn path_mtu(seen: &SizesSeen) -> Option<(u16, u16)> {
    match &seen.outcome {
        Outcome::Cliff(cliff) => cliff.told.map(|told| (cliff.passes, told.mtu)),
        _ => None,
    }
}

/// Who says so: each direction has its own router, and the same is said of both.
fn says(evidence: &Evidence, seen: &SizesSeen) -> String {
    let mut routers: Vec<String> = Vec::new();
    let same =
        |other: &&SizesSeen| other.carrier == seen.carrier && path_mtu(other) == path_mtu(seen);
    for other in evidence.sizes.iter().filter(same) {
        if let Outcome::Cliff(Cliff {
            told: Some(told), ..
        }) = &other.outcome
        {
            let by = told.by.to_string();
            if !routers.contains(&by) {
                routers.push(by);
            }
        }
    }
    routers.join(", ")
}

/// What could not be told.
pub(super) fn unclear(evidence: &Evidence) -> Vec<String> {
    let why = |seen: &SizesSeen| match &seen.outcome {
        Outcome::Unclear(why) => Some(format!("{} of all sizes: {why}", carried(seen.carrier))),
        _ => None,
    };
    evidence.sizes.iter().filter_map(why).collect()
}

/// In a few words, for the table.
pub(super) fn short(seen: &SizesSeen) -> Option<String> {
    Some(match &seen.outcome {
        Outcome::EverySize => format!("kept up to {}", seen.largest),
        Outcome::None => "nothing passes".to_owned(),
        Outcome::Unclear(_) => return None,
        Outcome::Cliff(cliff) => format!("{} pass, {}", cliff.passes, harm(cliff)),
    })
}

fn one(seen: &SizesSeen, by: &str) -> Option<Draft> {
    match &seen.outcome {
        Outcome::EverySize | Outcome::Unclear(_) => None,
        Outcome::None => Some(match seen.carrier {
            Carrier::Icmp => Draft::note(
                Behaviour::IcmpBlocked,
                "nothing passes",
                "No echo (ping) passes {way}, however small.".to_owned(),
            ),
            Carrier::Tcp => Draft::problem(
                Behaviour::DataBlocked,
                "nothing passes",
                "No data passes {way}, however small the segment.".to_owned(),
            ),
        }),
        Outcome::Cliff(cliff) => Some(over(seen.carrier, cliff, by)),
    }
}

fn over(carrier: Carrier, cliff: &Cliff, by: &str) -> Draft {
    let what = carried(carrier);
    let (passes, how) = (cliff.passes, harm(cliff));
    let (sent, arrived) = (
        format!("packets of {} bytes", cliff.harmed),
        format!("{passes} bytes pass; larger ones: {how}"),
    );
    let edge = match cliff.harmed == passes + 1 {
        true => format!("of more than {passes} bytes"),
        false => format!(
            "of more than about {passes} bytes (of {} certainly)",
            cliff.harmed
        ),
    };
    let draft = match (carrier, cliff.harm, cliff.told) {
        (_, _, Some(told)) => {
            let says = match told.mtu {
                0 => "a router says that they are too big".to_owned(),
                mtu => format!("a router says that they are too big, and that {mtu} would pass"),
            };
            let sentence = format!(
                "{what} {edge} do not pass {{way}}, and {says} ({by}): senders learn it, and send less."
            );
            Draft::note(Behaviour::PathMtu, how, sentence)
        }
        (Carrier::Tcp, Harm::Lost { share, .. }, None) if share >= ALL => {
            let sentence = format!(
                "{what} {edge} are lost {{way}}, and nobody tells their sender: connections open, and stall as soon \
                 as there is much to send."
            );
            Draft::problem(Behaviour::PathMtuBlackHole, how, sentence)
        }
        (Carrier::Tcp, ..) => {
            let sentence = format!("{what} {edge} do not pass as smaller ones do {{way}}: {how}.");
            Draft::problem(Behaviour::TcpSizeCliff, how, sentence)
        }
        (Carrier::Icmp, ..) => {
            let sentence = format!("{what} {edge} do not pass as smaller ones do {{way}}: {how}.");
            Draft::note(Behaviour::IcmpSizeCliff, how, sentence)
        }
    };
    draft.values(sent, arrived)
}

fn harm(cliff: &Cliff) -> String {
    match cliff.harm {
        Harm::Lost { share, background } => match background > 0.0 {
            true => format!(
                "{} lost, of smaller ones {}",
                share_of(share),
                share_of(background)
            ),
            false => format!("{} lost", share_of(share)),
        },
        Harm::Truncated { to } => format!("cut to {to} bytes"),
        Harm::Delayed { by } => format!("{} late", time(by)),
    }
}

fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        milliseconds if milliseconds < 10.0 => format!("{milliseconds:.1} ms"),
        milliseconds => format!("{milliseconds:.0} ms"),
    }
}

fn carried(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Icmp => "Echoes (ping)",
        Carrier::Tcp => "TCP segments",
    }
}

/// A share in percent, with as many digits as say something.
pub(super) fn share_of(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        percent if percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent >= 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}
