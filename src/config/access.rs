//! Which connections a listener passes on, by where they come from and where they go: a pure judgement.
//!
//! *Deny wins*: what an entry of `deny` names is refused, whatever `allow` says. Where there is a list
//! `allow`, what none of its entries names is refused, too. The order of entries means nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use super::intercept::{Intercept, parse_network};
use super::keys::{ConfigError, Keys};
use super::settings::Mode;

/// Which connections a listener passes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// What its rules take, if rules lead connections to it: nothing else was meant for it.
    taken: Option<Intercept>,
    /// Everything, unless something is named.
    allow: Vec<Entry>,
    deny: Vec<Entry>,
}

/// A line of a list: `SOURCE -> DESTINATION:PORTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From anywhere if `None`.
    from: Option<IpNet>,
    /// To anywhere if `None`.
    to: Option<IpNet>,
    /// To every port if there is none.
    ports: Vec<RangeInclusive<u16>>,
}

/// Why a connection is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// An entry of `deny` names it.
    #[error("it is denied by {0}")]
    Denied(Entry),
    /// No entry of `allow` does.
    #[error("it is in no entry of allow")]
    Unlisted,
    /// Nobody's rules should have led it here.
    #[error("it is none of those that the listener intercepts")]
    NotTaken,
}

/// A text that is no entry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no entry; give SOURCE or SOURCE -> DESTINATION:PORTS, such as 10.0.0.0/8, any -> 192.0.2.7:22,873 \
     or 2001:db8::/32 -> [2001:db8:1::/48]:8000-8099"
)]
pub struct NoEntry(String);

/// What stands for every address.
const ANY: &str = "any";

// === impl Access ===

impl Access {
    /// Checks what was given for a listener of this mode.
    ///
    /// # Errors
    /// The first entry that is none, with where it stood.
    pub(super) fn read(keys: &Keys, mode: &Mode) -> Result<Self, ConfigError> {
        let list = |key: &str| match keys.given(key) {
            Some(given) if given.texts.is_empty() => Err(given
                .origin
                .error("this list is empty; name what is meant, or leave it out")),
            Some(given) => given
                .texts
                .iter()
                .map(|text| {
                    text.parse()
                        .map_err(|error: NoEntry| given.origin.error(error))
                })
                .collect(),
            None => Ok(Vec::new()),
        };
        let taken = match mode {
            Mode::Gateway(intercept) => Some(intercept.clone()),
            Mode::ServerSidecar(sidecar) => Some(sidecar.intercept.clone()),
            Mode::ClientSidecar(sidecar) => Some(sidecar.intercept.clone()),
            Mode::Forward(_) => None,
        };
        Ok(Self {
            taken,
            allow: list("allow")?,
            deny: list("deny")?,
        })
    }

    /// Judges a connection.
    ///
    /// # Errors
    /// Why it is not to be passed on.
    pub fn judge(&self, client: IpAddr, server: SocketAddr) -> Result<(), Barred> {
        // A proxy that listens for both families at once may tell of an IPv4 client in IPv6 notation.
        let client = client.to_canonical();
        let server = SocketAddr::new(server.ip().to_canonical(), server.port());
        if self
            .taken
            .as_ref()
            .is_some_and(|taken| !taken.wants(client, server))
        {
            return Err(Barred::NotTaken);
        }
        let names = |entry: &&Entry| entry.has_source(client) && entry.has_destination(server);
        if let Some(entry) = self.deny.iter().find(names) {
            return Err(Barred::Denied(entry.clone()));
        }
        if self.allow.is_empty() || self.allow.iter().any(|entry| names(&entry)) {
            return Ok(());
        }
        Err(Barred::Unlisted)
    }

    /// Judges a client before it is known where it is passed on to.
    ///
    /// # Errors
    /// Why it is not to be passed on, wherever that would be.
    pub fn judge_source(&self, client: IpAddr) -> Result<(), Barred> {
        let client = client.to_canonical();
        let wherever = |entry: &&Entry| entry.has_source(client) && entry.is_everywhere();
        if let Some(entry) = self.deny.iter().find(wherever) {
            return Err(Barred::Denied(entry.clone()));
        }
        if self.allow.is_empty() || self.allow.iter().any(|entry| entry.has_source(client)) {
            return Ok(());
        }
        Err(Barred::Unlisted)
    }

