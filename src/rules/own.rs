//! Applies a plan for as long as the relay lives.
//!
//! The table has `flags owner`: it belongs to a supervised `nft -i`, whose stdin the relay holds open.
//! When the relay ends, however it ends, that stdin closes, `nft` ends, and the kernel removes the
//! table. The `ip rule` and its route have no owner: without the table no packet carries their mark, so
//! they do nothing, and the next start finds them by their protocol number and replaces them.

use crate::config::Mark;

use super::nft::{self, Ownership};
use super::owner::{self, Owner};
use super::plan::Plan;
use super::routes::{self, FAMILIES, Family};
use super::tool::{self, ToolError};

/// Why the rules are not in place.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// `nft` or `ip` is missing or refused.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Somebody has the table already.
    #[error("table inet {table} is there already: another {by} runs in this network namespace")]
    Taken {
        /// The table.
        table: &'static str,
        /// Who else makes it.
        by: &'static str,
    },
    /// A rule of another program uses the same mark bits.
    #[error("an ip rule of another program uses the mark bits {mark}: {rule}")]
    MarkTaken {
        /// Our bits.
        mark: Mark,
        /// The rule in its way, as `ip` shows it.
        rule: String,
    },
    /// Another program has routes in the table.
    #[error("routing table {table} holds routes of another program: {route}")]
    TableTaken {
        /// The number of the table.
        table: u32,
        /// The first such route, as `ip` shows it.
        route: String,
    },
    /// The kernel or `nft` did not take the table.
    #[error("nft refused the rules: {0}")]
    Refused(String),
    /// It was applied, and what is there afterwards is not what was asked for.
    #[error("{what} is not in place after it was applied")]
    Unverified {
        /// What is missing.
        what: String,
    },
}

/// Rules and routes that are in place, and go when this value goes.
#[derive(Debug)]
pub struct Owned {
    plan: Plan,
    owner: Owner,
}

/// Looks for what would stand in the plan's way and asks the kernel whether it can do it; changes nothing.
///
/// # Errors
/// Whatever [`Owned::apply`] would fail with, as far as it can be known before.
pub fn check(plan: &Plan) -> Result<(), OwnError> {
    if owner::listed(nft::TABLE).is_ok() {
        return Err(OwnError::Taken {
            table: nft::TABLE,
            by: "relay",
        });
    }
    for family in FAMILIES {
        let rules = tool::run("ip", &["-N", family.flag(), "rule", "show"])?;
        if let Some(rule) = rules.lines().find(|rule| conflicts(rule, plan.mark.0)) {
            return Err(OwnError::MarkTaken {
                mark: plan.mark,
                rule: rule.trim().to_owned(),
            });
        }
        // A table without routes may not exist, which `ip` calls an error.
        let table = plan.table.to_string();
        let routes = tool::run(
            "ip",
            &["-N", family.flag(), "route", "show", "table", &table],
        )
        .unwrap_or_default();
        if let Some(route) = routes.lines().find(|route| !is_ours(route, "proto")) {
            return Err(OwnError::TableTaken {
                table: plan.table,
                route: route.trim().to_owned(),
            });
        }
    }
    tool::feed(
        "nft",
        &["--check", "-f", "-"],
        &nft::table(plan, Ownership::Nobody),
    )
    .map_err(|error| OwnError::Refused(error.to_string()))
}

impl Owned {
    /// Puts rules and routes in place and verifies each.
    ///
    /// # Errors
    /// Nothing is left behind when this fails.
    pub async fn apply(plan: Plan) -> Result<Self, OwnError> {
        check(&plan)?;
        let mut owner = Owner::start(nft::TABLE)?;
        let applied = async {
            add_routes(&plan)?;
            owner.load(&nft::table(&plan, Ownership::Process)).await
        };
        match applied.await {
            Ok(()) => Ok(Self { plan, owner }),
            Err(error) => {
                remove_routes(&plan);
                Err(error)
            }
        }
    }

    /// Takes no new connection from now on; the packets of running sessions keep their rules.
    ///
    /// # Errors
    /// If `nft` is gone or did not do it.
    pub async fn drain(&mut self) -> Result<(), OwnError> {
        self.owner.send(&nft::drain()).await?;
        self.owner
            .await_listing(|table| !table.contains("tproxy"))
            .await?;
        tracing::info!("new connections are no longer taken");
        Ok(())
    }

