//! Who is where: names, addresses and routes. Pure; [`Lab`](super::Lab) carries it out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lab::matrix::Family;

/// The devices at both ends of the firewall's wire; on the relay host this is the mangled side.
pub const FIREWALL_DEVICE: &str = "fw0";
/// The devices at both ends of the long leg.
pub const LONG_DEVICE: &str = "long0";
/// The MTU of both wires, unless the [builder](super::Builder::mtu) is told otherwise.
pub const MTU: u16 = 1500;

/// The part a host plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Behind the firewall.
    Client,
    /// Between the firewall and the long leg: where a gateway relay stands.
    Relay,
    /// At the far end of the long leg.
    Server,
    /// Between the client and the relay host, where the hosts stand in a [chain](super::chain).
    Router,
}

/// One device of a host: its name and addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub device: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address; the subnet is a /64.
    pub v6: Ipv6Addr,
    v4_prefix: u8,
}

// === impl Role ===

impl Role {
    /// Every host of a lab. It has no router.
    pub const ALL: [Self; 3] = [Self::Client, Self::Relay, Self::Server];

    /// Its devices, the one nearer to the client first.
    pub fn interfaces(self) -> Vec<Interface> {
        let firewall = |host| Interface {
            device: FIREWALL_DEVICE,
            v4: Ipv4Addr::new(192, 0, 2, host),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()),
            v4_prefix: 25,
        };
        let long = |host| Interface {
            device: LONG_DEVICE,
            v4: Ipv4Addr::new(198, 51, 100, host),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, host.into()),
            v4_prefix: 24,
        };
        match self {
            Self::Client => vec![firewall(2)],
            Self::Relay => vec![firewall(1), long(1)],
            Self::Server => vec![long(2)],
            Self::Router => vec![firewall(3)],
        }
    }

    /// The address of an end host; of the relay host, the one on the mangled side.
    pub fn address(self, family: Family) -> IpAddr {
        let interface = self.interfaces()[0];
        match family {
            Family::V4 => interface.v4.into(),
            Family::V6 => interface.v6.into(),
        }
    }

    /// What `ip -batch` is fed once the devices are there: addresses, and routes on the end hosts.
    pub(crate) fn ip_batch(self) -> String {
        let mut batch = String::new();
        for interface in self.interfaces() {
            let Interface {
                device,
                v4,
                v6,
                v4_prefix,
            } = interface;
            batch += &format!("address replace {v4}/{v4_prefix} dev {device}\n");
            batch += &format!("address replace {v6}/64 dev {device} nodad\n");
            batch += &format!("link set {device} up\n");
        }
        let gateway = match self {
            Self::Client => Self::Relay.interfaces()[0],
            Self::Server => Self::Relay.interfaces()[1],
            Self::Relay | Self::Router => return batch,
        };
        batch += &format!("route replace default via {}\n", gateway.v4);
        batch += &format!("route replace default via {}\n", gateway.v6);
        batch
    }

    /// Kernel settings of the namespace.
    pub(crate) fn settings(self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            // The addresses are nobody else's: they can be used at once.
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_ra", "0"),
            // Pings of a test are answered as fast as they come.
            ("net/ipv4/icmp_ratelimit", "0"),
        ];
        if matches!(self, Self::Relay | Self::Router) {
            settings.push(("net/ipv4/ip_forward", "1"));
            settings.push(("net/ipv6/conf/all/forwarding", "1"));
        }
        settings
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Relay => "relay",
            Self::Server => "server",
            Self::Router => "router",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_host_routes_everything_by_the_relay_host() {
        assert_eq!(
            Role::Client.ip_batch(),
            "address replace 192.0.2.2/25 dev fw0\n\
             address replace 2001:db8:1::2/64 dev fw0 nodad\n\
             link set fw0 up\n\
             route replace default via 192.0.2.1\n\
             route replace default via 2001:db8:1::1\n"
        );
        assert!(Role::Server.ip_batch().contains("via 198.51.100.1\n"));
        assert!(!Role::Relay.ip_batch().contains("route"));
    }

    #[test]
    fn only_the_relay_host_forwards() {
        let forwards = |role: Role| role.settings().contains(&("net/ipv4/ip_forward", "1"));
        assert_eq!(Role::ALL.map(forwards), [false, true, false]);
    }
}