    /// What is passed on; everything if nothing is named.
    pub fn allow(&self) -> &[Entry] {
        &self.allow
    }

    /// What is not.
    pub fn deny(&self) -> &[Entry] {
        &self.deny
    }
}

// === impl Entry ===

impl Entry {
    fn has_source(&self, client: IpAddr) -> bool {
        self.from.is_none_or(|net| net.contains(&client))
    }

    fn has_destination(&self, server: SocketAddr) -> bool {
        self.to.is_none_or(|net| net.contains(&server.ip()))
            && (self.ports.is_empty()
                || self
                    .ports
                    .iter()
                    .any(|range| range.contains(&server.port())))
    }

    fn is_everywhere(&self) -> bool {
        self.to.is_none() && self.ports.is_empty()
    }
}

impl FromStr for Entry {
    type Err = NoEntry;

    fn from_str(text: &str) -> Result<Self, NoEntry> {
        let (from, destination) = text.split_once("->").unwrap_or((text, ANY));
        let parsed = network(from).zip(destination_of(destination.trim()));
        let (from, (to, ports)) = parsed.ok_or_else(|| NoEntry(text.to_owned()))?;
        Ok(Self { from, to, ports })
    }
}

type Destination = (Option<IpNet>, Vec<RangeInclusive<u16>>);

/// A network, perhaps with ports; in brackets if it is one of IPv6 and has them.
fn destination_of(text: &str) -> Option<Destination> {
    if let Some(net) = network(text) {
        return Some((net, Vec::new()));
    }
    let (net, ports) = text.rsplit_once(':')?;
    let net = match net.strip_prefix('[').and_then(|net| net.strip_suffix(']')) {
        Some(v6) if v6.contains(':') => v6,
        Some(_) => return None,
        None if net.contains(':') => return None,
        None => net,
    };
    let ports = ports.split(',').map(range).collect::<Option<_>>()?;
    Some((network(net)?, ports))
}

