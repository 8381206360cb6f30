//! A relay on the strict host itself: in front of a service of this host, or behind its own clients.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::choice::{ServiceLeg, Track};
use super::identity;
use super::intercept::{Intercept, Networks, Ports};
use super::keys::{ConfigError, Keys, Origin};
use super::mark::Mark;
use super::process::Process;
use super::settings::Mode;

/// A relay in front of a service of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSidecar {
    /// What comes by the mangled side and is taken.
    pub intercept: Intercept,
    /// How the service is dialled, and what it sees.
    pub leg: ServiceLeg,
    /// With [`ServiceLeg::Transparent`]: the service's own addresses.
    pub own: OwnAddresses,
    /// The bits by which packets of the relay's own dials are known.
    pub dial_mark: Mark,
}

/// A relay for what this host opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSidecar {
    /// What leaves by the mangled side and is taken.
    pub intercept: Intercept,
    /// Whose connections.
    pub whose: Whose,
    /// The bits by which the relay's own dials are known, so that they are not taken again.
    pub dial_mark: Mark,
}

/// Whose connections a client sidecar takes: everybody's, unless one of these is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whose {
    /// Of programs that run as this user.
    pub user: Option<User>,
    /// Of programs in this control group, or in one below it.
    pub cgroup: Option<Cgroup>,
}

/// A user by name or number, fit to be written into a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(String);

/// A control group of version 2 by its path from the root of the hierarchy, fit to be written into a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup(String);

/// One address of this host for each family, and what stands for it between the rules and the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnAddresses {
    /// By IPv4.
    pub v4: Option<Ipv4Addr>,
    /// By IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// Stands for the service's IPv4 address: nobody has it (RFC 7600, the IPv4 dummy address).
pub const STAND_IN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Stands for the service's IPv6 address: nobody has it (RFC 6666, the discard prefix).
pub const STAND_IN_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);

/// Why a value for a sidecar is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SidecarError {
    /// Not a user.
    #[error("{0:?} is not a user; give a name such as backup, or a number")]
    User(String),
    /// Not a control group.
    #[error(
        "{0:?} is not a control group; give its path below the root, such as system.slice/backup.service"
    )]
    Cgroup(String),
}

/// Checks what was given for a sidecar that serves.
pub(super) fn server(keys: &Keys, origin: &Origin, process: &Process) -> Result<Mode, ConfigError> {
    needs_conntrack(origin, process)?;
    ServerSidecar::read(keys, origin, process.numbers.dial_mark).map(Mode::ServerSidecar)
}

/// Checks what was given for a sidecar of clients.
pub(super) fn client(keys: &Keys, origin: &Origin, process: &Process) -> Result<Mode, ConfigError> {
    needs_conntrack(origin, process)?;
    ClientSidecar::read(keys, origin, process.numbers.dial_mark).map(Mode::ClientSidecar)
}

fn needs_conntrack(origin: &Origin, process: &Process) -> Result<(), ConfigError> {
    match process.track {
        Track::Zones => Ok(()),
        Track::Notrack => {
            Err(origin.error("a sidecar has no zones and needs conntrack; leave track notrack out"))
        }
    }
}

// === impl ServerSidecar, ClientSidecar ===

impl ServerSidecar {
    /// Checks what was given for one.
    ///
    /// # Errors
    /// The first value that is wrong, or missing.
    pub(super) fn read(keys: &Keys, origin: &Origin, dial_mark: Mark) -> Result<Self, ConfigError> {
        foreign(
            keys,
            "server-sidecar",
            &["listen", "mangled-leg", "clean-port", "user", "cgroup"],
        )?;
        let intercept = intercept(keys, origin, None)?;
        let leg = keys.parse("service-leg", str::parse)?.unwrap_or_default();
        let own =
            match leg {
                ServiceLeg::Transparent => OwnAddresses::of(&intercept.to).ok_or_else(|| {
                    keys.given("to").map_or(origin, |given| &given.origin).error(
                    "service-leg transparent needs the service's own address: give it with to, \
                     at most one for each family",
                )
                })?,
                ServiceLeg::Loopback | ServiceLeg::OwnAddress => OwnAddresses::default(),
            };
        Ok(Self {
            intercept,
            leg,
            own,
            dial_mark,
        })
    }

