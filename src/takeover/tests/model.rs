//! What relaying is, to these tests: each session is a number, and one process or none carries it on.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};

use crate::relay::{Carrier, Note, NotedEnd, NotedHalf, NotedHeld, NotedPort, Parcel};
use crate::takeover::{Giver, Going, More, Standing, Taker, Totals, Trouble};

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Old,
    New,
}

/// How it is with a session.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    /// Who carries it on.
    pub carried_by: Option<Side>,
    /// How often it has been carried on: what was noted of it before is out of date.
    turn: u64,
    /// Whether the new process has ever carried it on.
    went_over: bool,
}

/// What is true of all processes and sessions.
#[derive(Debug, Default)]
pub struct Truth {
    pub sessions: BTreeMap<u16, State>,
    /// Who is no more.
    pub dead: Vec<Side>,
    /// Whose part has come to its end, by itself or not.
    pub ended: Vec<Side>,
    /// Who accepts.
    pub accepting: Vec<Side>,
    /// Sessions that the new process holds, begun or not.
    pub kept: Vec<u16>,
    /// How many rounds the new process has said to have begun.
    pub started: usize,
    /// Whether the old process has looked for that for the last time, and whether it was said after that.
    pub looked: bool,
    pub tried: bool,
    /// What must not happen and has.
    pub wrong: Vec<String>,
}

/// The truth, and whoever waits for it to change.
#[derive(Debug, Clone, Default)]
pub struct World(Arc<(Mutex<Truth>, Condvar)>);

impl World {
    pub fn truth<T>(&self, look: impl FnOnce(&mut Truth) -> T) -> T {
        let (truth, changed) = &*self.0;
        let seen = look(&mut truth.lock().unwrap());
        changed.notify_all();
        seen
    }

    pub fn wait_until(&self, holds: impl Fn(&Truth) -> bool) {
        let (truth, changed) = &*self.0;
        let guard = truth.lock().unwrap();
        drop(changed.wait_while(guard, |truth| !holds(truth)).unwrap());
    }

    /// It is no more, and carries on nothing.
    pub fn dies(&self, side: Side) {
        self.truth(|truth| {
            truth.dead.push(side);
            truth.accepting.retain(|one| *one != side);
            for state in truth.sessions.values_mut() {
                if state.carried_by == Some(side) {
                    state.carried_by = None;
                }
            }
        });
    }

    /// It carries the session on, as it was when its turn was this.
    fn carries_on(&self, side: Side, id: u16, turn: u64) {
        self.truth(|truth| {
            let state = truth.sessions.get_mut(&id).unwrap();
            let wrong = match (side, state.carried_by) {
                (_, Some(other)) => Some(format!("{side:?} carries on {id}, and {other:?} does")),
                (Side::Old, _) if state.went_over => Some(format!("{id} comes back")),
                _ if state.turn != turn => Some(format!("{side:?} has {id} as it was")),
                _ => None,
            };
            state.carried_by = Some(side);
            state.turn += 1;
            state.went_over |= side == Side::New;
            truth.wrong.extend(wrong);
        });
    }

    fn stands_still(&self, id: u16) -> u64 {
        self.truth(|truth| {
            let state = truth.sessions.get_mut(&id).unwrap();
            state.carried_by = None;
            state.turn
        })
    }
}

/// The old relay.
#[derive(Debug)]
pub struct Old {
    pub world: World,
    /// Batches of the first round, and of each later one.
    pub rounds: Vec<Vec<Vec<u16>>>,
    /// What stands still: those batches, each session with its turn.
    still: Vec<Vec<(u16, u64)>>,
    let_go: bool,
    pub doors_closed: bool,
    /// What its methods were, in order.
    pub asked: Vec<&'static str>,
}

impl Old {
    pub fn new(world: World, rounds: Vec<Vec<Vec<u16>>>) -> Self {
        for id in rounds.iter().flatten().flatten() {
            world.truth(|truth| truth.sessions.insert(*id, State::default()));
            world.carries_on(Side::Old, *id, 0);
        }
        world.truth(|truth| truth.accepting.push(Side::Old));
        Self {
            world,
            rounds,
            still: Vec::new(),
            let_go: false,
            doors_closed: false,
            asked: Vec::new(),
        }
    }

    fn next_round_stands_still(&mut self) {
        let round = self.rounds.remove(0);
        let still = |id: u16| (id, self.world.stands_still(id));
        self.still = round
            .into_iter()
            .map(|batch| batch.into_iter().map(still).collect())
            .collect();
    }
}

impl Giver for Old {
    fn stand_still(&mut self, sessions: Going) -> Result<(), Trouble> {
        self.asked.push("stand still");
        self.world
            .truth(|truth| truth.accepting.retain(|one| *one != Side::Old));
        if sessions == Going::Over {
            self.next_round_stands_still();
        }
        Ok(())
    }

