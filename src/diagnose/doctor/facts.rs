//! What is known of a host, as plain values: what is judged, and nothing that reads it.

use std::collections::BTreeMap;

use crate::diagnose::conntrack::Entries;
use crate::diagnose::reason::Reason;
use crate::sys::offloads::Offloads;

use super::features::Presence;
use super::finding::Status;
use super::id::Id;

/// What is known of one thing, or why nothing is.
pub type Seen<T> = Result<T, String>;

/// Everything that is judged.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// What the kernel has of what is needed.
    pub features: BTreeMap<Id, Presence>,
    /// The second way into a queue, the target of iptables.
    pub iptables_queue: Presence,
    /// The programs.
    pub tools: Tools,
    /// Settings of the kernel.
    pub settings: Settings,
    /// What conntrack counts.
    pub conntrack: Tracked,
    /// How many packets the check of the way back dropped meanwhile.
    pub reverse_path_drops: Seen<u64>,
    /// What the rules do.
    pub rules: Rules,
    /// Interfaces and routes.
    pub links: Seen<Links>,
    /// What this process may have.
    pub process: Process,
    /// For how many seconds counters were watched.
    pub seconds: f64,
    /// What a relay is wanted for.
    pub wanted: Wanted,
}

/// The programs that a relay runs: what each says of its version, or why it cannot be run.
#[derive(Debug, Clone)]
pub struct Tools {
    /// `nft`.
    pub nft: Seen<String>,
    /// `ip`.
    pub ip: Seen<String>,
    /// `iptables`, which only old kernels need.
    pub iptables: Seen<String>,
}

/// Settings of the kernel by their names, `net.ipv4.ip_forward`; those that are not there are missing.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
    interfaces: Vec<String>,
}

/// What conntrack counts.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// Its counters.
    pub counts: Seen<Counts>,
    /// How full its table is.
    pub entries: Option<Entries>,
    /// What it said meanwhile of packets that it called INVALID, or why that is not known.
    pub reasons: Seen<Vec<(Reason, u64)>>,
}

/// Some of its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that were called INVALID.
    pub invalid: Counted,
    /// Packets for which there was no room.
    pub drops: Counted,
    /// Connections that made room for others.
    pub early_drops: Counted,
}

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// What it was in the end.
    pub total: u64,
    /// By how much it rose meanwhile.
    pub more: u64,
}

/// What other programs' rules do, and what a relay has put in place.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Those of nftables, and of iptables-nft.
    pub nft: Seen<Doing>,
    /// Those of iptables-legacy, where there are any.
    pub legacy: Option<Seen<Doing>>,
    /// Our own tables.
    pub own: Seen<OwnTables>,
    /// Rules of `ip rule`, routes and settings that a relay has put in place.
    pub in_place: Seen<Vec<String>>,
    /// Other rules of `ip rule`.
    pub policy: Seen<Vec<String>>,
    /// Numbers of ours that other programs use, each as `run` would say it.
    pub collisions: Seen<Vec<Collision>>,
    /// What is in the way of the relay that is wanted; none if no relay is that has rules.
    pub survey: Option<Seen<Survey>>,
    /// Whether the kernel would take the rules that are wanted; none if it was not asked.
    pub plan: Option<Tried>,
}

/// What rules do to TCP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doing {
    /// Those that end packets which conntrack calls INVALID.
    pub invalid: Vec<Ending>,
    /// Those at FORWARD that end connections.
    pub forward: Vec<String>,
    /// Those that give connections another destination.
    pub dnat: Vec<String>,
    /// Those that keep connections from conntrack.
    pub untracked: Vec<String>,
}

/// A rule at which packets end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The rule.
    pub rule: String,
    /// Whether it answers with a reset of TCP.
    pub resets: bool,
}

/// Our own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnTables {
    /// That of a relay: it lives.
    pub relay: bool,
    /// One like it that belongs to no process.
    pub loaded: bool,
    /// The one that drops when the relay was killed.
    pub fail_closed: bool,
}

/// What rules have in store for the relay that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// What `run` would refuse to start for.
    pub refusals: Vec<(Id, String)>,
    /// What could not be decided.
    pub doubts: Vec<(Id, String)>,
}

