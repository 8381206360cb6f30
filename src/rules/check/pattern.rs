//! The right side of a match: numbers, names, ranges, prefixes, sets, and how a fact meets them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::fact::Fact;
use super::probe::Mark;
use super::tri::Tri;

/// What a number stands for: which names it may have in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Address,
    Protocol,
    EtherType,
    NfProto,
    TcpFlags,
    CtState,
    CtStatus,
}

/// The named sets and maps of a table.
pub(super) type Sets = BTreeMap<String, Vec<Value>>;

const PROTOCOLS: &[(&str, u128)] = &[("tcp", 6)];
const ETHER_TYPES: &[(&str, u128)] = &[("ip", 0x0800), ("ip6", 0x86dd)];
const NF_PROTOS: &[(&str, u128)] = &[("ipv4", 2), ("ipv6", 10)];
const TCP_FLAGS: &[(&str, u128)] = &[
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ecn", 0x40),
    ("cwr", 0x80),
];
const CT_STATES: &[(&str, u128)] = &[
    ("invalid", 0x01),
    ("established", 0x02),
    ("related", 0x04),
    ("new", 0x08),
    ("untracked", 0x40),
];
const CT_STATUS: &[(&str, u128)] = &[
    ("expected", 0x01),
    ("seen-reply", 0x02),
    ("assured", 0x04),
    ("confirmed", 0x08),
    ("snat", 0x10),
    ("dnat", 0x20),
    ("dying", 0x200),
];

/// A value no packet of ours has: the number of a protocol that is not in the table is not TCP's.
const ANOTHER: u128 = u128::MAX - 1;

/// The number an expression stands for; a list or `|` of flags is their union.
pub(super) fn number(kind: Kind, value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::Bool(flag) => Some(u128::from(*flag)),
        Value::String(text) => named(kind, text),
        Value::Array(parts) => parts
            .iter()
            .try_fold(0, |sum, part| Some(sum | number(kind, part)?)),
        Value::Object(object) => number(kind, object.get("|")?),
        Value::Null => None,
    }
}

fn named(kind: Kind, text: &str) -> Option<u128> {
    let of = |names: &[(&str, u128)]| {
        names
            .iter()
            .find(|(name, _)| *name == text)
            .map(|pair| pair.1)
    };
    let digits = || match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    match kind {
        Kind::Plain => digits(),
        Kind::Address => match text.parse().ok()? {
            IpAddr::V4(address) => Some(address.to_bits().into()),
            IpAddr::V6(address) => Some(address.to_bits()),
        },
        Kind::Protocol => of(PROTOCOLS).or_else(digits).or(Some(ANOTHER)),
        Kind::EtherType => of(ETHER_TYPES).or_else(digits).or(Some(ANOTHER)),
        Kind::NfProto => of(NF_PROTOS).or_else(digits),
        Kind::TcpFlags => of(TCP_FLAGS).or_else(digits),
        Kind::CtState => of(CT_STATES).or_else(digits),
        Kind::CtStatus => of(CT_STATUS).or_else(digits),
    }
}

/// Whether `fact op right` holds.
pub(super) fn compare(fact: &Fact, op: &str, right: &Value, sets: &Sets) -> Tri {
    if *fact == Fact::Absent || has_absent(fact) {
        return Tri::No;
    }
    match op {
        "==" => equals(fact, right, sets),
        "!=" => !equals(fact, right, sets),
        "in" => any_bit(fact, right).unwrap_or_else(|| equals(fact, right, sets)),
        "!" => any_bit(fact, right).map_or(Tri::Maybe, |any| !any),
        "<" | ">" | "<=" | ">=" => ordered(fact, op, right),
        _ => Tri::Maybe,
    }
}

fn has_absent(fact: &Fact) -> bool {
    matches!(fact, Fact::Concat(parts) if parts.contains(&Fact::Absent))
}

/// Whether a fact meets a literal, a range, a prefix or a member of a set.
pub(super) fn equals(fact: &Fact, right: &Value, sets: &Sets) -> Tri {
    let Some(members) = members(right, sets) else {
        return Tri::Maybe;
    };
    match fact {
        Fact::Span(kind, low, high) => covered(
            *low,
            *high,
            members.iter().map(|member| span(*kind, member)),
        ),
        _ => members
            .iter()
            .fold(Tri::No, |sum, member| sum.or(equals_one(fact, member))),
    }
}

/// The members of a set, or the one value itself; `None` for a set that was not listed.
fn members<'v>(right: &'v Value, sets: &'v Sets) -> Option<Vec<&'v Value>> {
    let inner = match right {
        Value::String(text) => match text.strip_prefix('@') {
            Some(name) => return Some(sets.get(name)?.iter().map(key_of).collect()),
            None => return Some(vec![right]),
        },
        Value::Object(object) => object.get("set"),
        _ => None,
    };
    Some(match inner {
        Some(Value::Array(all)) => all.iter().map(key_of).collect(),
        Some(one) => vec![key_of(one)],
        None => vec![right],
    })
}

