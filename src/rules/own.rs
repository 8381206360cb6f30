//! Applies a plan for as long as the relay lives.
//!
//! The table has `flags owner`: it belongs to a supervised `nft -i`, whose stdin the relay holds open.
//! When the relay ends, however it ends, that stdin closes, `nft` ends, and the kernel removes the
//! table. The `ip rule` and its route have no owner: without the table no packet carries their mark, so
//! they do nothing, and the next start finds them by their protocol number and replaces them. Others can
//! remove them, so they are looked at again and again.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::Mark;

use super::hand::{Handed, HandedNote, Lasting, Misfit, silences};
use super::leads::{self, Lead};
use super::lock::Lock;
use super::nft::{self, Ownership};
use super::owner::{self, Owner};
use super::plan::Plan;
use super::replace;
use super::routes::{self, FAMILIES};
use super::stand_in;
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
    /// The lock that keeps two relays apart cannot be had.
    #[error("the lock of this network namespace cannot be had: {0}")]
    Lock(std::io::Error),
    /// A rule of another program uses the same mark bits.
    #[error("an ip rule of another program uses the mark bits {mark}: {rule}")]
    MarkTaken {
        /// Our bits.
        mark: Mark,
        /// The rule in its way, as `ip` shows it.
        rule: String,
    },
    /// A rule of another program has our priority.
    #[error("an ip rule of another program has the priority {priority}: {rule}")]
    PriorityTaken {
        /// Our priority.
        priority: u32,
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
    /// Opening packets cannot be held.
    #[error(
        "--answer after-connect: nft of this kernel has no `queue`, and iptables is not there to do it: {0}"
    )]
    NoQueue(String),
    /// The kernel or `nft` did not take the table.
    #[error("nft refused the rules: {0}")]
    Refused(String),
    /// They cannot go over to another process.
    #[error(transparent)]
    Misfit(#[from] Misfit),
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
    /// When to look at the routes again.
    look: Interval,
    /// Whether they could be looked at the last time.
    seen: bool,
    draining: bool,
    /// How often the table was changed.
    changes: u64,
    /// Let go last, when nothing is left.
    lock: Lock,
}

/// What is no longer in place.
#[derive(Debug)]
pub enum Lost {
    /// The table, with its owner.
    Table,
    /// Rules of `ip rule`, or routes.
    Routes(Vec<Lead>),
}

/// How often the routes are looked at: nobody owns them, and without them what is taken goes nowhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for what would stand in the plan's way and asks the kernel whether it can do it; changes nothing.
///
/// # Errors
/// Whatever [`Owned::apply`] would fail with, as far as it can be known before.
pub fn check(plan: &Plan) -> Result<(), OwnError> {
    if owner::listed(nft::TABLE)?.is_some() {
        return Err(OwnError::Taken {
            table: nft::TABLE,
            by: "relay",
        });
    }
    if let Some(first) = collisions(plan)?.into_iter().next() {
        return Err(first);
    }
    try_out(plan)
}

/// Asks the kernel whether it takes the plan's table, be there one of a relay already or not; changes nothing, but the
/// kernel loads the modules that it needs.
///
/// # Errors
/// If it does not.
pub fn try_out(plan: &Plan) -> Result<(), OwnError> {
    let apart = replace::under_another_name(&nft::table(plan, Ownership::Nobody));
    tool::feed("nft", &["--check", "-f", "-"], &apart)
        .map_err(|error| OwnError::Refused(error.to_string()))
}

