//! A flow as both ends see it: numbers, steps, and what came of them.

use super::shape::{Read, Shape};
use super::{Driver, name_of, receiver, sender, unexpected};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{Exchange, Purpose, Step, What};
use crate::diagnose::probe::order::{Answer, Arrival, End, FlowId, Header, Order, Refusal, Spec};
use crate::metrics::{Direction, PerDirection};
use crate::packet::Flags;

/// A flow that was opened at both ends.
#[derive(Debug)]
pub struct Line {
    pub id: FlowId,
    ways: PerDirection<Way>,
    pub steps: Vec<Step>,
    /// Bytes of data of each step.
    payloads: Vec<u16>,
    /// So many steps were lost one after another.
    lost_in_row: u32,
    /// A service of the server answers: its resets are its own affair.
    is_served: bool,
    reset_by_host: Vec<End>,
    refused: Option<(End, Refusal)>,
}

/// One direction of a flow.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Where what is sent next begins, in its sender's terms.
    pub next: u32,
    /// Up to here all came, in the terms in which it came.
    pub came: u32,
    /// What came beyond a hole, in the same terms.
    pub beyond: Option<(u32, u32)>,
    /// What is added to the numbers on the way, once it is known.
    pub shift: Option<u32>,
    /// The last timestamp that came.
    pub timestamp: u32,
    /// Timestamps that are sent count from here.
    pub clock: u32,
}

/// How often a segment is sent until one comes.
const ATTEMPTS: u32 = 4;
/// After so many steps that were lost one after another the flow is given up.
const GIVEN_UP: u32 = 3;
/// Arrivals that are taken while one is waited for.
const MOST_ARRIVALS: u32 = 64;

// === impl Line ===

impl Line {
    /// What is known of this direction.
    pub fn way(&self, direction: Direction) -> &Way {
        self.ways.get(direction)
    }

    /// What is known of this direction, to be changed.
    pub fn way_mut(&mut self, direction: Direction) -> &mut Way {
        self.ways.of(direction)
    }

    /// The segment in numbers.
    fn spec(&self, shape: &Shape) -> Spec {
        let acknowledges = shape.flags.has(Flags::ACK);
        Spec {
            flags: shape.flags.0,
            sequence: self.way(shape.direction).next.wrapping_add(shape.hole),
            acknowledgement: if acknowledges {
                self.way(shape.direction.back()).came
            } else {
                0
            },
            window: shape.window,
            urgent: shape.urgent,
            options: Header(shape.options.clone()),
            payload: shape.payload,
            traffic_class: shape.traffic_class,
        }
    }

