//! What is to be done, as a file for `unmangle run` and `unmangle normalise`.

use std::fmt::Write;
use std::str::FromStr;

use super::{FILE, IFACE, OWN, PROBE};
use crate::config::{Interface, Ports};
use crate::diagnose::probe::told::{Key, Kind, Recommended, Report};

/// Where a relay, or rules, are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// On which host.
    pub place: Place,
    /// The interface there that faces the firewall.
    pub mangled_side: Interface,
    /// Ports of connections that are taken.
    pub ports: Ports,
}

/// On which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// On the one that opens the connections, such as the one that probed.
    #[default]
    ClientSidecar,
    /// On the one that was probed.
    ServerSidecar,
    /// On a router between.
    Gateway,
}

/// No place is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of client-sidecar, server-sidecar and gateway")]
pub struct UnknownPlace(pub String);

/// There is nothing that a file could say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing to write: {0}")]
pub struct NothingToWrite(pub String);

// === impl Place ===

impl Place {
    /// Its name, which is the mode of a listener.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientSidecar => "client-sidecar",
            Self::ServerSidecar => "server-sidecar",
            Self::Gateway => "gateway",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::ClientSidecar => "for what this host opens",
            Self::ServerSidecar => "for what comes to services of this host",
            Self::Gateway => "for what passes through this router",
        }
    }
}

impl FromStr for Place {
    type Err = UnknownPlace;

    fn from_str(name: &str) -> Result<Self, UnknownPlace> {
        let places = [Self::ClientSidecar, Self::ServerSidecar, Self::Gateway];
        places
            .into_iter()
            .find(|place| place.name() == name)
            .ok_or_else(|| UnknownPlace(name.to_owned()))
    }
}

// === impl Recommended ===

impl Recommended {
    /// Has the commands name this interface.
    pub fn name_interface(&mut self, interface: &Interface) {
        for command in &mut self.commands {
            *command = command.replace(IFACE, interface.as_str());
        }
    }

    /// Has the commands name the file that was written, which need not be written again.
    pub fn name_file(&mut self, file: &str) {
        self.commands.retain(|command| !command.starts_with(PROBE));
        for command in &mut self.commands {
            *command = command.replace(FILE, file);
        }
    }

    /// Has the commands name the port at which the other end was found.
    pub fn name_port(&mut self, port: u16) {
        for command in &mut self.commands {
            if command.starts_with(PROBE) {
                *command += &format!(" --port {port}");
            }
        }
    }
}

/// The whole file, each line of it with what was seen.
///
/// # Errors
/// If nothing is to be done that a file could say.
pub fn config(report: &Report, deployment: &Deployment) -> Result<String, NothingToWrite> {
    let recommended = &report.recommended;
    let Some(profile) = &recommended.profile else {
        return Err(NothingToWrite(recommended.why.clone()));
    };
    let path = &report.path;
    let mut text = format!(
        "# What `unmangle probe run {}` found between {} and it.\n#\n",
        path.server, path.client
    );
    comment(&mut text, &report.verdict);
    text.push_str("#\n");
    comment(&mut text, uses(recommended));
    text.push_str("\n[[listener]]\nname = \"probed\"\n");
    let mut line = |key: &str, value: &str, why: &str| {
        writeln!(text, "# {why}\n{key} = {value}").expect("a String takes every write");
    };
    line(
        "mode",
        &quoted(deployment.place.name()),
        &format!(
            "Where the relay runs: {}. `normalise` does not ask.",
            deployment.place.meaning()
        ),
    );
    if !deployment.ports.is_every() {
        let list: Vec<String> = deployment
            .ports
            .iter()
            .map(|port| port.to_string())
            .collect();
        line(
            "intercept",
            &format!("[{}]", list.join(", ")),
            "Ports of the services that are meant: this was not probed, name your own.",
        );
    }
    line(
        "mangled-side",
        &quoted(deployment.mangled_side.as_str()),
        "The interface that faces the firewall.",
    );
    match deployment.place {
        Place::ServerSidecar => line(
            "from",
            &quoted(&path.client_seen),
            "Where connections come from: the host that probed. Its whole network may be named.",
        ),
        Place::ClientSidecar | Place::Gateway => line(
            "to",
            &quoted(&path.server),
            "Where connections go: the host that was probed. Its whole network may be named.",
        ),
    }
    if profile == OWN {
        line(
            "profile",
            &quoted(profile),
            "No preset is this; it stands below.",
        );
        own(&mut text, report);
    } else {
        let what = format!("{profile} is a preset; what was seen that it is for:");
        line_of_preset(&mut text, profile, &what, &recommended.keys);
    }
    Ok(text)
}

fn own(text: &mut String, report: &Report) {
    let path = &report.path;
    let summary = format!("what was seen between {} and {}", path.client, path.server);
    writeln!(text, "\n[profile.{OWN}]\nsummary = {}", quoted(&summary))
        .expect("a String takes every write");
    for key in &report.recommended.keys {
        comment(text, &key.seen);
        writeln!(text, "{} = {}", key.name, key.value).expect("a String takes every write");
    }
}

fn line_of_preset(text: &mut String, profile: &str, what: &str, keys: &[Key]) {
    comment(text, what);
    for key in keys {
        comment(text, &format!("{} = {}: {}", key.name, key.value, key.seen));
    }
    writeln!(text, "profile = {}", quoted(profile)).expect("a String takes every write");
}

fn uses(recommended: &Recommended) -> &'static str {
    match recommended.kind {
        Kind::Relay => "unmangle run --config FILE: a relay.",
        _ => {
            "unmangle normalise --config FILE: rules alone, which is enough here. \
             unmangle run --config FILE: a relay, which does it, too."
        }
    }
}

/// Nothing that is written here has a quotation mark, a backslash or a line's end in it.
fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

/// A text as lines of a comment, none much longer than a hundred letters.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.len() + word.len() >= 100 {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
