//! What must be true of this host before anything is changed on it.

use std::fs;

use rustix::thread::CapabilitySet;

use crate::config::Interface;
use crate::sys::kernel_release::{KernelRelease, OPTION_RESET};
use crate::sys::privileges::{self, AccountError};

use super::cgroup;
use super::own::OwnError;
use super::plan::{Capture, Conflict, Plan, Tracking};
use super::tool::{self, ToolError};

/// Why the relay cannot run here; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// A capability is missing.
    #[error("{0} is missing: run as root, or give the binary the capability")]
    Capability(&'static str),
    /// No such interface.
    #[error("there is no interface {name:?} here; there are: {known}")]
    Interface {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// No such control group.
    #[error(
        "there is no control group {0} of version 2 here: it must be there before the rules that name it"
    )]
    Cgroup(String),
    /// No such user.
    #[error(transparent)]
    User(#[from] AccountError),
    /// The kernel is too old for owned rules.
    #[error(
        "Linux {0} cannot strip TCP options by nftables: 5.18 is needed; `unmangle rules --format iptables` prints rules for older kernels"
    )]
    Kernel(String),
    /// A tool is missing.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Two listeners want the same connections.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Rules are in the way.
    #[error(transparent)]
    Rules(#[from] OwnError),
}

/// Looks at privileges, interface, kernel and rules. The settings of the network namespace are judged elsewhere
/// (`diagnose::doctor`), for `run` as for `doctor`.
///
/// Returns what is worth a warning and does not keep the relay from running.
///
/// # Errors
/// The first thing that does.
pub fn check(plan: &Plan) -> Result<Vec<String>, PreflightError> {
    if let Some(conflict) = plan.conflict() {
        return Err(conflict.into());
    }
    host(&plan.mangled_sides())?;
    tool::run("ip", &["-V"])?;
    for interception in &plan.interceptions {
        let Capture::Own(whose) = &interception.capture else {
            continue;
        };
        if let Some(group) = &whose.cgroup
            && !cgroup::exists(group)
        {
            return Err(PreflightError::Cgroup(group.path().to_owned()));
        }
        if let Some(user) = &whose.user {
            privileges::user_exists(&user.to_string())?;
        }
    }
    super::own::check(plan)?;
    let mut warnings = super::service::warnings(plan);
    if plan.tracking == Tracking::Notrack {
        warnings.push(
            "conntrack does not see what is relayed: `ct state established` matches none of it, and a filter \
             in INPUT or OUTPUT must accept `ct state untracked` or the mark"
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// Looks at what every kind of rules needs: privileges, interfaces, kernel, nft.
pub(super) fn host(interfaces: &[&Interface]) -> Result<(), PreflightError> {
    privilege()?;
    for name in interfaces {
        interface(name.as_str())?;
    }
    kernel(&rustix::system::uname().release().to_string_lossy())?;
    tool::run("nft", &["--version"])?;
    Ok(())
}

/// Whether rules can be seen and changed at all.
pub(super) fn privilege() -> Result<(), PreflightError> {
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
    if held.is_ok_and(|held| held.contains(CapabilitySet::NET_ADMIN)) {
        Ok(())
    } else {
        Err(PreflightError::Capability("CAP_NET_ADMIN"))
    }
}

fn interface(name: &str) -> Result<(), PreflightError> {
    let known = interfaces();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(PreflightError::Interface {
        name: name.to_owned(),
        known: known.join(", "),
    })
}

/// The interfaces of this network namespace.
pub fn interfaces() -> Vec<String> {
    fs::read_to_string("/proc/net/dev")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

fn kernel(release: &str) -> Result<(), PreflightError> {
    if KernelRelease::parse(release) < OPTION_RESET {
        Err(PreflightError::Kernel(release.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_before_5_18_is_refused_by_its_number() {
        assert!(kernel("5.10.0-30-amd64").is_err());
        assert!(
            kernel("5.17.15")
                .unwrap_err()
                .to_string()
                .contains("5.17.15")
        );
        for release in [
            "5.18.0",
            "6.1.0-25-cloud-amd64",
            "6.18.44-fc-v769",
            "7.0.0-rc1",
        ] {
            assert!(kernel(release).is_ok(), "{release}");
        }
    }

    #[test]
    fn a_missing_interface_is_answered_with_the_ones_there_are() {
        let error = interface("nosuch0").unwrap_err().to_string();
        assert!(error.contains("nosuch0") && error.contains("lo"), "{error}");
    }
}