/// A network, or every address; nothing if it is neither.
fn network(text: &str) -> Option<Option<IpNet>> {
    match text.trim() {
        ANY => Some(None),
        text => parse_network(text).ok().map(Some),
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    let range = port(first)?..=port(last)?;
    (!range.is_empty()).then_some(range)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.from {
            Some(net) => net.fmt(f)?,
            None => f.write_str(ANY)?,
        }
        if self.is_everywhere() {
            return Ok(());
        }
        f.write_str(" -> ")?;
        match self.to {
            Some(net @ IpNet::V6(_)) if !self.ports.is_empty() => write!(f, "[{net}]")?,
            Some(net) => net.fmt(f)?,
            None => f.write_str(ANY)?,
        }
        for (index, range) in self.ports.iter().enumerate() {
            f.write_str(if index == 0 { ":" } else { "," })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => first.fmt(f)?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(texts: &[&str]) -> Vec<Entry> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        Access {
            taken: None,
            allow: entries(allow),
            deny: entries(deny),
        }
    }

    fn passes(access: &Access, client: &str, server: &str) -> bool {
        let judged = access.judge(client.parse().unwrap(), server.parse().unwrap());
        judged.is_ok()
    }

    #[test]
    fn an_entry_is_told_as_it_is_read() {
        for text in [
            "any",
            "10.0.0.0/8",
            "10.0.0.0/8 -> 192.0.2.7/32",
            "any -> 192.0.2.0/24:22,873",
            "any -> any:8000-8099",
            "2001:db8::/32 -> [2001:db8:1::/48]:22",
            "2001:db8::/32 -> 2001:db8:1::/48",
        ] {
            assert_eq!(text.parse::<Entry>().unwrap().to_string(), text);
        }
        let spaced: Entry = " 10.1.2.3/8->192.0.2.7: 22 ".parse().unwrap();
        assert_eq!(spaced.to_string(), "10.0.0.0/8 -> 192.0.2.7/32:22");
    }

    #[test]
    fn what_is_no_entry_is_refused_by_name() {
        for text in [
            "",
            "->",
            "-> 192.0.2.7",
            "any ->",
            "any -> any -> any",
            "backup.example",
            "10.0.0.0/33",
            "192.0.2.7:22",
            "any -> 192.0.2.7:0",
            "any -> 192.0.2.7:ssh",
            "any -> 192.0.2.7:99-22",
            "any -> 2001:db8::/32:22",
            "any -> [192.0.2.7]:22",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(
                text.parse::<Entry>(),
                Err(NoEntry(text.to_owned())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn deny_wins_and_a_list_of_what_is_allowed_leaves_out_the_rest() {
        let lists = access(&["10.0.0.0/8 -> any:22", "192.0.2.1"], &["10.9.0.0/16"]);
        assert!(passes(&lists, "10.1.1.1", "198.51.100.1:22"));
        assert!(!passes(&lists, "10.9.1.1", "198.51.100.1:22"));
        assert!(!passes(&lists, "10.1.1.1", "198.51.100.1:23"));
        assert!(passes(&lists, "192.0.2.1", "198.51.100.1:23"));
        assert!(!passes(&lists, "192.0.2.2", "198.51.100.1:22"));
        let only_denied = access(&[], &["any -> 169.254.0.0/16"]);
        assert!(passes(&only_denied, "2001:db8::1", "[2001:db8::2]:22"));
        assert!(!passes(&only_denied, "10.1.1.1", "169.254.169.254:80"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_notation_is_the_same_address() {
        let lists = access(&[], &["10.0.0.0/8", "any -> 127.0.0.0/8"]);
        assert!(!passes(&lists, "::ffff:10.1.1.1", "198.51.100.1:22"));
        assert!(!passes(&lists, "192.0.2.1", "[::ffff:127.0.0.1]:22"));
    }

    #[test]
    fn what_nobodys_rules_should_have_led_here_is_not_passed_on() {
        let access = Access {
            taken: Some(Intercept {
                ports: "22".parse().unwrap(),
                from: Default::default(),
                to: Default::default(),
                mangled_side: "eth1".parse().unwrap(),
            }),
            ..Access::default()
        };
        assert!(passes(&access, "10.1.1.1", "198.51.100.1:22"));
        let judged = access.judge([10, 1, 1, 1].into(), ([198, 51, 100, 1], 23).into());
        assert_eq!(judged, Err(Barred::NotTaken));
    }

    fn entry() -> impl Strategy<Value = String> {
        let net = || {
            prop_oneof![
                Just("any".to_owned()),
                (0..4_u8, 30..=32_u8).prop_map(|(host, bits)| format!("10.0.0.{host}/{bits}"))
            ]
        };
        (
            net(),
            net(),
            prop_oneof![Just(""), Just(":1"), Just(":2-3")],
        )
            .prop_map(|(from, to, ports)| format!("{from} -> {to}{ports}"))
    }

    proptest! {
        /// Who is refused wherever it goes is refused at every place, and who is barred from every place
        /// by an entry without one is refused before it is looked up.
        #[test]
        fn a_judgement_by_source_alone_agrees_with_every_judgement_by_destination(
            allow in proptest::collection::vec(entry(), 0..3),
            deny in proptest::collection::vec(entry(), 0..3),
            (client, server, port) in (0..5_u8, 0..5_u8, 1..5_u16),
        ) {
            let texts = |list: &[String]| list.iter().map(|text| text.parse().unwrap()).collect();
            let access = Access { taken: None, allow: texts(&allow), deny: texts(&deny) };
            let (client, server) = ([10, 0, 0, client].into(), ([10, 0, 0, server], port).into());
            if access.judge_source(client).is_err() {
                prop_assert!(access.judge(client, server).is_err());
            }
            let written = Access {
                taken: None,
                allow: access.allow.iter().map(|each| each.to_string().parse().unwrap()).collect(),
                deny: access.deny.iter().map(|each| each.to_string().parse().unwrap()).collect(),
            };
            prop_assert_eq!(written, access);
        }
    }
}
