//! One part of a rule: a match, a verdict, or something that merely happens.

use serde_json::Value;

use super::fact::Packet;
use super::model::Table;
use super::pattern::{compare, equals, key_of};
use super::probe::Mark;
use super::tri::Tri;

/// Where a verdict sends the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'r> {
    Accept,
    Drop,
    Return,
    Continue,
    Jump(&'r str),
    Goto(&'r str),
    /// The destination is rewritten, and the packet accepted.
    Translate,
    /// Out of sight: a queue to user space, a target that is not known here.
    Unknown,
}

/// What a part of a rule comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'r> {
    /// The rule goes on where this holds.
    Match(Tri),
    /// The rule goes on, and the packet has this mark.
    SetMark(Mark),
    /// The rule goes on, and conntrack does not see the packet.
    Untrack,
    /// The rule ends in one of these; certain when the first that holds is certain.
    Verdicts(Vec<(Tri, Target<'r>)>),
}

pub(super) fn step<'r>(packet: &Packet<'_>, table: &'r Table, expr: &'r Value) -> Step<'r> {
    let Some((what, body)) = statement(expr) else {
        return Step::Match(Tri::Maybe);
    };
    if let Some(target) = target(what, body) {
        return Step::Verdicts(vec![(Tri::Yes, target)]);
    }
    match what {
        "match" => {
            let fact = packet.fact(&body["left"]);
            let op = body["op"].as_str().unwrap_or("==");
            Step::Match(compare(&fact, op, &body["right"], &table.sets))
        }
        "vmap" => Step::Verdicts(verdict_map(packet, table, body)),
        "dnat" | "redirect" => {
            Step::Verdicts(vec![(translates(packet, table, body), Target::Translate)])
        }
        "xt" => xt(body),
        "mangle" if body["key"]["meta"]["key"] == "mark" => {
            Step::SetMark(packet.mark_after(&body["value"]))
        }
        "notrack" => Step::Untrack,
        "mangle" | "counter" | "log" | "comment" | "secmark" | "dup" | "flow" | "last"
        | "reset" | "ct helper" | "ct timeout" | "ct expectation" | "tproxy" | "snat"
        | "masquerade" => Step::Match(Tri::Yes),
        // Adding to a set holds no packet back, a limit kept in the set does.
        "set" | "map" if body.get("stmt").is_none() => Step::Match(Tri::Yes),
        _ => Step::Match(Tri::Maybe),
    }
}

/// `{"accept": null}` and the bare string `"notrack"` both occur.
fn statement(expr: &Value) -> Option<(&str, &Value)> {
    match expr {
        Value::String(name) => Some((name, &Value::Null)),
        Value::Object(object) => object
            .iter()
            .next()
            .map(|(name, body)| (name.as_str(), body)),
        _ => None,
    }
}

fn target<'r>(what: &str, body: &'r Value) -> Option<Target<'r>> {
    let chain = body["target"].as_str();
    Some(match (what, chain) {
        ("accept", _) => Target::Accept,
        ("drop" | "reject", _) => Target::Drop,
        ("return", _) => Target::Return,
        ("continue", _) => Target::Continue,
        ("jump", Some(chain)) => Target::Jump(chain),
        ("goto", Some(chain)) => Target::Goto(chain),
        ("queue" | "synproxy" | "jump" | "goto", _) => Target::Unknown,
        _ => return None,
    })
}

fn verdict_map<'r>(
    packet: &Packet<'_>,
    table: &'r Table,
    body: &'r Value,
) -> Vec<(Tri, Target<'r>)> {
    let data = &body["data"];
    let elements = match data.as_str().and_then(|name| name.strip_prefix('@')) {
        Some(name) => table.sets.get(name).map(Vec::as_slice),
        None => data["set"].as_array().map(Vec::as_slice),
    };
    let Some(elements) = elements else {
        return vec![(Tri::Maybe, Target::Unknown)];
    };
    let fact = packet.fact(&body["key"]);
    let (rest, named): (Vec<_>, Vec<_>) =
        elements.iter().partition(|element| key_of(element) == "*");
    let mut found = Vec::new();
    for element in named.into_iter().chain(rest) {
        let holds = equals(&fact, key_of(element), &table.sets);
        if holds != Tri::No {
            let verdict = statement(&element[1]).and_then(|(what, body)| target(what, body));
            found.push((holds, verdict.unwrap_or(Target::Unknown)));
        }
    }
    found
}

/// `dnat ip to …` leaves IPv6 alone; `dnat to tcp dport map {…}` takes what the map has.
fn translates(packet: &Packet<'_>, table: &Table, body: &Value) -> Tri {
    let family = match body["family"].as_str() {
        Some("ip") => Tri::from(packet.probe.is_v4()),
        Some("ip6") => Tri::from(!packet.probe.is_v4()),
        _ => Tri::Yes,
    };
    let mapped = match body["addr"].get("map").or_else(|| body["port"].get("map")) {
        Some(map) => equals(&packet.fact(&map["key"]), &map["data"], &table.sets),
        None => Tri::Yes,
    };
    family.and(mapped)
}

/// A module of iptables: JSON has its name, and nothing else.
fn xt(body: &Value) -> Step<'static> {
    let name = body["name"].as_str().unwrap_or_default();
    if body["type"].as_str() != Some("target") {
        return Step::Match(if name == "comment" {
            Tri::Yes
        } else {
            Tri::Maybe
        });
    }
    match name {
        "REJECT" | "DROP" => Step::Verdicts(vec![(Tri::Yes, Target::Drop)]),
        "ACCEPT" => Step::Verdicts(vec![(Tri::Yes, Target::Accept)]),
        "DNAT" | "REDIRECT" | "NETMAP" => Step::Verdicts(vec![(Tri::Yes, Target::Translate)]),
        "MARK" | "CONNMARK" => Step::SetMark(Mark::UNKNOWN),
        "LOG" | "NFLOG" | "TCPMSS" | "TCPOPTSTRIP" | "CT" | "CLASSIFY" | "DSCP" | "TOS" | "TTL"
        | "HL" | "SET" | "TRACE" | "SECMARK" | "CONNSECMARK" | "TEE" | "AUDIT" | "CHECKSUM"
        | "ECN" | "HMARK" | "IDLETIMER" | "LED" | "RATEEST" => Step::Match(Tri::Yes),
        _ => Step::Verdicts(vec![(Tri::Maybe, Target::Unknown)]),
    }
}
