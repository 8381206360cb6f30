//! The ruleset as read: tables, chains, rules and sets of `nft -j list ruleset`.
//!
//! Expressions stay JSON: nft adds kinds with every release, and one that is not known here must
//! cost an answer its certainty, not the whole ruleset.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Error, render, xt};

/// One table, of a family that IPv4 or IPv6 packets pass.
#[derive(Debug)]
pub(super) struct Table {
    pub family: String,
    pub name: String,
    pub chains: BTreeMap<String, Chain>,
    /// Sets and maps, in one name space as in the kernel: elements as nft prints them.
    pub sets: BTreeMap<String, Vec<Value>>,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub name: String,
    /// Where the chain is hooked in; `None` for one that is only jumped to.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

#[derive(Debug)]
pub(super) struct Base {
    pub kind: String,
    pub hook: String,
    pub priority: i64,
    pub drops: bool,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub handle: u64,
    pub exprs: Vec<Value>,
    /// The rule in nft's own words, where a listing told more than the JSON.
    pub listed: Option<String>,
}

impl Table {
    pub(super) fn applies_to(&self, v4: bool) -> bool {
        match self.family.as_str() {
            "inet" => true,
            "ip" => v4,
            "ip6" => !v4,
            _ => false,
        }
    }
}

impl Rule {
    pub(super) fn text(&self) -> String {
        self.listed
            .clone()
            .unwrap_or_else(|| render::rule(&self.exprs))
    }
}

/// Whether TCP may pass a table, and it is not our own.
pub(in crate::rules) fn is_relevant(family: &str, name: &str) -> bool {
    matches!(family, "ip" | "ip6" | "inet") && !name.starts_with("unmangle")
}

/// Reads every table that can matter: not dormant, not of our own, of an IP family.
pub(super) fn parse(json: &str) -> Result<Vec<Table>, Error> {
    let root: Value = serde_json::from_str(json).map_err(Error::NotJson)?;
    let objects = root["nftables"].as_array().ok_or(Error::NotARuleset)?;
    let mut tables: Vec<Table> = Vec::new();
    // nft's order of objects has changed between releases: containers first, then contents.
    for table in objects.iter().filter_map(|object| object.get("table")) {
        let (family, name) = (text(table, "family")?, text(table, "name")?);
        if is_relevant(&family, &name) && !flagged(table, "dormant") {
            tables.push(Table {
                family,
                name,
                chains: BTreeMap::new(),
                sets: BTreeMap::new(),
            });
        }
    }
    for object in objects {
        if let Some(chain) = object.get("chain") {
            let Some(table) = table_of(&mut tables, chain)? else {
                continue;
            };
            let name = text(chain, "name")?;
            table.chains.insert(
                name.clone(),
                Chain {
                    name,
                    base: base(chain),
                    rules: Vec::new(),
                },
            );
        } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            let Some(table) = table_of(&mut tables, set)? else {
                continue;
            };
            let elements = set["elem"].as_array().cloned().unwrap_or_default();
            table.sets.insert(text(set, "name")?, elements);
        }
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let Some(table) = table_of(&mut tables, rule)? else {
            continue;
        };
        let Some(chain) = table.chains.get_mut(&text(rule, "chain")?) else {
            continue;
        };
        chain.rules.push(Rule {
            handle: rule["handle"].as_u64().unwrap_or_default(),
            exprs: rule["expr"].as_array().cloned().unwrap_or_default(),
            listed: None,
        });
    }
    Ok(tables)
}

/// Puts what `nft -a list ruleset` knows into the rules that JSON left opaque.
pub(super) fn add_listing(tables: &mut Vec<Table>, text: &str) {
    let listing = xt::read(text);
    tables.retain(|table| {
        !listing
            .dormant
            .contains(&(table.family.as_str(), &table.name))
    });
    for table in tables {
        for rule in table.chains.values_mut().flat_map(|chain| &mut chain.rules) {
            let opaque = rule.exprs.iter().any(|expr| expr.get("xt").is_some());
            let key = (table.family.as_str(), table.name.as_str(), rule.handle);
            if let Some(line) = listing.rules.get(&key).filter(|_| opaque) {
                xt::translate(&mut rule.exprs, line);
                rule.listed = Some(line.clone());
            }
        }
    }
}

fn table_of<'t>(tables: &'t mut [Table], object: &Value) -> Result<Option<&'t mut Table>, Error> {
    let (family, name) = (text(object, "family")?, text(object, "table")?);
    Ok(tables
        .iter_mut()
        .find(|table| table.family == family && table.name == name))
}

fn base(chain: &Value) -> Option<Base> {
    Some(Base {
        kind: chain["type"].as_str()?.to_owned(),
        hook: chain["hook"].as_str()?.to_owned(),
        priority: chain["prio"].as_i64().unwrap_or_default(),
        drops: chain["policy"].as_str() == Some("drop"),
    })
}

/// `"flags": "dormant"` and `"flags": ["dormant"]` both occur.
fn flagged(object: &Value, flag: &str) -> bool {
    let flags = &object["flags"];
    flags.as_str() == Some(flag)
        || flags
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one.as_str() == Some(flag)))
}

fn text(object: &Value, key: &'static str) -> Result<String, Error> {
    object[key]
        .as_str()
        .map(str::to_owned)
        .ok_or(Error::Missing(key))
}
