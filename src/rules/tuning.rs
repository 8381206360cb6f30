//! Host tuning: settings of the network namespace that a leg without SACK needs on the host that sends.
//!
//! Without SACK, reordering that was once seen raises the number of duplicate ACKs that a repair waits
//! for, up to `tcp_max_reordering`, and a route remembers it for the next connection: then only timeouts
//! repair a loss. The settings hold for every connection of the namespace, so they are applied only when
//! asked for, and the former values are kept in a file until they are back, also across a crash.

use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use rustix::io::Errno;

use crate::config::{HostTuning, Strip};

/// One setting, and the value it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// As `sysctl` calls it.
    pub name: &'static str,
    /// The value.
    pub value: &'static str,
}

/// What a leg without SACK wants.
const WITHOUT_SACK: [Setting; 2] = [
    Setting {
        name: "net.ipv4.tcp_no_metrics_save",
        value: "1",
    },
    Setting {
        name: "net.ipv4.tcp_max_reordering",
        value: "3",
    },
];

/// Where former values are kept, a file for each network namespace.
const DIRECTORY: &str = "/run/unmangle";

/// A link that somebody has put in the file's place is not followed.
const NO_LINK: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Why the former values cannot be kept, without which nothing is changed.
#[derive(Debug, thiserror::Error)]
#[error("host tuning: the former values cannot be kept in {}: {error}", path.display())]
pub struct TuningError {
    path: PathBuf,
    error: io::Error,
}

/// Settings that were applied, to be restored at the end.
#[derive(Debug)]
#[must_use = "the former values are restored by `restore`"]
pub struct Tuned {
    file: PathBuf,
    /// What could not be set, and why; worth a warning each.
    pub refused: Vec<String>,
}

/// A setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Former {
    name: String,
    former: String,
    applied: String,
}

/// What legs that are stripped like this want of the host; nothing if all of them have SACK.
pub fn plan(strips: &[Strip]) -> &'static [Setting] {
    if strips.iter().any(|strip| strip.sack_permitted) {
        &WITHOUT_SACK
    } else {
        &[]
    }
}

/// What a person would type to have the same.
pub fn commands(settings: &[Setting]) -> String {
    settings
        .iter()
        .map(|Setting { name, value }| format!("sysctl -w {name}={value}\n"))
        .collect()
}

/// Applies the settings to this network namespace. What a killed relay left is restored first, so that
/// the values that are kept are always the host's own.
///
/// A setting that is not there, or may not be written, is named in [`Tuned::refused`].
///
/// # Errors
/// If the former values cannot be kept; nothing is changed then.
pub fn apply(settings: &[Setting]) -> Result<Tuned, TuningError> {
    restore_left_over();
    let file = state_file();
    let mut refused = Vec::new();
    let mut changes = Vec::new();
    for Setting { name, value } in settings {
        match read(name) {
            Ok(former) if former == *value => {}
            Ok(former) => changes.push(Former {
                name: (*name).to_owned(),
                former,
                applied: (*value).to_owned(),
            }),
            Err(error) => refused.push(complaint(name, value, &error)),
        }
    }
    if !changes.is_empty() {
        keep(&file, &changes).map_err(|error| TuningError {
            path: file.clone(),
            error,
        })?;
    }
    for Former {
        name,
        former,
        applied,
    } in &changes
    {
        match write(name, applied) {
            Ok(()) => tracing::info!(setting = name, former, now = applied, "host tuned"),
            Err(error) => refused.push(complaint(name, applied, &error)),
        }
    }
    Ok(Tuned { file, refused })
}

/// Gives the file of former values to the user that a relay is about to become; makes it if it will be needed.
/// The directory stays root's: relays of other users, in other network namespaces, have files in it, too.
///
/// # Errors
/// If it cannot be made or given away.
pub fn hand_over(how: HostTuning, uid: u32, gid: u32) -> Result<(), TuningError> {
    let path = state_file();
    let failed = |error: io::Error| TuningError {
        path: path.clone(),
        error,
    };
    let mut flags = NO_LINK | OFlags::WRONLY;
    if how == HostTuning::Apply {
        fs::create_dir_all(DIRECTORY).map_err(failed)?;
        flags |= OFlags::CREATE;
    }
    let file = match open(&path, flags, Mode::from_raw_mode(0o644)) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchown(&file, Some(uid), Some(gid)).map_err(|error| failed(error.into()))
}

