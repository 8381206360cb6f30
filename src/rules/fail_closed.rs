//! What keeps a killed relay's connections from flowing unrelayed: a table without an owner.
//!
//! It stands in the forward hook. What is intercepted never gets there, because TPROXY moves it to
//! INPUT; so while the relay lives nothing is dropped, whether or not its own table was loaded first.
//! When that table is gone, opening packets that it would have taken are routed on, and end here.
//! Connections that are running already are not touched, nor are this host's own.
//!
//! Beside a sidecar it stands in the input or in the output hook, where what was taken is told by a mark or has
//! another destination by then.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::nft::{self, sides};
use super::own::OwnError;
use super::owner;
use super::plan::{Capture, Plan};
use super::select::{Opening, Selection, Selector, signed};
use super::sidecar;
use super::tool::{self, ToolError};

/// The one table: `inet unmangle_fail_closed`.
pub const TABLE: &str = "unmangle_fail_closed";

/// How often the table is looked at: nobody owns it, and `nft flush ruleset` removes it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The table of a relay that runs, looked at again and again.
#[derive(Debug)]
pub(super) struct Guard {
    text: String,
    look: Interval,
    /// Whether it could be looked at the last time.
    seen: bool,
}

/// The whole table, ready for `nft -f`.
pub fn table(plan: &Plan) -> String {
    let (mut forward, mut input, mut output) = (String::new(), String::new(), String::new());
    let (all, mark, dial) = (sides(plan), plan.mark, plan.dial_mark);
    for interception in &plan.interceptions {
        let side = &interception.intercept.mangled_side;
        for Selector { text, .. } in Selection::from(&interception.intercept).of(Opening::Syn) {
            let drop = |rules: &mut String, matches: String| {
                nft::rule(rules, &format!("{matches} {text}counter drop"));
            };
            match &interception.capture {
                Capture::Gateway => {
                    drop(&mut forward, format!("iifname \"{side}\" oifname != {all}"));
                    drop(&mut forward, format!("iifname != {all} oifname \"{side}\""));
                }
                // What is taken has the mark.
                Capture::Service { .. } => {
                    drop(
                        &mut input,
                        format!("iifname \"{side}\" meta mark & {mark} == 0"),
                    );
                }
                // What is taken stays on this host; what the relay sends has its own mark.
                Capture::Own(whose) => {
                    let whose = sidecar::matches(whose);
                    let whose = format!("meta mark & {dial} == 0 {whose}");
                    drop(
                        &mut output,
                        format!("oifname \"{side}\" {}", whose.trim_end()),
                    );
                }
            }
        }
    }
    let signed = signed();
    let mut text = format!("table inet {TABLE} {{\n");
    text += "\t# What the relay takes does not come here; what comes here is what it would have taken.\n";
    for (hook, drop) in [("forward", forward), ("input", input), ("output", output)] {
        if !drop.is_empty() {
            text += &format!(
                "\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy accept;\n{signed}{drop}\t}}\n"
            );
        }
    }
    text + "}\n"
}

/// Puts the table in place, in the stead of one that a killed relay has left, and verifies it.
///
/// # Errors
/// If `nft` refuses; what was there before is there still.
pub fn install(plan: &Plan) -> Result<(), OwnError> {
    if is_installed()? {
        tracing::warn!(
            "fail closed: a relay that was killed has left its table, and new connections were dropped since"
        );
    }
    load(&table(plan))?;
    tracing::info!(
        "fail closed: should the relay be killed, new connections are dropped until it runs again or \
         `unmangle rules --remove`"
    );
    Ok(())
}

fn load(text: &str) -> Result<(), OwnError> {
    // One transaction: the table is made if it is not there, so that it can be deleted.
    let replaced = format!("table inet {TABLE}\ndelete table inet {TABLE}\n{text}");
    tool::feed("nft", &["-f", "-"], &replaced)
        .map_err(|error| OwnError::Refused(error.to_string()))?;
    let listing = owner::listed(TABLE)?.unwrap_or_default();
    owner::verify(TABLE, text, &listing)?;
    if !is_whole(text, &listing) {
        return Err(OwnError::Unverified {
            what: format!("table inet {TABLE}"),
        });
    }
    Ok(())
}

/// Whether every rule of the text is in the table as `nft` lists it.
fn is_whole(text: &str, listing: &str) -> bool {
    let drops = |table: &str| {
        let lines = table.lines().map(str::trim_end);
        lines.filter(|line| line.ends_with(" drop")).count()
    };
    drops(text) == drops(listing)
}

/// Takes the table away; whether there was one.
///
/// # Errors
/// If `nft` refuses.
pub fn remove() -> Result<bool, ToolError> {
    let there = is_installed()?;
    if there {
        tool::run("nft", &["delete", "table", "inet", TABLE])?;
        tracing::info!("fail closed: the table is removed");
    }
    Ok(there)
}

/// Whether the table is there, of this relay or of one that was killed.
///
/// # Errors
/// If `nft` cannot tell.
pub fn is_installed() -> Result<bool, ToolError> {
    Ok(owner::listed(TABLE)?.is_some())
}

// === impl Guard ===

impl Guard {
    /// Puts the table in place, as [`install`] does.
    pub fn install(plan: &Plan) -> Result<Self, OwnError> {
        install(plan)?;
        Ok(Self::of(plan))
    }

    /// For one that another process has put in place; if it is not there, it is lost.
    pub fn of(plan: &Plan) -> Self {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            text: table(plan),
            look,
            seen: true,
        }
    }

    /// Puts the table that this process would write in the place of the one that is there, in one transaction.
    pub fn renew(&self) -> Result<(), OwnError> {
        load(&self.text)
    }

    /// Waits until it is no longer in place, or a rule of it is gone. May be given up and begun anew.
    pub async fn lost(&mut self) {
        loop {
            self.look.tick().await;
            match self.is_in_place().await {
                Ok(true) => self.seen = true,
                Ok(false) => return,
                Err(error) if self.seen => {
                    self.seen = false;
                    tracing::warn!(%error, "nobody sees whether the table that fails closed is in place");
                }
                Err(_) => {}
            }
        }
    }

    /// Puts back what is lost.
    pub async fn restore(&self) -> Result<(), OwnError> {
        match self.is_in_place().await? {
            true => Ok(()),
            false => load(&self.text),
        }
    }

    async fn is_in_place(&self) -> Result<bool, ToolError> {
        let listed = tool::ask("nft", &["list", "table", "inet", TABLE]).await;
        let listing = tool::if_there(listed)?.unwrap_or_default();
        Ok(is_whole(&self.text, &listing))
    }
}
