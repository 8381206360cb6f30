//! SIGHUP: file and flags are read again, and what may change while the relay runs changes, all of it or nothing.
//! Sessions that run keep what they began with.

use std::collections::BTreeMap;
use std::time::Instant;

use super::bring_up::strips;
use super::effective::Effective;
use super::{Usage, settings};
use crate::config::{HostTuning, RulesMode, Settings};
use crate::metrics::Recorded;
use crate::relay::{Server, WayIn};
use crate::rules::{InPlace, Plan, tuning};

/// Keys that may change while the relay runs, of the process or of a listener; those of profiles may, too. Whatever
/// else differs needs a restart.
const LIVE: &[&str] = &[
    "allow",
    "clean-profile",
    "close-timeout",
    "connect-timeout",
    "deny",
    "drain",
    "idle-timeout",
    "keepalive",
    "max-connections",
    "max-per-source",
    "profile",
    "rate-per-source",
    "source-prefix",
    "stall-action",
    "stall-after",
];

/// New settings that differ from those in force in nothing but what may change.
#[derive(Debug)]
pub struct Reload {
    /// All of them.
    pub settings: Settings,
    /// What differs, by key.
    pub changed: Vec<String>,
}

/// Why the settings in force stay.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// A key that is settled at the start.
    #[error("{0} cannot change while the relay runs; restart it")]
    NeedsRestart(String),
    /// Listeners come and go with the process.
    #[error("the listeners cannot change while the relay runs, from {0} to {1}; restart it")]
    Listeners(String, String),
    /// What is stripped from the wire is not the relay's to change.
    #[error(
        "profile: what the wire loses would change, and the rules are somebody else's (rules = \"{0}\"); load \
         them anew and restart"
    )]
    ForeignRules(RulesMode),
    /// The host's settings are applied and restored once.
    #[error("profile: the host would have to be tuned anew (host-tuning = \"apply\"); restart")]
    Tuning,
}

/// A relay that runs, and the settings that are in force.
#[derive(Debug)]
pub struct Running {
    /// Its workers.
    pub server: Server,
    /// Its rules.
    pub rules: InPlace,
    /// As of the last reload.
    pub settings: Settings,
    ways_in: Vec<WayIn>,
}

// === impl Reload ===

impl Reload {
    /// What changes from the old settings to the new ones.
    ///
    /// # Errors
    /// The first key that differs and may not.
    pub fn between(old: &Settings, new: Settings) -> Result<Self, Refusal> {
        let names = |settings: &Settings| -> String {
            let names: Vec<_> = settings
                .listeners
                .iter()
                .map(|each| each.name.as_str())
                .collect();
            names.join(", ")
        };
        if names(old) != names(&new) {
            return Err(Refusal::Listeners(names(old), names(&new)));
        }
        let (before, after) = (rows(old), rows(&new));
        let mut changed: Vec<_> = before.keys().chain(after.keys()).collect();
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|key| before.get(*key) != after.get(*key));
        if let Some(key) = changed.iter().find(|key| !key.may_change()) {
            return Err(Refusal::NeedsRestart(key.to_string()));
        }
        let changed = changed.into_iter().map(Key::to_string).collect();
        Ok(Self {
            settings: new,
            changed,
        })
    }
}

/// A key and the table it is in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    table: Table,
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Process,
    Listener(String),
    Profile(String),
}

impl Key {
    fn may_change(&self) -> bool {
        matches!(self.table, Table::Profile(_)) || LIVE.contains(&self.key.as_str())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match &self.table {
            Table::Process => {}
            Table::Listener(name) => write!(f, "{name}: ")?,
            Table::Profile(name) => write!(f, "profile.{name}: ")?,
        }
        f.write_str(&self.key)
    }
}

/// Every key and its value, as `--check` tells them: so no key can be forgotten here.
fn rows(settings: &Settings) -> BTreeMap<Key, String> {
    let mut rows = BTreeMap::new();
    let mut table = Table::Process;
    for line in Effective(settings).to_string().lines() {
        let is_of_a_preset = line.strip_prefix("# the preset ");
        let profile = line
            .strip_prefix("[profile.")
            .map(|rest| rest.trim_end_matches(']').trim_matches('"'))
            .or(is_of_a_preset.and_then(|rest| rest.split(':').next()));
        if let Some(name) = profile {
            table = Table::Profile(name.to_owned());
            continue;
        }
        if line == "[[listener]]" {
            table = Table::Listener(String::new());
            continue;
        }
        // What is left to a default may be told as a comment.
        let line = line.trim_start_matches("# ");
        let Some((key, value)) = line.split_once(" = ").or(line.split_once(": ")) else {
            continue;
        };
        if let (Table::Listener(_), "name") = (&table, key) {
            table = Table::Listener(value.trim_matches('"').to_owned());
            continue;
        }
        let key = Key {
            table: table.clone(),
            key: key.to_owned(),
        };
        rows.insert(key, value.to_owned());
    }
    rows
}

// === impl Running ===

impl Running {
    /// With the settings it was started with.
    pub fn new(server: Server, rules: InPlace, settings: Settings, ways_in: Vec<WayIn>) -> Self {
        Self {
            server,
            rules,
            settings,
            ways_in,
        }
    }

    /// Takes on what was read; if it cannot be taken on, nothing changes, and one line says why.
    pub async fn reload(&mut self, read: Result<Settings, Usage>) {
        let began = Instant::now();
        let taken_on = match read {
            Ok(new) => self.take_on(new).await,
            Err(error) => Err(error.into()),
        };
        match taken_on {
            Ok(changed) if changed.is_empty() => tracing::info!("no setting has changed"),
            Ok(changed) => {
                self.server
                    .handle()
                    .count(|counters| counters.reloads += 1)
                    .await;
                let took = began.elapsed();
                tracing::info!(changed = changed.join(", "), ?took, "reloaded");
            }
            Err(error) => {
                self.server
                    .handle()
                    .count(|counters| counters.reloads_refused += 1)
                    .await;
                tracing::error!("not reloaded, every setting stays as it was: {error:#}");
            }
        }
    }