    /// Whether two could want the same connection, or one stand-in for two addresses.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let differ =
            |one: Option<IpAddr>, two: Option<IpAddr>| one.is_some() && two.is_some() && one != two;
        let (one, two) = (self.own, other.own);
        self.intercept.overlaps(&other.intercept)
            || differ(one.v4.map(IpAddr::V4), two.v4.map(IpAddr::V4))
            || differ(one.v6.map(IpAddr::V6), two.v6.map(IpAddr::V6))
    }
}

impl ClientSidecar {
    /// Checks what was given for one.
    ///
    /// # Errors
    /// The first value that is wrong, or missing.
    pub(super) fn read(keys: &Keys, origin: &Origin, dial_mark: Mark) -> Result<Self, ConfigError> {
        foreign(
            keys,
            "client-sidecar",
            &["listen", "mangled-leg", "mangled-port", "service-leg"],
        )?;
        let whose = Whose {
            user: keys.parse("user", str::parse)?,
            cgroup: keys.parse("cgroup", str::parse)?,
        };
        // Every port of everybody would be the whole host's traffic.
        let every = (whose != Whose::default()).then(Ports::every);
        Ok(Self {
            intercept: intercept(keys, origin, every)?,
            whose,
            dial_mark,
        })
    }

    /// Whether two could want the same connection.
    pub(super) fn collides(&self, other: &Self) -> bool {
        self.whose.overlaps(&other.whose) && self.intercept.overlaps(&other.intercept)
    }
}

fn foreign(keys: &Keys, mode: &str, foreign: &[&str]) -> Result<(), ConfigError> {
    // Who the client is, the packets say.
    let mut foreign = foreign.iter().chain(&identity::KEYS);
    match foreign.find_map(|key| keys.given(key)) {
        Some(given) => Err(given
            .origin
            .error(format!("this is of no use to a {mode} listener"))),
        None => Ok(()),
    }
}

/// What is taken; `unless` told which ports are meant, if that may be left out.
fn intercept(
    keys: &Keys,
    origin: &Origin,
    unless: Option<Ports>,
) -> Result<Intercept, ConfigError> {
    let networks = |key: &str| match keys.given(key) {
        Some(given) => Networks::parse(given.texts.iter().map(String::as_str))
            .map_err(|error| given.origin.error(error)),
        None => Ok(Networks::default()),
    };
    let missing = |key: &str, why: &str| origin.error(format!("{key} is missing: {why}"));
    let ports = keys.parse("intercept", str::parse)?.or(unless);
    let intercept = Intercept {
        ports: ports.ok_or_else(|| missing("intercept", "which destination ports? 22, for ssh"))?,
        mangled_side: keys
            .parse("mangled-side", str::parse)?
            .ok_or_else(|| missing("mangled-side", "which interface faces the firewall?"))?,
        from: networks("from")?,
        to: networks("to")?,
    };
    if intercept.has_a_family() {
        Ok(intercept)
    } else {
        Err(origin.error("from and to have no address family in common: nothing would be taken"))
    }
}

// === impl Whose, User, Cgroup ===

impl Whose {
    /// Whether nobody in particular was named.
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether one connection can be meant by both. A process of any user can be in any control group.
    fn overlaps(&self, other: &Self) -> bool {
        fn may_agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        let groups = match (&self.cgroup, &other.cgroup) {
            (Some(one), Some(other)) => one.contains(other) || other.contains(one),
            _ => true,
        };
        groups && may_agree(&self.user, &other.user)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (&self.user, &self.cgroup) {
            (None, None) => f.write_str("everybody"),
            (Some(user), None) => write!(f, "user {user}"),
            (None, Some(cgroup)) => write!(f, "cgroup {cgroup}"),
            (Some(user), Some(cgroup)) => write!(f, "user {user} in cgroup {cgroup}"),
        }
    }
}

