//! Who is compared: names, what each needs to be there, and how many sessions it can hold. Pure, but for
//! [`Kind::missing`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::bench::compare::plan::Shape;
use crate::config::Engine;
use crate::lab::requirements::find;

/// Where Debian has nginx's module for TCP.
pub const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Descriptors of a relay that no session's sockets are.
pub const OTHER_DESCRIPTORS: u64 = 500;
/// More processes than that are no fair load for a machine.
const PROCESSES: u32 = 500;

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the relay host routes.
    Direct,
    /// HAProxy.
    HAProxy,
    /// nginx's stream module.
    Nginx,
    /// socat, a process for each connection.
    Socat,
    /// Ourselves, by one of the engines.
    Unmangle(Engine),
}

/// One that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What carries the bytes.
    pub kind: Kind,
    /// What it is called: its kind, numbered if there are several of that.
    pub name: String,
}

/// Why one cannot take part, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// The Debian package that brings it.
    pub package: &'static str,
}

/// No candidate is called that.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no candidate {0:?}")]
pub struct Unknown(String);

/// Gives each its name.
pub fn named(kinds: impl IntoIterator<Item = Kind>) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for kind in kinds {
        let before = candidates.iter().filter(|each| each.kind == kind).count();
        let name = match before {
            0 => kind.to_string(),
            before => format!("{kind}#{}", before + 1),
        };
        candidates.push(Candidate { kind, name });
    }
    candidates
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Direct,
        Self::HAProxy,
        Self::Nginx,
        Self::Socat,
        Self::Unmangle(Engine::Splice),
        Self::Unmangle(Engine::TokioSplice),
        Self::Unmangle(Engine::Copy),
    ];

    /// Whether it is one of those that ours is to be measured by. An engine that is not ours is one, and
    /// `copy` is only there to show what splicing is worth.
    pub fn is_peer(self) -> bool {
        match self {
            Self::HAProxy | Self::Nginx | Self::Socat => true,
            Self::Unmangle(engine) => engine == Engine::TokioSplice,
            Self::Direct => false,
        }
    }

    /// Why it cannot stand like that, if so.
    pub fn unable(self, shape: Shape) -> Option<&'static str> {
        match (self, shape) {
            (Self::Nginx, Shape::Gateway) => Some(
                "nginx cannot listen for connections that are meant for others (IP_TRANSPARENT)",
            ),
            (Self::Socat, Shape::Gateway) => {
                Some("socat cannot connect to where a connection was meant to go")
            }
            _ => None,
        }
    }

    /// What of it is not installed.
    pub fn missing(self) -> Option<Missing> {
        self.missing_where(find, Path::is_file)
    }

    fn missing_where(
        self,
        find: impl Fn(&str) -> Option<PathBuf>,
        is_file: impl Fn(&Path) -> bool,
    ) -> Option<Missing> {
        let (program, package) = match self {
            Self::HAProxy => ("haproxy", "haproxy"),
            Self::Nginx => ("nginx", "nginx"),
            Self::Socat => ("socat", "socat"),
            Self::Direct | Self::Unmangle(_) => return None,
        };
        if find(program).is_none() {
            let what = program.to_owned();
            return Some(Missing { what, package });
        }
        (self == Self::Nginx && !is_file(Path::new(NGINX_STREAM))).then(|| Missing {
            what: "nginx's stream module".to_owned(),
            package: "libnginx-mod-stream",
        })
    }

    /// How many idle sessions it can hold, of those wanted, where a process may have so many descriptors.
    pub fn holds(self, wanted: u32, descriptor_limit: u64) -> u32 {
        let a_session = match self {
            Self::Socat => return wanted.min(PROCESSES),
            // The ends: the generator and the server have one descriptor each.
            Self::Direct => 1,
            // Two sockets, and a pipe for each direction.
            Self::Unmangle(Engine::TokioSplice) => 6,
            Self::HAProxy | Self::Nginx | Self::Unmangle(_) => 2,
        };
        let held = descriptor_limit.saturating_sub(OTHER_DESCRIPTORS) / a_session;
        let rounded = if held >= 100 { held / 100 * 100 } else { held };
        wanted.min(u32::try_from(rounded).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::HAProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Socat => "socat",
            Self::Unmangle(Engine::Splice) => "unmangle",
            Self::Unmangle(Engine::TokioSplice) => "tokio-splice",
            Self::Unmangle(Engine::Copy) => "copy",
        })
    }
}

impl FromStr for Kind {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        let named = |kind: &Self| kind.to_string() == word;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| Unknown(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_is_given_twice_is_numbered() {
        let twice = named([Kind::HAProxy, Kind::Direct, Kind::HAProxy]);
        let names: Vec<&str> = twice.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["haproxy", "direct", "haproxy#2"]);
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("apache".parse::<Kind>().is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let nothing = |kind: Kind| kind.missing_where(|_| None, |_| false);
        assert_eq!(nothing(Kind::Direct), None);
        assert_eq!(nothing(Kind::Socat).unwrap().package, "socat");
        let everything = |_: &str| Some(PathBuf::from("/there"));
        let missing = Kind::Nginx.missing_where(everything, |_| false).unwrap();
        assert_eq!(missing.package, "libnginx-mod-stream");
        assert_eq!(Kind::Nginx.missing_where(everything, |_| true), None);
    }

    #[test]
    fn idle_sessions_stay_within_the_descriptor_limit() {
        let holds = |kind: Kind| kind.holds(9000, 20_000);
        assert_eq!(holds(Kind::HAProxy), 9000);
        assert_eq!(holds(Kind::Unmangle(Engine::TokioSplice)), 3200);
        assert_eq!(holds(Kind::Socat), 500);
        assert_eq!(Kind::Direct.holds(9000, 1024), 500);
        assert_eq!(Kind::HAProxy.holds(10, 20_000), 10);
    }

    #[test]
    fn those_who_cannot_take_what_passes_by_are_told_apart() {
        let unable = Kind::ALL.map(|kind| kind.unable(Shape::Gateway).is_some());
        assert_eq!(unable.iter().filter(|unable| **unable).count(), 2);
        assert!(
            Kind::ALL
                .iter()
                .all(|kind| kind.unable(Shape::Forward).is_none())
        );
    }
}
