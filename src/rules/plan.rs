//! What the rules are to do: a pure value, compared and printed before anything is touched.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::sidecar::OwnAddresses;
use crate::config::{
    AnswerMark, DEFAULT_DIAL_MARK, DEFAULT_MARK, Intercept, Interface, Mark, Networks, Profile,
    ServiceLeg, Strangers, Strip, Whose,
};

/// Everything the rules and routes of one relay are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is taken; no two of them want the same connection, see [`Plan::conflict`].
    pub interceptions: Vec<Interception>,
    /// The bits that lead a packet to the relay.
    pub mark: Mark,
    /// The bits by which a sidecar's own dials are known.
    pub dial_mark: Mark,
    /// Routing table that makes every destination local, for marked packets.
    pub table: u32,
    /// Priority of the `ip rule` that leads there; lower is asked earlier.
    pub priority: u32,
    /// How the two legs of a session are kept apart.
    pub tracking: Tracking,
    /// How opening packets are held until the server has answered, if any are.
    pub hold: Option<Holding>,
    /// Whether forwarded clients' own addresses are dialled from, so that what servers send to those
    /// addresses must come to this host.
    pub borrows: bool,
    /// What the relay is shown that no socket shows.
    pub shown: Shown,
    /// What becomes of segments that another gateway has relayed.
    pub strangers: Strangers,
}

/// How opening packets are held until the server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The bits that say what becomes of them.
    pub mark: AnswerMark,
    /// The packet queue that they wait in.
    pub queue: u16,
    /// What puts them there.
    pub by: Queueing,
}

/// What puts packets into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queueing {
    /// A statement of nftables, within the relay's own table.
    Nft,
    /// The target NFQUEUE of iptables, for kernels without that statement. Nobody owns its rules.
    Iptables,
}

/// What the rules log to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// The DSCP of segments that have one.
    Dscp,
    /// That, and every opening SYN before it is stripped.
    DscpAndOffers,
}

/// What is taken for one listener of the relay, and what its mangled leg loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interception {
    /// Which connections are taken.
    pub intercept: Intercept,
    /// What SYN and SYN-ACK lose on the mangled side.
    pub strip: Strip,
    /// The MSS that SYN and SYN-ACK may at most announce on the mangled side.
    pub mss: Option<u16>,
    /// Where the relay listens.
    pub listen: ListenPorts,
    /// By what they are taken.
    pub capture: Capture,
    /// Whether opening packets are held until the server has answered.
    pub held: bool,
}

/// By what connections are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// TPROXY, as they pass through this router.
    Gateway,
    /// TPROXY, as they come to a service of this host.
    Service {
        /// How the service is dialled.
        leg: ServiceLeg,
        /// With [`ServiceLeg::Transparent`]: the service's own addresses.
        own: OwnAddresses,
        /// How long the client of a connection that lives says nothing at most: then it is probed.
        silence: Duration,
    },
    /// REDIRECT, as this host opens them.
    Own(Whose),
}

/// What conntrack does with the legs. Both carry the same addresses and ports, and would collide in one
/// table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// Each leg has a conntrack zone of its own.
    Zones(Zones),
    /// Neither is tracked: `ct state untracked` is what the host's other rules see.
    Notrack,
}

/// One conntrack zone a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zones {
    /// Of the leg on the mangled side.
    pub mangled: u16,
    /// Of the leg on the other side.
    pub clean: u16,
}

/// The relay's own ports on the loopback address; each side has one, so that a listener knows which
/// profile its sockets need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenPorts {
    /// For connections that were opened from the mangled side.
    pub mangled: u16,
    /// For connections that were opened from the other side.
    pub clean: u16,
}

/// Two interceptions that want the same connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The index of one in [`Plan::interceptions`].
    pub first: usize,
    /// The index of the other, which is greater.
    pub second: usize,
    /// The mangled side of both.
    pub mangled_side: Interface,
    /// A port that both want.
    pub port: u16,
    /// A network whose connections both want.
    pub from: IpNet,
    /// A network that they go to.
    pub to: IpNet,
}

