//! Four hosts in a row, for measuring speed: nothing filters, nothing is tracked, nothing is mangled.
//!
//! ```text
//!   client            router            relay host            server
//!   near0 --- veth --- near0  fw0 --- veth --- fw0  long0 --- veth --- long0
//! ```
//!
//! The router stands there because a relay's client is seldom its neighbour, and because without it the
//! direct path would have one hop, and the relay none beyond those of its own two legs.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::lab::error::Result;
use crate::lab::ground::Ground;
use crate::lab::host::Host;
use crate::lab::joined::Span;
use crate::lab::topology::{FIREWALL_DEVICE, LONG_DEVICE, MTU, Role};

/// The devices between client and router.
const NEAR_DEVICE: &str = "near0";

/// Where the client is.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The relay host's address on the client's side: where a relay that is to be found listens.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where the server is.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The hosts, in the order in which they are joined.
const ROLES: [Role; 4] = [Role::Client, Role::Router, Role::Relay, Role::Server];

/// What every host is set to, so that a measurement shows the path and not the hosts' economies: a port
/// is found at once, one that was just used may be used again, a crowd of clients is not turned away, and
/// one measurement leaves no memory of the path to the next.
const SETTINGS: [(&str, &str); 5] = [
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/ipv4/tcp_tw_reuse", "1"),
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv4/tcp_max_syn_backlog", "16384"),
    ("net/core/somaxconn", "16384"),
];

/// Four hosts that stand in a row until this is dropped.
#[derive(Debug)]
pub struct Chain {
    hosts: [Host; 4],
    // Dropped last: it takes the namespaces with it.
    ground: Ground,
}

// === impl Chain ===

impl Chain {
    /// Puts one up. Who puts up the first of several calls [`require`](super::require) and
    /// [`sweep`](super::ground::sweep) before.
    ///
    /// # Errors
    /// If a host cannot be made, or ethtool is missing for one without offloads.
    pub fn put_up(offloads: bool) -> Result<Self> {
        let ground = Ground::take()?;
        let hosts = ROLES.map(|role| Host::new(ground.id(), role));
        let chain = Self { hosts, ground };
        for host in &chain.hosts {
            host.make()?;
            host.set(&SETTINGS)?;
        }
        let devices = [NEAR_DEVICE, FIREWALL_DEVICE, LONG_DEVICE];
        for (device, pair) in devices.into_iter().zip(chain.hosts.windows(2)) {
            let [a, b] = pair else { continue };
            let span = Span {
                device,
                mtu: MTU,
                a,
                b,
            };
            span.lay_veth(offloads)?;
        }
        for host in &chain.hosts {
            host.feed("ip", &["-batch", "-"], &ip_batch(host.role()))?;
        }
        Ok(chain)
    }

    /// The host that plays `role`.
    pub fn host(&self, role: Role) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.role() == role)
            .expect("every role has a host")
    }

    /// The host at the near end.
    pub fn client(&self) -> &Host {
        self.host(Role::Client)
    }

    /// The host on which a relay stands.
    pub fn relay(&self) -> &Host {
        self.host(Role::Relay)
    }

    /// The host at the far end.
    pub fn server(&self) -> &Host {
        self.host(Role::Server)
    }

    /// Where settings and logs are.
    pub fn directory(&self) -> PathBuf {
        self.ground.directory()
    }
}

/// What `ip -batch` is fed on a host: addresses, and the routes to the ends.
fn ip_batch(role: Role) -> String {
    let (addresses, route) = match role {
        Role::Client => (
            vec![("203.0.113.2/24", NEAR_DEVICE)],
            "default via 203.0.113.1",
        ),
        Role::Router => (
            vec![
                ("203.0.113.1/24", NEAR_DEVICE),
                ("192.0.2.3/25", FIREWALL_DEVICE),
            ],
            "default via 192.0.2.1",
        ),
        Role::Relay => (
            vec![
                ("192.0.2.1/25", FIREWALL_DEVICE),
                ("198.51.100.1/24", LONG_DEVICE),
            ],
            "203.0.113.0/24 via 192.0.2.3",
        ),
        Role::Server => (
            vec![("198.51.100.2/24", LONG_DEVICE)],
            "default via 198.51.100.1",
        ),
    };
    let mut batch = String::new();
    for (address, device) in addresses {
        batch += &format!("address replace {address} dev {device}\nlink set {device} up\n");
    }
    batch + &format!("route replace {route}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_that_are_told_are_those_that_are_set() {
        for (role, address) in [
            (Role::Client, CLIENT),
            (Role::Relay, RELAY),
            (Role::Server, SERVER),
        ] {
            let batch = ip_batch(role);
            assert!(
                batch.starts_with(&format!("address replace {address}/")),
                "{batch}"
            );
        }
    }

    #[test]
    fn the_relay_host_knows_the_way_back_to_a_client_behind_the_router() {
        let batch = ip_batch(Role::Relay);
        assert!(
            batch.ends_with("route replace 203.0.113.0/24 via 192.0.2.3\n"),
            "{batch}"
        );
        let router = Role::Router.interfaces()[0].v4.to_string();
        assert!(batch.contains(&router));
    }
}