    /// What the first arrival of this kind said.
    pub fn arrived(&self, what: What) -> Option<Read<'_>> {
        let step = self.steps.iter().find(|step| step.what == what)?;
        Read::new(&step.arrived.first()?.header.0)
    }

    /// Whether timestamps were offered both ways, as far as the other end could see.
    pub fn has_timestamps(&self) -> bool {
        [What::Syn, What::SynAck].into_iter().all(|what| {
            self.arrived(what)
                .is_some_and(|read| read.timestamp().is_some())
        })
    }

    /// A segment was sent for the first time.
    fn begin(&mut self, shape: &Shape, sent: Header) {
        self.payloads.push(shape.payload);
        self.steps.push(Step {
            what: shape.what,
            direction: shape.direction,
            sent,
            arrived: Vec::new(),
            attempts: 1,
            instead: Vec::new(),
        });
    }

    /// Puts an arrival where it belongs; whether it is what the last step waits for.
    fn place(&mut self, direction: Direction, arrival: Arrival) -> bool {
        let Some(last) = self.steps.len().checked_sub(1) else {
            return false;
        };
        let is_waiting = self.steps[last].direction == direction;
        let exact = (0..=last)
            .rev()
            .find(|at| self.steps[*at].direction == direction && self.is_of(*at, &arrival, true));
        let at =
            exact.or_else(|| (is_waiting && self.is_of(last, &arrival, false)).then_some(last));
        let Some(at) = at else {
            self.steps[last].instead.push(arrival);
            return false;
        };
        if self.steps[at].arrived.is_empty() {
            self.account(at, &arrival);
        }
        self.steps[at].arrived.push(arrival);
        at == last
    }

    /// Whether an arrival looks like a step, and, if that is asked for, has its number.
    fn is_of(&self, at: usize, arrival: &Arrival, exactly: bool) -> bool {
        let step = &self.steps[at];
        let (Some(sent), Some(came)) = (Read::new(&step.sent.0), Read::new(&arrival.header.0))
        else {
            return false;
        };
        let shaping = (Flags::SYN | Flags::FIN | Flags::RST).0;
        let has_data = usize::from(arrival.length) > came.headers;
        if sent.tcp.flags().0 & shaping != came.tcp.flags().0 & shaping
            || has_data != (self.payloads[at] > 0)
        {
            return false;
        }
        let shift = self.way(step.direction).shift;
        let is_there = shift
            .is_none_or(|shift| sent.tcp.sequence().wrapping_add(shift) == came.tcp.sequence());
        is_there || !exactly
    }

    /// The numbers after the first arrival of a step.
    fn account(&mut self, at: usize, arrival: &Arrival) {
        let step = &self.steps[at];
        let (Some(sent), Some(came)) = (Read::new(&step.sent.0), Read::new(&arrival.header.0))
        else {
            return;
        };
        let phantom = u32::from(sent.tcp.flags().has(Flags::SYN));
        let data = usize::from(arrival.length).saturating_sub(came.headers) as u32;
        let from = came.tcp.sequence();
        let end = from.wrapping_add(data + phantom);
        let sent_from = sent.tcp.sequence();
        let sent_end = sent_from.wrapping_add(u32::from(self.payloads[at]) + phantom);
        let timestamp = came.timestamp();
        let way = self.ways.of(step.direction);
        way.shift.get_or_insert(from.wrapping_sub(sent_from));
        way.timestamp = timestamp.unwrap_or(way.timestamp);
        let ahead = sent_from.wrapping_sub(way.next) as i32;
        if phantom == 0 && ahead != 0 {
            if ahead > 0 {
                way.beyond = Some((from, end));
            }
            return; // what lies behind was given up, and came late
        }
        way.next = sent_end;
        way.came = end;
        if let Some((from, end)) = way.beyond
            && from == way.came
        {
            let skipped = end.wrapping_sub(from);
            way.next = way.next.wrapping_add(skipped);
            way.came = end;
            way.beyond = None;
        }
    }

    /// The exchange that it was.
    pub fn into_exchange(self, purpose: Purpose) -> Exchange {
        Exchange {
            purpose,
            steps: self.steps,
            reset_by_host: self.reset_by_host,
            refused: self.refused,
        }
    }
}

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Has a flow at both ends; why not, where there is none.
    pub fn open(&mut self, port: u16, watched: bool) -> Result<Result<Line, Refusal>, Lost> {
        let flow = self.next_flow();
        let at_server = if watched {
            Order::Watch { flow, port }
        } else {
            Order::Open { flow, port }
        };
        if let Err(refusal) = self.done(End::Server, at_server)? {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.done(End::Client, Order::Open { flow, port })? {
            self.close(flow)?;
            return Ok(Err(refusal));
        }
        let mut way = || Way {
            next: self.random(),
            clock: self.random(),
            ..Way::default()
        };
        let ways = PerDirection {
            client_to_server: way(),
            server_to_client: way(),
        };
        Ok(Ok(Line {
            id: flow,
            ways,
            steps: Vec::new(),
            payloads: Vec::new(),
            lost_in_row: 0,
            is_served: watched,
            reset_by_host: Vec::new(),
            refused: None,
        }))
    }

    /// A timestamp to be sent this way.
    pub fn timestamp(&self, line: &Line, direction: Direction) -> (u32, u32) {
        let way = line.way(direction);
        let value = way.clock.wrapping_add(self.ends.now().as_millis() as u32);
        (value, line.way(direction.back()).timestamp)
    }

    /// Sends a segment until it comes; whether it came.
    pub fn step(&mut self, line: &mut Line, shape: &Shape) -> Result<bool, Lost> {
        if line.lost_in_row >= GIVEN_UP {
            return Ok(false);
        }
        let segment = line.spec(shape);
        let from = sender(shape.direction);
        for attempt in 1..=ATTEMPTS {
            let order = Order::Send {
                flow: line.id,
                segment: segment.clone(),
            };
            let sent = match self.ask(from, order)? {
                Answer::Sent(header) => header,
                Answer::Refused(refusal) => {
                    let what = shape.what;
                    let name = name_of(from);
                    self.cannot(format!("{what:?} was not sent by the {name}: {refusal}"));
                    line.refused = Some((from, refusal));
                    return Ok(false);
                }
                other => return Err(unexpected(from, &other)),
            };
            if attempt == 1 {
                line.begin(shape, sent);
            } else if let Some(step) = line.steps.last_mut() {
                step.attempts = attempt;
            }
            if self.comes(line, shape.direction)? {
                line.lost_in_row = 0;
                return Ok(true);
            }
        }
        line.lost_in_row += 1;
        Ok(false)
    }

    /// Notes a segment that somebody else has sent, and waits for it; whether it came.
    pub fn step_of_service(
        &mut self,
        line: &mut Line,
        shape: &Shape,
        sent: Header,
    ) -> Result<bool, Lost> {
        line.begin(shape, sent);
        self.comes(line, shape.direction)
    }

    /// Waits for what the last step is about.
    fn comes(&mut self, line: &mut Line, direction: Direction) -> Result<bool, Lost> {
        let patience_ms = self.patience_ms();
        for _ in 0..MOST_ARRIVALS {
            let Some(arrival) = self.arrival(line.id, receiver(direction), patience_ms)? else {
                break;
            };
            if line.place(direction, arrival) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn arrival(
        &mut self,
        flow: FlowId,
        end: End,
        patience_ms: u32,
    ) -> Result<Option<Arrival>, Lost> {
        match self.ask(end, Order::Await { flow, patience_ms })? {
            Answer::Arrived(arrival) => Ok(arrival),
            Answer::Refused(_) => Ok(None), // its SYN never came
            other => Err(unexpected(end, &other)),
        }
    }

    /// Takes what still comes at both ends, such as what comes twice, and ends the flow.
    pub fn finish(&mut self, line: &mut Line) -> Result<(), Lost> {
        let patience = self
            .path
            .round_trip
            .max(std::time::Duration::from_millis(50));
        for direction in Direction::BOTH {
            for _ in 0..MOST_ARRIVALS {
                let end = receiver(direction);
                let arrival = self.arrival(line.id, end, patience.as_millis() as u32)?;
                let Some(arrival) = arrival else { break };
                line.place(direction, arrival);
            }
        }
        if !line.is_served {
            for end in End::BOTH {
                if self.has_reset(line.id, end)? {
                    line.reset_by_host.push(end);
                }
            }
        }
        self.close(line.id)
    }

    /// Whether the rules of an end's host have answered with a reset.
    fn has_reset(&mut self, flow: FlowId, end: End) -> Result<bool, Lost> {
        let patience_ms = 0;
        for _ in 0..MOST_ARRIVALS {
            match self.ask(end, Order::Overhear { flow, patience_ms })? {
                Answer::Overheard(Some(Header(sent))) => {
                    let flags = Read::new(&sent).map(|read| read.tcp.flags());
                    if flags.is_some_and(|flags| flags.has(Flags::RST)) {
                        return Ok(true);
                    }
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Ends a flow at both ends.
    pub fn close(&mut self, flow: FlowId) -> Result<(), Lost> {
        for end in End::BOTH {
            // An end that does not know the flow has nothing to end.
            let _unknown = self.done(end, Order::Close { flow })?;
        }
        Ok(())
    }
}