/// "UM" in ASCII, as are the zones.
pub const DEFAULT_TABLE: u32 = 0x554d;
/// Before `local` would be too early, after `main` (32766) too late.
pub const DEFAULT_PRIORITY: u32 = 21_069;
/// Zone 0 is everybody's; these two are not likely to be anybody's.
pub const DEFAULT_ZONES: Zones = Zones {
    mangled: 0x554d,
    clean: 0x554e,
};

// === impl Plan ===

impl Plan {
    /// A plan for one listener, with the default mark, table, priority and zones.
    pub fn new(intercept: Intercept, profile: &Profile, listen: ListenPorts) -> Self {
        Self::of(vec![Interception::new(intercept, profile, listen)])
    }

    /// A plan for several, with the default mark, table, priority and zones.
    pub fn of(interceptions: Vec<Interception>) -> Self {
        Self {
            interceptions,
            mark: DEFAULT_MARK,
            dial_mark: DEFAULT_DIAL_MARK,
            table: DEFAULT_TABLE,
            priority: DEFAULT_PRIORITY,
            tracking: Tracking::Zones(DEFAULT_ZONES),
            hold: None,
            borrows: false,
            shown: Shown::Nothing,
            strangers: Strangers::Forward,
        }
    }

    /// The first two interceptions that want the same connection. On different mangled sides they never
    /// do: what crosses from one mangled side to another is not taken.
    pub fn conflict(&self) -> Option<Conflict> {
        let all = &self.interceptions;
        (0..all.len())
            .flat_map(|second| (0..second).map(move |first| (first, second)))
            .find_map(|(first, second)| {
                let (one, other) = (&all[first].intercept, &all[second].intercept);
                let gateways = [first, second].map(|at| all[at].capture == Capture::Gateway);
                if one.mangled_side != other.mangled_side || gateways.contains(&false) {
                    return None;
                }
                let port = one
                    .ports
                    .iter()
                    .find(|port| other.ports.iter().any(|o| o == *port))?;
                let (from, to) = both_cover(&one.from, &other.from)
                    .into_iter()
                    .flat_map(|from| {
                        both_cover(&one.to, &other.to)
                            .into_iter()
                            .map(move |to| (from, to))
                    })
                    .find(|(from, to)| is_v4(from) == is_v4(to))?;
                Some(Conflict {
                    first,
                    second,
                    mangled_side: one.mangled_side.clone(),
                    port,
                    from,
                    to,
                })
            })
    }

    /// Whether this host is no router but has the relay beside its own programs.
    pub fn has_sidecars(&self) -> bool {
        let captures = self.interceptions.iter().map(|each| &each.capture);
        captures
            .into_iter()
            .any(|capture| *capture != Capture::Gateway)
    }

    /// The same for connections that run, too: they are probed as seldom as when they began, and must not be
    /// forgotten in between.
    #[must_use]
    pub fn as_patient_as(mut self, before: &Self) -> Self {
        let services = self.interceptions.iter_mut().zip(&before.interceptions);
        for (now, before) in services {
            if let (Capture::Service { silence, .. }, Capture::Service { silence: was, .. }) =
                (&mut now.capture, &before.capture)
            {
                *silence = (*silence).max(*was);
            }
        }
        self
    }

    /// The same for connections that run, where others than this plan's say how long each interception's clients are
    /// silent, in milliseconds.
    #[must_use]
    pub(super) fn remembering(mut self, before: &[Option<u64>]) -> Self {
        for (now, before) in self.interceptions.iter_mut().zip(before) {
            if let (Capture::Service { silence, .. }, Some(was)) = (&mut now.capture, before) {
                *silence = (*silence).max(Duration::from_millis(*was));
            }
        }
        self
    }

    /// The same, with what puts packets into the queue, if any are held.
    #[must_use]
    pub fn queued_by(mut self, by: Queueing) -> Self {
        if let Some(holding) = &mut self.hold {
            holding.by = by;
        }
        self
    }

    /// The interfaces that face a firewall, each once.
    pub fn mangled_sides(&self) -> Vec<&Interface> {
        let mut sides = Vec::new();
        for interception in &self.interceptions {
            let side = &interception.intercept.mangled_side;
            if !sides.contains(&side) {
                sides.push(side);
            }
        }
        sides
    }
}

