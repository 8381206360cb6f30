//! Which connections are taken: ports, networks, the mangled side.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which connections are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intercept {
    /// Destination ports.
    pub ports: Ports,
    /// Where they may come from.
    pub from: Networks,
    /// Where they may go.
    pub to: Networks,
    /// The interface that faces the firewall: one leg of every session is there.
    pub mangled_side: Interface,
}

/// Why a value for [`Intercept`] is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InterceptError {
    /// Not a port.
    #[error("{0:?} is not a port to intercept; give numbers from 1 to 65535, such as 22 or 22,873")]
    Port(String),
    /// Not an interface's name.
    #[error(
        "{0:?} cannot be an interface's name: 1 to 15 letters, digits or any of . _ - @ are needed"
    )]
    Interface(String),
    /// Nothing crosses a firewall there.
    #[error("lo is this host's own interface; give the one that faces the firewall")]
    Loopback,
    /// No packet has such an address.
    #[error("{0:?} is an IPv4 address in IPv6 notation, which no packet has; write it as IPv4")]
    Mapped(String),
    /// Not a network.
    #[error(
        "{0:?} is not a network; give an address or a prefix, such as 10.0.0.0/8 or 2001:db8::/32"
    )]
    Network(String),
}

/// Destination ports, sorted, each once; none at all means every port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<NonZeroU16>);

/// Networks of both families; none at all means everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<IpNet>);

/// The name of a network interface, fit to be written into a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

// === impl Intercept ===

impl Intercept {
    /// Whether there is a family in which both a source and a destination are wanted.
    pub fn has_a_family(&self) -> bool {
        let named = |nets: &Networks| {
            let everywhere = nets.is_everywhere();
            (
                everywhere || nets.v4().next().is_some(),
                everywhere || nets.v6().next().is_some(),
            )
        };
        let ((from4, from6), (to4, to6)) = (named(&self.from), named(&self.to));
        (from4 && to4) || (from6 && to6)
    }

    /// Whether a connection could be meant for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.mangled_side == other.mangled_side && self.looks_like(other)
    }

    /// Whether an opening packet, without its interfaces, could be meant for both.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.ports.overlap(&other.ports)
            && self.from.overlap(&other.from)
            && self.to.overlap(&other.to)
    }

    /// Whether ports and addresses of a connection are those that are wanted.
    pub fn wants(&self, client: IpAddr, server: SocketAddr) -> bool {
        self.ports.contains(server.port())
            && self.from.contains(client)
            && self.to.contains(server.ip())
    }
}

// === impl Ports ===

impl Ports {
    /// Every port there is.
    pub fn every() -> Self {
        Self(Vec::new())
    }

    /// Whether every port is meant.
    pub fn is_every(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a port is in both.
    pub fn overlap(&self, other: &Self) -> bool {
        let shared = |port: &NonZeroU16| other.0.binary_search(port).is_ok();
        self.is_every() || other.is_every() || self.0.iter().any(shared)
    }

    /// The ports, sorted; none if every port is meant.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().map(|port| port.get())
    }

    /// Whether this is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.is_every() || self.iter().any(|one| one == port)
    }
}

impl FromStr for Ports {
    type Err = InterceptError;

    fn from_str(text: &str) -> Result<Self, InterceptError> {
        let mut ports = text
            .split(',')
            .map(|port| port.trim().parse())
            .collect::<Result<Vec<NonZeroU16>, _>>()
            .map_err(|_| InterceptError::Port(text.to_owned()))?;
        ports.sort_unstable();
        ports.dedup();
        Ok(Self(ports))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.is_every() {
            return f.write_str("every port");
        }
        write_list(f, self.iter())
    }
}

// === impl Networks ===

impl Networks {
    /// Reads each text as an address or a prefix.
    ///
    /// # Errors
    /// [`InterceptError::Network`] names the first text that is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InterceptError> {
        texts
            .into_iter()
            .map(parse_network)
            .collect::<Result<Vec<_>, _>>()
            .map(Self)
    }

    /// Whether no network was named, so that every address of both families is meant.
    pub fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is meant.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_everywhere() || self.0.iter().any(|net| net.contains(&address))
    }

    /// Whether an address could be in both.
    pub fn overlap(&self, other: &Self) -> bool {
        self.is_everywhere()
            || other.is_everywhere()
            || self.0.iter().any(|one| {
                other
                    .0
                    .iter()
                    .any(|two| one.contains(two) || two.contains(one))
            })
    }

    /// The IPv4 networks that were named.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.0.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        })
    }

    /// The IPv6 networks that were named.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Net> + '_ {
        self.0.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(*net),
            IpNet::V4(_) => None,
        })
    }
}

