//! The rules without a relay: SYN and SYN-ACK on the mangled side lose what the firewall gets wrong,
//! and nothing else is touched.
//!
//! | hook | priority | which packets |
//! | --- | --- | --- |
//! | prerouting | raw - 10 | those that come from the mangled side, before conntrack and the host's own stack |
//! | forward | raw - 10 | those that are passed on to it |
//! | output | raw - 10 | those of this host |
//!
//! All three, or one side alone would offer an option and the other be told of it: the very fault.

use std::convert::Infallible;
use std::fmt::Write;

use tokio::time::sleep;

use crate::config::{Interface, Networks, Ports, Profile, Strip};

use super::lock::Lock;
use super::mode::RESTORE_EVERY;
use super::nft::Ownership;
use super::own::OwnError;
use super::owner::{self, Owner};
use super::preflight::{self, PreflightError};
use super::select::{Opening, Selection, signed};
use super::strip;
use super::tool;

/// The one table: `inet unmangle_normalise`.
pub const TABLE: &str = "unmangle_normalise";

/// Everything the rules are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalising {
    /// The interface that faces the firewall.
    pub mangled_side: Interface,
    /// Ports that connections go to; every port if `None`.
    pub ports: Option<Ports>,
    /// Where connections may come from.
    pub from: Networks,
    /// Where connections may go.
    pub to: Networks,
    /// What SYN and SYN-ACK lose.
    pub strip: Strip,
    /// The MSS that they may at most announce.
    pub mss: Option<u16>,
}

/// Why a profile cannot be had by rules alone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// It changes nothing.
    #[error("profile {0:?} changes nothing on the wire: there is nothing to do")]
    Nothing(String),
    /// It sets a socket, and there is none.
    #[error(
        "profile {profile:?} sets {settings} on a socket, and without a relay there is none: `unmangle run` has it"
    )]
    Socket {
        /// The profile's name.
        profile: String,
        /// What it sets there.
        settings: String,
    },
}

/// Rules that are in place, and go when this value goes.
#[derive(Debug)]
pub struct Normaliser {
    text: String,
    owner: Owner,
    /// Let go last, when nothing is left.
    _lock: Lock,
}

/// Whether rules alone can do what a profile asks for.
///
/// # Errors
/// What they cannot do, by name.
pub fn fit(profile: &Profile) -> Result<(), Unfit> {
    let on_sockets = [
        ("keepalive", profile.keepalive.is_some()),
        ("a receive window clamp", profile.window_clamp.is_some()),
        (
            "congestion control",
            profile.congestion_control.named().is_some(),
        ),
        ("a user timeout", profile.user_timeout.is_some()),
        ("a limit of unsent bytes", profile.notsent_lowat.is_some()),
    ];
    let settings: Vec<_> = on_sockets
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    if !settings.is_empty() {
        return Err(Unfit::Socket {
            profile: profile.name.clone(),
            settings: settings.join(", "),
        });
    }
    if strip::rules(profile.strip, profile.mss).is_empty() {
        return Err(Unfit::Nothing(profile.name.clone()));
    }
    Ok(())
}

/// The whole table, ready for `nft -f`.
pub fn table(plan: &Normalising, ownership: Ownership) -> String {
    let interface = &plan.mangled_side;
    let selection = Selection {
        ports: plan.ports.as_ref(),
        from: &plan.from,
        to: &plan.to,
    };
    let mut choose = signed();
    for selector in [Opening::Syn, Opening::SynAck]
        .map(|opening| selection.of(opening))
        .concat()
    {
        writeln!(choose, "\t\t{}jump strip", selector.text).expect("a String takes every write");
    }
    let strip: String = strip::rules(plan.strip, plan.mss)
        .iter()
        .map(|rule| format!("\t\t{rule}\n"))
        .collect();
    let owner = ownership.flags();
    let mut text = format!("table inet {TABLE} {{\n{owner}");
    for (chain, hook, direction) in [
        ("arrive", "prerouting", "iifname"),
        ("pass", "forward", "oifname"),
        ("send", "output", "oifname"),
    ] {
        write!(
            text,
            r#"	chain {chain} {{
		type filter hook {hook} priority raw - 10; policy accept;
		{direction} "{interface}" tcp flags & syn == syn jump choose
	}}

"#
        )
        .expect("a String takes every write");
    }
    text + &format!("\tchain choose {{\n{choose}\t}}\n\n\tchain strip {{\n{strip}\t}}\n}}\n")
}

