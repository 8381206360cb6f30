//! What is known of the packet for the left side of a match.

use ipnet::IpNet;
use serde_json::Value;

use super::pattern::{Kind, number};
use super::probe::{Mark, Port, Probe, Tracked};

/// The hook a packet stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Forward,
    Input,
    Prerouting,
    Output,
}

/// The packet as a rule sees it: the probe, where it stands, and the mark earlier rules gave it.
pub(super) struct Packet<'p> {
    pub probe: &'p Probe,
    pub hook: Hook,
    pub mark: Mark,
}

/// The value of a left side, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// Somewhere in this span; over the probe's packets, every value of it occurs.
    Span(Kind, u128, u128),
    /// Flags, or a mark.
    Bits(Kind, Mark),
    /// A name: an interface, a type of address.
    Name(String),
    Concat(Vec<Fact>),
    /// The packet has no such field: the rule ends here, whatever it compares with.
    Absent,
    Unknown,
}

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
const CT_INVALID: u32 = 0x01;
const CT_ESTABLISHED: u32 = 0x02;
const CT_NEW: u32 = 0x08;
const CT_UNTRACKED: u32 = 0x40;
/// expected, seen-reply, assured, confirmed, snat, dnat: all clear on an opening packet that no
/// rule has translated yet.
const CT_STATUS_KNOWN: u32 = 0x3f;

impl Hook {
    /// As chains name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Hook::Forward => "forward",
            Hook::Input => "input",
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
        }
    }
}

