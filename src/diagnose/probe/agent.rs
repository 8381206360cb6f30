//! One end of the path: carries out orders. Pure: orders, packets and the time in; packets and answers out.
//!
//! There is no I/O: who owns an [`Agent`] hands it what came and sends what it wants sent.
//!
//! | file | job |
//! | --- | --- |
//! | `bounds` | what it does not do, whoever asks for it |
//! | `flow` | one flow: whose it is, what came of it |
//! | `payload` | what segments carry, so that the other end sees whether they came whole |
//! | `train`, `receiver` | sends many segments; counts and acknowledges them |
//! | `echo` | sends echoes; counts them |

mod bounds;
mod echo;
mod flow;
mod incoming;
mod payload;
mod receiver;
#[cfg(test)]
mod tests;
mod train;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::order::{Answer, End, FlowId, Header, Order, Refusal, Spec, TooBig, Train};
pub use crate::diagnose::crafted::raw::Fate;
use crate::packet::{Ip, Tcp, craft};
use flow::{Between, Flow};
use payload::{Kind, Label};
use receiver::Receiver;

/// One end.
#[derive(Debug)]
pub struct Agent {
    end: End,
    between: Between,
    flows: BTreeMap<FlowId, Flow>,
    /// Ports of flows that were closed, and when: what comes late of them opens no other.
    closed: VecDeque<(Duration, u16, u16)>,
    /// Acknowledgements of trains, and resets: nobody waits for them.
    outbox: VecDeque<Vec<u8>>,
    job: Option<Job>,
    /// What was handed out to be sent last.
    leaving: Option<Leaving>,
    answer: Option<Answer>,
    echoes: echo::Counter,
    /// What a router said of a segment.
    too_big: Option<TooBig>,
    /// The first transit time, to which others are compared.
    transit_base: Option<u32>,
    now: Duration,
}

/// What was ordered and is not done yet.
#[derive(Debug)]
enum Job {
    Send(FlowId, Spec, Vec<u8>),
    Await(FlowId, Duration),
    Overhear(FlowId, Duration),
    Train(FlowId, train::Sender),
    Echo(echo::Sender),
    EchoHarvest(u32, Duration),
}

/// A packet that was handed out, until it is told how it went.
#[derive(Debug)]
enum Leaving {
    /// It was in the outbox.
    Aside,
    /// It is what the job is about.
    OfJob,
}

/// Acknowledgements that cannot be sent are not kept without end.
const OUTBOX: usize = 4096;

// === impl Agent ===

impl Agent {
    /// One end, with its own address and that of the other as this host sees it.
    #[must_use]
    pub fn new(end: End, own: IpAddr, peer: IpAddr) -> Self {
        Self {
            end,
            between: Between { own, peer },
            flows: BTreeMap::new(),
            closed: VecDeque::new(),
            outbox: VecDeque::new(),
            job: None,
            leaving: None,
            answer: None,
            echoes: echo::Counter::default(),
            too_big: None,
            transit_base: None,
            now: Duration::ZERO,
        }
    }

    /// Takes an order. Its answer comes by [`Self::poll_answer`], at once or later; one order at a time.
    ///
    /// `port` is the client's own port of a flow that it is to open, for which nobody on this host answers; the
    /// server needs none.
    pub fn order(&mut self, now: Duration, order: Order, port: Option<u16>) {
        self.now = now;
        self.job = None;
        self.answer = match self.begin(order, port) {
            Ok(answer) => answer,
            Err(refusal) => Some(Answer::Refused(refusal)),
        };
    }

