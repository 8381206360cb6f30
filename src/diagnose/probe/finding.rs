//! What a path does, by names that stay, each told in a sentence.

use schemars::JsonSchema;
use serde::Serialize;

use crate::metrics::Direction;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It breaks connections, or the transfers in them.
    Problem,
    /// To be known; connections go on with it.
    Note,
}

/// Which way the segments go to which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ways {
    /// From the client to the server.
    ClientToServer,
    /// From the server to the client.
    ServerToClient,
    /// In both directions.
    BothWays,
}

macro_rules! behaviours {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What a path does. In the order in which findings are told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum Behaviour { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl Behaviour {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that stays.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

behaviours! {
    /// What comes was not sent by the other end: something between ends TCP, and only what lies before it is seen.
    EndedOnTheWay = "ended-on-the-way",
    /// A reset came that neither end sent.
    ResetFromBetween = "reset-from-between",
    /// The rules of an end's own host answered a segment with a reset.
    ResetByHost = "reset-by-host",
    /// The connection by which both ends talk was broken.
    ControlBroken = "control-broken",
    /// Addresses are translated.
    AddressesTranslated = "addresses-translated",
    /// Ports are translated.
    PortsTranslated = "ports-translated",
    /// Sequence numbers are others than were sent.
    SequenceRewritten = "sequence-numbers-rewritten",
    /// Acknowledgements are not what fits the numbers of the other direction.
    AcknowledgementWrong = "acknowledgement-wrong",
    /// The blocks of SACK are translated as the acknowledgement is.
    SackTranslated = "sack-translated",
    /// The blocks of SACK are left as they were, in numbers that their receiver does not know.
    SackNotTranslated = "sack-not-translated",
    /// The blocks of SACK are changed to something that fits nothing.
    SackChanged = "sack-changed",
    /// The blocks of SACK are taken away.
    SackBlocksRemoved = "sack-blocks-removed",
    /// SACK may not be negotiated.
    SackPermittedRemoved = "sack-permitted-removed",
    /// Window scale may not be negotiated, in one direction or in both.
    WindowScaleRemoved = "window-scale-removed",
    /// Another window scale comes than was sent.
    WindowScaleChanged = "window-scale-changed",
    /// Another window comes than was sent.
    WindowChanged = "window-changed",
    /// Segments of less bytes are asked for.
    MssLowered = "mss-lowered",
    /// Segments of more bytes are asked for.
    MssRaised = "mss-raised",
    /// Nothing is said of the size of segments.
    MssRemoved = "mss-removed",
    /// Timestamps are taken away.
    TimestampsRemoved = "timestamps-removed",
    /// Timestamps are others, and translated back.
    TimestampsRewritten = "timestamps-rewritten",
    /// Timestamps are others, and what is echoed of them does not fit.
    TimestampsInconsistent = "timestamps-inconsistent",
    /// The offer of ECN is taken away.
    EcnOfferRemoved = "ecn-offer-removed",
    /// What offers ECN does not pass.
    EcnRefused = "ecn-refused",
    /// The bits of ECN are cleared.
    EcnBleached = "ecn-bleached",
    /// The bits of ECN are set where they were not.
    EcnSet = "ecn-set",
    /// The mark of congestion is lost where ECN's other bits pass.
    CongestionMarkLost = "congestion-mark-lost",
    /// The DSCP is another.
    DscpChanged = "dscp-changed",
    /// The URG flag is cleared.
    UrgentCleared = "urgent-cleared",
    /// The urgent pointer is another.
    UrgentPointerChanged = "urgent-pointer-changed",
    /// Urgent data does not pass.
    UrgentDropped = "urgent-dropped",
    /// Options that nobody knows are taken away.
    UnknownOptionsRemoved = "unknown-options-removed",
    /// What carries options that nobody knows does not pass.
    UnknownOptionsDropped = "unknown-options-dropped",
    /// No data passes, however small.
    DataBlocked = "data-blocked",
    /// TCP segments over a size are lost, cut or late.
    TcpSizeCliff = "tcp-size-cliff",
    /// Segments over a size are lost, all of them, and nobody says so.
    PathMtuBlackHole = "path-mtu-black-hole",
    /// A router says that packets over a size do not pass.
    PathMtu = "path-mtu",
    /// Echoes over a size are lost, cut or late.
    IcmpSizeCliff = "icmp-size-cliff",
    /// No echo passes, however small.
    IcmpBlocked = "icmp-blocked",
    /// Large packets come in fragments, although they say that they must not.
    Fragmented = "fragmented",
    /// The way carries little: what is sent faster is lost.
    BandwidthLimited = "bandwidth-limited",
    /// Data is damaged.
    Corruption = "corruption",
    /// Segments are lost, whatever their size.
    Loss = "loss",
    /// Segments overtake each other.
    Reordering = "reordering",
    /// Segments come twice.
    Duplication = "duplication",
    /// A flow that is silent is forgotten.
    IdleForgotten = "idle-forgotten",
    /// No connection can be opened to a port.
    PortBlocked = "port-blocked",
    /// Something else is done at one port than at another.
    PortTreatedDifferently = "port-treated-differently",
}

/// One thing that the path does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What: a name that stays.
    pub behaviour: Behaviour,
    /// Which way, if it has one; else null.
    pub direction: Option<Ways>,
    /// How bad it is.
    pub status: Status,
    /// All of it, in a sentence or two.
    pub sentence: String,
    /// What was sent, in words; null where that is not one value.
    pub sent: Option<String>,
    /// What arrived of that, in words.
    pub arrived: Option<String>,
}

/// Stands in a sentence for the way, until it is known whether it happens both ways.
pub(super) const WAY: &str = "{way}";

/// A finding of one direction, before those of both are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub behaviour: Behaviour,
    pub direction: Option<Direction>,
    pub status: Status,
    /// With [`WAY`] where the way is to be told.
    pub sentence: String,
    /// In a word or two, for the table.
    pub short: String,
    pub sent: Option<String>,
    pub arrived: Option<String>,
}

// === impl Behaviour ===

impl Behaviour {
    /// Whether strict rules call segments INVALID because of it, and may answer them with a reset.
    pub(super) fn provokes_resets(self) -> bool {
        matches!(
            self,
            Self::AcknowledgementWrong
                | Self::SackNotTranslated
                | Self::SackChanged
                | Self::WindowScaleRemoved
                | Self::WindowScaleChanged
                | Self::WindowChanged
                | Self::TimestampsInconsistent
                | Self::Corruption
        )
    }
}

/// Whether this is only what strict rules of a host make of another problem that was found.
pub(super) fn is_consequence(finding: &Finding, findings: &[Finding]) -> bool {
    finding.behaviour == Behaviour::ResetByHost
        && findings
            .iter()
            .any(|one| one.status == Status::Problem && one.behaviour.provokes_resets())
}

// === impl Ways ===

impl Ways {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ClientToServer => "from client to server",
            Self::ServerToClient => "from server to client",
            Self::BothWays => "both ways",
        }
    }

    /// Whether it happens this way.
    #[must_use]
    pub fn has(self, direction: Direction) -> bool {
        self == Self::BothWays || self == Self::from(direction)
    }
}