// === impl Interception ===

impl Interception {
    /// What a profile asks of the wire, on a gateway.
    pub fn new(intercept: Intercept, profile: &Profile, listen: ListenPorts) -> Self {
        Self {
            intercept,
            strip: profile.strip,
            mss: profile.mss,
            listen,
            capture: Capture::Gateway,
            held: false,
        }
    }

    /// The same, taken in another way.
    pub fn by(self, capture: Capture) -> Self {
        Self { capture, ..self }
    }
}

// === impl Conflict ===

impl std::error::Error for Conflict {}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "listeners {} and {} both intercept port {} on {} from {} to {}; give each ports or networks of its own",
            self.first + 1,
            self.second + 1,
            self.port,
            self.mangled_side,
            Named(&self.from),
            Named(&self.to)
        )
    }
}

/// A network as a person says it.
struct Named<'a>(&'a IpNet);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.prefix_len() == 0 {
            f.write_str("everywhere")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// The networks that are in both.
fn both_cover(one: &Networks, other: &Networks) -> Vec<IpNet> {
    let mut both = Vec::new();
    for a in listed(one) {
        for b in listed(other) {
            if a.contains(&b) {
                both.push(b);
            } else if b.contains(&a) {
                both.push(a);
            }
        }
    }
    both
}

/// Everywhere is everything of both families.
fn listed(networks: &Networks) -> Vec<IpNet> {
    if networks.is_everywhere() {
        return vec![
            ipnet::Ipv4Net::default().into(),
            ipnet::Ipv6Net::default().into(),
        ];
    }
    let v4 = networks.v4().map(IpNet::from);
    v4.chain(networks.v6().map(IpNet::from)).collect()
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One for connections to port 22 across `fw0`.
    pub fn plan() -> Plan {
        Plan::of(vec![interception("fw0", "22", &[], &[])])
    }

    fn interception(side: &str, ports: &str, from: &[&str], to: &[&str]) -> Interception {
        let networks = |nets: &[&str]| Networks::parse(nets.iter().copied()).unwrap();
        let intercept = Intercept {
            ports: ports.parse().unwrap(),
            from: networks(from),
            to: networks(to),
            mangled_side: side.parse().unwrap(),
        };
        let listen = ListenPorts {
            mangled: 1,
            clean: 2,
        };
        Interception::new(intercept, &Profile::clean(), listen)
    }

    #[test]
    fn two_that_want_the_same_connection_are_both_named() {
        let plan = Plan::of(vec![
            interception("fw0", "80", &[], &[]),
            interception("fw0", "22,873", &[], &["10.0.0.0/8"]),
            interception("fw0", "873", &[], &["10.1.0.0/16", "2001:db8::/32"]),
        ]);
        assert_eq!(
            plan.conflict().unwrap().to_string(),
            "listeners 2 and 3 both intercept port 873 on fw0 from everywhere to 10.1.0.0/16; give each ports or \
             networks of its own"
        );
    }

    #[test]
    fn other_ports_networks_families_or_sides_are_no_conflict() {
        let one = interception("fw0", "22", &["10.0.0.0/8"], &[]);
        for other in [
            interception("fw0", "23", &["10.0.0.0/8"], &[]),
            interception("fw0", "22", &["192.0.2.0/24"], &[]),
            interception("fw0", "22", &["2001:db8::/32"], &[]),
            interception("fw0", "22", &[], &["2001:db8::/32"]),
            interception("fw1", "22", &["10.0.0.0/8"], &[]),
        ] {
            let plan = Plan::of(vec![one.clone(), other]);
            assert_eq!(plan.conflict(), None, "{plan:?}");
        }
    }

    #[test]
    fn a_side_that_two_listeners_share_is_one_side() {
        let plan = Plan::of(vec![
            interception("fw0", "22", &[], &[]),
            interception("fw0", "23", &[], &[]),
            interception("fw1", "22", &[], &[]),
        ]);
        let sides: Vec<_> = plan
            .mangled_sides()
            .iter()
            .map(|side| side.as_str())
            .collect();
        assert_eq!(sides, ["fw0", "fw1"]);
    }
}