/// Interfaces and routes of the network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Interfaces.
    pub interfaces: Vec<Link>,
    /// Routes that have a largest packet of their own.
    pub routes: Vec<RouteMtu>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its largest packet.
    pub mtu: u32,
    /// What it does to segments, if it says so.
    pub offloads: Option<Offloads>,
}

/// A route that has a largest packet of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMtu {
    /// As `ip` shows it.
    pub route: String,
    /// The interface.
    pub device: String,
    /// The largest packet.
    pub mtu: u32,
}

/// What this process may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Whether it may see and change rules (CAP_NET_ADMIN).
    pub net_admin: bool,
    /// Whether it could become so, as root may: the capability is in its bounding set.
    pub net_admin_within_reach: bool,
    /// The bytes of a page, in which pipes are counted.
    pub page: u64,
    /// How many files it may open at most; none if there is no limit.
    pub descriptors: Option<u64>,
}

/// What a relay is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Nobody said.
    #[default]
    Unknown,
    /// A configuration says.
    Configured(Needs),
}

/// A number of the relay's that another program uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collision {
    /// Which number.
    pub id: Id,
    /// Who uses it.
    pub sentence: String,
    /// What would help.
    pub cure: String,
}

/// What the kernel says of the rules that a configuration makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It takes them.
    Taken,
    /// It refuses them: why.
    Refused(String),
    /// It was not asked: why.
    NotAsked(String),
}

/// What a configuration needs of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Which families pass through this host, a gateway.
    pub routed: Routed,
    /// Whether packets are led to the relay, by rules and marks.
    pub led: bool,
    /// Whether a leg has no SACK.
    pub without_sack: bool,
    /// Whether the host is tuned for that when the relay runs.
    pub tuned: bool,
    /// Whether opening packets are held in a queue.
    pub held: bool,
    /// The interfaces that are named.
    pub interfaces: Vec<String>,
    /// How many connections there may be.
    pub connections: Option<u64>,
    /// How many bytes the pipes may hold.
    pub pipe_budget: u64,
}

/// What passes through this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// Nothing.
    Nothing,
    /// IPv4 and, where the host has it, IPv6.
    Whatever,
    /// Addresses of IPv4 are named, and none of IPv6.
    V4,
    /// Addresses of IPv6 are named, and none of IPv4.
    V6,
    /// Addresses of both are named.
    Both,
}

// === impl Settings ===

impl Settings {
    /// Settings as they were read, and the interfaces that have some of their own.
    pub fn new(
        values: impl IntoIterator<Item = (String, String)>,
        interfaces: Vec<String>,
    ) -> Self {
        let values = values.into_iter().collect();
        Self { values, interfaces }
    }

    /// A setting by its name; none if it is not there.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A setting that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.of(name)?.parse().ok()
    }

    /// Gives one another value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// The interfaces that have settings of IPv4.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// What is in force at an interface where the larger one of the common and the own value is (rp_filter and
    /// src_valid_mark: `IN_DEV_MAXCONF` and `IN_DEV_ORCONF` in include/linux/inetdevice.h, Linux 6.12).
    pub fn effective(&self, interface: &str, setting: &str) -> Option<u64> {
        let of = |whose: &str| self.number(&per_interface(whose, setting));
        of("all").into_iter().chain(of(interface)).max()
    }
}

/// The name of a setting of IPv4 that every interface has. With dots in the interface's name, slashes part the others,
/// as sysctl(8) has it.
pub fn per_interface(interface: &str, setting: &str) -> String {
    match interface.contains('.') {
        true => format!("net/ipv4/conf/{interface}/{setting}"),
        false => format!("net.ipv4.conf.{interface}.{setting}"),
    }
}

// === impl Wanted ===

impl Wanted {
    /// What the configuration needs, if there is one.
    pub fn needs(&self) -> Option<&Needs> {
        match self {
            Self::Unknown => None,
            Self::Configured(needs) => Some(needs),
        }
    }

    /// Whether packets may be led to a relay by rules and marks.
    pub fn may_be_led(&self) -> bool {
        self.needs().is_none_or(|needs| needs.led)
    }

    /// How bad it is that a relay could not work here: a note, unless somebody wants one.
    pub fn severity(&self) -> Status {
        match self {
            Self::Unknown => Status::Note,
            Self::Configured(_) => Status::Problem,
        }
    }
}
