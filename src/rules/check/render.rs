//! Rules in nft's own words, near enough to be recognised: counters are left out.

use serde_json::Value;

/// One rule.
pub(super) fn rule(exprs: &[Value]) -> String {
    let parts: Vec<String> = exprs
        .iter()
        .map(statement)
        .filter(|part| !part.is_empty())
        .collect();
    match parts.is_empty() {
        true => "counter".to_owned(),
        false => parts.join(" "),
    }
}

fn statement(expr: &Value) -> String {
    let Some((what, body)) = only_entry(expr) else {
        return scalar(expr);
    };
    match what {
        "match" => comparison(body),
        "counter" => String::new(),
        "jump" | "goto" => format!("{what} {}", scalar(&body["target"])),
        "vmap" => format!("{} vmap {}", value(&body["key"]), value(&body["data"])),
        "mangle" => {
            let (key, new) = (&body["key"], &body["value"]);
            format!("{} set {}", value(key), operand(key, new))
        }
        "reject" => reject(body),
        "log" => match body["prefix"].as_str() {
            Some(prefix) => format!("log prefix \"{prefix}\""),
            None => "log".to_owned(),
        },
        "limit" => {
            let over = if body["inv"] == true { "over " } else { "" };
            let unit = body["rate_unit"].as_str().map(|unit| format!(" {unit}"));
            let (rate, per) = (scalar(&body["rate"]), scalar(&body["per"]));
            format!("limit rate {over}{rate}{}/{per}", unit.unwrap_or_default())
        }
        "ct count" | "quota" => {
            let over = if body["inv"] == true { "over " } else { "" };
            let unit = body["val_unit"].as_str().map(|unit| format!(" {unit}"));
            format!(
                "{what} {over}{}{}",
                scalar(&body["val"]),
                unit.unwrap_or_default()
            )
        }
        "dnat" | "snat" | "redirect" | "masquerade" => translation(what, body),
        "set" | "map" if body.get("elem").is_some() => {
            let held = body["stmt"]
                .as_array()
                .map(|all| rule(all))
                .unwrap_or_default();
            let held = if held.is_empty() {
                held
            } else {
                format!(" {held}")
            };
            let (op, set) = (scalar(&body["op"]), scalar(&body["set"]));
            format!("{op} {set} {{ {}{held} }}", value(&body["elem"]))
        }
        "xt" => format!("xt {} \"{}\"", scalar(&body["type"]), scalar(&body["name"])),
        _ if body.is_null() => what.to_owned(),
        _ => format!("{what} {}", value(body)),
    }
}

fn comparison(body: &Value) -> String {
    let (left, right) = (&body["left"], &body["right"]);
    let op = match body["op"].as_str().unwrap_or("==") {
        // Of a masked value, nft spells the equality out.
        "==" if left.get("&").is_some() => "== ",
        "==" | "in" => "",
        op => &format!("{op} "),
    };
    format!("{} {op}{}", value(left), operand(left, right))
}

/// The right side, as its left side has it written: names of interfaces in quotes, marks in hex.
fn operand(left: &Value, right: &Value) -> String {
    let left = left.get("&").map_or(left, |both| &both[0]);
    let key = left["meta"]["key"].as_str().unwrap_or_default();
    match right {
        Value::String(name) if is_interface(key) && !name.starts_with('@') => {
            format!("\"{name}\"")
        }
        Value::Number(_) if key == "mark" => hex(right),
        Value::Object(object) => match object.get("set").and_then(Value::as_array) {
            Some(all) => {
                let all: Vec<String> = all.iter().map(|one| operand(left, one)).collect();
                format!("{{ {} }}", all.join(", "))
            }
            None => value(right),
        },
        _ => value(right),
    }
}

fn is_interface(key: &str) -> bool {
    matches!(key, "iifname" | "oifname" | "iif" | "oif")
}