/// Looks at privileges, interface, kernel and tables; changes nothing.
///
/// # Errors
/// The first thing that keeps the rules from being put in place.
pub fn check(plan: &Normalising) -> Result<(), PreflightError> {
    preflight::host(&[&plan.mangled_side])?;
    if owner::listed(TABLE)?.is_some() {
        return Err(OwnError::Taken {
            table: TABLE,
            by: "unmangle normalise",
        }
        .into());
    }
    tool::feed(
        "nft",
        &["--check", "-f", "-"],
        &table(plan, Ownership::Nobody),
    )
    .map_err(|error| OwnError::Refused(error.to_string()))?;
    Ok(())
}

// === impl Normaliser ===

impl Normaliser {
    /// Puts the rules in place and verifies each chain.
    ///
    /// # Errors
    /// Nothing is left behind when this fails.
    pub async fn apply(plan: &Normalising, lock: Lock) -> Result<Self, OwnError> {
        let text = table(plan, Ownership::Process);
        let mut owner = Owner::start(TABLE)?;
        if let Err(error) = owner.load(&text).await {
            owner.release().await;
            return Err(error);
        }
        Ok(Self {
            text,
            owner,
            _lock: lock,
        })
    }

    /// Puts the table in place again whenever it is lost, for as long as it is waited for.
    pub async fn keep(&mut self) -> Infallible {
        loop {
            self.owner.lost().await;
            tracing::error!("the rules' owner ended: putting the rules in place again");
            if let Err(error) = self.owner.reload(&self.text).await {
                tracing::error!(%error, "the rules are not in place, trying again");
                sleep(RESTORE_EVERY).await;
            }
        }
    }

    /// Takes the rules away and waits until they are gone.
    pub async fn remove(self) {
        self.owner.release().await;
        tracing::info!("rules removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CongestionControl;

    fn profile(name: &str) -> Profile {
        name.parse().unwrap()
    }

    #[test]
    fn what_needs_a_socket_is_refused_by_name() {
        let error = fit(&profile("idle-drop")).unwrap_err().to_string();
        assert!(error.contains("keepalive on a socket"), "{error}");
        let both = Profile {
            window_clamp: Some(65535),
            congestion_control: CongestionControl::Named("cubic".to_owned()),
            ..profile("cisco-pix")
        };
        let error = fit(&both).unwrap_err().to_string();
        assert!(
            error.contains("a receive window clamp, congestion control"),
            "{error}"
        );
    }

    #[test]
    fn a_profile_that_changes_nothing_is_refused() {
        assert_eq!(
            fit(&profile("clean")),
            Err(Unfit::Nothing("clean".to_owned()))
        );
        for name in [
            "isn-rewrite",
            "cisco-pix",
            "wscale-strip",
            "blackhole",
            "asa",
        ] {
            assert_eq!(fit(&profile(name)), Ok(()), "{name}");
        }
    }

    #[test]
    fn without_ports_and_networks_every_connection_is_meant() {
        let profile = profile("cisco-pix");
        let plan = Normalising {
            mangled_side: "fw0".parse().unwrap(),
            ports: None,
            from: Networks::default(),
            to: Networks::default(),
            strip: profile.strip,
            mss: profile.mss,
        };
        let text = table(&plan, Ownership::Nobody);
        assert!(!text.contains("port") && !text.contains("addr"), "{text}");
        assert!(!text.contains("owner"));
    }
}
