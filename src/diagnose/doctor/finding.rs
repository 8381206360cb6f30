//! What is found, as values that are printed or written in JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::id::{Group, Id};

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// To be known; it may be meant so.
    Note,
    /// It keeps a relay from working, or is the trouble itself.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What was looked at: a name that stays.
    pub id: Id,
    /// Under which heading it is told.
    pub group: Group,
    /// How it is.
    pub status: Status,
    /// The interface, the route or the rule that is meant, where there are several; else null.
    pub about: Option<String>,
    /// How it is, in one sentence.
    pub sentence: String,
    /// The command that mends it now, until the host is started again; null if there is nothing to mend, or no command does.
    pub now: Option<String>,
    /// What makes that last; null where `now` does, or nothing is to be mended.
    pub lasting: Option<Lasting>,
}

/// A line in a file of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lasting {
    /// The file.
    pub file: String,
    /// The line.
    pub line: String,
}

/// One thing that could not be looked at. It is not known to be well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unseen {
    /// What would have been looked at.
    pub id: Id,
    /// Why it was not.
    pub sentence: String,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "What `unmangle doctor --json` prints")]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// For how many seconds counters were watched.
    pub seconds: f64,
    /// How many findings are problems.
    pub problems: usize,
    /// How many are notes.
    pub notes: usize,
    /// Everything that was looked at, in the order of the groups.
    pub findings: Vec<Finding>,
    /// Everything that could not be looked at.
    pub unseen: Vec<Unseen>,
}

/// Where settings of the kernel are kept. Files are read by name, later ones win, and Debian's 99-sysctl.conf is
/// /etc/sysctl.conf.
const SYSCTL_FILE: &str = "/etc/sysctl.d/99-unmangle.conf";

/// What has been found so far.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was looked at.
    pub seen: Vec<Finding>,
    /// What could not be.
    pub unseen: Vec<Unseen>,
}

// === impl Findings ===

impl Findings {
    /// It is as it should be.
    pub fn ok(&mut self, id: Id, sentence: impl Into<String>) -> &mut Finding {
        self.add(id, Status::Ok, sentence)
    }

    /// It should be known.
    pub fn note(&mut self, id: Id, sentence: impl Into<String>) -> &mut Finding {
        self.add(id, Status::Note, sentence)
    }

    /// It should be mended.
    pub fn problem(&mut self, id: Id, sentence: impl Into<String>) -> &mut Finding {
        self.add(id, Status::Problem, sentence)
    }

    /// It was looked at.
    pub fn add(&mut self, id: Id, status: Status, sentence: impl Into<String>) -> &mut Finding {
        self.seen.push(Finding {
            id,
            group: id.group(),
            status,
            about: None,
            sentence: sentence.into(),
            now: None,
            lasting: None,
        });
        self.seen.last_mut().expect("it was just added")
    }

    /// It could not be looked at.
    pub fn unseen(&mut self, id: Id, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.unseen.push(Unseen { id, sentence });
    }

    /// All of it, in the order of the groups.
    pub fn report(mut self, kernel: &str, seconds: f64) -> Report {
        self.seen.sort_by_key(|finding| finding.group);
        let count = |status| self.seen.iter().filter(|one| one.status == status).count();
        Report {
            kernel: kernel.to_owned(),
            seconds,
            problems: count(Status::Problem),
            notes: count(Status::Note),
            findings: self.seen,
            unseen: self.unseen,
        }
    }
}

// === impl Finding ===

impl Finding {
    /// Which one of several is meant.
    pub fn about(&mut self, what: impl Into<String>) -> &mut Self {
        self.about = Some(what.into());
        self
    }

    /// The command that mends it.
    pub fn now(&mut self, command: impl Into<String>) -> &mut Self {
        self.now = Some(command.into());
        self
    }

    /// What makes that last.
    pub fn lasting(&mut self, file: impl Into<String>, line: impl Into<String>) -> &mut Self {
        let (file, line) = (file.into(), line.into());
        self.lasting = Some(Lasting { file, line });
        self
    }

    /// A setting of the kernel mends it. The name of an interface may have dots: then slashes part the rest, which
    /// sysctl understands as well.
    pub fn sysctl(&mut self, name: &str, value: &str) -> &mut Self {
        let words = quoted(&format!("{name}={value}"));
        self.now(format!("sysctl -w {words}"))
            .lasting(SYSCTL_FILE, format!("{name} = {value}"))
    }
}

/// One word for a shell, whatever an interface is called.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/=:-".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_whatever_an_interface_is_called() {
        assert_eq!(quoted("net.ipv4.ip_forward=1"), "net.ipv4.ip_forward=1");
        assert_eq!(quoted("a=1 2"), "'a=1 2'");
        assert_eq!(quoted("conf.p;id.x=0"), "'conf.p;id.x=0'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
