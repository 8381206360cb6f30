//! The hypothetical opening packet that a ruleset is asked about.

use std::fmt;

use ipnet::IpNet;

/// What is known of a packet's mark: the bits of `value` that `known` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The bits that are set, where they are known.
    pub value: u32,
    /// Which bits are known.
    pub known: u32,
}

impl Mark {
    /// Nothing is known of the mark.
    pub const UNKNOWN: Mark = Mark { value: 0, known: 0 };

    /// The whole mark is known.
    pub const fn exactly(value: u32) -> Mark {
        Mark {
            value,
            known: u32::MAX,
        }
    }

    /// Only the bits that `known` selects are known.
    pub const fn bits(value: u32, known: u32) -> Mark {
        Mark {
            value: value & known,
            known,
        }
    }

    /// What is still known when the mark is either `self` or `other`.
    pub(super) fn either(self, other: Mark) -> Mark {
        Mark::bits(
            self.value,
            self.known & other.known & !(self.value ^ other.value),
        )
    }
}

/// Which TCP ports a probe goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This one.
    Is(u16),
    /// All of them.
    Any,
}

/// What conntrack says of a probe's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// They open a connection.
    New,
    /// It does not see them.
    Untracked,
    /// They belong to a connection that it knows.
    Established,
    /// They belong to a connection, and it calls them INVALID.
    Invalid,
}

/// A set of opening TCP packets (SYN, `ct state new`) that differ only in what is not named here:
/// every source in `from`, every destination in `to`, any source port. None has an extension header of IPv6.
///
/// With [`Tracked::Established`] and [`Tracked::Invalid`] they are no opening packets, but acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The interface the packets come in by.
    pub iif: String,
    /// The interface they would be forwarded to, where one knows.
    pub oif: Option<String>,
    /// The sources the relay would intercept.
    pub from: IpNet,
    /// The destinations the relay would intercept, of the same family as `from`.
    pub to: IpNet,
    /// The TCP port they go to.
    pub port: Port,
    /// What is known of the packet's mark as it enters the hook.
    pub mark: Mark,
    /// What conntrack says of the packet.
    pub tracked: Tracked,
    /// Whether the destinations are addresses of this host.
    pub local: bool,
}

impl Probe {
    /// A probe whose outgoing interface and mark are unknown.
    pub fn new(iif: impl Into<String>, from: IpNet, to: IpNet, port: impl Into<Port>) -> Probe {
        Probe {
            iif: iif.into(),
            oif: None,
            from,
            to,
            port: port.into(),
            mark: Mark::UNKNOWN,
            tracked: Tracked::New,
            local: false,
        }
    }

    /// The same probe, to addresses of this host.
    pub fn to_this_host(self) -> Probe {
        Probe {
            local: true,
            ..self
        }
    }

    /// The same probe, known to leave by `oif`.
    pub fn leaving_by(self, oif: impl Into<String>) -> Probe {
        Probe {
            oif: Some(oif.into()),
            ..self
        }
    }

    /// The same probe with what is known of its mark.
    pub fn marked(self, mark: Mark) -> Probe {
        Probe { mark, ..self }
    }

    /// The same probe, kept from conntrack (`notrack`).
    pub fn untracked(self) -> Probe {
        Probe {
            tracked: Tracked::Untracked,
            ..self
        }
    }

    /// Packets of the same connections once they stand, either way.
    pub fn established(self) -> Probe {
        Probe {
            tracked: Tracked::Established,
            ..self
        }
    }

    /// Packets of the same connections that conntrack calls INVALID.
    pub fn invalid(self) -> Probe {
        Probe {
            tracked: Tracked::Invalid,
            ..self
        }
    }

    pub(in crate::rules) fn is_v4(&self) -> bool {
        matches!(self.to, IpNet::V4(_))
    }
}

impl From<u16> for Port {
    fn from(port: u16) -> Self {
        Self::Is(port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(port) => port.fmt(f),
            Self::Any => f.write_str("any"),
        }
    }
}

/// `10.0.0.0/8 -> any port 22`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |net: &IpNet| match net.prefix_len() {
            0 => "any".to_owned(),
            len if len == net.max_prefix_len() => net.addr().to_string(),
            _ => net.to_string(),
        };
        write!(
            f,
            "{} -> {} port {}",
            any(&self.from),
            any(&self.to),
            self.port
        )
    }
}
