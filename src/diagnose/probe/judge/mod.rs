//! Says what was seen: evidence in, findings out. Pure, and strict: what did not arrive was not changed, and what was not
//! sent was not removed.
//!
//! | file | subject |
//! | --- | --- |
//! | `flow` | an exchange as pairs of headers |
//! | `aspect` | what of them is compared, one row of the table each |
//! | `numbers` | sequence numbers, acknowledgements, SACK blocks, timestamps |
//! | `handshake` | MSS, window scale, SACK-permitted |
//! | `window` | the window of each segment |
//! | `classes` | DSCP and ECN |
//! | `unusual` | urgent data, options that nobody knows |
//! | `sizes` | size cliffs, and the path MTU |
//! | `trains` | loss, reordering, duplication, damage |
//! | `idle` | flows that are forgotten |
//! | `ports` | other ports of the server |
//! | `between` | translations, proxies, resets |

mod aspect;
mod between;
mod classes;
mod flow;
mod handshake;
mod idle;
mod numbers;
mod ports;
mod sizes;
mod trains;
mod unusual;
mod window;

#[cfg(test)]
pub(super) mod tests;

use super::evidence::{Carrier, Evidence, Path, Purpose, What};
use super::finding::{self, Behaviour, Draft, Status};
use super::told::{FORMAT, Passage, PathTold, Report};
use super::{remedy, verdict};
use crate::metrics::Direction;
use flow::Flow;

/// What the path does, and what is to be done about it.
#[must_use]
pub fn judge(evidence: &Evidence) -> Report {
    let flows = Flow::own(evidence);
    let mut drafts = between::judge(evidence, &flows);
    // What another TCP sent is not what became of ours.
    let is_ended = |draft: &Draft| draft.behaviour == Behaviour::EndedOnTheWay;
    let compared = match drafts.iter().any(is_ended) {
        true => Vec::new(),
        false => aspect::judge(&flows),
    };
    drafts.extend(compared.iter().flat_map(|one| one.drafts.clone()));
    drafts.extend(sizes::judge(evidence));
    drafts.extend(trains::judge(evidence));
    drafts.extend(idle::judge(evidence));
    drafts.extend(ports::judge(evidence, &compared));
    let mut unique: Vec<Draft> = Vec::new();
    for draft in drafts {
        let is_told = |one: &Draft| {
            (one.behaviour, one.direction, &one.sentence)
                == (draft.behaviour, draft.direction, &draft.sentence)
        };
        if !unique.iter().any(is_told) {
            unique.push(draft);
        }
    }
    between::settle(&mut unique);
    let findings = finding::told(unique);
    let mut passages = aspect::passages(&compared);
    passages.extend(figures(evidence));
    let mut untried = evidence.untried.clone();
    untried.extend(unanswered(evidence));
    untried.extend(sizes::unclear(evidence));
    untried.extend(trains::unclear(evidence));
    untried.extend(ports::untried(evidence));
    let recommended = remedy::recommend(evidence, &findings, &passages);
    let looked = match untried.is_empty() {
        true => verdict::Looked::All,
        false if flows.iter().all(|flow| flow.pairs.is_empty()) => verdict::Looked::NoHeaders,
        false => verdict::Looked::Part,
    };
    Report {
        format: FORMAT,
        path: PathTold::from(&evidence.path),
        problems: Report::count(&findings, Status::Problem),
        notes: Report::count(&findings, Status::Note),
        verdict: verdict::verdict(&evidence.path, &findings, &recommended, looked),
        findings,
        passages,
        recommended,
        untried,
    }
}

/// Rows of the table that no segment tells alone.
fn figures(evidence: &Evidence) -> Vec<Passage> {
    let mut rows = Vec::new();
    for (carrier, what) in [
        (Carrier::Tcp, "TCP, bytes of a packet"),
        (Carrier::Icmp, "ICMP, bytes of a packet"),
    ] {
        let cell = |direction| {
            let seen = evidence
                .sizes
                .iter()
                .find(|seen| (seen.carrier, seen.direction) == (carrier, direction))?;
            sizes::short(seen)
        };
        rows.push(Passage {
            what: what.to_owned(),
            client_to_server: cell(Direction::ClientToServer),
            server_to_client: cell(Direction::ServerToClient),
        });
    }
    let trains = &evidence.trains;
    rows.push(Passage {
        what: "many segments".to_owned(),
        client_to_server: trains.client_to_server.as_ref().and_then(trains::short),
        server_to_client: trains.server_to_client.as_ref().and_then(trains::short),
    });
    let idle = idle::short(evidence);
    rows.push(Passage {
        what: "a silent flow".to_owned(),
        client_to_server: idle.clone(),
        server_to_client: idle,
    });
    rows
}

/// Flows of which not even the SYN came, and no other tells why.
fn unanswered(evidence: &Evidence) -> Vec<String> {
    let plain = evidence.exchange(Purpose::Plain);
    let syn = plain.and_then(|plain| plain.step(What::Syn, Direction::ClientToServer));
    let lost = syn.is_some_and(|syn| syn.arrived.is_empty());
    let why = format!(
        "what becomes of TCP's headers: no SYN came to port {} of the server",
        evidence.path.port
    );
    lost.then_some(why).into_iter().collect()
}

impl From<&Path> for PathTold {
    fn from(path: &Path) -> Self {
        Self {
            client: path.client.to_string(),
            server: path.server.to_string(),
            client_seen: path.client_seen.to_string(),
            server_own: path.server_own.to_string(),
            port: path.port,
            round_trip_ms: path.round_trip.as_secs_f64() * 1000.0,
            broken: path.broken,
            client_mtu: path.mtu.client,
            server_mtu: path.mtu.server,
        }
    }
}
