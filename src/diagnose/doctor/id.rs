//! What is looked at, each thing with a name that stays. docs/diagnosis.md has a row for each.

use schemars::JsonSchema;
use serde::Serialize;

/// Under which heading a finding is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The kernel and the programs that speak to it.
    Kernel,
    /// How packets are routed.
    Routing,
    /// How this host does TCP.
    Tcp,
    /// How connections are tracked.
    Conntrack,
    /// What other programs' rules do.
    Rules,
    /// What this user, or this process, may have.
    Limits,
    /// Interfaces and the size of packets.
    Links,
}

// === impl Group ===

impl Group {
    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Kernel => "kernel and tools",
            Self::Routing => "routing",
            Self::Tcp => "TCP",
            Self::Conntrack => "conntrack",
            Self::Rules => "rules",
            Self::Limits => "limits",
            Self::Links => "links",
        }
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $group:ident,)+) => {
        /// What is looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum Id { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl Id {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that stays.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Under which heading it is told.
            pub fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group,)+ }
            }
        }
    };
}

ids! {
    /// Whether the kernel is new enough.
    KernelRelease = "kernel-release" in Kernel,
    /// nftables.
    NfTables = "nf-tables" in Kernel,
    /// The statement that hands packets to a listener.
    NftTproxy = "nft-tproxy" in Kernel,
    /// The match on transparent sockets.
    NftSocket = "nft-socket" in Kernel,
    /// The match on local addresses.
    NftFib = "nft-fib" in Kernel,
    /// Zones of conntrack.
    NftCt = "nft-ct" in Kernel,
    /// Queues of packets.
    Queue = "queue" in Kernel,
    /// The connection tracker.
    Conntrack = "conntrack" in Kernel,
    /// The program `nft`.
    Nft = "nft" in Kernel,
    /// The program `ip`.
    Iproute2 = "iproute2" in Kernel,
    /// The program `iptables`.
    Iptables = "iptables" in Kernel,
    /// Whether IPv4 is routed.
    IpForward = "ip-forward" in Routing,
    /// Whether IPv6 is routed.
    IpForwardV6 = "ip-forward-v6" in Routing,
    /// Checks of the way back.
    RpFilter = "rp-filter" in Routing,
    /// Whether those see marks.
    SrcValidMark = "src-valid-mark" in Routing,
    /// Whether accepted connections bear the mark of their SYN.
    FwmarkAccept = "fwmark-accept" in Routing,
    /// Other rules of `ip rule`.
    PolicyRoutes = "policy-routes" in Routing,
    /// Whether bridged packets pass rules of IP.
    BridgeNetfilter = "bridge-netfilter" in Routing,
    /// SACK.
    TcpSack = "tcp-sack" in Tcp,
    /// Window scaling.
    TcpWindowScaling = "tcp-window-scaling" in Tcp,
    /// Timestamps.
    TcpTimestamps = "tcp-timestamps" in Tcp,
    /// Whether routes remember reordering.
    TcpMetrics = "tcp-metrics" in Tcp,
    /// How much reordering is believed.
    TcpReordering = "tcp-reordering" in Tcp,
    /// Packets outside the window that are let through.
    ConntrackLiberal = "conntrack-liberal" in Conntrack,
    /// Connections that began before.
    ConntrackLoose = "conntrack-loose" in Conntrack,
    /// Checksums.
    ConntrackChecksum = "conntrack-checksum" in Conntrack,
    /// How full the table is.
    ConntrackFill = "conntrack-fill" in Conntrack,
    /// Packets for which there was no room.
    ConntrackDrops = "conntrack-drops" in Conntrack,
    /// Packets that were called INVALID.
    ConntrackInvalid = "conntrack-invalid" in Conntrack,
    /// Why they were.
    ConntrackReasons = "conntrack-reasons" in Conntrack,
    /// What ends INVALID packets.
    InvalidRules = "invalid-rules" in Rules,
    /// What gives connections another destination.
    Dnat = "dnat" in Rules,
    /// What keeps them from conntrack.
    Notrack = "notrack" in Rules,
    /// What FORWARD would drop, and interception bypasses.
    Forward = "forward" in Rules,
    /// What INPUT would drop of what is intercepted.
    Input = "input" in Rules,
    /// What OUTPUT would drop, and interception bypasses.
    Output = "output" in Rules,
    /// Rules that nft does not list.
    LegacyRules = "legacy-rules" in Rules,
    /// The bits of the mark.
    Mark = "mark" in Rules,
    /// The priority of the `ip rule`.
    Priority = "priority" in Rules,
    /// The routing table.
    Table = "table" in Rules,
    /// The table that drops when the relay was killed.
    FailClosed = "fail-closed" in Rules,
    /// What a killed relay has left.
    Leftovers = "leftovers" in Rules,
    /// Whether the kernel would take the rules.
    Plan = "plan" in Rules,
    /// What this process may do.
    Capabilities = "capabilities" in Limits,
    /// How many files may be open.
    Descriptors = "descriptors" in Limits,
    /// How much the pipes of a user may hold.
    PipePages = "pipe-pages" in Limits,
    /// How much one pipe may hold.
    PipeSize = "pipe-size" in Limits,
    /// From which ports connections are opened.
    PortRange = "port-range" in Limits,
    /// How many connections may wait to be accepted.
    Somaxconn = "somaxconn" in Limits,
    /// Whether the interfaces that are named are there.
    Interface = "interface" in Links,
    /// The largest packet of an interface.
    Mtu = "mtu" in Links,
    /// The largest packet of a route.
    RouteMtu = "route-mtu" in Links,
    /// What interfaces do to segments.
    Offloads = "offloads" in Links,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_name_of_its_own_which_is_that_of_the_json() {
        let names: std::collections::BTreeSet<_> = Id::ALL.iter().map(|id| id.name()).collect();
        assert_eq!(names.len(), Id::ALL.len());
        for id in Id::ALL {
            let json = serde_json::to_value(id).unwrap();
            assert_eq!(json, id.name());
        }
    }
}
