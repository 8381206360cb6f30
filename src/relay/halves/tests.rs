//! Sessions that share a pool, under any schedule of bytes, room, ends, resets, signals and want of pipes, against
//! the model: what arrives is a prefix of what was sent at every step, and all of it at the end.
//!
//! A session is polled only when its waker was called, so a wake-up that is lost is a session that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::model::{ModelLeg, Stream};
use super::*;
use crate::metrics::{ListenerId, Recorders};
use crate::relay::pipes::{Pipe, PipeBudget, PipePool};

/// What happens next. Sessions and legs are chosen by number, modulo how many there are.
#[derive(Debug, Clone)]
enum Event {
    Arrive(usize, u64),
    End(usize),
    Reset(usize),
    Open(usize, usize),
    /// The most that a call moves.
    Most(usize, usize),
    Interrupt(usize, u32),
    Urgent(usize),
    /// A wake-up without a reason.
    Rouse(usize),
    /// The session has its turn, if it was woken.
    Poll(usize),
    /// All that were woken have theirs, until none is.
    Settle,
    /// Another process goes on with it.
    Move(usize),
    /// The drain is over for it.
    Abort(usize),
    /// Others take a pipe, and give one back.
    Occupy,
    Vacate,
    /// What is parked is stalled.
    Age,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Stage {
    Relaying,
    /// What this party had sent before its leg broke is passed on.
    Left(Party),
    Orderly,
    Broken(Party),
    Aborted,
}

#[derive(Default)]
struct Woken(AtomicBool);

struct Session {
    halves: Halves,
    downstream: ModelLeg,
    upstream: ModelLeg,
    /// From the client, from the server.
    streams: [Rc<Stream>; 2],
    flows: [Rc<Flow>; 2],
    stage: Stage,
    woken: Arc<Woken>,
    /// Whether what was left was passed on to its end.
    handed_over: bool,
}

struct World {
    sessions: Vec<Session>,
    resources: Resources,
    budget: Arc<PipeBudget>,
    limit: usize,
    occupied: Vec<Pipe>,
}

// === impl Woken ===

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// === impl Session ===

impl Session {
    fn new(number: u64) -> Self {
        let stream = |salt| {
            Rc::new(Stream {
                salt,
                ..Stream::default()
            })
        };
        let streams = [stream(2 * number), stream(2 * number + 1)];
        let flows = [Rc::<Flow>::default(), Rc::default()];
        let woken = Arc::new(Woken::default());
        woken.0.store(true, Ordering::Relaxed);
        Self {
            halves: Halves::new(ListenerId(0), Instant::now(), flows.clone()),
            flows,
            downstream: ModelLeg::new(&streams[0], &streams[1]),
            upstream: ModelLeg::new(&streams[1], &streams[0]),
            streams,
            stage: Stage::Relaying,
            woken,
            handed_over: false,
        }
    }

    fn is_over(&self) -> bool {
        !matches!(self.stage, Stage::Relaying | Stage::Left(_))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed) && !self.is_over()
    }

    /// The leg of this number, the other one first.
    fn legs(&self, of: Party) -> (&ModelLeg, &ModelLeg) {
        match of {
            Party::Server => (&self.upstream, &self.downstream),
            _ => (&self.downstream, &self.upstream),
        }
    }

    /// One turn, as `run` and `rest` take it.
    fn poll(&mut self, resources: &mut Resources) {
        self.woken.0.store(false, Ordering::Relaxed);
        for stream in &self.streams {
            stream.reads.set(0);
        }
        let waker = Waker::from(self.woken.clone());
        let mut cx = Context::from_waker(&waker);
        if self.stage == Stage::Relaying {
            if let Some(close) = self.relay(&mut cx, resources) {
                match close {
                    Close::Broken { by, error } => {
                        self.stage = Stage::Left(by);
                        if self.halves.left_by(by, error.kind()).is_none() {
                            self.over(Stage::Broken(by), resources);
                            self.handed_over = true;
                            return;
                        }
                        for stream in &self.streams {
                            stream.reads.set(0);
                        }
                    }
                    _ => return self.over(Stage::Orderly, resources),
                }
            } else {
                return self.expect_to_be_woken();
            }
        }
        let Stage::Left(by) = self.stage else { return };
        let (from, to) = match by {
            Party::Server => (&self.upstream, &self.downstream),
            _ => (&self.downstream, &self.upstream),
        };
        let half = match by {
            Party::Server => &mut self.halves.server_to_client,
            _ => &mut self.halves.client_to_server,
        };
        match half.poll(&mut cx, from, to, resources) {
            Poll::Ready(result) => {
                self.handed_over = result.is_ok();
                self.over(Stage::Broken(by), resources);
            }
            Poll::Pending => self.expect_to_be_woken(),
        }
    }