impl FromStr for User {
    type Err = SidecarError;

    fn from_str(name: &str) -> Result<Self, SidecarError> {
        let fits = (1..=32).contains(&name.len())
            && !name.starts_with('-')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(SidecarError::User(name.to_owned()))
        }
    }
}

impl FromStr for Cgroup {
    type Err = SidecarError;

    fn from_str(path: &str) -> Result<Self, SidecarError> {
        let inner = path.trim_matches('/');
        let fits = inner.split('/').all(|part| {
            !["", ".", ".."].contains(&part)
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-@:\\".contains(&b))
        });
        if fits {
            Ok(Self(inner.to_owned()))
        } else {
            Err(SidecarError::Cgroup(path.to_owned()))
        }
    }
}

impl Cgroup {
    /// The path, from the root of the hierarchy.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Whether the other is this one, or lies in it.
    fn contains(&self, other: &Self) -> bool {
        let inner = other.0.strip_prefix(self.path());
        inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// How deep it lies: 1 for a child of the root.
    pub fn level(&self) -> usize {
        self.0.split('/').count()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Mode ===

impl Mode {
    /// What the relay's own dials are marked with; none where nothing would tell.
    pub fn dial_mark(&self) -> Option<Mark> {
        match self {
            Mode::ClientSidecar(sidecar) => Some(sidecar.dial_mark),
            Mode::ServerSidecar(sidecar) if sidecar.leg != ServiceLeg::Loopback => {
                Some(sidecar.dial_mark)
            }
            Mode::Gateway(_) | Mode::ServerSidecar(_) | Mode::Forward(_) => None,
        }
    }
}

// === impl OwnAddresses ===

impl OwnAddresses {
    /// The addresses that were named, if each family has one at most and any has one.
    fn of(networks: &Networks) -> Option<Self> {
        let (v4, v6): (Vec<_>, Vec<_>) = (networks.v4().collect(), networks.v6().collect());
        let single = v4.iter().all(|net| net.prefix_len() == 32)
            && v6.iter().all(|net| net.prefix_len() == 128)
            && v4.len() <= 1
            && v6.len() <= 1;
        let own = Self {
            v4: v4.first().map(|net| net.addr()),
            v6: v6.first().map(|net| net.addr()),
        };
        (single && own != Self::default()).then_some(own)
    }

    /// The own address that this one stands for.
    pub fn behind(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(STAND_IN_V4) => self.v4.map(IpAddr::V4),
            IpAddr::V6(STAND_IN_V6) => self.v6.map(IpAddr::V6),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_break_out_of_a_rule_is_no_user_and_no_group() {
        for name in ["", "a b", "a\"b", "-1", "x;y"] {
            assert!(name.parse::<User>().is_err(), "{name:?}");
        }
        for path in ["", "/", "a//b", "a/../b", "a b", "a\"b"] {
            assert!(path.parse::<Cgroup>().is_err(), "{path:?}");
        }
        let deep: Cgroup = "/system.slice/backup@1.service/".parse().unwrap();
        assert_eq!(
            (deep.path(), deep.level()),
            ("system.slice/backup@1.service", 2)
        );
    }

    #[test]
    fn an_own_address_is_one_address_of_a_family_and_no_network() {
        let own = |nets: &[&str]| OwnAddresses::of(&Networks::parse(nets.iter().copied()).unwrap());
        assert!(own(&["192.0.2.7", "2001:db8::7"]).is_some());
        for wrong in [&[][..], &["192.0.2.0/24"], &["192.0.2.7", "192.0.2.8"]] {
            assert_eq!(own(wrong), None, "{wrong:?}");
        }
        let own = own(&["192.0.2.7"]).unwrap();
        assert_eq!(
            own.behind(STAND_IN_V4.into()),
            Some("192.0.2.7".parse().unwrap())
        );
        assert_eq!(own.behind(STAND_IN_V6.into()), None);
    }
}
