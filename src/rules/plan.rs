//! What the rules are to do: a pure value, compared and printed before anything is touched.

use crate::config::{DEFAULT_MARK, Intercept, Mark, Profile, Strip};

/// Everything the rules and routes of one relay are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which connections are taken.
    pub intercept: Intercept,
    /// What SYN and SYN-ACK lose on the mangled side.
    pub strip: Strip,
    /// The MSS that SYN and SYN-ACK may at most announce on the mangled side.
    pub mss: Option<u16>,
    /// The bits that lead a packet to the relay.
    pub mark: Mark,
    /// Routing table that makes every destination local, for marked packets.
    pub table: u32,
    /// Priority of the `ip rule` that leads there; lower is asked earlier.
    pub priority: u32,
    /// The conntrack zones of the two legs.
    pub zones: Zones,
    /// Where the relay listens.
    pub listen: ListenPorts,
}

/// One conntrack zone a leg: both legs of a session carry the same addresses and ports, and would
/// collide in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// "UM" in ASCII, as are the zones.
pub const DEFAULT_TABLE: u32 = 0x554d;
/// Before `local` would be too early, after `main` (32766) too late.
pub const DEFAULT_PRIORITY: u32 = 21_069;
/// Zone 0 is everybody's; these two are not likely to be anybody's.
pub const DEFAULT_ZONES: Zones = Zones {
    mangled: 0x554d,
    clean: 0x554e,
};

impl Plan {
    /// A plan with the default mark, table, priority and zones.
    pub fn new(intercept: Intercept, profile: &Profile, listen: ListenPorts) -> Self {
        Self {
            intercept,
            strip: profile.strip,
            mss: profile.mss,
            mark: DEFAULT_MARK,
            table: DEFAULT_TABLE,
            priority: DEFAULT_PRIORITY,
            zones: DEFAULT_ZONES,
            listen,
        }
    }
}
