//! Profiles of the user's own: a preset, and what differs from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{ConfigError, Keys};
use super::profile::{self, CongestionControl, Keepalive, Profile, UnknownProfile};
use super::settings::{duration, number, truth, whole_seconds};

/// Every profile of a file, by name.
///
/// # Errors
/// A base that there is not, or a value that is wrong.
pub fn all(given: &[(String, Keys)]) -> Result<BTreeMap<String, Profile>, ConfigError> {
    let mut profiles = BTreeMap::new();
    for (name, keys) in given {
        profiles.insert(name.clone(), one(name, keys)?);
    }
    Ok(profiles)
}

/// A profile of the file, or a preset.
///
/// # Errors
/// [`UnknownProfile`] lists both.
pub fn find(name: &str, own: &BTreeMap<String, Profile>) -> Result<Profile, UnknownProfile> {
    match own.get(name) {
        Some(profile) => Ok(profile.clone()),
        None => name.parse().map_err(|_| UnknownProfile {
            name: name.to_owned(),
            known: profile::names()
                .into_iter()
                .map(str::to_owned)
                .chain(own.keys().cloned())
                .collect(),
        }),
    }
}

fn one(name: &str, keys: &Keys) -> Result<Profile, ConfigError> {
    let mut profile = keys
        .parse("base", str::parse::<Profile>)?
        .unwrap_or_default();
    profile.name = name.to_owned();
    profile.summary = keys
        .given("summary")
        .map_or_else(|| "of your own".to_owned(), |given| given.text());
    let allowed = |key: &str| keys.parse(key, truth);
    for (key, stripped) in [
        ("sack", &mut profile.strip.sack_permitted),
        ("window-scale", &mut profile.strip.window_scale),
        ("timestamps", &mut profile.strip.timestamps),
        ("ecn", &mut profile.strip.ecn),
    ] {
        if let Some(allowed) = allowed(key)? {
            *stripped = !allowed;
        }
    }
    if let Some(mss) = keys.parse("mss", |text| number(text, 88, 32767))? {
        profile.mss = Some(mss);
    }
    if let Some(bytes) = keys.parse("window-clamp", |text| number(text, 2048, 1 << 30))? {
        profile.window_clamp = Some(bytes);
    }
    if let Some(given) = keys.given("congestion-control") {
        profile.congestion_control = CongestionControl::from_word(given.text());
    }
    if let Some(idle) = keys.parse("keepalive", whole_seconds)? {
        let interval = (idle / 4).max(Duration::from_secs(1));
        profile.keepalive = Some(Keepalive {
            idle,
            interval,
            ..Keepalive::default()
        });
    }
    if let Some(time) = keys.parse("user-timeout", duration)? {
        profile.user_timeout = Some(time);
    }
    if let Some(bytes) = keys.parse("notsent-lowat", |text| number(text, 1, 1 << 30))? {
        profile.notsent_lowat = Some(bytes);
    }
    Ok(profile)
}