/// An address or a prefix.
pub(super) fn parse_network(text: &str) -> Result<IpNet, InterceptError> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(
            text.parse::<IpAddr>()
                .map_err(|_| InterceptError::Network(text.to_owned()))?,
        ),
    };
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(InterceptError::Mapped(text.to_owned()))
        }
        _ => Ok(network.trunc()),
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.is_everywhere() {
            return f.write_str("everywhere");
        }
        write_list(f, self.0.iter())
    }
}

// === impl Interface ===

impl Interface {
    /// The name as the kernel knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = InterceptError;

    fn from_str(name: &str) -> Result<Self, InterceptError> {
        if name == "lo" {
            return Err(InterceptError::Loopback);
        }
        let fits = (1..=15).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
            && name != "."
            && name != "..";
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(InterceptError::Interface(name.to_owned()))
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_and_each_stands_once() {
        let ports: Ports = "873, 22,22".parse().unwrap();
        assert_eq!(ports.iter().collect::<Vec<_>>(), [22, 873]);
        assert_eq!(ports.to_string(), "22, 873");
    }

    #[test]
    fn port_zero_and_nonsense_are_refused_by_name() {
        for text in ["0", "", "22,", "65536", "ssh", "-1"] {
            let error = text.parse::<Ports>().unwrap_err();
            assert_eq!(error, InterceptError::Port(text.to_owned()));
        }
    }

    #[test]
    fn an_address_is_a_network_of_one_and_host_bits_are_cleared() {
        let networks = Networks::parse(["10.1.2.3/8", "192.0.2.7", "2001:db8::1"]).unwrap();
        assert_eq!(
            networks.to_string(),
            "10.0.0.0/8, 192.0.2.7/32, 2001:db8::1/128"
        );
    }

    #[test]
    fn what_could_never_match_is_refused() {
        assert_eq!("lo".parse::<Interface>(), Err(InterceptError::Loopback));
        let mapped = "::ffff:10.0.0.1";
        assert_eq!(
            Networks::parse([mapped]),
            Err(InterceptError::Mapped(mapped.to_owned()))
        );
        let intercept = |from, to| Intercept {
            ports: "22".parse().unwrap(),
            from: Networks::parse([from]).unwrap(),
            to: Networks::parse([to]).unwrap(),
            mangled_side: "eth1".parse().unwrap(),
        };
        assert!(!intercept("10.0.0.0/8", "2001:db8::/32").has_a_family());
        assert!(intercept("10.0.0.0/8", "192.0.2.0/24").has_a_family());
    }

    #[test]
    fn a_connection_is_wanted_by_its_port_and_both_of_its_addresses() {
        let intercept = Intercept {
            ports: "22".parse().unwrap(),
            from: Networks::parse(["10.0.0.0/8"]).unwrap(),
            to: Networks::default(),
            mangled_side: "eth1".parse().unwrap(),
        };
        let wants = |client: &str, server: &str| {
            intercept.wants(client.parse().unwrap(), server.parse().unwrap())
        };
        assert!(wants("10.1.2.3", "192.0.2.1:22"));
        assert!(!wants("10.1.2.3", "192.0.2.1:23"));
        assert!(!wants("11.1.2.3", "192.0.2.1:22"));
        assert!(!wants("2001:db8::1", "[2001:db8::2]:22"));
    }

    #[test]
    fn no_network_means_everywhere() {
        assert!(Networks::parse([]).unwrap().is_everywhere());
    }

    #[test]
    fn a_name_that_could_break_out_of_a_rule_is_refused() {
        for name in ["", "eth0\"", "a b", "a;b", "..", "sixteen-letters-"] {
            assert!(name.parse::<Interface>().is_err(), "{name:?}");
        }
    }
}
