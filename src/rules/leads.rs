//! What leads packets to this host, `ip rule`s and a route for each family, and into the queue where
//! iptables has to do that: put in place, looked at, and taken away.

use std::fmt;

use super::own::OwnError;
use super::plan::Plan;
use super::queue_rule;
use super::routes::{self, FAMILIES, Family};
use super::tool::{self, ToolError};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// An `ip rule` of a family, by its number.
    Rule(Family, usize),
    /// The route of a family.
    Route(Family),
    /// The rule of iptables that holds opening packets of a family.
    Queue(Family),
}

/// All that the plan wants: rules, and where they lead.
pub(super) fn all(plan: &Plan) -> Vec<Lead> {
    let of = |family| {
        let rules = routes::rules(plan, family).len();
        let route = (rules > 0).then_some(Lead::Route(family));
        let queue = queue_rule::wanted(plan).map(|_| Lead::Queue(family));
        (0..rules)
            .map(move |nth| Lead::Rule(family, nth))
            .chain(route)
            .chain(queue)
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

/// Those that are not there.
pub(super) async fn missing(plan: &Plan) -> Result<Vec<Lead>, ToolError> {
    let mut missing = Vec::new();
    for family in FAMILIES {
        let wanted = routes::rules(plan, family).len();
        if wanted == 0 {
            continue;
        }
        let rules = shown(family, &["rule", "show"]).await?;
        for (nth, priority) in (plan.priority..).take(wanted).enumerate() {
            let priority = format!("{priority}:");
            let ours = |rule: &str| routes::is_ours(rule) && rule.starts_with(&priority);
            if !rules.lines().any(ours) {
                missing.push(Lead::Rule(family, nth));
            }
        }
        let table = plan.table.to_string();
        let routes = shown(family, &["route", "show", "table", &table]).await?;
        if !routes.lines().any(routes::is_ours) {
            missing.push(Lead::Route(family));
        }
        if queue_rule::wanted(plan).is_some() && !queue_rule::is_there(family).await? {
            missing.push(Lead::Queue(family));
        }
    }
    Ok(missing)
}

/// Puts these in place and sees that they are.
pub(super) async fn put(plan: &Plan, wanted: &[Lead]) -> Result<(), OwnError> {
    if wanted.is_empty() {
        return Ok(());
    }
    for lead in wanted {
        match lead {
            Lead::Rule(family, nth) => {
                let rule = &routes::rules(plan, *family)[*nth];
                ip(*family, &["rule", "add"], rule).await?;
            }
            Lead::Route(family) => {
                ip(*family, &["route", "replace"], &routes::route(plan)).await?;
            }
            Lead::Queue(family) => {
                if let Some(holding) = queue_rule::wanted(plan) {
                    queue_rule::put(holding, *family).await?;
                }
            }
        }
    }
    if let Some(missing) = missing(plan).await?.first() {
        return Err(OwnError::Unverified {
            what: missing.to_string(),
        });
    }
    for lead in wanted {
        tracing::info!(rule = text(plan, *lead), "rule verified");
    }
    Ok(())
}

/// One of them as somebody would write it.
pub(super) fn text(plan: &Plan, lead: Lead) -> String {
    let ip = |family: Family, kind: &str, words: &[String]| {
        format!("ip {} {kind} {}", family.flag(), words.join(" "))
    };
    match lead {
        Lead::Rule(family, nth) => ip(family, "rule", &routes::rules(plan, family)[nth]),
        Lead::Route(family) => ip(family, "route", &routes::route(plan)),
        Lead::Queue(_) => lead.to_string(),
    }
}

/// Removes what is ours, of this relay or of one that was killed; what is not there needs no removing.
/// Whether nothing is left; what is, is told.
pub(super) async fn remove(plan: &Plan) -> bool {
    let mut gone = true;
    for family in FAMILIES {
        if let Err(error) = remove_of(plan, family).await {
            gone = false;
            tracing::warn!(%error, "a rule or route stays: `unmangle rules --remove` removes it");
        }
    }
    gone
}

async fn remove_of(plan: &Plan, family: Family) -> Result<(), ToolError> {
    let rules = shown(family, &["rule", "show"]).await?;
    let ours = rules.lines().filter(|line| routes::is_ours(line));
    for (pref, _) in ours.filter_map(|line| line.split_once(':')) {
        let rule = ["pref", pref, "protocol", routes::PROTOCOL].map(str::to_owned);
        tool::if_there(ip(family, &["rule", "del"], &rule).await)?;
    }
    let route = routes::route(plan);
    tool::if_there(ip(family, &["route", "del"], &route).await)?;
    queue_rule::remove(family)?;
    Ok(())
}

/// What `ip` lists; nothing of a table that does not exist, and of IPv6 in a kernel without it.
async fn shown(family: Family, what: &[&str]) -> Result<String, ToolError> {
    let arguments = [&["-N", family.flag()], what].concat();
    Ok(tool::if_there(tool::ask("ip", &arguments).await)?.unwrap_or_default())
}

async fn ip(family: Family, verb: &[&str], object: &[String]) -> Result<String, ToolError> {
    let mut args = vec![family.flag()];
    args.extend(verb);
    args.extend(object.iter().map(String::as_str));
    tool::ask("ip", &args).await
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(family, _) => write!(f, "ip {} rule", family.flag()),
            Self::Route(family) => write!(f, "ip {} route", family.flag()),
            Self::Queue(family) => write!(f, "{} rule of the queue", queue_rule::program(*family)),
        }
    }
}