impl From<Direction> for Ways {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::ClientToServer => Self::ClientToServer,
            Direction::ServerToClient => Self::ServerToClient,
        }
    }
}

// === impl Draft ===

impl Draft {
    pub fn note(behaviour: Behaviour, short: impl Into<String>, sentence: String) -> Self {
        Self {
            behaviour,
            direction: None,
            status: Status::Note,
            sentence,
            short: short.into(),
            sent: None,
            arrived: None,
        }
    }

    pub fn problem(behaviour: Behaviour, short: impl Into<String>, sentence: String) -> Self {
        Self {
            status: Status::Problem,
            ..Self::note(behaviour, short, sentence)
        }
    }

    /// Which way.
    pub fn going(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// What was sent, and what came of it.
    pub fn values(mut self, sent: impl Into<String>, arrived: impl Into<String>) -> Self {
        self.sent = Some(sent.into());
        self.arrived = Some(arrived.into());
        self
    }

    fn told(self, ways: Option<Ways>) -> Finding {
        Finding {
            behaviour: self.behaviour,
            direction: ways,
            status: self.status,
            sentence: self.sentence.replace(WAY, ways.map_or("", Ways::words)),
            sent: self.sent,
            arrived: self.arrived,
        }
    }
}

/// Findings of both directions: what is said alike of both is one. Problems first, then in the order of names.
pub(super) fn told(drafts: Vec<Draft>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut waiting = std::collections::VecDeque::from(drafts);
    while let Some(mut draft) = waiting.pop_front() {
        let is_other = |other: &Draft| {
            draft.direction.is_some()
                && other.direction.is_some()
                && other.direction != draft.direction
                && (other.behaviour, other.status) == (draft.behaviour, draft.status)
                && other.sentence == draft.sentence
        };
        let ways = draft.direction.map(Ways::from);
        let other = waiting.iter().position(is_other);
        let ways = match other.and_then(|other| waiting.remove(other)) {
            None => ways,
            Some(other) => {
                draft.sent = both(draft.sent, other.sent);
                draft.arrived = both(draft.arrived, other.arrived);
                Some(Ways::BothWays)
            }
        };
        findings.push(draft.told(ways));
    }
    findings.sort_by_key(|finding| (finding.status, finding.behaviour));
    findings
}

fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    }
}
