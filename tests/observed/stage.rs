//! A column of the table: the lab site with what stands in the path, and connections through it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use unmangle::lab::scenario::Between;
use unmangle::lab::wire::Direction;
use unmangle::lab::{Family, Joined, Role};

use super::super::site::{FAMILIES, PATIENCE, Pair, Relay, Site, Way, accept, until};

/// The MSS that the end hosts announce to each other: neither what their devices would suggest, which is what
/// a relay announces by itself, nor what a profile asks for.
pub const ANNOUNCED: u16 = 1300;
/// What the profiles used here ask for.
pub const PROFILES_MSS: u16 = 940;
/// The round trip of each of two long legs.
pub const LEG_RTT: Duration = Duration::from_millis(60);

/// What stands in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Without,
    AtOnce,
    AfterConnect,
    ServerSidecar,
    ClientSidecar,
    Forward,
}

/// What joins the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Nothing that takes time.
    Short,
    /// The same, and no socket holds much, so that a direction that nobody reads stalls soon.
    Narrow,
    /// Two legs of [`LEG_RTT`] each.
    Long,
}

/// A site with what stands in the path.
pub struct Stage {
    pub column: Column,
    pub site: Site,
    relay: Option<Relay>,
}

// === impl Column ===

impl Column {
    pub const ALL: [Self; 6] = [
        Self::Without,
        Self::AtOnce,
        Self::AfterConnect,
        Self::ServerSidecar,
        Self::ClientSidecar,
        Self::Forward,
    ];

    fn relay(self, site: &Site) -> Option<Relay> {
        const BRIEF: [&str; 2] = ["--connect-timeout", "1s"];
        let sidecar = |role, mode| Relay::sidecar(&site.lab, role, mode, &BRIEF);
        Some(match self {
            Self::Without => return None,
            Self::AtOnce | Self::Forward => site.relay(&BRIEF),
            Self::AfterConnect => {
                site.relay(&[&BRIEF[..], &["--answer", "after-connect"]].concat())
            }
            Self::ServerSidecar => sidecar(Role::Server, "server-sidecar"),
            Self::ClientSidecar => sidecar(Role::Client, "client-sidecar"),
        })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Without => "without the relay",
            Self::AtOnce => "gateway",
            Self::AfterConnect => "gateway, `--answer after-connect`",
            Self::ServerSidecar => "server sidecar",
            Self::ClientSidecar => "client sidecar",
            Self::Forward => "forward",
        })
    }
}

// === impl Stage ===

impl Stage {
    /// Puts one up, unless labs cannot be put up here; in CI they must.
    pub fn put_up(column: Column, ground: Ground) -> Option<Self> {
        let joined = || match ground {
            Ground::Short | Ground::Narrow => Joined::Veth { offloads: true },
            Ground::Long => Joined::wire(Between::both(Direction {
                delay: LEG_RTT / 2,
                ..Direction::default()
            })),
        };
        let mut site = Site::joined_by(joined(), joined())?;
        if column == Column::Forward {
            site.way = Way::Forward;
        }
        for role in [Role::Client, Role::Server] {
            let routes = "for family in -4 -6; do
                ip $family route change $(ip $family route show default | head -n1) advmss $0
            done";
            let routes = ["-ec", routes, &ANNOUNCED.to_string()];
            site.lab.host(role).run("sh", &routes).unwrap();
        }
        if ground == Ground::Narrow {
            site.hold_little();
        }
        for family in FAMILIES {
            // The first packet may have to wait for its neighbours to be known, which is no part of any cell.
            let listener = site.listen(Role::Server, family);
            site.dial(Role::Client, listener.local_addr().unwrap())
                .unwrap();
        }
        let relay = column.relay(&site);
        Some(Self {
            column,
            site,
            relay,
        })
    }

    /// What the client dials.
    pub fn target(&self, family: Family) -> SocketAddr {
        self.site.door(Role::Client, family)
    }

    /// A service on every address of the server's host, as sshd is.
    pub fn listen(&self, family: Family) -> TcpListener {
        let everywhere: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.site.listen_at(Role::Server, (everywhere, 22).into())
    }

    /// A connection, and what the service has accepted for it.
    pub fn connect(&self, family: Family) -> Pair {
        let listener = self.listen(family);
        let client = self.site.dial(Role::Client, self.target(family)).unwrap();
        let server = accept(&listener);
        Pair { client, server }
    }

    /// Waits until nobody listens on the server's host, not even in a child of ours that is about to become
    /// another program.
    pub fn until_nobody_listens(&self) {
        until("nobody listens", PATIENCE, || {
            let listening = ["-Hltn", "sport = :22"];
            let listening = self.site.lab.server().run("ss", &listening).unwrap();
            // A sidecar's own listener has another port.
            listening.trim().is_empty()
        });
    }

    /// Does something to what comes to the service, until the guard is gone. In front of a service that has
    /// a sidecar this is what the sidecar sends.
    pub fn service_filter(&self, verdict: &str) -> Filter<'_> {
        let from = match self.column {
            Column::ServerSidecar => "iifname lo",
            _ => "",
        };
        let rules = format!(
            "table inet observed {{ chain input {{ type filter hook input priority 0; \
             {from} tcp dport 22 {verdict}; }}; }}"
        );
        self.site
            .lab
            .server()
            .feed("nft", &["-f", "-"], &rules)
            .unwrap();
        Filter(self)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = self.relay.as_ref().map(Relay::log).unwrap_or_default();
            eprintln!("{}: the relay's log:\n{told}", self.column);
        }
    }
}

/// What stands before the service.
pub struct Filter<'a>(&'a Stage);

impl Drop for Filter<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "table", "inet", "observed"];
        let deleted = self.0.site.lab.server().run("nft", &delete);
        assert!(deleted.is_ok() || std::thread::panicking(), "{deleted:?}");
    }
}