    /// As `Halves::run`: a direction that does not read would not notice that its sender has reset.
    fn relay(&mut self, cx: &mut Context, resources: &mut Resources) -> Option<Close> {
        let halves = &mut self.halves;
        match halves.advance(cx, &self.downstream, &self.upstream, resources) {
            Poll::Ready(close) => return Some(close),
            Poll::Pending => {}
        }
        let blind = [
            (Party::Client, !halves.client_to_server.reads()),
            (Party::Server, !halves.server_to_client.reads()),
        ];
        blind.into_iter().find_map(|(by, blind)| {
            let leg = self.legs(by).0;
            let error = (blind && leg.broken.get()).then(|| leg.take_error())?;
            Some(Close::Broken { by, error })
        })
    }

    /// A session that waits is woken already, or waits for what each of its directions needs next.
    fn expect_to_be_woken(&self) {
        if self.woken.0.load(Ordering::Relaxed) {
            return;
        }
        for party in [Party::Client, Party::Server] {
            if self.stage == Stage::Left(party.other()) {
                continue;
            }
            let (from, to) = self.legs(party);
            let stream = &self.streams[usize::from(party == Party::Server)];
            if stream.is_held_up() {
                assert!(to.write_is_awaited(), "{party:?}: nobody waits for room");
            } else if !stream.finished.get() {
                assert!(from.read_is_awaited(), "{party:?}: nobody waits for bytes");
            }
        }
    }

    /// Another process goes on with it, by what is told in JSON and by copies of its descriptors.
    fn moves(&mut self, resources: &mut Resources) {
        if self.stage != Stage::Relaying {
            return;
        }
        self.halves.client_to_server.pause();
        self.halves.server_to_client.pause();
        let noted = self.halves.note(&resources.pipes);
        let ends = |pipe: &Pipe| [pipe.read_end(), pipe.write_end()].map(|end| end.try_clone());
        let pipes = noted.pipes.into_iter().flatten().flat_map(ends);
        let pipes: Vec<_> = pipes.map(Result::unwrap).collect();
        let note = Note {
            client_ended_first: noted.client_ended_first,
            client_to_server: noted.client_to_server,
            server_to_client: noted.server_to_client,
            ..Note::sample()
        };
        assert_eq!(note.descriptors(), 2 + pipes.len());
        self.halves.abandon(resources);
        let told = serde_json::to_string(&note).unwrap();
        let note = serde_json::from_str(&told).unwrap();
        let flows = [Rc::<Flow>::default(), Rc::default()];
        let from = (ListenerId(0), Instant::now());
        let pool = &mut resources.pipes;
        self.halves = Halves::carried_on(from, flows.clone(), note, pipes, pool).unwrap();
        self.flows = flows;
        // It is registered anew, and looks at both legs.
        self.woken.0.store(true, Ordering::Relaxed);
        self.downstream.rouse();
        self.upstream.rouse();
    }

    fn over(&mut self, stage: Stage, resources: &mut Resources) {
        self.halves.abandon(resources);
        self.stage = stage;
    }

    /// What must be true when it is over.
    fn judge(&self) {
        for (flow, stream) in self.flows.iter().zip(&self.streams) {
            let told = flow.counted().passed;
            assert_eq!(told, stream.delivered.get(), "bytes as they are told");
        }
        let whole = |stream: &Stream| stream.delivered.get() == stream.arrived.get();
        match self.stage {
            Stage::Orderly => {
                for stream in &self.streams {
                    assert!(stream.finished.get() && whole(stream));
                }
            }
            Stage::Broken(by) => {
                assert!(self.legs(by).0.broken.get(), "{by:?} did not break");
                let stream = &self.streams[usize::from(by == Party::Server)];
                if self.handed_over {
                    assert!(whole(stream), "what came before the reset is passed on");
                }
            }
            Stage::Aborted => {}
            Stage::Relaying | Stage::Left(_) => panic!("not over"),
        }
    }
}

// === impl World ===

impl World {
    fn new(sessions: u64, limit: usize) -> Self {
        let budget = PipeBudget::new(limit);
        Self {
            sessions: (0..sessions).map(Session::new).collect(),
            resources: Resources {
                buffer: vec![0; 16 << 10],
                pipes: PipePool::new(budget.clone()),
                recorders: Recorders::new(1),
                wake: Some(Default::default()),
            },
            budget,
            limit,
            occupied: Vec::new(),
        }
    }

    /// Two legs a session.
    fn leg(&self, number: usize) -> (&Session, &ModelLeg) {
        let session = &self.sessions[number / 2 % self.sessions.len()];
        let leg = match number % 2 {
            0 => &session.downstream,
            _ => &session.upstream,
        };
        (session, leg)
    }