/// Marks, priorities and tables of the plan that other programs use; changes nothing.
///
/// # Errors
/// If `ip` cannot tell.
pub fn collisions(plan: &Plan) -> Result<Vec<OwnError>, ToolError> {
    let mut found = Vec::new();
    let dials = if plan.has_sidecars() {
        plan.dial_mark.0
    } else {
        0
    };
    let answers = plan.hold.map_or(0, |holding| holding.mark.all());
    let bits = Mark(plan.mark.0 | dials | answers);
    for family in FAMILIES {
        // A kernel without IPv6 has none of its rules.
        let rules = tool::run("ip", &["-N", family.flag(), "rule", "show"]);
        let rules = tool::if_there(rules)?.unwrap_or_default();
        if let Some(rule) = rules.lines().find(|rule| conflicts(rule, bits.0)) {
            found.push(OwnError::MarkTaken {
                mark: bits,
                rule: rule.trim().to_owned(),
            });
        }
        let wanted = routes::rules(plan, family).len();
        for priority in (plan.priority..).take(wanted) {
            let prefix = format!("{priority}:");
            let foreign = |rule: &&str| rule.starts_with(&prefix) && !routes::is_ours(rule);
            if let Some(rule) = rules.lines().find(foreign) {
                found.push(OwnError::PriorityTaken {
                    priority,
                    rule: rule.trim().to_owned(),
                });
            }
        }
        // A table without routes may not exist, which `ip` calls an error.
        let table = plan.table.to_string();
        let show = ["-N", family.flag(), "route", "show", "table", &table];
        let routes = tool::if_there(tool::run("ip", &show))?.unwrap_or_default();
        if let Some(route) = routes.lines().find(|route| !routes::is_ours(route)) {
            found.push(OwnError::TableTaken {
                table: plan.table,
                route: route.trim().to_owned(),
            });
        }
    }
    Ok(found)
}

// === impl Owned ===

impl Owned {
    /// Puts rules and routes in place and verifies each.
    ///
    /// # Errors
    /// Nothing is left behind when this fails.
    pub async fn apply(plan: Plan, lock: Lock) -> Result<Self, OwnError> {
        check(&plan)?;
        let mut owned = Self {
            owner: Owner::start(nft::TABLE)?,
            plan,
            look: look(),
            seen: true,
            draining: false,
            changes: 0,
            lock,
        };
        let applied = async {
            // Of a relay that was killed, perhaps with another priority.
            leads::remove(&owned.plan).await;
            leads::put(&owned.plan, &leads::all(&owned.plan)).await?;
            let text = nft::table(&owned.plan, Ownership::Process);
            owned.owner.load(&text).await
        };
        match applied.await {
            Ok(()) => Ok(owned),
            Err(error) => {
                owned.remove().await;
                Err(error)
            }
        }
    }

    /// Takes on what another process has put in place, and still holds. Nothing is changed: neither now nor when this
    /// is dropped, for as long as the other one holds it.
    ///
    /// # Errors
    /// [`OwnError::Misfit`] if it is not what was promised, or the plan wants what may not change.
    pub(super) async fn take_on(handed: Handed<OwnedFd>, plan: Plan) -> Result<Self, OwnError> {
        let HandedNote {
            nft_pid,
            changes,
            draining,
            fail_closed: _,
            silence_ms,
            lasting,
        } = handed.note;
        lasting.is_kept_by(&Lasting::of(&plan))?;
        let lock = Lock::take_on(handed.lock)?;
        let text = nft::table(&plan, Ownership::Process);
        let wanted = |table: &str| draining || owner::leads_to_listeners(table, &text);
        let pipes = (handed.stdin, handed.stderr);
        let owner = Owner::take_on(nft::TABLE, nft_pid, pipes, wanted).await?;
        Ok(Self {
            owner,
            plan: plan.remembering(&silence_ms),
            look: look(),
            seen: true,
            draining,
            changes,
            lock,
        })
    }

