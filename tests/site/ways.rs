//! The ways in which a relay can be run. Whoever is relayed must not be able to tell them apart.

use std::net::SocketAddr;

use unmangle::config::Engine;
use unmangle::lab::{Family, Role};

use super::{FAMILIES, Relay, Site};

/// How connections come to the relay of a site, and what moves their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They pass through it and are intercepted.
    Gateway(Engine),
    /// They are made to it; it runs without any capability.
    Forward,
}

/// Where a relay of [`Way::Forward`] listens: no privilege is needed for this port.
pub const DOOR: u16 = 2222;

/// Root's files can be read, but nothing more can be done than anybody may.
pub const WITHOUT_CAPABILITIES: [&str; 5] =
    ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];

/// One test for each named way and each behaviour, called `way::behaviour`.
#[allow(unused_macros)]
macro_rules! in_ways {
    ($($way:ident),+: $behaviours:tt) => {
        $(mod $way { $crate::site::in_one_way!($way $behaviours); })+
    };
}

/// The same for every way there is.
#[allow(unused_macros)]
macro_rules! in_every_way {
    ($($behaviour:ident),+ $(,)?) => {
        $crate::site::in_ways!(splice, tokio_splice, copy, forward: ($($behaviour),+));
    };
}

#[allow(unused_macros)]
macro_rules! in_one_way {
    ($way:ident ($($behaviour:ident),+ $(,)?)) => {
        $(#[test] fn $behaviour() { super::$behaviour($crate::site::Way::$way()); })+
    };
}

#[allow(unused_imports)]
pub(crate) use {in_every_way, in_one_way, in_ways};

// === impl Way ===

impl Way {
    /// A gateway with our own engine.
    pub fn splice() -> Self {
        Self::Gateway(Engine::Splice)
    }

    /// A gateway with the `tokio-splice` crate's.
    pub fn tokio_splice() -> Self {
        Self::Gateway(Engine::TokioSplice)
    }

    /// A gateway with `tokio::io::copy_bidirectional`.
    pub fn copy() -> Self {
        Self::Gateway(Engine::Copy)
    }

    /// Forward mode, with our own engine.
    pub fn forward() -> Self {
        Self::Forward
    }

    /// Whether the engine is not ours: it counts and times less.
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::Gateway(Engine::TokioSplice | Engine::Copy))
    }
}

// === impl Site ===

impl Site {
    /// Starts the relay of this site, and waits until it relays.
    pub fn relay(&self, more: &[&str]) -> Relay {
        self.relay_by(&[], more)
    }

    /// The same, started by another program.
    pub fn relay_by(&self, starter: &[&str], more: &[&str]) -> Relay {
        match self.way {
            Way::Gateway(engine) => {
                let engine = engine.to_string();
                let arguments = [&["--engine", &engine], more].concat();
                Relay::start_by(&self.lab, starter, &arguments)
            }
            Way::Forward => {
                let file = self.lab.directory().join("forward.toml");
                std::fs::write(&file, forward_both_ways()).unwrap();
                self.open_the_door();
                let arguments = [&["--config", file.to_str().unwrap()], more].concat();
                let starter = [starter, &WITHOUT_CAPABILITIES].concat();
                Relay::start_by(&self.lab, &starter, &arguments)
            }
        }
    }

    /// Lets clients through to the relay of [`Way::Forward`]: the relay host's INPUT drops.
    pub fn open_the_door(&self) {
        let door = DOOR.to_string();
        let accept = ["add", "rule", "inet", "um_lab", "input", "tcp", "dport"];
        let accept = [&accept[..], &[&door, "accept"]].concat();
        self.lab.relay().run("nft", &accept).unwrap();
    }

    /// What a host has to dial to come to port 22 of the other one.
    pub fn door(&self, opener: Role, family: Family) -> SocketAddr {
        match self.way {
            Way::Gateway(_) => (other_end(opener).address(family), 22).into(),
            Way::Forward => (relay_address(opener, family), DOOR).into(),
        }
    }

    /// Whether new connections are relayed.
    pub fn takes_new_ones(&self) -> bool {
        match self.way {
            Way::Gateway(_) => self.is_intercepting(),
            Way::Forward => {
                let relay = self.lab.relay();
                let door = format!("sport = :{DOOR}");
                let listening = relay.run("ss", &["-Hltn", &door]).unwrap();
                !listening.is_empty()
            }
        }
    }
}

/// A listener on each side and of each family, for the host on the other side.
fn forward_both_ways() -> String {
    let mut text = String::new();
    for (opener, mangled_leg) in [(Role::Client, "downstream"), (Role::Server, "upstream")] {
        for family in FAMILIES {
            let listen = SocketAddr::from((relay_address(opener, family), DOOR));
            let to = SocketAddr::from((other_end(opener).address(family), 22));
            text += &format!(
                "[[listener]]\nlisten = \"{listen}\"\nto = \"{to}\"\n\
                 mangled-leg = \"{mangled_leg}\"\nprofile = \"blackhole\"\n"
            );
        }
    }
    text
}

/// The relay's address on the side of an end host.
fn relay_address(side: Role, family: Family) -> std::net::IpAddr {
    let interfaces = Role::Relay.interfaces();
    let interface = interfaces[usize::from(side == Role::Server)];
    match family {
        Family::V4 => interface.v4.into(),
        Family::V6 => interface.v6.into(),
    }
}

fn other_end(host: Role) -> Role {
    match host {
        Role::Client => Role::Server,
        _ => Role::Client,
    }
}
