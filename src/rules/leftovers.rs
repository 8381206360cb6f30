//! What a killed relay leaves behind, and how it is taken away.

use super::fail_closed;
use super::lock::Lock;
use super::nft;
use super::own::OwnError;
use super::owner;
use super::preflight::{self, PreflightError};
use super::queue_rule;
use super::routes::{self, FAMILIES};
use super::tool::{self, ToolError};
use super::tuning;

/// Removes everything that is ours and has outlived its relay; returns what that was, one thing a line.
///
/// # Errors
/// If a relay lives, or something of it stays.
pub fn remove() -> Result<Vec<String>, PreflightError> {
    preflight::privilege()?;
    let _lock = Lock::relay()?;
    if owner::listed(nft::TABLE)?.is_some() {
        return Err(OwnError::Taken {
            table: nft::TABLE,
            by: "relay",
        }
        .into());
    }
    let mut removed = Vec::new();
    if fail_closed::remove()? {
        removed.push(format!("table inet {}", fail_closed::TABLE));
    }
    for family in FAMILIES {
        let flag = family.flag();
        for rule in own_rules(flag)? {
            tool::run(
                "ip",
                &[&[flag, "rule", "del"], &*words(&rule.delete)].concat(),
            )?;
            removed.push(format!("ip {flag} rule {}", rule.shown));
        }
        for route in own_routes(flag)? {
            tool::run("ip", &[&[flag, "route", "del"], &*words(&route)].concat())?;
            removed.push(format!("ip {flag} route {route}"));
        }
        removed.extend(queue_rule::remove(family)?);
    }
    removed.extend(tuning::restore_left_over());
    Ok(removed)
}

/// What is ours and in place, in the words of [`remove`]; of a relay that lives, or left by one that was killed.
/// Nothing is changed. What only `nft` tells is left out.
///
/// # Errors
/// If `ip` cannot tell.
pub fn in_place() -> Result<Vec<String>, ToolError> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let flag = family.flag();
        let rules = own_rules(flag)?.into_iter();
        found.extend(rules.map(|rule| format!("ip {flag} rule {}", rule.shown)));
        let routes = own_routes(flag)?.into_iter();
        found.extend(routes.map(|route| format!("ip {flag} route {route}")));
    }
    found.extend(tuning::kept());
    Ok(found)
}

/// One of our `ip rule`s.
struct Rule {
    shown: String,
    /// The words after `ip rule del`.
    delete: String,
}

fn own_rules(flag: &str) -> Result<Vec<Rule>, ToolError> {
    // A kernel without IPv6 has none of its rules and routes.
    let shown = tool::run("ip", &["-N", flag, "rule", "show"]);
    let shown = tool::if_there(shown)?.unwrap_or_default();
    let ours = shown.lines().filter(|line| routes::is_ours(line));
    Ok(ours
        .filter_map(|line| {
            let (pref, shown) = line.split_once(':')?;
            Some(Rule {
                shown: format!("pref {pref} {}", shown.trim()),
                delete: format!("pref {pref} protocol {}", routes::PROTOCOL),
            })
        })
        .collect())
}

/// Our routes, in whichever table they are, as the words after `ip route del`.
fn own_routes(flag: &str) -> Result<Vec<String>, ToolError> {
    let arguments = [
        "-N",
        flag,
        "route",
        "show",
        "table",
        "all",
        "proto",
        routes::PROTOCOL,
    ];
    let shown = tool::if_there(tool::run("ip", &arguments))?.unwrap_or_default();
    Ok(shown
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let table = words.windows(2).find(|pair| pair[0] == "table")?[1];
            Some(format!(
                "local default dev lo table {table} proto {}",
                routes::PROTOCOL
            ))
        })
        .collect())
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}
