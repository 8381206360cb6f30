//! What rules without a relay are made from: flags, or a file as [`Settings`](super::Settings) are read from.

use super::file::Contents;
use super::intercept::{Interface, Networks, Ports};
use super::keys::{ConfigError, Keys, Origin};
use super::own_profile;
use super::profile::Profile;
use super::settings::origin;

/// Rules without a relay, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalise {
    /// The interface that faces the firewall.
    pub mangled_side: Interface,
    /// What may be negotiated across it.
    pub profile: Profile,
    /// Where the profile was named.
    pub profile_origin: Origin,
    /// Ports that connections go to; every port if `None`.
    pub ports: Option<Ports>,
    /// Where connections may come from.
    pub from: Networks,
    /// Where connections may go.
    pub to: Networks,
}

impl Normalise {
    /// Checks what was given. Of the file's one listener only what rules are made from is looked at; flags win over it.
    ///
    /// # Errors
    /// The first value that is wrong, or missing, where it stood and what would be right.
    pub fn resolve(mut given: Contents, flags: Keys) -> Result<Self, ConfigError> {
        let profiles = own_profile::all(&given.profiles)?;
        let mut keys = match given.listeners.len() {
            0 => Keys::default(),
            1 => given.listeners.remove(0),
            several => {
                return Err(origin(&given.listeners[1]).error(format!(
                    "the file has {several} listeners, and rules without a relay are made from one"
                )));
            }
        };
        keys.override_with(flags);
        let origin = origin(&keys);
        if let Some(listen) = keys.given("listen") {
            return Err(listen.origin.error(
                "clients of this listener come to it by themselves, so there is nothing to make rules for",
            ));
        }
        let missing =
            |key: &str| origin.error(format!("{key} is missing, in the file and as a flag"));
        let networks = |key: &str| match keys.given(key) {
            Some(given) => Networks::parse(given.texts.iter().map(String::as_str))
                .map_err(|error| given.origin.error(error)),
            None => Ok(Networks::default()),
        };
        let profile = keys.given("profile").ok_or_else(|| missing("profile"))?;
        Ok(Self {
            mangled_side: keys
                .parse("mangled-side", str::parse)?
                .ok_or_else(|| missing("mangled-side"))?,
            profile: profile.parse(|name| own_profile::find(name, &profiles))?,
            profile_origin: profile.origin.clone(),
            ports: keys.parse("intercept", str::parse)?,
            from: networks("from")?,
            to: networks("to")?,
        })
    }
}