/// Restores what a killed relay has changed in this network namespace; returns one line for each.
pub fn restore_left_over() -> Vec<String> {
    restore(&state_file())
}

/// What is tuned in this network namespace, or was by a relay that was killed; one line for each. Nothing is changed.
pub fn kept() -> Vec<String> {
    let text = fs::read_to_string(state_file()).unwrap_or_default();
    let kept = parse(&text).into_iter();
    kept.filter(|one| read(&one.name).is_ok_and(|now| now == one.applied))
        .map(|one| format!("{} = {} (was {})", one.name, one.applied, one.former))
        .collect()
}

// === impl Tuned ===

impl Tuned {
    /// Puts the former values back.
    pub fn restore(self) {
        restore(&self.file);
    }
}

fn restore(file: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(file) else {
        return Vec::new();
    };
    let mut restored = Vec::new();
    for Former {
        name,
        former,
        applied,
    } in parse(&text)
    {
        // Somebody may have changed it since; and the namespace this was written for may be gone and its
        // number another's, which has values of its own.
        if !read(&name).is_ok_and(|now| now == applied) {
            continue;
        }
        match write(&name, &former) {
            Ok(()) => {
                tracing::info!(setting = name, now = former, "host tuning restored");
                restored.push(format!("{name} = {applied} (now {former})"));
            }
            Err(error) => {
                tracing::warn!(setting = name, former, %error, "host tuning is not restored")
            }
        }
    }
    if let Err(error) = forget(file) {
        tracing::warn!(file = %file.display(), %error, "cannot be removed");
    }
    restored
}

/// Removes the file, or empties it where the directory is another's.
fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => write_whole(file, ""),
        removed => removed,
    }
}

fn complaint(name: &str, value: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such setting in this network namespace".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "{name} is not set to {value}: {why}; losses on a leg without SACK may be repaired slowly"
    )
}

/// It must be complete before the first setting is changed; of one that is not, nothing has to be restored.
fn keep(file: &Path, changes: &[Former]) -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let mut text = String::new();
    for Former {
        name,
        former,
        applied,
    } in changes
    {
        writeln!(text, "{name} {former} {applied}").expect("a String takes every write");
    }
    write_whole(file, &text)
}

/// The file may be an unprivileged relay's, and whoever writes it may be root: no link is followed.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let flags = NO_LINK | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = open(file, flags, Mode::from_raw_mode(0o644))?;
    let mut file = fs::File::from(file);
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()
}

fn parse(text: &str) -> Vec<Former> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some(Former {
                name: words.next()?,
                former: words.next()?,
                applied: words.next()?,
            })
        })
        // A file that somebody else wrote must not become a way to any other setting.
        .filter(|kept| WITHOUT_SACK.iter().any(|setting| setting.name == kept.name))
        .collect()
}

/// Named after the network namespace of this thread.
fn state_file() -> PathBuf {
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino());
    Path::new(DIRECTORY).join(format!("host-tuning-{namespace}"))
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

fn read(name: &str) -> io::Result<String> {
    fs::read_to_string(path(name)).map(|text| text.trim().to_owned())
}

fn write(name: &str, value: &str) -> io::Result<()> {
    fs::write(path(name), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leg_without_sack_wants_it() {
        let without = Strip {
            sack_permitted: true,
            ..Strip::default()
        };
        assert_eq!(plan(&[Strip::default()]), []);
        assert_eq!(
            commands(plan(&[Strip::default(), without])),
            "sysctl -w net.ipv4.tcp_no_metrics_save=1\nsysctl -w net.ipv4.tcp_max_reordering=3\n"
        );
    }

    #[test]
    fn a_setting_that_is_not_ours_is_not_restored() {
        let text = "kernel.modprobe /bin/false /sbin/modprobe\nnet.ipv4.tcp_max_reordering 300 3\nnonsense\n";
        let kept = parse(text);
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(
            (kept[0].former.as_str(), kept[0].applied.as_str()),
            ("300", "3")
        );
    }
}
