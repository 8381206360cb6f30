//! How many connections there may be, and how many a source may open: what a listener admits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use humantime::format_duration;
use ipnet::IpNet;

use super::access::Access;
use super::keys::{ConfigError, Given, Keys};
use super::settings::{Mode, number};

/// Everything that decides whether a connection is served: one value a listener, so that all of it can be
/// replaced at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// By where it comes from and where it goes.
    pub access: Access,
    /// Connections of this listener at a time; further ones wait to be accepted. No limit if `None`.
    pub most: Option<usize>,
    /// What one source may have.
    pub per_source: PerSource,
}

/// What one source may have; what goes beyond it is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerSource {
    /// Connections at a time; no limit if `None`.
    pub most: Option<u32>,
    /// Connections within a time; no limit if `None`.
    pub rate: Option<Rate>,
    /// Which addresses are one source.
    pub prefix: SourcePrefix,
}

/// So many connections within so long: as many at once, and from then on one by one, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub connections: u32,
    /// Within which time.
    pub within: Duration,
}

/// How many leading bits of an address make a source: whoever has one address of IPv6 has a /64 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePrefix {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

/// The network that counts as one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpNet);

/// Most connections that can be asked for: more than any host has descriptors for.
const MANY: u64 = 10_000_000;

// === impl Admission ===

impl Admission {
    /// Checks what was given for a listener; what one source may have is the process's where the listener
    /// says nothing.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub(super) fn read(keys: &Keys, process: &Keys, mode: &Mode) -> Result<Self, ConfigError> {
        let own_or_process = |key: &str| keys.given_or(key, process);
        let read = |given: Option<&Given>| given.map(|given| given.parse(most)).transpose();
        Ok(Self {
            access: Access::read(keys, mode)?,
            most: most_connections(keys)?,
            per_source: PerSource {
                most: read(own_or_process("max-per-source"))?,
                rate: own_or_process("rate-per-source")
                    .map(|given| given.parse(str::parse))
                    .transpose()?,
                prefix: own_or_process("source-prefix")
                    .map(|given| given.parse(str::parse))
                    .transpose()?
                    .unwrap_or_default(),
            },
        })
    }
}

/// How many connections there may be at a time, of the process or of a listener.
pub(super) fn most_connections(keys: &Keys) -> Result<Option<usize>, ConfigError> {
    keys.parse("max-connections", most)
}

fn most<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    number(text, 1, MANY)
}

// === impl PerSource ===

impl PerSource {
    /// Whether sources need not be told apart.
    pub fn is_unlimited(&self) -> bool {
        self.most.is_none() && self.rate.is_none()
    }
}

// === impl Rate ===

impl Rate {
    /// After how long one more is admitted to a source that has used up what it may have at once.
    pub fn interval(self) -> Duration {
        self.within / self.connections
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "{text:?} is not a rate; give connections and a time from 100ms to 1day, such as 10/s or 600/5m"
            )
        };
        let (connections, time) = text.split_once('/').ok_or_else(refuse)?;
        let time = match time.trim() {
            unit if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => format!("1{unit}"),
            time => time.to_owned(),
        };
        let within = humantime::parse_duration(&time).map_err(|_| refuse())?;
        let day = Duration::from_secs(24 * 60 * 60);
        if !(Duration::from_millis(100)..=day).contains(&within) {
            return Err(refuse());
        }
        Ok(Self {
            connections: number(connections.trim(), 1, 1_000_000).map_err(|_| refuse())?,
            within,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.connections, format_duration(self.within))
    }
}

// === impl SourcePrefix, Source ===

impl Default for SourcePrefix {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl FromStr for SourcePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("{text:?} are no prefixes; give two lengths, of IPv4 and IPv6, such as 32,64")
        };
        let (v4, v6) = text.split_once(',').ok_or_else(refuse)?;
        let bits = |text: &str, most| number(text.trim(), 1, most).map_err(|_| refuse());
        Ok(Self {
            v4: bits(v4, 32)?,
            v6: bits(v6, 128)?,
        })
    }
}

impl Source {
    /// The first address of it.
    pub fn network(self) -> IpAddr {
        self.0.network()
    }

    /// The source that an address belongs to.
    pub fn of(address: IpAddr, prefix: SourcePrefix) -> Self {
        // Otherwise all of IPv4 would be one source where it is told in IPv6 notation.
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(_) => prefix.v4,
            IpAddr::V6(_) => prefix.v6,
        };
        let network = IpNet::new(address, bits).expect("it was checked when it was read");
        Self(network.trunc())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_connections_within_a_time() {
        for (text, written) in [
            ("10/s", "10/1s"),
            ("600 / 5m", "600/5m"),
            ("1/100ms", "1/100ms"),
            ("30/min", "30/1m"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), written);
            assert_eq!(written.parse::<Rate>().unwrap().to_string(), written);
        }
        for wrong in [
            "", "10", "10/", "/s", "0/s", "10/0s", "10/99ms", "10/2days", "-1/s", "ten/s",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let source = |text: &str| Source::of(text.parse().unwrap(), SourcePrefix::default());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_eq!(source("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(source("192.0.2.1").to_string(), "192.0.2.1");
        let coarse = SourcePrefix { v4: 24, v6: 48 };
        assert_eq!(
            Source::of([192, 0, 2, 9].into(), coarse).to_string(),
            "192.0.2.0/24"
        );
    }

    #[test]
    fn prefixes_are_two_lengths() {
        assert_eq!("24, 48".parse(), Ok(SourcePrefix { v4: 24, v6: 48 }));
        for wrong in ["", "32", "33,64", "32,129", "0,64", "32,64,1"] {
            assert!(wrong.parse::<SourcePrefix>().is_err(), "{wrong:?}");
        }
    }
}
