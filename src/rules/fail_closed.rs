//! What keeps a killed relay's connections from flowing unrelayed: a table without an owner.
//!
//! It stands in the forward hook. What is intercepted never gets there, because TPROXY moves it to
//! INPUT; so while the relay lives nothing is dropped, whether or not its own table was loaded first.
//! When that table is gone, opening packets that it would have taken are routed on, and end here.
//! Connections that are running already are not touched, nor are this host's own.

use super::nft::{self, sides};
use super::own::OwnError;
use super::owner;
use super::plan::Plan;
use super::select::{Opening, Selection};
use super::tool::{self, ToolError};

/// The one table: `inet unmangle_fail_closed`.
pub const TABLE: &str = "unmangle_fail_closed";

/// The whole table, ready for `nft -f`.
pub fn table(plan: &Plan) -> String {
    let all = sides(plan);
    let mut drop = String::new();
    for interception in &plan.interceptions {
        let side = &interception.intercept.mangled_side;
        for selector in Selection::from(&interception.intercept).of(Opening::Syn) {
            let matches = selector.text;
            for crossing in [
                format!("iifname \"{side}\" oifname != {all}"),
                format!("iifname != {all} oifname \"{side}\""),
            ] {
                nft::rule(&mut drop, &format!("{crossing} {matches}counter drop"));
            }
        }
    }
    format!(
        r#"table inet {TABLE} {{
	# What the relay takes does not come here; what comes here is what it would have taken.
	chain forward {{
		type filter hook forward priority filter; policy accept;
{drop}	}}
}}
"#
    )
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
    let text = table(plan);
    // One transaction: the table is made if it is not there, so that it can be deleted.
    let replaced = format!("table inet {TABLE}\ndelete table inet {TABLE}\n{text}");
    tool::feed("nft", &["-f", "-"], &replaced)
        .map_err(|error| OwnError::Refused(error.to_string()))?;
    let listing = owner::listed(TABLE)?.unwrap_or_default();
    owner::verify(TABLE, &text, &listing)?;
    tracing::info!(
        "fail closed: should the relay be killed, new connections are dropped until it runs again or \
         `unmangle rules --remove`"
    );
    Ok(())
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