    fn poll(&mut self, number: usize) {
        let count = self.sessions.len();
        let session = &mut self.sessions[number % count];
        if session.is_woken() {
            session.poll(&mut self.resources);
        }
        assert!(self.budget.used() <= self.limit, "more pipes than allowed");
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.sessions.iter().any(Session::is_woken) {
                return;
            }
            for number in 0..self.sessions.len() {
                self.poll(number);
            }
        }
        panic!("they wake themselves for ever");
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Arrive(leg, bytes) => self.leg(leg).1.arrive(bytes),
            Event::End(leg) => self.leg(leg).1.end(),
            Event::Reset(leg) => {
                let (session, leg) = self.leg(leg);
                leg.reset();
                // Errors have a waiter of their own, `legs.ready(ERROR)`.
                session.woken.wake_by_ref();
            }
            Event::Open(leg, room) => self.leg(leg).1.open(room),
            Event::Most(leg, most) => self.leg(leg).1.most.set(most),
            Event::Interrupt(leg, times) => self.leg(leg).1.interrupts.set(times),
            Event::Urgent(leg) => {
                let (session, leg) = self.leg(leg);
                let stream = &session.streams[usize::from(std::ptr::eq(leg, &session.upstream))];
                leg.urgent.set(stream.arrived.get().checked_sub(1));
            }
            Event::Rouse(leg) => self.leg(leg).1.rouse(),
            Event::Poll(session) => self.poll(session),
            Event::Settle => self.settle(),
            Event::Move(number) => {
                let count = self.sessions.len();
                self.sessions[number % count].moves(&mut self.resources);
            }
            Event::Abort(number) => {
                let count = self.sessions.len();
                let session = &mut self.sessions[number % count];
                if !session.is_over() {
                    session.over(Stage::Aborted, &mut self.resources);
                }
            }
            Event::Occupy => self.occupied.extend(self.resources.pipes.take()),
            Event::Vacate => {
                if let Some(pipe) = self.occupied.pop() {
                    self.resources.pipes.give_back(pipe);
                }
            }
            Event::Age => self.resources.pipes.age(Duration::from_secs(1)),
        }
    }

    /// Everybody sends its end and takes what comes. Nothing but an event wakes a session.
    fn come_to_the_end(&mut self) {
        for leg in 0..2 * self.sessions.len() {
            self.leg(leg).1.end();
        }
        self.settle();
        while !self.sessions.iter().all(Session::is_over) {
            let moved = |world: &Self| -> u64 {
                let streams = world.sessions.iter().flat_map(|each| &each.streams);
                streams.map(|stream| stream.delivered.get()).sum()
            };
            let before = (moved(self), self.open_sessions());
            for leg in 0..2 * self.sessions.len() {
                self.leg(leg).1.open(100_000);
            }
            self.settle();
            assert!(before != (moved(self), self.open_sessions()), "it hangs");
        }
    }

    fn open_sessions(&self) -> usize {
        self.sessions.iter().filter(|each| !each.is_over()).count()
    }

    fn judge(mut self) {
        for session in &self.sessions {
            session.judge();
        }
        assert!(self.resources.pipes.is_at_rest(), "bytes of nobody");
        self.occupied.clear();
        drop(self.resources);
        assert_eq!(self.budget.used(), 0, "a pipe that nobody has");
    }
}

fn event() -> impl Strategy<Value = Event> {
    let leg = 0_usize..6;
    let bytes = prop_oneof![1_u64..300, Just(16 << 10), 1_u64..400_000];
    let room = prop_oneof![1_usize..300, 1_usize..200_000];
    let most = prop_oneof![2 => Just(usize::MAX), 1 => 1_usize..2000, 1 => 2000_usize..100_000];
    prop_oneof![
        8 => (leg.clone(), bytes).prop_map(|(leg, bytes)| Event::Arrive(leg, bytes)),
        8 => (leg.clone(), room).prop_map(|(leg, room)| Event::Open(leg, room)),
        8 => (0_usize..3).prop_map(Event::Poll),
        4 => Just(Event::Settle),
        2 => (leg.clone(), most).prop_map(|(leg, most)| Event::Most(leg, most)),
        1 => (leg.clone(), 1_u32..4).prop_map(|(leg, times)| Event::Interrupt(leg, times)),
        1 => leg.clone().prop_map(Event::Urgent),
        1 => leg.clone().prop_map(Event::Rouse),
        1 => leg.clone().prop_map(Event::End),
        1 => leg.prop_map(Event::Reset),
        2 => (0_usize..3).prop_map(Event::Move),
        1 => (0_usize..12).prop_map(Event::Abort),
        1 => Just(Event::Occupy),
        1 => Just(Event::Vacate),
        2 => Just(Event::Age),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_byte_arrives_in_its_place_and_no_wake_up_is_lost_under_any_schedule(
        sessions in 1_u64..4,
        limit in prop_oneof![Just(0_usize), Just(64 << 10), Just(128 << 10), Just(4 << 20)],
        events in prop::collection::vec(event(), 0..150),
    ) {
        let mut world = World::new(sessions, limit);
        for event in &events {
            world.happen(event);
        }
        world.come_to_the_end();
        world.judge();
    }
}