/// An element without its timeout, comment or counter; of a map, its key.
pub(super) fn key_of(element: &Value) -> &Value {
    match element {
        Value::Array(pair) if pair.len() == 2 => key_of(&pair[0]),
        Value::Object(object) => object.get("elem").map_or(element, |inner| &inner["val"]),
        _ => element,
    }
}

fn equals_one(fact: &Fact, member: &Value) -> Tri {
    if member == "*" {
        return Tri::Yes;
    }
    match fact {
        Fact::Span(kind, low, high) => covered(*low, *high, std::iter::once(span(*kind, member))),
        Fact::Bits(kind, mark) if mark.known == u32::MAX => {
            let value = mark.value.into();
            covered(value, value, std::iter::once(span(*kind, member)))
        }
        Fact::Bits(kind, mark) => match number(*kind, member) {
            Some(wanted) if (mark.value ^ wanted as u32) & mark.known != 0 => Tri::No,
            _ => Tri::Maybe,
        },
        Fact::Name(name) => match member.as_str() {
            Some(pattern) => name_matches(name, pattern).into(),
            // An interface by its index.
            None => Tri::Maybe,
        },
        Fact::Concat(parts) => match member["concat"].as_array() {
            Some(values) if values.len() == parts.len() => parts
                .iter()
                .zip(values)
                .fold(Tri::Yes, |all, (part, value)| {
                    all.and(equals_one(part, value))
                }),
            _ => Tri::Maybe,
        },
        Fact::Absent => Tri::No,
        Fact::Unknown => Tri::Maybe,
    }
}

fn name_matches(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) if !start.ends_with('\\') => name.starts_with(start),
        _ => name == pattern || (name == "host" && pattern == "unicast"),
    }
}

/// A literal, range or prefix as a span; `None` for what is not understood.
fn span(kind: Kind, member: &Value) -> Option<(u128, u128)> {
    if member == "*" {
        return Some((0, u128::MAX));
    }
    if let Some(ends) = member.get("range") {
        return Some((number(kind, &ends[0])?, number(kind, &ends[1])?));
    }
    if let Some(prefix) = member.get("prefix") {
        let address = prefix["addr"].as_str()?;
        let length = u32::try_from(prefix["len"].as_u64()?).ok()?;
        let bits = if address.contains(':') { 128 } else { 32 };
        let host = match bits - length.min(bits) {
            128 => u128::MAX,
            count => (1 << count) - 1,
        };
        let low = number(kind, &prefix["addr"])? & !host;
        return Some((low, low | host));
    }
    number(kind, member).map(|value| (value, value))
}

/// Whether `low..=high` lies within the union of the spans, outside of it, or across its edge.
fn covered(low: u128, high: u128, spans: impl Iterator<Item = Option<(u128, u128)>>) -> Tri {
    let mut opaque = false;
    let mut known: Vec<(u128, u128)> = spans
        .filter_map(|span| {
            opaque |= span.is_none();
            span
        })
        .collect();
    known.sort_unstable();
    let mut from = low;
    let mut touched = false;
    for (start, end) in known {
        touched |= start <= high && end >= low;
        if start <= from && end >= from {
            if end >= high {
                return Tri::Yes;
            }
            from = end + 1;
        }
    }
    if touched || opaque {
        Tri::Maybe
    } else {
        Tri::No
    }
}

/// `tcp flags syn,ack`, `ct state new,related`: at least one of the bits; `None` where the fact is
/// not made of bits.
fn any_bit(fact: &Fact, right: &Value) -> Option<Tri> {
    let Fact::Bits(kind, Mark { value, known }) = fact else {
        return None;
    };
    let Some(wanted) = number(*kind, right).map(|wanted| wanted as u32) else {
        return Some(Tri::Maybe);
    };
    Some(match (value & known & wanted, wanted & !known) {
        (0, 0) => Tri::No,
        (0, _) => Tri::Maybe,
        _ => Tri::Yes,
    })
}

fn ordered(fact: &Fact, op: &str, right: &Value) -> Tri {
    let (kind, low, high) = match fact {
        Fact::Span(kind, low, high) => (*kind, *low, *high),
        Fact::Bits(kind, mark) if mark.known == u32::MAX => {
            (*kind, mark.value.into(), mark.value.into())
        }
        _ => return Tri::Maybe,
    };
    let Some(bound) = number(kind, right) else {
        return Tri::Maybe;
    };
    let (all, some) = match op {
        "<" => (high < bound, low < bound),
        "<=" => (high <= bound, low <= bound),
        ">" => (low > bound, high > bound),
        _ => (low >= bound, high >= bound),
    };
    match (all, some) {
        (true, _) => Tri::Yes,
        (false, true) => Tri::Maybe,
        (false, false) => Tri::No,
    }
}
