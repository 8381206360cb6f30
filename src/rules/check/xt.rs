//! Modules of iptables-nft, put back into nft's words.
//!
//! JSON shows them as `{"xt": {"type": "match", "name": "conntrack"}}`. The plain listing spells
//! most of them out (`ct state related,established`), with the handle beside it. What the common
//! ones say is taken from there; any other stays opaque.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

/// Family, table, handle.
type Key<'l> = (&'l str, &'l str, u64);

/// What `nft -a list ruleset` says that JSON does not.
#[derive(Default)]
pub(super) struct Listing<'l> {
    /// The rules, without counters.
    pub rules: HashMap<Key<'l>, String>,
    /// Tables that are switched off: nft 1.0.6 puts the table's name where JSON has the flag.
    pub dormant: HashSet<(&'l str, &'l str)>,
}

pub(super) fn read(text: &str) -> Listing<'_> {
    let mut listing = Listing::default();
    let mut table = ("", "");
    let mut in_chain = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, "{", ..] => (table, in_chain) = ((*family, *name), false),
            ["chain", _, "{", ..] => in_chain = true,
            ["}", ..] => in_chain = false,
            // One tab: the table's own flags, not a set's.
            ["flags", flags] if line.starts_with("\tflags") => {
                let dormant = flags.split(',').any(|flag| flag == "dormant");
                listing.dormant.extend(dormant.then_some(table));
            }
            [.., "#", "handle", handle] if in_chain => {
                if let (Ok(handle), Some((text, _))) = (handle.parse(), line.rsplit_once('#')) {
                    let key = (table.0, table.1, handle);
                    listing.rules.insert(key, without_counters(text.trim()));
                }
            }
            _ => {}
        }
    }
    listing
}

fn without_counters(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "counter" && words.clone().next() == Some("packets") {
            words.nth(3);
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// Replaces each opaque match or target that the listing makes plain.
pub(super) fn translate(exprs: &mut Vec<Value>, listed: &str) {
    let words = unquoted_words(listed);
    *exprs = std::mem::take(exprs)
        .into_iter()
        .flat_map(|expr| {
            let module = &expr["xt"];
            let plain = match (module["type"].as_str(), module["name"].as_str()) {
                (Some("match"), Some(name)) => matches_of(name, &words),
                (Some("target"), Some("CT")) if words.iter().any(|word| word == "notrack") => {
                    Some(vec![json!("notrack")])
                }
                _ => None,
            };
            plain.unwrap_or_else(|| vec![expr])
        })
        .collect();
}

/// The words of a rule; a log prefix or comment must not pass for a match.
fn unquoted_words(listed: &str) -> Vec<String> {
    listed
        .split('"')
        .step_by(2)
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The matches that a module stands for, or `None` where the listing does not say it all.
fn matches_of(module: &str, words: &[String]) -> Option<Vec<Value>> {
    let ct = |key: &str| json!({"ct": {"key": key}});
    let payload = |protocol, field| json!({"payload": {"protocol": protocol, "field": field}});
    let fib = |side| json!({"fib": {"result": "type", "flags": [side]}});
    let known: Vec<(Vec<&str>, Value)> = match module {
        "conntrack" | "state" => {
            vec![
                (vec!["ct", "state"], ct("state")),
                (vec!["ct", "status"], ct("status")),
            ]
        }
        "addrtype" => ["saddr", "daddr"]
            .map(|side| (vec!["fib", side, "type"], fib(side)))
            .into(),
        "multiport" => ["sport", "dport"]
            .map(|side| (vec!["tcp", side], payload("tcp", side)))
            .into(),
        "iprange" => ["ip", "ip6"]
            .into_iter()
            .flat_map(|family| ["saddr", "daddr"].map(|side| (family, side)))
            .map(|(family, side)| (vec![family, side], payload(family, side)))
            .collect(),
        "comment" => return Some(Vec::new()),
        // ufw drops routing headers of type 0 in every direction.
        "rt" => {
            let left = json!({"exthdr": {"name": "rt", "field": "type"}});
            let plain = words.windows(2).any(|two| two == ["rt", "type"]);
            let is_negated = words.iter().any(|word| word.starts_with('!'));
            let found = json!({"match": {"op": "==", "left": left, "right": 0}});
            return (plain && !is_negated).then(|| vec![found]);
        }
        _ => return None,
    };
    let mut found = Vec::new();
    for (key, left) in known {
        for at in 0..words.len().saturating_sub(key.len()) {
            if words[at..]
                .iter()
                .zip(&key)
                .all(|(word, part)| word == part)
            {
                let (op, values) = operand(&words[at + key.len()..])?;
                // States are bits: any of them will do.
                let (op, right) = match (key[0], op) {
                    ("ct", "==") => ("in", Value::Array(values)),
                    ("ct", _) => ("!", Value::Array(values)),
                    (_, "==") => ("==", json!({"set": values})),
                    _ => ("!=", json!({"set": values})),
                };
                found.push(json!({"match": {"op": op, "left": left, "right": right}}));
            }
        }
    }
    // `conntrack` also knows addresses and directions, and its states are alternatives: what was
    // read must be all there is.
    let of_ct = matches!(module, "conntrack" | "state");
    let said = words.iter().filter(|word| *word == "ct").count();
    (!found.is_empty() && (!of_ct || said == 1)).then_some(found)
}

/// `22`, `!= { 22, 80-90 }`, `related,established`: the operator and the values.
fn operand(words: &[String]) -> Option<(&str, Vec<Value>)> {
    let (op, rest) = match words.first()?.as_str() {
        op @ ("!=" | "!" | "==") => (op, &words[1..]),
        _ => ("==", words),
    };
    let first = rest.first()?;
    let list = if first == "{" {
        let end = rest.iter().position(|word| word == "}")?;
        rest[1..end].concat()
    } else {
        first.clone()
    };
    Some((
        op,
        list.split(',')
            .filter(|one| !one.is_empty())
            .map(value)
            .collect(),
    ))
}

fn value(text: &str) -> Value {
    if let Some((address, length)) = text.split_once('/') {
        return json!({"prefix": {"addr": address, "len": length.parse::<u64>().ok()}});
    }
    match text.split_once('-') {
        Some((low, high)) if text.contains(|c: char| c.is_ascii_digit()) => {
            json!({"range": [low, high]})
        }
        _ => json!(text),
    }
}
