//! A TOML file as [`Keys`]: which keys there may be, and on which line each stands.
//!
//! ```toml
//! drain = "1m"                     # what a flag of `unmangle run` can say, by the flag's name
//!
//! [[listener]]
//! name = "backups"
//! mode = "gateway"
//! intercept = [22, 873]
//! mangled-side = "eth1"
//! profile = "narrow"
//!
//! [profile.narrow]
//! base = "cisco-pix"
//! mss = 900
//! ```

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{ConfigError, Given, Keys, Origin};
use super::profile;

/// What a file says, before any of it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// What concerns the whole process.
    pub process: Keys,
    /// One for each `[[listener]]`, in order.
    pub listeners: Vec<Keys>,
    /// One for each `[profile.NAME]`.
    pub profiles: Vec<(String, Keys)>,
}

/// Keys at the top of a file.
pub const PROCESS: &[&str] = &[
    "workers",
    "pin-workers",
    "pipe-budget",
    "drain",
    "connect-timeout",
    "close-timeout",
    "keepalive",
    "idle-timeout",
    "stall-after",
    "stall-action",
    "max-connections",
    "max-per-source",
    "rate-per-source",
    "source-prefix",
    "engine",
    "fail",
    "rules",
    "track",
    "strangers",
    "host-tuning",
    "override-forward",
    "mark",
    "dial-mark",
    "table",
    "priority",
    "zones",
    "held-max",
    "queue",
    "answer-mark",
    "log",
    "log-format",
    "log-file",
    "admin",
    "invalid-reasons",
    "histograms",
    "hdr-log",
    "hdr-log-interval",
    "hdr-log-size",
    "hdr-log-keep",
    "run-as",
];
/// Keys of a `[[listener]]`.
pub const LISTENER: &[&str] = &[
    "name",
    "mode",
    "intercept",
    "service-leg",
    "user",
    "cgroup",
    "mangled-side",
    "from",
    "to",
    "listen",
    "mangled-leg",
    "accept-proxy",
    "proxy-timeout",
    "send-proxy",
    "dial-from",
    "mangled-port",
    "clean-port",
    "answer",
    "allow",
    "deny",
    "profile",
    "clean-profile",
    "connect-timeout",
    "close-timeout",
    "keepalive",
    "idle-timeout",
    "stall-after",
    "stall-action",
    "max-connections",
    "max-per-source",
    "rate-per-source",
    "source-prefix",
];
/// Keys of a `[profile.NAME]`.
pub const PROFILE: &[&str] = &[
    "base",
    "summary",
    "sack",
    "window-scale",
    "timestamps",
    "ecn",
    "mss",
    "window-clamp",
    "congestion-control",
    "keepalive",
    "user-timeout",
    "notsent-lowat",
];

/// Reads a file's text; `path` is for messages only.
///
/// # Errors
/// The first thing that is no TOML, or a key that is not known, with its line and what would be right.
pub fn parse(path: &Path, text: &str) -> Result<Contents, ConfigError> {
    let reader = Reader { path, text };
    let root = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        reader
            .origin(error.span().unwrap_or_default(), "")
            .error(message)
    })?;
    let mut contents = Contents::default();
    for (key, value) in root.get_ref() {
        let name = key.get_ref().as_ref();
        match name {
            "listener" => {
                let DeValue::Array(listeners) = value.get_ref() else {
                    return Err(reader
                        .at(key, "")
                        .error("write [[listener]], once for each listener"));
                };
                for (index, listener) in listeners.iter().enumerate() {
                    let prefix = format!("listener {}", index + 1);
                    let keys = reader.table(listener, &prefix, LISTENER)?;
                    if keys.is_empty() {
                        return Err(reader.origin(listener.span(), &prefix).error(
                            "this is empty; give intercept, mangled-side and profile, or listen and to",
                        ));
                    }
                    contents.listeners.push(keys);
                }
            }
            "profile" => {
                let DeValue::Table(profiles) = value.get_ref() else {
                    return Err(reader
                        .at(key, "")
                        .error("write [profile.NAME], once for each profile"));
                };
                for (name, table) in profiles {
                    let prefix = format!("profile.{}", name.get_ref());
                    if profile::names().contains(&name.get_ref().as_ref()) {
                        let origin = reader.origin(name.span(), &prefix);
                        let name = name.get_ref();
                        return Err(origin.error(format!(
                            "{name} is the name of a preset: choose another, and give base = \"{name}\""
                        )));
                    }
                    let keys = reader.table(table, &prefix, PROFILE)?;
                    contents.profiles.push((name.get_ref().to_string(), keys));
                }
            }
            _ => {
                let given = reader.known(key, value, "", PROCESS, "listener, profile")?;
                contents.process.set(name, given);
            }
        }
    }
    Ok(contents)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl Reader<'_> {
    /// Every key of a table.
    fn table(
        &self,
        table: &Spanned<DeValue>,
        prefix: &str,
        known: &[&str],
    ) -> Result<Keys, ConfigError> {
        let DeValue::Table(entries) = table.get_ref() else {
            return Err(self
                .origin(table.span(), prefix)
                .error("this must be a table of keys"));
        };
        let mut keys = Keys::default();
        for (key, value) in entries {
            keys.set(key.get_ref(), self.known(key, value, prefix, known, "")?);
        }
        Ok(keys)
    }

    /// The value of a key that must be one of those that are known.
    fn known(
        &self,
        key: &Key,
        value: &Spanned<DeValue>,
        prefix: &str,
        known: &[&str],
        tables: &str,
    ) -> Result<Given, ConfigError> {
        let origin = self.at(key, prefix);
        if !known.contains(&key.get_ref().as_ref()) {
            let mut list = known.join(", ");
            if !tables.is_empty() {
                list = format!("{list}, and the tables {tables}");
            }
            return Err(origin.error(format!("there is no such key; there are: {list}")));
        }
        let texts = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| scalar(item.get_ref()))
                .collect::<Option<Vec<_>>>(),
            single => scalar(single).map(|text| vec![text]),
        };
        let texts = texts.ok_or_else(|| {
            origin.error("this must be a string, a number, true or false, or a list of them")
        })?;
        // Everywhere, everybody or nothing at all? Nobody should have to guess.
        if texts.is_empty() {
            return Err(origin.error("this list is empty; give it a value, or leave the key out"));
        }
        Ok(Given { origin, texts })
    }

    fn at(&self, key: &Key, prefix: &str) -> Origin {
        let name = key.get_ref();
        let full = if prefix.is_empty() {
            name.to_string()
        } else {
            format!("{prefix}: {name}")
        };
        self.origin(key.span(), &full)
    }

    fn origin(&self, span: Range<usize>, key: &str) -> Origin {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        Origin::File {
            path: self.path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            key: key.to_owned(),
        }
    }
}

fn scalar(value: &DeValue) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Integer(number) => {
            let prefix = match number.radix() {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            Some(format!("{prefix}{}", number.as_str()))
        }
        _ => None,
    }
}
