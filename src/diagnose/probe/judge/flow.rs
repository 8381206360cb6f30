//! An exchange as pairs of segments, read: what was sent, and what came of it with a right checksum.

use std::net::SocketAddr;

use crate::diagnose::probe::evidence::{Evidence, Exchange, Purpose, Step, What};
use crate::diagnose::probe::order::Header;
use crate::metrics::Direction;
use crate::packet::{Flags, Ip, Tcp, TcpOption};

/// A flow whose segments can be compared.
pub(super) struct Flow<'a> {
    pub steps: &'a [Step],
    pub pairs: Vec<Pair>,
}

/// A segment that was sent, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub what: What,
    pub direction: Direction,
    pub sent: Seen,
    pub arrived: Seen,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub dscp: u8,
    pub ecn: u8,
    pub sequence: u32,
    /// Only with the ACK flag.
    pub acknowledgement: Option<u32>,
    pub flags: Flags,
    pub window: u16,
    pub urgent: u16,
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub sack: Vec<(u32, u32)>,
    pub timestamps: Option<(u32, u32)>,
    /// Kinds of options that are none of these, in their order.
    pub unknown: Vec<u8>,
    /// Kinds of all options, NOPs left out, in their order.
    pub kinds: Vec<u8>,
}

// === impl Seen ===

impl Seen {
    pub fn read(header: &Header) -> Option<Self> {
        let bytes = &header.0;
        let ip = Ip::parse_quoted(bytes).ok()?;
        let tcp = Tcp::parse(bytes.get(ip.payload..)?).ok()?;
        let traffic_class = match bytes[0] >> 4 {
            4 => bytes[1],
            _ => bytes[0] << 4 | bytes[1] >> 4,
        };
        let flags = tcp.flags();
        let mut seen = Self {
            source: (ip.source, tcp.source_port()).into(),
            destination: (ip.destination, tcp.destination_port()).into(),
            dscp: traffic_class >> 2,
            ecn: traffic_class & 3,
            sequence: tcp.sequence(),
            acknowledgement: flags.has(Flags::ACK).then(|| tcp.acknowledgement()),
            flags,
            window: tcp.window(),
            urgent: tcp.urgent_pointer(),
            mss: None,
            window_scale: None,
            sack_permitted: false,
            sack: Vec::new(),
            timestamps: None,
            unknown: Vec::new(),
            kinds: Vec::new(),
        };
        for option in tcp.options() {
            let kind = match option {
                TcpOption::Nop => continue,
                TcpOption::Mss(mss) => {
                    seen.mss = Some(mss);
                    2
                }
                TcpOption::WindowScale(shift) => {
                    seen.window_scale = Some(shift);
                    3
                }
                TcpOption::SackPermitted => {
                    seen.sack_permitted = true;
                    4
                }
                TcpOption::Sack(_) => {
                    seen.sack.extend(option.sack_blocks());
                    5
                }
                TcpOption::Timestamps { value, echo } => {
                    seen.timestamps = Some((value, echo));
                    8
                }
                TcpOption::Other { kind, .. } => {
                    seen.unknown.push(kind);
                    kind
                }
            };
            seen.kinds.push(kind);
        }
        Some(seen)
    }

    pub fn is_syn(&self) -> bool {
        self.flags.has(Flags::SYN)
    }
}

// === impl Flow ===

impl<'a> Flow<'a> {
    pub fn read(exchange: &'a Exchange) -> Self {
        // A segment whose checksum is wrong was damaged: nothing that it says was done on purpose.
        let pair = |step: &Step| {
            let good = step.arrived.iter().find(|arrival| arrival.checksum_right)?;
            Some(Pair {
                what: step.what,
                direction: step.direction,
                sent: Seen::read(&step.sent)?,
                arrived: Seen::read(&good.header)?,
            })
        };
        Self {
            steps: &exchange.steps,
            pairs: exchange.steps.iter().filter_map(pair).collect(),
        }
    }

    /// Those to the probe's own port, the plain one first.
    pub fn own(evidence: &'a Evidence) -> Vec<Self> {
        let is_port = |purpose| matches!(purpose, Purpose::Port(_));
        let mut own: Vec<&Exchange> = evidence
            .exchanges
            .iter()
            .filter(|exchange| !is_port(exchange.purpose))
            .collect();
        own.sort_by_key(|exchange| exchange.purpose != Purpose::Plain);
        own.into_iter().map(Self::read).collect()
    }

    /// What was sent this way and came.
    pub fn going(&self, direction: Direction) -> impl Iterator<Item = &Pair> {
        self.pairs
            .iter()
            .filter(move |pair| pair.direction == direction)
    }

    /// The SYN or SYN-ACK that went this way and came.
    pub fn opening(&self, direction: Direction) -> Option<&Pair> {
        self.going(direction)
            .find(|pair| matches!(pair.what, What::Syn | What::SynAck) && pair.sent.is_syn())
    }

    /// By how much sequence numbers of this direction are shifted; nothing if none came.
    pub fn shift(&self, direction: Direction) -> Option<u32> {
        let pair = self.going(direction).next()?;
        Some(pair.arrived.sequence.wrapping_sub(pair.sent.sequence))
    }
}
