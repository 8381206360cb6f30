//! The experiments: what both ends are told, one after another, to see what the path does.
//!
//! | file | job |
//! | --- | --- |
//! | `line` | a flow as both ends see it: numbers, steps, what came of them |
//! | `shape` | the segments and options that are sent |
//! | `exchange` | flows whose segments are compared |
//! | `trains` | many segments one after another, and what came of them |
//! | `background` | from when on a share is harm: pure |
//! | `sizes`, `tcp_sizes`, `icmp_sizes` | which sizes pass |
//! | `idle` | how long a silent flow is remembered |
//! | `ports` | handshakes at other ports |

mod background;
mod exchange;
mod icmp_sizes;
mod idle;
mod line;
mod ports;
mod shape;
mod sizes;
mod tcp_sizes;
mod trains;

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::ends::{Ends, Lost};
use super::evidence::{Evidence, Path};
use super::order::{Answer, End, FlowId, Order, Refusal};
use crate::metrics::{Direction, PerDirection};

/// What is to be tried beyond what always is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How long a flow may be silent at most, to find out when it is forgotten; this takes up to twice as long.
    pub idle: Option<Duration>,
    /// Other ports of the server.
    pub ports: Vec<u16>,
    /// The largest packet that is tried, IP header included; up to 9000, and never more than the interfaces take.
    pub largest: u16,
    /// Initial sequence numbers are drawn from this.
    pub seed: u64,
}

/// What is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Flows whose segments are compared.
    Exchanges,
    /// Echoes of all sizes.
    IcmpSizes,
    /// Many small segments.
    Trains,
    /// Segments of all sizes.
    TcpSizes,
    /// Handshakes at other ports.
    Ports,
    /// Flows that are silent.
    Idle,
}

/// Runs the experiments.
///
/// # Errors
/// If one end cannot be asked any more.
pub fn drive(
    ends: &mut impl Ends,
    path: Path,
    wishes: &Wishes,
    tell: &mut dyn FnMut(Stage),
) -> Result<Evidence, Lost> {
    let mut driver = Driver {
        ends,
        dice: Xoshiro256PlusPlus::seed_from_u64(wishes.seed),
        largest: wishes
            .largest
            .min(9000)
            .min(path.mtu.client)
            .min(path.mtu.server),
        path,
        flows: 0,
        numbers: 0,
        untried: Vec::new(),
        late: Duration::ZERO,
        slow: 1,
        fragmented: PerDirection::default(),
    };
    driver.measure_round_trip()?;
    let mut evidence = Evidence {
        path: driver.path.clone(),
        exchanges: Vec::new(),
        trains: PerDirection::default(),
        fragmented: PerDirection::default(),
        sizes: Vec::new(),
        idle: None,
        ports: Vec::new(),
        untried: Vec::new(),
    };
    tell(Stage::Exchanges);
    evidence.exchanges = driver.exchanges()?;
    // First of all that is sent in numbers: it tells how fast the rest may be.
    tell(Stage::Trains);
    evidence.trains = driver.loss_trains()?;
    tell(Stage::IcmpSizes);
    evidence.sizes = driver.icmp_sizes()?;
    tell(Stage::TcpSizes);
    let sizes = driver.tcp_sizes(&evidence.trains, &evidence.sizes)?;
    evidence.sizes.extend(sizes);
    if !wishes.ports.is_empty() {
        tell(Stage::Ports);
        evidence.ports = driver.ports(&wishes.ports)?;
    }
    if let Some(longest) = wishes.idle {
        tell(Stage::Idle);
        evidence.idle = driver.idle(longest)?;
    }
    evidence.fragmented = driver.fragmented;
    evidence.untried = driver.untried;
    Ok(evidence)
}

/// What experiments share.
struct Driver<'a, E> {
    ends: &'a mut E,
    dice: Xoshiro256PlusPlus,
    path: Path,
    /// The largest packet that is tried.
    largest: u16,
    /// How many flows there were.
    flows: u16,
    /// How many numbers trains have used.
    numbers: u32,
    untried: Vec<String>,
    /// How late packets are known to come, so that they are waited for; zero until that was looked at.
    late: Duration,
    /// By how much slower than [`trains::KBIT_PER_S`] packets are sent, because the way carries no more.
    slow: u32,
    /// Which way packets come in fragments.
    fragmented: PerDirection<bool>,
}

/// The shortest time that is waited for a packet.
const LEAST_PATIENCE: Duration = Duration::from_millis(300);
/// How often the time there and back is measured.
const ROUND_TRIPS: u32 = 8;

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    fn ask(&mut self, end: End, order: Order) -> Result<Answer, Lost> {
        self.ends.ask(end, order)
    }

    /// Has something done that nothing is to be said of.
    fn done(&mut self, end: End, order: Order) -> Result<Result<(), Refusal>, Lost> {
        match self.ask(end, order)? {
            Answer::Done => Ok(Ok(())),
            Answer::Refused(refusal) => Ok(Err(refusal)),
            other => Err(unexpected(end, &other)),
        }
    }

    /// How long one packet is waited for.
    fn patience(&self) -> Duration {
        LEAST_PATIENCE.max(self.path.round_trip * 4)
    }

    fn patience_ms(&self) -> u32 {
        self.patience().as_millis() as u32
    }

    fn random(&mut self) -> u32 {
        self.dice.random()
    }

    fn next_flow(&mut self) -> FlowId {
        self.flows += 1;
        FlowId(self.flows)
    }

    /// Notes that something could not be tried.
    fn cannot(&mut self, sentence: String) {
        if !self.untried.contains(&sentence) {
            self.untried.push(sentence);
        }
    }

    fn measure_round_trip(&mut self) -> Result<(), Lost> {
        let mut least = Duration::MAX;
        for _ in 0..ROUND_TRIPS {
            let before = self.ends.now();
            let nothing = Order::EchoHarvest {
                expected: 0,
                patience_ms: 0,
            };
            self.ask(End::Server, nothing)?;
            least = least.min(self.ends.now().saturating_sub(before));
        }
        self.path.round_trip = least;
        Ok(())
    }
}

// === impl Wishes ===

impl Default for Wishes {
    fn default() -> Self {
        Self {
            idle: None,
            ports: Vec::new(),
            largest: 9000,
            seed: 0,
        }
    }
}

impl Wishes {
    /// What will be tried, in this order.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        let mut stages = vec![
            Stage::Exchanges,
            Stage::Trains,
            Stage::IcmpSizes,
            Stage::TcpSizes,
        ];
        stages.extend((!self.ports.is_empty()).then_some(Stage::Ports));
        stages.extend(self.idle.map(|_| Stage::Idle));
        stages
    }
}

fn unexpected(end: End, answer: &Answer) -> Lost {
    Lost(format!("the {} answered {answer:?}", name_of(end)))
}

fn name_of(end: End) -> &'static str {
    match end {
        End::Client => "client",
        End::Server => "server",
    }
}

/// Who sends.
fn sender(direction: Direction) -> End {
    match direction {
        Direction::ClientToServer => End::Client,
        Direction::ServerToClient => End::Server,
    }
}

/// Who receives.
fn receiver(direction: Direction) -> End {
    sender(direction).other()
}
