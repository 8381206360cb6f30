//! Evidence made by hand: a path that is clean until a test says what it does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::diagnose::probe::evidence::{
    Carrier, Cliff, EndMtu, Evidence, Exchange, Harm, Outcome, Path, PortOutcome, PortSeen,
    Purpose, SizesSeen, Step, TrainSeen, What,
};
use crate::diagnose::probe::order::{Arrival, Harvest, Header};
use crate::metrics::{Direction, PerDirection};
use crate::packet::Flags;
use crate::packet::craft::{Carried, Segment};

pub use Direction::{ClientToServer, ServerToClient};

pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const PORT: u16 = 7532;
/// First numbers of the client and of the server.
const ISN: [u32; 2] = [1000, 0xffff_fff0];
/// The first timestamps of both.
const STAMP: [u32; 2] = [5000, 9000];

/// What the path does to a segment: what arrives of it, or nothing.
pub type Mangle<'a> = &'a dyn Fn(What, Direction, Segment) -> Option<Segment>;

pub fn kept(_: What, _: Direction, segment: Segment) -> Option<Segment> {
    Some(segment)
}

pub fn header(segment: &Segment) -> Header {
    let bytes = segment.build();
    Header(bytes[..bytes.len() - segment.payload.len()].to_vec())
}

pub fn arrival(segment: &Segment) -> Arrival {
    Arrival {
        header: header(segment),
        length: segment.build().len() as u16,
        checksum_right: true,
        payload_right: true,
    }
}

/// Everything that is tried, on a path that does this to each segment.
pub fn path(mangle: Mangle) -> Evidence {
    let trains = || Some(train(0));
    let purposes = [
        Purpose::Plain,
        Purpose::Ecn,
        Purpose::Urgent,
        Purpose::UnknownOption,
    ];
    let every = |carrier, direction| SizesSeen {
        carrier,
        direction,
        largest: 1500,
        outcome: Outcome::EverySize,
        packets: 100,
    };
    Evidence {
        path: Path {
            client: CLIENT,
            server: SERVER,
            server_own: SERVER,
            client_seen: CLIENT,
            port: PORT,
            round_trip: Duration::from_millis(2),
            broken: 0,
            mtu: EndMtu {
                client: 1500,
                server: 1500,
            },
        },
        exchanges: purposes.map(|purpose| exchange(purpose, mangle)).into(),
        fragmented: PerDirection::default(),
        trains: PerDirection {
            client_to_server: trains(),
            server_to_client: trains(),
        },
        sizes: vec![
            every(Carrier::Tcp, ClientToServer),
            every(Carrier::Tcp, ServerToClient),
            every(Carrier::Icmp, ClientToServer),
            every(Carrier::Icmp, ServerToClient),
        ],
        idle: None,
        ports: Vec::new(),
        untried: Vec::new(),
    }
}

pub fn clean() -> Evidence {
    path(&kept)
}

pub fn train(lost: u32) -> TrainSeen {
    TrainSeen {
        kbit_per_s: 8000,
        faster: None,
        length: 100,
        sent: 2000,
        harvest: Harvest {
            arrived: 2000 - lost,
            ..Harvest::default()
        },
        too_big: None,
    }
}

pub fn cliff(passes: u16, harm: Harm) -> Cliff {
    Cliff {
        passes,
        harmed: passes + 1,
        harm,
        told: None,
    }
}

impl Evidence {
    pub(in crate::diagnose::probe) fn sized(
        mut self,
        carrier: Carrier,
        direction: Direction,
        outcome: Outcome,
    ) -> Self {
        for seen in &mut self.sizes {
            if (seen.carrier, seen.direction) == (carrier, direction) {
                seen.outcome = outcome.clone();
            }
        }
        self
    }

    pub(in crate::diagnose::probe) fn harvested(
        mut self,
        direction: Direction,
        change: impl Fn(&mut Harvest),
    ) -> Self {
        let train = self.trains.of(direction).as_mut().expect("it was sent");
        change(&mut train.harvest);
        self
    }

    /// Compared at another port, where the path does this.
    pub(in crate::diagnose::probe) fn at_port(mut self, port: u16, mangle: Mangle) -> Self {
        let exchange = exchange(Purpose::Port(port), mangle);
        let outcome = PortOutcome::Compared(exchange);
        self.ports.push(PortSeen { port, outcome });
        self
    }
}

/// A flow as two ends have it that know what each other received.
pub fn exchange(purpose: Purpose, mangle: Mangle) -> Exchange {
    let mut talk = Talk {
        purpose,
        mangle,
        steps: Vec::new(),
        next: ISN,
        known: [0; 2],
        echo: [0; 2],
        stamp: STAMP,
    };
    let offer = match purpose {
        Purpose::Ecn => Flags::ECE | Flags::CWR,
        _ => Flags(0),
    };
    if !talk.step(What::Syn, ClientToServer, Flags::SYN | offer) {
        return talk.done();
    }
    let answer = match purpose {
        Purpose::Ecn => Flags::ECE,
        _ => Flags(0),
    };
    if !talk.step(
        What::SynAck,
        ServerToClient,
        Flags::SYN | Flags::ACK | answer,
    ) {
        return talk.done();
    }
    talk.step(What::Ack, ClientToServer, Flags::ACK);
    let data: &[What] = match purpose {
        Purpose::Plain | Purpose::Port(_) => &[What::Data, What::Sack, What::Dscp],
        Purpose::Ecn => &[What::Ect, What::Ce],
        Purpose::Urgent => &[What::Urgent],
        Purpose::UnknownOption => &[What::Data],
    };
    for what in data {
        for direction in [ClientToServer, ServerToClient] {
            let urgent = match what {
                What::Urgent => Flags::URG,
                _ => Flags(0),
            };
            talk.step(*what, direction, Flags::ACK | Flags::PSH | urgent);
        }
    }
    talk.done()
}