    /// Waits until the table has lost its owner, which nobody should have made happen.
    pub async fn lost(&mut self) {
        self.owner.ended().await;
    }

    /// Puts the table in place again after [`Owned::lost`].
    ///
    /// # Errors
    /// As for [`Owned::apply`]; the owner is then lost again, so that this can be tried again.
    pub async fn restore(&mut self) -> Result<(), OwnError> {
        self.owner = Owner::start(nft::TABLE)?;
        let restored = async {
            add_routes(&self.plan)?;
            let text = nft::table(&self.plan, Ownership::Process);
            self.owner.load(&text).await
        };
        let restored = restored.await;
        if restored.is_err() {
            self.owner.kill().await;
        }
        restored
    }

    /// Takes everything away and waits until it is gone.
    pub async fn remove(self) {
        self.owner.release().await;
        remove_routes(&self.plan);
        tracing::info!("rules and routes removed");
    }
}

fn add_routes(plan: &Plan) -> Result<(), OwnError> {
    remove_routes(plan);
    for family in FAMILIES {
        let rule = routes::rule(plan);
        ip(family, &["rule", "add"], &rule)?;
        ip(family, &["route", "replace"], &routes::route(plan))?;
        let shown = tool::run("ip", &["-N", family.flag(), "rule", "show"])?;
        if !shown.lines().any(|line| is_ours(line, "proto")) {
            return Err(OwnError::Unverified {
                what: format!("ip {} rule", family.flag()),
            });
        }
        tracing::info!(
            rule = format!("ip {} rule {}", family.flag(), rule.join(" ")),
            "rule verified"
        );
    }
    Ok(())
}

/// Removes what is ours, of this relay or of one that was killed; what is not there needs no removing.
fn remove_routes(plan: &Plan) {
    for family in FAMILIES {
        let shown = tool::run("ip", &["-N", family.flag(), "rule", "show"]).unwrap_or_default();
        for line in shown.lines().filter(|line| is_ours(line, "proto")) {
            if let Some((pref, _)) = line.split_once(':') {
                let _ = tool::run(
                    "ip",
                    &[
                        family.flag(),
                        "rule",
                        "del",
                        "pref",
                        pref,
                        "protocol",
                        routes::PROTOCOL,
                    ],
                );
            }
        }
        let _ = ip(family, &["route", "del"], &routes::route(plan));
    }
}

fn ip(family: Family, verb: &[&str], object: &[String]) -> Result<String, ToolError> {
    let mut args = vec![family.flag()];
    args.extend(verb);
    args.extend(object.iter().map(String::as_str));
    tool::run("ip", &args)
}

/// Whether a line of `ip -N rule show` or `ip -N route show` bears our protocol number.
fn is_ours(line: &str, word: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|w| w == word) && words.next() == Some(routes::PROTOCOL)
}

/// Whether a line of `ip rule show` matches on bits of `mark` and is not ours.
fn conflicts(line: &str, mark: u32) -> bool {
    let mut words = line.split_whitespace();
    if is_ours(line, "proto") || !words.any(|word| word == "fwmark") {
        return false;
    }
    let Some(value) = words.next() else {
        return false;
    };
    let mask = value.split_once('/').map_or(value, |(_, mask)| mask);
    let mask = u32::from_str_radix(mask.trim_start_matches("0x"), 16).unwrap_or(u32::MAX);
    // A rule without a mask compares the whole mark, and ours would make it fail.
    let mask = if value.contains('/') { mask } else { u32::MAX };
    mask & mark != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_left_over_rule_is_no_conflict() {
        let line = "21069:\tfrom all fwmark 0x2000000/0x2000000 lookup 21837 proto 85";
        assert!(is_ours(line, "proto"));
        assert!(!conflicts(line, 0x0200_0000));
    }

    #[test]
    fn a_rule_on_the_same_bits_is_a_conflict_and_one_beside_them_is_not() {
        assert!(conflicts(
            "100:\tfrom all fwmark 0xff000000/0xff000000 lookup 7",
            0x0200_0000
        ));
        assert!(conflicts("100:\tfrom all fwmark 0x1 lookup 7", 0x0200_0000));
        assert!(!conflicts(
            "5210:\tfrom all fwmark 0x80000/0xff0000 lookup main",
            0x0200_0000
        ));
        assert!(!conflicts("32766:\tfrom all lookup main", 0x0200_0000));
    }
}