    /// What another process needs to take this on. It stays this one's until it is forgotten here.
    pub(super) fn hand(&self, fail_closed: bool) -> Result<Handed<BorrowedFd<'_>>, OwnError> {
        let (nft_pid, stdin, stderr) = self.owner.hand()?;
        let note = HandedNote {
            nft_pid,
            changes: self.changes,
            draining: self.draining,
            fail_closed,
            silence_ms: silences(&self.plan),
            lasting: Lasting::of(&self.plan),
        };
        Ok(Handed {
            note,
            lock: self.lock.as_fd(),
            stdin,
            stderr,
        })
    }

    /// Leaves everything as it is to whom it was handed over.
    pub(super) fn forget(self) {
        self.owner.forget();
    }

    /// What is in place.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether no new connection is taken.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Changes what the table does, in one transaction. Its sets keep what is in them, so running sessions keep their
    /// rules. Marks, routes and what holds packets must be those of the plan before.
    ///
    /// # Errors
    /// If the kernel would not take the table, nothing was changed. If `nft` does not do it, the table counts as
    /// lost, and [`Owned::restore`] puts the old one in place.
    pub async fn replace(&mut self, plan: Plan) -> Result<(), OwnError> {
        let text = nft::table(&plan, Ownership::Process);
        try_out(&plan)?;
        let signs = [self.changes, self.changes + 1].map(|number| format!("settings_{number}"));
        self.changes += 1;
        let [_, sign] = &signs;
        let shows = |table: &str| table.contains(sign.as_str());
        let transaction = replace::transaction(&text, &signs);
        self.owner.replace(&transaction, &text, shows).await?;
        self.plan = plan;
        Ok(())
    }

    /// Takes no new connection from now on; the packets of running sessions keep their rules.
    ///
    /// # Errors
    /// If `nft` is gone or did not do it; [`Owned::restore`] then does.
    pub async fn drain(&mut self) -> Result<(), OwnError> {
        self.draining = true;
        self.stop_taking().await?;
        tracing::info!("new connections are no longer taken");
        Ok(())
    }

    async fn stop_taking(&mut self) -> Result<(), OwnError> {
        if self.plan.interceptions.is_empty() {
            return Ok(());
        }
        let taken = |table: &str| table.contains("tproxy") || table.contains("redirect to");
        self.owner
            .change(&nft::drain(&self.plan), |table| !taken(table))
            .await
            .map(drop)
    }

    /// Waits until something is no longer in place, which nobody should have made happen.
    ///
    /// May be given up and begun anew.
    pub async fn lost(&mut self) -> Lost {
        loop {
            tokio::select! {
                () = self.owner.lost() => return Lost::Table,
                _ = self.look.tick() => {}
            }
            match leads::missing(&self.plan).await {
                Ok(missing) if missing.is_empty() => self.seen = true,
                Ok(missing) => return Lost::Routes(missing),
                Err(error) if self.seen => {
                    self.seen = false;
                    tracing::warn!(%error, "nobody sees whether the routes are in place");
                }
                Err(_) => {}
            }
        }
    }

    /// Puts back what [`Owned::lost`], without the chains that take connections if this is drained.
    ///
    /// # Errors
    /// As for [`Owned::apply`]; what is missing is then still lost, so that this can be tried again, as
    /// it can if it is given up.
    pub async fn restore(&mut self) -> Result<(), OwnError> {
        let missing = leads::missing(&self.plan).await?;
        leads::put(&self.plan, &missing).await?;
        if self.owner.is_lost() {
            let running = stand_in::running(&self.plan).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "connections that run are not known, and will break");
                String::new()
            });
            let text = nft::table(&self.plan, Ownership::Process) + &running;
            self.owner.reload(&text).await?;
            if self.draining {
                self.stop_taking().await?;
            }
        }
        Ok(())
    }

    /// Takes everything away and waits until it is gone.
    pub async fn remove(self) {
        self.owner.release().await;
        if leads::remove(&self.plan).await {
            tracing::info!("rules and routes removed");
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("the rules' owner ended or does not answer"),
            Self::Routes(missing) => {
                let missing: Vec<_> = missing.iter().map(Lead::to_string).collect();
                write!(f, "somebody removed {}", missing.join(" and "))
            }
        }
    }
}

/// When to look at the routes.
fn look() -> Interval {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

/// Whether a line of `ip rule show` matches on bits of `mark` and is not ours.
fn conflicts(line: &str, mark: u32) -> bool {
    let mut words = line.split_whitespace();
    if routes::is_ours(line) || !words.any(|word| word == "fwmark") {
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
        assert!(routes::is_ours(line));
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
