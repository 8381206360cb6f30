//! What goes wrong with a connection, by kind: counted, never skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of failures that a report counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unreachable,
    /// A connection was not made in time, or the kernel gave one up.
    TimedOut,
    /// The other end, or something between, reset the connection.
    Reset,
    /// The other end closed before it had answered.
    ClosedEarly,
    /// The other end is no `unmangle bench serve`.
    NotServe,
    /// The other end is one, but not for this mode.
    WrongMode,
    /// A byte arrived that was not sent.
    Corrupt,
    /// Fewer bytes arrived than were sent.
    Short,
    /// No response came before the end.
    Unanswered,
    /// A request that was due was not sent before the end: the rate was not reached.
    Unsent,
    /// No descriptor was left.
    NoDescriptors,
    /// No local port was left.
    NoPorts,
    /// Anything else.
    Other,
}

/// One failure of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// What happened, in the words of whoever noticed.
    pub what: String,
}

/// How often each kind was seen, and what was said the first time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<Kind, (u64, String)>);

// === impl Kind ===

impl Kind {
    /// What to do about it, where there is something.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Refused => "is `unmangle bench serve` running there?",
            Self::NotServe => {
                "start `unmangle bench serve` there, or use --bare for an echo server"
            }
            Self::WrongMode => "see the --mode of `unmangle bench serve` there",
            Self::Unsent => "lower --rate, or raise --connections",
            Self::NoDescriptors => "raise `ulimit -n`, or lower --connections",
            Self::NoPorts => "widen net.ipv4.ip_local_port_range, or lower --connections",
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed early",
            Self::NotServe => "no bench serve",
            Self::WrongMode => "wrong mode",
            Self::Corrupt => "corrupt",
            Self::Short => "short",
            Self::Unanswered => "unanswered",
            Self::Unsent => "unsent",
            Self::NoDescriptors => "no descriptors",
            Self::NoPorts => "no ports",
            Self::Other => "other",
        })
    }
}

// === impl Failure ===

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = match (error.kind(), error.raw_os_error()) {
            (_, Some(libc::EMFILE | libc::ENFILE)) => Kind::NoDescriptors,
            (_, Some(libc::EADDRNOTAVAIL)) => Kind::NoPorts,
            (io::ErrorKind::ConnectionRefused, _) => Kind::Refused,
            (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _) => {
                Kind::Unreachable
            }
            (io::ErrorKind::TimedOut, _) => Kind::TimedOut,
            (io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, _) => Kind::Reset,
            _ => Kind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

// === impl Failures ===

impl Failures {
    /// Counts one.
    pub fn count(&mut self, failure: Failure) {
        self.count_times(failure, 1);
    }

    /// Counts several of one kind.
    pub fn count_times(&mut self, failure: Failure, times: u64) {
        if times > 0 {
            self.0.entry(failure.kind).or_insert((0, failure.what)).0 += times;
        }
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        for (kind, (times, what)) in &other.0 {
            self.count_times(Failure::new(*kind, what.clone()), *times);
        }
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.values().map(|(times, _)| times).sum()
    }

    /// Kind, count and what was said the first time.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64, &str)> {
        self.0
            .iter()
            .map(|(kind, (times, what))| (*kind, *times, what.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_have_their_kind() {
        for (errno, kind) in [
            (libc::ECONNREFUSED, Kind::Refused),
            (libc::EHOSTUNREACH, Kind::Unreachable),
            (libc::ENETUNREACH, Kind::Unreachable),
            (libc::ETIMEDOUT, Kind::TimedOut),
            (libc::ECONNRESET, Kind::Reset),
            (libc::EPIPE, Kind::Reset),
            (libc::EMFILE, Kind::NoDescriptors),
            (libc::EADDRNOTAVAIL, Kind::NoPorts),
            (libc::EIO, Kind::Other),
        ] {
            let failure = Failure::from(io::Error::from_raw_os_error(errno));
            assert_eq!(failure.kind, kind);
        }
    }

    #[test]
    fn failures_are_counted_by_kind_and_keep_the_first_words() {
        let mut failures = Failures::default();
        failures.count(Failure::new(Kind::Reset, "first"));
        failures.count(Failure::new(Kind::Reset, "second"));
        let mut more = Failures::default();
        more.count_times(Failure::new(Kind::Unsent, "behind"), 40);
        failures.add(&more);
        assert_eq!(failures.total(), 42);
        assert_eq!(
            failures.iter().collect::<Vec<_>>(),
            [(Kind::Reset, 2, "first"), (Kind::Unsent, 40, "behind")]
        );
    }
}