fn value(expr: &Value) -> String {
    if let Value::Array(all) = expr {
        return all.iter().map(value).collect::<Vec<_>>().join(",");
    }
    let Some((what, body)) = only_entry(expr) else {
        return match expr.as_object() {
            Some(many) => many
                .iter()
                .map(|(k, v)| format!("{k} {}", value(v)))
                .collect::<Vec<_>>()
                .join(" "),
            None => scalar(expr),
        };
    };
    match what {
        "meta" => {
            let key = scalar(&body["key"]);
            let bare = is_interface(&key) || matches!(key.as_str(), "skuid" | "skgid");
            if bare { key } else { format!("meta {key}") }
        }
        "payload" => match body["protocol"].as_str() {
            Some(protocol) => format!("{protocol} {}", scalar(&body["field"])),
            None => {
                let (base, offset) = (scalar(&body["base"]), scalar(&body["offset"]));
                format!("@{base},{offset},{}", scalar(&body["len"]))
            }
        },
        "ct" => match body["dir"].as_str() {
            Some(direction) => format!("ct {direction} {}", scalar(&body["key"])),
            None => format!("ct {}", scalar(&body["key"])),
        },
        "fib" => {
            let flags = match &body["flags"] {
                Value::Array(flags) => flags.iter().map(scalar).collect::<Vec<_>>().join(" . "),
                flag => scalar(flag),
            };
            format!("fib {flags} {}", scalar(&body["result"]))
        }
        "socket" | "rt" => format!("{what} {}", scalar(&body["key"])),
        "tcp option" | "exthdr" | "ip option" => {
            let name = scalar(&body["name"]);
            match body["field"].as_str() {
                Some(field) => format!("{what} {name} {field}"),
                None => format!("{what} {name}"),
            }
        }
        "prefix" => format!("{}/{}", scalar(&body["addr"]), scalar(&body["len"])),
        "range" => format!("{}-{}", value(&body[0]), value(&body[1])),
        "concat" => joined(body, " . "),
        "elem" => value(&body["val"]),
        "set" => format!("{{ {} }}", elements(body)),
        "map" => format!("{} map {}", value(&body["key"]), value(&body["data"])),
        "&" => format!("{} & {}", value(&body[0]), masked(&body[1])),
        "|" if body[1].is_number() => format!("{} | {}", value(&body[0]), masked(&body[1])),
        "|" => joined(body, " | "),
        "^" => format!("{} ^ {}", value(&body[0]), masked(&body[1])),
        "jump" | "goto" | "accept" | "drop" | "return" | "continue" => statement(expr),
        _ => format!("{what} {}", value(body)),
    }
}

fn elements(set: &Value) -> String {
    let Some(all) = set.as_array() else {
        return value(set);
    };
    let shown = all.iter().map(|element| match element {
        Value::Array(pair) if pair.len() == 2 => {
            format!("{} : {}", value(&pair[0]), value(&pair[1]))
        }
        one => value(one),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn reject(body: &Value) -> String {
    match (body["type"].as_str(), body["expr"].as_str()) {
        (Some(kind), Some(expr)) => format!("reject with {kind} {expr}"),
        (Some(kind), None) => format!("reject with {kind}"),
        _ => "reject".to_owned(),
    }
}

fn translation(what: &str, body: &Value) -> String {
    let family = body["family"]
        .as_str()
        .map(|family| format!(" {family}"))
        .unwrap_or_default();
    let address = body.get("addr").map(value).unwrap_or_default();
    let port = body
        .get("port")
        .map(|port| format!(":{}", value(port)))
        .unwrap_or_default();
    let address = match address.contains(':') && !port.is_empty() && body["addr"].is_string() {
        true => format!("[{address}]"),
        false => address,
    };
    match address.is_empty() && port.is_empty() {
        true => what.to_owned(),
        false => format!("{what}{family} to {address}{port}"),
    }
}

fn joined(list: &Value, with: &str) -> String {
    let parts = list.as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().map(value).collect::<Vec<_>>().join(with)
}

fn masked(mask: &Value) -> String {
    match mask {
        Value::Number(_) => hex(mask),
        Value::Array(_) => format!("({})", joined(mask, "|")),
        other => value(other),
    }
}

fn hex(number: &Value) -> String {
    number
        .as_u64()
        .map_or_else(|| scalar(number), |number| format!("{number:#x}"))
}

fn only_entry(expr: &Value) -> Option<(&str, &Value)> {
    let object = expr.as_object().filter(|object| object.len() == 1)?;
    object
        .iter()
        .next()
        .map(|(name, body)| (name.as_str(), body))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