struct Talk<'a> {
    purpose: Purpose,
    mangle: Mangle<'a>,
    steps: Vec<Step>,
    /// What each end sends next, in its own terms.
    next: [u32; 2],
    /// What each end expects of the other, in its own terms.
    known: [u32; 2],
    /// The timestamp that each end has seen last.
    echo: [u32; 2],
    stamp: [u32; 2],
}

impl Talk<'_> {
    fn done(self) -> Exchange {
        Exchange {
            purpose: self.purpose,
            steps: self.steps,
            reset_by_host: Vec::new(),
            refused: None,
        }
    }

    fn step(&mut self, what: What, direction: Direction, flags: Flags) -> bool {
        let me = usize::from(direction == ServerToClient);
        let (mut source, mut destination): (SocketAddr, SocketAddr) =
            ((CLIENT, 40_000).into(), (SERVER, PORT).into());
        if me == 1 {
            std::mem::swap(&mut source, &mut destination);
        }
        let payload = match what {
            What::Syn | What::SynAck | What::Ack | What::Sack => 0,
            _ => 64,
        };
        let is_syn = flags.has(Flags::SYN);
        let segment = Segment {
            source,
            destination,
            carried: Carried {
                traffic_class: match what {
                    What::Dscp => 46 << 2,
                    What::Ect => 2,
                    What::Ce => 3,
                    _ => 0,
                },
                ..Carried::default()
            },
            sequence: self.next[me],
            acknowledgement: if flags.has(Flags::ACK) {
                self.known[me]
            } else {
                0
            },
            flags,
            window: 20_000,
            urgent: if flags.has(Flags::URG) { 7 } else { 0 },
            options: self.options(what, me, is_syn),
            payload: vec![0x55; payload],
        };
        self.next[me] = self.next[me].wrapping_add(payload as u32 + u32::from(is_syn));
        self.stamp[me] += 1;
        let arrived = (self.mangle)(what, direction, segment.clone());
        if let Some(arrived) = &arrived {
            let other = 1 - me;
            let length = payload as u32 + u32::from(is_syn);
            self.known[other] = arrived.sequence.wrapping_add(length);
            if let Some(value) = stamp_of(&arrived.options) {
                self.echo[other] = value;
            }
        }
        let came = arrived.is_some();
        self.steps.push(Step {
            what,
            direction,
            sent: header(&segment),
            arrived: arrived.iter().map(arrival).collect(),
            attempts: if came { 1 } else { 4 },
            instead: Vec::new(),
        });
        came
    }

    fn options(&self, what: What, me: usize, is_syn: bool) -> Vec<u8> {
        let mut options = Vec::new();
        if is_syn {
            options.extend([2, 4, 5, 180, 4, 2]);
        } else {
            options.extend([1, 1]);
        }
        options.extend([8, 10]);
        options.extend(self.stamp[me].to_be_bytes());
        options.extend(self.echo[me].to_be_bytes());
        if is_syn {
            options.extend([1, 3, 3, 7]);
        }
        if what == What::Sack {
            options.extend([1, 1, 5, 10]);
            options.extend(self.known[me].wrapping_add(100).to_be_bytes());
            options.extend(self.known[me].wrapping_add(200).to_be_bytes());
        }
        if self.purpose == Purpose::UnknownOption {
            options.extend([253, 4, 0xf9, 0x89]);
        }
        options
    }
}

/// Where an option stands, and how long it is.
fn find(options: &[u8], kind: u8) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < options.len() {
        if options[at] == 1 {
            at += 1;
            continue;
        }
        let length = usize::from(options[at + 1]);
        if options[at] == kind {
            return Some((at, length));
        }
        at += length;
    }
    None
}

fn stamp_of(options: &[u8]) -> Option<u32> {
    let (at, _) = find(options, 8)?;
    Some(number(&options[at + 2..]))
}

pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Overwrites an option with NOPs.
pub fn strip(segment: &mut Segment, kind: u8) {
    if let Some((at, length)) = find(&segment.options, kind) {
        segment.options[at..at + length].fill(1);
    }
}

/// Has an option say something else.
pub fn edit(segment: &mut Segment, kind: u8, change: impl Fn(&mut [u8])) {
    if let Some((at, length)) = find(&segment.options, kind) {
        change(&mut segment.options[at + 2..at + length]);
    }
}

/// Adds to a number in an option.
pub fn add(bytes: &mut [u8], by: u32) {
    let sum = number(bytes).wrapping_add(by);
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
}