    async fn take_on(&mut self, new: Settings) -> anyhow::Result<Vec<String>> {
        let Reload { settings, changed } = Reload::between(&self.settings, new)?;
        let plan = self.plan(&settings)?;
        self.server.check(&settings.listeners)?;
        let before = self.rules.plan().cloned();
        if let Some(plan) = plan {
            self.rules.replace(plan).await?;
        }
        if let Err(error) = self.server.reload(&settings) {
            // What it has taken before it takes again. The rules must not wait for that.
            let back = self.server.reload(&self.settings);
            if let Some(before) = before {
                self.rules.replace(before).await?;
            }
            back?;
            return Err(error.into());
        }
        self.settings = settings;
        Ok(changed)
    }

    /// The rules that the new settings want, if they are others.
    fn plan(&self, new: &Settings) -> Result<Option<Plan>, Refusal> {
        let plan = |settings| settings::plan(settings, &self.ways_in);
        let (before, after) = (plan(&self.settings), plan(new));
        let own = self.settings.process.rules;
        if before == after {
            return Ok(None);
        }
        if own != RulesMode::Own {
            return Err(Refusal::ForeignRules(own));
        }
        let tuned = |plan: &Option<Plan>| tuning::plan(&strips(plan.as_ref()));
        if self.settings.process.host_tuning == HostTuning::Apply && tuned(&before) != tuned(&after)
        {
            return Err(Refusal::Tuning);
        }
        // What was found out at the start stays so.
        let found = self.rules.plan();
        Ok(after.zip(found).map(|(plan, found)| {
            let plan = Plan {
                hold: found.hold,
                shown: found.shown,
                ..plan
            };
            plan.as_patient_as(found)
        }))
    }

    /// What all workers have recorded so far.
    pub async fn recorded(&self) -> Recorded {
        self.server.handle().recorded().await
    }

    /// Where connections arrive, listener by listener.
    pub fn ways_in(&self) -> &[WayIn] {
        &self.ways_in
    }

    /// Takes the rules away.
    pub async fn remove_rules(&mut self) {
        std::mem::replace(&mut self.rules, InPlace::foreign())
            .remove()
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Keys, file};

    const BACKUPS: &str = "[[listener]]
name = \"backups\"
intercept = 22
mangled-side = \"eth1\"
profile = \"narrow\"
[profile.narrow]
base = \"cisco-pix\"
mss = 900
";

    fn settings(text: &str) -> Settings {
        let contents = file::parse(Path::new("x.toml"), text).unwrap();
        Settings::resolve(contents, Keys::default(), Keys::default()).unwrap()
    }

    /// What changes from `BACKUPS` when this is replaced by that, or why it does not.
    fn change(this: &str, that: &str) -> Result<Vec<String>, String> {
        assert!(BACKUPS.contains(this));
        let new = settings(&BACKUPS.replace(this, that));
        let reload = Reload::between(&settings(BACKUPS), new);
        reload
            .map(|reload| reload.changed)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn profiles_and_times_may_change() {
        assert_eq!(change("mss = 900", "mss = 900"), Ok(vec![]));
        assert_eq!(
            change("900", "800"),
            Ok(vec!["profile.narrow: mss".to_owned()])
        );
        let other = change("profile = \"narrow\"", "profile = \"asa\"").unwrap();
        assert!(other.contains(&"backups: profile".to_owned()), "{other:?}");
        let times = "connect-timeout = \"3s\"\nclose-timeout = \"4s\"\nkeepalive = \"5s\"\nprofile = \"narrow\"";
        assert_eq!(
            change("profile = \"narrow\"", times).unwrap(),
            [
                "backups: close-timeout",
                "backups: connect-timeout",
                "backups: keepalive"
            ]
        );
        assert_eq!(
            change("[[", "drain = \"1s\"\n[["),
            Ok(vec!["drain".to_owned()])
        );
    }

    #[test]
    fn what_is_settled_at_the_start_is_refused_by_its_key() {
        let refused = |key: &str| {
            Err(format!(
                "{key} cannot change while the relay runs; restart it"
            ))
        };
        assert_eq!(change("22", "[22, 873]"), refused("backups: intercept"));
        assert_eq!(change("eth1", "eth2"), refused("backups: mangled-side"));
        let from = change(
            "profile = \"narrow\"",
            "from = \"10.0.0.0/8\"\nprofile = \"narrow\"",
        );
        assert_eq!(from, refused("backups: from"));
        for key in [
            "workers = 3",
            "log = \"debug\"",
            "run-as = \"daemon\"",
            "log-file = \"x\"",
            "hdr-log = \"x\"",
            "mark = 0x4",
            "engine = \"copy\"",
        ] {
            let name = key.split(' ').next().unwrap();
            assert_eq!(change("[[", &format!("{key}\n[[")), refused(name));
        }
    }

    #[test]
    fn one_key_that_may_not_change_refuses_the_others_too() {
        let both = change(
            "22\nmangled-side = \"eth1\"\nprofile = \"narrow\"",
            "23\nmangled-side = \"eth1\"\nprofile = \"asa\"",
        );
        assert!(both.unwrap_err().starts_with("backups: intercept "));
    }

    #[test]
    fn listeners_neither_come_nor_go() {
        assert_eq!(
            change("\"backups\"", "\"others\"").unwrap_err(),
            "the listeners cannot change while the relay runs, from backups to others; restart it"
        );
    }
}