    fn carry(&mut self, mut carrier: Box<dyn Carrier>) -> Result<(), Trouble> {
        self.asked.push("carry");
        let nothing: OwnedFd = std::fs::File::open("/dev/null")?.into();
        for batch in &self.still {
            let mut parcels = batch.iter().map(|one| parcel(*one, nothing.as_fd()));
            carrier.carry(&mut parcels)?;
        }
        Ok(())
    }

    fn totals(&mut self) -> Totals {
        recorded()
    }

    fn go_on(&mut self) {
        self.asked.push("go on");
        for (id, turn) in std::mem::take(&mut self.still).into_iter().flatten() {
            self.world.carries_on(Side::Old, id, turn);
        }
        if !self.let_go {
            self.world.truth(|truth| {
                truth.accepting.retain(|one| *one != Side::Old);
                truth.accepting.push(Side::Old);
            });
        }
    }

    fn let_go(&mut self) {
        self.asked.push("let go");
        self.let_go = true;
        self.still.clear();
    }

    fn close_doors(&mut self) {
        self.asked.push("close doors");
        self.doors_closed = true;
    }

    fn more(&mut self) -> More {
        if self.rounds.is_empty() {
            return More::None;
        }
        self.next_round_stands_still();
        More::Some
    }
}

/// What is recorded from one time to the next.
pub fn recorded() -> Totals {
    serde_json::from_value(serde_json::json!({"recorded": {"process": {"held": 7}}, "debts": []}))
        .unwrap()
}

/// The new relay.
#[derive(Debug)]
pub struct Newcomer {
    pub world: World,
    adopted: bool,
    kept: Vec<(u16, u64)>,
    pub doors_free: usize,
    pub begun: bool,
    pub totals: Vec<Totals>,
    /// What it says to what there is.
    pub refuses: Option<&'static str>,
    /// The session that it cannot have.
    pub no_room_for: Option<u16>,
}

impl Newcomer {
    pub fn new(world: World) -> Self {
        Self {
            world,
            adopted: false,
            kept: Vec::new(),
            doors_free: 0,
            begun: false,
            totals: Vec::new(),
            refuses: None,
            no_room_for: None,
        }
    }
}

impl Taker for Newcomer {
    fn adopt(&mut self, standing: Standing, descriptors: Vec<OwnedFd>) -> Result<(), Trouble> {
        assert_eq!(descriptors.len(), standing.descriptors());
        self.adopted = true;
        match self.refuses {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }

    fn keep(&mut self, sessions: Vec<Parcel<OwnedFd>>) -> Result<(), Trouble> {
        for Parcel { note, descriptors } in sessions {
            assert_eq!(descriptors.len(), note.descriptors());
            let id = note.client.port();
            if self.no_room_for == Some(id) {
                return Err("no room".into());
            }
            self.kept.push((id, note.age_us));
            self.world.truth(|truth| truth.kept.push(id));
        }
        Ok(())
    }

    fn begin(&mut self) {
        assert!(self.adopted);
        self.begun = true;
        for (id, turn) in std::mem::take(&mut self.kept) {
            self.world.carries_on(Side::New, id, turn);
        }
        self.world.truth(|truth| {
            if truth.accepting.contains(&Side::Old) {
                truth.wrong.push("both accept".to_owned());
            }
            truth.accepting.retain(|one| *one != Side::New);
            truth.accepting.push(Side::New);
        });
    }

    fn add(&mut self, totals: Totals) {
        self.totals.push(totals);
    }

    fn discard(&mut self) {
        self.kept.clear();
    }

    fn doors_free(&mut self) {
        assert!(self.begun);
        self.doors_free += 1;
    }
}

fn parcel<'fd>((id, turn): (u16, u64), descriptor: BorrowedFd<'fd>) -> Parcel<BorrowedFd<'fd>> {
    // Every third has something in a pipe.
    let note = note(
        id,
        turn,
        if id % 3 == 0 {
            NotedHeld::Pipe(9)
        } else {
            NotedHeld::Nothing
        },
    );
    Parcel {
        descriptors: vec![descriptor; note.descriptors()],
        note,
    }
}

/// What is known of a session, of which most is the same for all.
pub fn note(id: u16, turn: u64, held: NotedHeld) -> Note {
    let half = |held| NotedHalf {
        read: 0,
        passed: 0,
        bulk: false,
        begun: false,
        end: NotedEnd::Open,
        held,
    };
    Note {
        listener: "ssh".to_owned(),
        from_mangled_side: false,
        client: ([192, 0, 2, 1], id).into(),
        via: None,
        server: ([192, 0, 2, 2], 22).into(),
        local: ([192, 0, 2, 2], 22).into(),
        port: NotedPort::Kept,
        age_us: turn,
        connect_us: 0,
        offer: None,
        client_ended_first: None,
        client_to_server: half(held),
        server_to_client: half(NotedHeld::Nothing),
        downstream_unpaced: false,
        upstream_unpaced: false,
        downstream_retransmits: 0,
        upstream_retransmits: 0,
    }
}