    /// The next packet that is to be sent now. How it went is to be told by [`Self::sent`] before this is asked again.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.now = now;
        if let Some(packet) = self.outbox.pop_front() {
            self.leaving = Some(Leaving::Aside);
            return Some(packet);
        }
        let Between { own, peer } = self.between;
        let packet = match self.job.as_mut()? {
            Job::Send(_, _, packet) => packet.clone(),
            Job::Train(flow, train) => {
                let flow = self.flows.get_mut(flow)?;
                let (spec, label) = train.poll(now)?;
                let packet = flow.build(self.between, &spec, label)?;
                flow.sent(&spec);
                packet
            }
            Job::Echo(echoes) => echoes.poll(now, own, peer)?,
            Job::Await(..) | Job::Overhear(..) | Job::EchoHarvest(..) => return None,
        };
        self.leaving = Some(Leaving::OfJob);
        Some(packet)
    }

    /// How it went with the packet of [`Self::poll_transmit`].
    pub fn sent(&mut self, now: Duration, fate: Fate) {
        self.now = now;
        let Some(Leaving::OfJob) = self.leaving.take() else {
            return;
        };
        let refusal = match fate {
            Fate::Sent => None,
            Fate::TooLong => Some(Refusal::TooLong),
            Fate::Forbidden => Some(Refusal::Forbidden),
        };
        if let Some(refusal) = refusal {
            self.job = None;
            self.answer = Some(Answer::Refused(refusal));
        } else if let Some(Job::Send(..)) = &self.job
            && let Some(Job::Send(flow, spec, packet)) = self.job.take()
        {
            if let Some(flow) = self.flows.get_mut(&flow) {
                flow.sent(&spec);
            }
            self.answer = Some(Answer::Sent(header_of(packet)));
        }
    }

    /// The answer to the order, once there is one.
    pub fn poll_answer(&mut self, now: Duration) -> Option<Answer> {
        self.now = now;
        if self.answer.is_none() {
            self.answer = self.outcome(now);
        }
        let answer = self.answer.take()?;
        self.job = None;
        Some(answer)
    }

    /// When something is due, if nothing comes before: `poll_transmit` and `poll_answer` are to be asked then.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        if self.answer.is_some() || !self.outbox.is_empty() {
            return Some(self.now);
        }
        Some(match self.job.as_ref()? {
            Job::Send(..) => self.now,
            Job::Train(_, train) if train.is_done(self.now) => self.now,
            Job::Train(_, train) => train.due(),
            Job::Echo(echoes) if echoes.is_done() => self.now,
            Job::Echo(echoes) => echoes.due(),
            Job::Await(_, until) | Job::Overhear(_, until) | Job::EchoHarvest(_, until) => *until,
        })
    }

    /// That the tap had no room for so many packets.
    pub fn missed(&mut self, packets: u32) {
        let receivers = self
            .flows
            .values_mut()
            .filter_map(|flow| flow.receiver.as_mut());
        for receiver in receivers {
            receiver.missed(packets);
        }
    }

    /// Starts what takes time, or does what takes none.
    fn begin(&mut self, order: Order, port: Option<u16>) -> Result<Option<Answer>, Refusal> {
        let ip_header = craft::ip_header(self.between.own) as u16;
        bounds::check(&order, ip_header)?;
        let after = |patience_ms: u32| self.now + Duration::from_millis(patience_ms.into());
        let job = match order {
            Order::Open { flow, port: to } => return self.open(flow, to, port, false),
            Order::Watch { flow, port: to } => return self.open(flow, to, None, true),
            Order::Close { flow } => return Ok(self.close(flow)),
            Order::Receive { flow, from, ack } => {
                self.flow(flow)?.receiver = Some(Receiver::new(ack, from));
                return Ok(Some(Answer::Done));
            }
            Order::Harvest { flow } => {
                let receiver = self.flow(flow)?.receiver.as_ref();
                let receiver = receiver.ok_or(Refusal::NoFlow)?;
                return Ok(Some(Answer::Harvest(receiver.harvest())));
            }
            Order::Send { flow, segment } => {
                let packet = self.single(flow, &segment)?;
                Job::Send(flow, segment, packet)
            }
            Order::Await { flow, patience_ms } => {
                let until = after(patience_ms);
                self.flow(flow)?;
                Job::Await(flow, until)
            }
            Order::Overhear { flow, patience_ms } => {
                let until = after(patience_ms);
                self.flow(flow)?;
                Job::Overhear(flow, until)
            }
            Order::Train { flow, train } => {
                let sender = self.train(flow, train, ip_header)?;
                Job::Train(flow, sender)
            }
            Order::Echo { echoes } => Job::Echo(echo::Sender::new(echoes, self.now)),
            Order::EchoHarvest {
                expected,
                patience_ms,
            } => Job::EchoHarvest(expected, after(patience_ms)),
        };
        self.job = Some(job);
        Ok(None)
    }

    fn flow(&mut self, flow: FlowId) -> Result<&mut Flow, Refusal> {
        self.flows.get_mut(&flow).ok_or(Refusal::NoFlow)
    }

    fn open(
        &mut self,
        flow: FlowId,
        to: u16,
        port: Option<u16>,
        watched: bool,
    ) -> Result<Option<Answer>, Refusal> {
        if self.flows.len() >= bounds::FLOWS && !self.flows.contains_key(&flow) {
            return Err(Refusal::Other("too many flows".to_owned()));
        }
        let opened = match self.end {
            End::Client if watched => {
                return Err(Refusal::Other("the client has no services".to_owned()));
            }
            End::Client => {
                let own = port.ok_or_else(|| Refusal::Other("no port of its own".to_owned()))?;
                Flow::new(own, Some(to), false)
            }
            End::Server => Flow::new(to, None, watched),
        };
        self.flows.insert(flow, opened);
        Ok(Some(Answer::Done))
    }

    fn close(&mut self, flow: FlowId) -> Option<Answer> {
        if let Some(flow) = self.flows.remove(&flow) {
            if let Some(peer_port) = flow.peer_port {
                self.closed.push_back((self.now, flow.own_port, peer_port));
            }
            if let Some(reset) = flow.reset() {
                let label = single_label(&reset, self.now, 0);
                self.outbox.extend(flow.build(self.between, &reset, label));
            }
        }
        Some(Answer::Done) // to be repeated without harm
    }

    fn single(&mut self, flow: FlowId, spec: &Spec) -> Result<Vec<u8>, Refusal> {
        let (between, now) = (self.between, self.now);
        let headers = craft::ip_header(between.own) + 20 + spec.options.0.len().next_multiple_of(4);
        let label = single_label(spec, now, headers as u16 + spec.payload);
        let packet = self.flow(flow)?.build(between, spec, label);
        packet.ok_or(Refusal::NoFlow)
    }

    fn train(
        &mut self,
        flow: FlowId,
        train: Train,
        ip_header: u16,
    ) -> Result<train::Sender, Refusal> {
        let (now, between) = (self.now, self.between);
        let headers = ip_header + 20 + train.first.options.0.len().next_multiple_of(4) as u16;
        let payload = train.length.checked_sub(headers + 24);
        let payload = 24 + payload.ok_or_else(|| Refusal::Other("no room for data".to_owned()))?;
        self.too_big = None;
        let flow = self.flow(flow)?;
        let label = single_label(&train.first, now, train.length);
        if flow.build(between, &train.first, label).is_none() {
            return Err(Refusal::NoFlow);
        }
        flow.trained = true;
        Ok(train::Sender::new(train, payload, now))
    }

    /// What has become of the job, if it is at its end.
    fn outcome(&mut self, now: Duration) -> Option<Answer> {
        match self.job.as_ref()? {
            Job::Await(flow, until) => {
                let arrival = self.flows.get_mut(flow)?.next_arrival();
                (arrival.is_some() || now >= *until).then_some(Answer::Arrived(arrival))
            }
            Job::Overhear(flow, until) => {
                let header = self.flows.get_mut(flow)?.next_overheard();
                (header.is_some() || now >= *until).then_some(Answer::Overheard(header))
            }
            Job::Train(_, train) => train
                .is_done(now)
                .then(|| Answer::Counted(train.dispatch(self.too_big))),
            Job::Echo(echoes) => echoes
                .is_done()
                .then(|| Answer::Counted(echoes.dispatch(self.echoes.told()))),
            Job::EchoHarvest(expected, until) => {
                let is_done = self.echoes.count() >= *expected || now >= *until;
                is_done.then(|| Answer::Echoes(self.echoes.harvest()))
            }
            Job::Send(..) => None,
        }
    }
}

/// A segment that stands alone is named by its sequence number: sent again, it is the same one.
fn single_label(spec: &Spec, now: Duration, length: u16) -> Label {
    Label {
        kind: Kind::Single,
        number: spec.sequence,
        sent_us: now.as_micros() as u32,
        length,
    }
}

/// IP and TCP header of a packet that this end has made.
fn header_of(mut packet: Vec<u8>) -> Header {
    let end = Ip::parse(&packet)
        .ok()
        .and_then(|ip| {
            let tcp = Tcp::parse(&packet[ip.payload..ip.end]).ok()?;
            Some(ip.payload + tcp.header_len())
        })
        .unwrap_or(packet.len());
    packet.truncate(end);
    Header(packet)
}