impl Packet<'_> {
    pub(super) fn fact(&self, expr: &Value) -> Fact {
        let Some((what, body)) = expr.as_object().and_then(|object| object.iter().next()) else {
            return Fact::Unknown;
        };
        match what.as_str() {
            "meta" => self.meta(body["key"].as_str().unwrap_or_default()),
            "payload" => self.payload(body),
            "ct" => self.ct(body),
            "fib" => self.fib(body),
            "socket" if body["key"] == "transparent" => match self.hook {
                // TPROXY has handed the packet to the relay's own listener.
                Hook::Input => Fact::Span(Kind::Plain, 1, 1),
                Hook::Forward | Hook::Prerouting | Hook::Output => Fact::Absent,
            },
            // A field of a header that is not there; whether it is there (`exists`) has no field.
            "exthdr" if body["field"].is_string() => Fact::Absent,
            "&" | "|" | "^" => self.bit_operation(what, body),
            "concat" => {
                let parts = body.as_array().map(Vec::as_slice).unwrap_or_default();
                Fact::Concat(parts.iter().map(|part| self.fact(part)).collect())
            }
            _ => Fact::Unknown,
        }
    }

    /// The mark a `meta mark set` statement leaves.
    pub(super) fn mark_after(&self, value: &Value) -> Mark {
        match (self.fact(value), number(Kind::Plain, value)) {
            (Fact::Bits(_, mark), _) => mark,
            (_, Some(value)) => Mark::exactly(value as u32),
            _ => Mark::UNKNOWN,
        }
    }

    fn meta(&self, key: &str) -> Fact {
        let v4 = self.probe.is_v4();
        match key {
            "iifname" | "iif" if self.hook == Hook::Output => Fact::Name(String::new()),
            "iifname" | "iif" => Fact::Name(self.probe.iif.clone()),
            "oifname" | "oif" => match (self.hook, &self.probe.oif) {
                (Hook::Forward | Hook::Output, Some(oif)) => Fact::Name(oif.clone()),
                (Hook::Forward | Hook::Output, None) => Fact::Unknown,
                // Not routed yet, or not going out at all: the kernel compares an empty name.
                (Hook::Input | Hook::Prerouting, _) => Fact::Name(String::new()),
            },
            "l4proto" => exactly(Kind::Protocol, 6),
            "nfproto" => exactly(Kind::NfProto, if v4 { 2 } else { 10 }),
            "protocol" => exactly(Kind::EtherType, if v4 { 0x0800 } else { 0x86dd }),
            "mark" => Fact::Bits(Kind::Plain, self.mark),
            "pkttype" => Fact::Name("host".to_owned()),
            _ => Fact::Unknown,
        }
    }

    fn payload(&self, body: &Value) -> Fact {
        let (protocol, field) = match (body["protocol"].as_str(), body["field"].as_str()) {
            (Some(protocol), Some(field)) => (protocol, field),
            // Raw payload: iptables' u32 and hand-written `@th,16,16`.
            _ => match (
                body["base"].as_str(),
                body["offset"].as_u64(),
                body["len"].as_u64(),
            ) {
                (Some("transport"), Some(0), Some(16)) => ("th", "sport"),
                (Some("transport"), Some(16), Some(16)) => ("th", "dport"),
                _ => return Fact::Unknown,
            },
        };
        let probe = self.probe;
        match (protocol, field) {
            ("ip", _) if !probe.is_v4() => Fact::Absent,
            ("ip6", _) if probe.is_v4() => Fact::Absent,
            ("ip" | "ip6", "saddr") => network(probe.from),
            ("ip" | "ip6", "daddr") => network(probe.to),
            ("ip", "protocol") | ("ip6", "nexthdr") => exactly(Kind::Protocol, 6),
            ("ip" | "ip6", "version") => exactly(Kind::Plain, if probe.is_v4() { 4 } else { 6 }),
            ("tcp" | "th", "dport") => match probe.port {
                Port::Is(port) => exactly(Kind::Plain, port.into()),
                Port::Any => Fact::Span(Kind::Plain, 1, u16::MAX.into()),
            },
            ("tcp" | "th", "sport") => Fact::Span(Kind::Plain, 1, u16::MAX.into()),
            ("tcp", "flags") => match probe.tracked {
                Tracked::Established | Tracked::Invalid => {
                    Fact::Bits(Kind::TcpFlags, Mark::exactly(ACK))
                }
                Tracked::New | Tracked::Untracked => Fact::Bits(Kind::TcpFlags, Mark::exactly(SYN)),
            },
            ("ip" | "ip6" | "tcp" | "ether" | "vlan", _) => Fact::Unknown,
            // udp, icmp, sctp and the rest: not TCP.
            _ => Fact::Absent,
        }
    }

    fn ct(&self, body: &Value) -> Fact {
        let nothing_but = match self.probe.tracked {
            Tracked::New | Tracked::Established => None,
            Tracked::Untracked => Some(CT_UNTRACKED),
            Tracked::Invalid => Some(CT_INVALID),
        };
        if let Some(state) = nothing_but {
            // The kernel knows nothing else of such a packet.
            return match body["key"].as_str() {
                Some("state") => Fact::Bits(Kind::CtState, Mark::exactly(state)),
                _ => Fact::Absent,
            };
        }
        if self.probe.tracked == Tracked::Established {
            // Of which direction it is, and what became of the connection before, nobody knows here.
            return match body["key"].as_str().unwrap_or_default() {
                "state" => Fact::Bits(Kind::CtState, Mark::exactly(CT_ESTABLISHED)),
                "l3proto" => self.meta("nfproto"),
                "protocol" => exactly(Kind::Protocol, 6),
                _ => Fact::Unknown,
            };
        }
        let original = body["dir"].as_str() == Some("original");
        match body["key"].as_str().unwrap_or_default() {
            "state" => Fact::Bits(Kind::CtState, Mark::exactly(CT_NEW)),
            "status" => Fact::Bits(Kind::CtStatus, Mark::bits(0, CT_STATUS_KNOWN)),
            "direction" => Fact::Name("original".to_owned()),
            "l3proto" => self.meta("nfproto"),
            "protocol" => exactly(Kind::Protocol, 6),
            "saddr" | "ip saddr" | "ip6 saddr" if original => network(self.probe.from),
            "daddr" | "ip daddr" | "ip6 daddr" if original => network(self.probe.to),
            "proto-dst" if original => match self.probe.port {
                Port::Is(port) => exactly(Kind::Plain, port.into()),
                Port::Any => Fact::Unknown,
            },
            _ => Fact::Unknown,
        }
    }

    /// An intercepted packet goes to another host unless the probe says otherwise, and on a router it
    /// comes from one. A lookup by mark may find the relay's own route, which makes everything local.
    fn fib(&self, body: &Value) -> Fact {
        let has = |name: &str| match &body["flags"] {
            Value::Array(flags) => flags.iter().any(|flag| flag == name),
            other => other == name,
        };
        let routed = self.hook != Hook::Output && !self.probe.local;
        match body["result"].as_str() {
            Some("type") if has("mark") || (has("saddr") && !routed) => Fact::Unknown,
            Some("type") if self.probe.local => Fact::Name("local".to_owned()),
            Some("type") => Fact::Name("unicast".to_owned()),
            _ => Fact::Unknown,
        }
    }

    fn bit_operation(&self, operator: &str, body: &Value) -> Fact {
        let (Some(left), Some(right)) = (body.get(0), body.get(1)) else {
            return Fact::Unknown;
        };
        match self.fact(left) {
            Fact::Bits(kind, mark) => match number(kind, right) {
                Some(mask) => Fact::Bits(kind, combine(operator, mark, mask as u32)),
                None => Fact::Unknown,
            },
            Fact::Absent => Fact::Absent,
            _ => Fact::Unknown,
        }
    }
}

fn combine(operator: &str, mark: Mark, mask: u32) -> Mark {
    match operator {
        "&" => Mark {
            value: mark.value & mask,
            known: mark.known | !mask,
        },
        "|" => Mark {
            value: mark.value | mask,
            known: mark.known | mask,
        },
        _ => Mark::bits(mark.value ^ mask, mark.known),
    }
}

fn exactly(kind: Kind, value: u128) -> Fact {
    Fact::Span(kind, value, value)
}

fn network(net: IpNet) -> Fact {
    match net {
        IpNet::V4(net) => Fact::Span(
            Kind::Address,
            net.network().to_bits().into(),
            net.broadcast().to_bits().into(),
        ),
        IpNet::V6(net) => Fact::Span(
            Kind::Address,
            net.network().to_bits(),
            net.broadcast().to_bits(),
        ),
    }
}
