//! Everything goes over to another process: the part of the one that has it. docs/takeover.md is the manual.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::bring_up::can_go_over;
use super::reload::Running;
use super::standing::Asked;
use super::taking::Comes;
use crate::config::Side;
use crate::metrics::{Portable, Recorders};
use crate::relay::{Carrier, Move, Witness};
use crate::rules::Handed;
use crate::takeover::{
    Channel, Giver, Going, Line, ListenerSockets, More, Patience, SocketNote, Standing, Totals,
    Trouble, offer,
};

/// A hand-over that is under way, on a thread of its own.
pub struct Giving {
    line: Channel,
    steps: mpsc::UnboundedReceiver<Step>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
    told: Arc<Told>,
    /// Who takes it.
    pub pid: u32,
    /// When it began.
    pub began: Instant,
}

/// What the main thread does at a point of it; then it says so.
#[derive(Debug)]
pub enum Step {
    /// The other relays: lets go of listeners and rules, without a trace.
    LetGo(oneshot::Sender<()>),
    /// Closes and removes the sockets where it is asked.
    CloseDoors(oneshot::Sender<()>),
}

/// What is known while it is under way.
#[derive(Debug, Default)]
struct Told {
    /// Sessions that have gone over.
    moved: AtomicU64,
    /// Those that had not, when the others had.
    left: AtomicU64,
    /// Whether those that stay are not waited for.
    hurries: AtomicBool,
}

/// What this process can do, as the thread has it done.
struct Relay {
    moving: Move,
    main: Handle,
    steps: mpsc::UnboundedSender<Step>,
    told: Arc<Told>,
    /// What was told of, and is forgotten once the other has it.
    records: Option<Recorders>,
    /// For so long those are waited for that have not gone over at once.
    drain: Duration,
    /// When the other had the rest.
    since: Option<Instant>,
    /// Where sessions go.
    going: Going,
    /// Whether sessions may still come of the process before: they go on to the other.
    comes: Option<Comes>,
}

/// How often it is looked for sessions that have come to relaying.
const LOOK_EVERY: Duration = Duration::from_millis(20);

// === impl Giving ===

impl Giving {
    /// Begins to hand over to whoever is at the other end of this socket.
    ///
    /// # Errors
    /// If it cannot go over at all; whoever is there sees that the line is closed.
    pub fn begin(
        socket: OwnedFd,
        running: &Running,
        asked: Option<&Asked>,
        witness: Option<&Witness>,
        comes: Option<Comes>,
    ) -> anyhow::Result<Self> {
        let channel = Channel::over(socket);
        let line = channel.clone();
        let peer = channel.peer().context("looking who wants to take over")?;
        let pid = u32::try_from(peer.pid).context("looking who wants to take over")?;
        can_go_over(&running.settings)?;
        let (standing, descriptors) = standing(running, asked, witness)?;
        let (steps, todo) = mpsc::unbounded_channel();
        let told = Arc::new(Told::default());
        let mut relay = Relay {
            moving: running.server.moving(),
            main: Handle::current(),
            steps,
            told: told.clone(),
            records: None,
            drain: running.settings.process.drain,
            since: None,
            going: Going::Over,
            comes,
        };
        let (end, ended) = oneshot::channel();
        let hand_over = move || {
            let willing = offer(channel, Patience::default(), standing, descriptors)?;
            if willing.going() == Going::Nowhere {
                tracing::warn!("the other process cannot take sessions over: they drain here");
            }
            let rest = willing.hand_over(&mut relay)?;
            Ok(rest.run(&mut relay)?)
        };
        // No thread of the runtime: that would wait for it at its end.
        std::thread::spawn(move || drop(end.send(hand_over())));
        Ok(Self {
            line,
            steps: todo,
            ended,
            told,
            pid,
            began: Instant::now(),
        })
    }

    /// What the main thread has to do next; when there is nothing more, how it has ended.
    pub async fn next(&mut self) -> Result<Step, anyhow::Result<()>> {
        match self.steps.recv().await {
            Some(step) => Ok(step),
            None => Err((&mut self.ended)
                .await
                .unwrap_or_else(|_| Err(anyhow!("its thread has ended")))),
        }
    }

    /// Sessions that have gone over.
    pub fn moved(&self) -> u64 {
        self.told.moved.load(Ordering::Relaxed)
    }

    /// Sessions that stayed, when the others had gone over.
    pub fn left(&self) -> u64 {
        self.told.left.load(Ordering::Relaxed)
    }

    /// Gives it up, if it can be: what the other has begun with is the other's.
    pub fn give_up(&self) {
        self.line.hang_up();
        self.hurry();
    }

    /// Waits for no session that stays.
    pub fn hurry(&self) {
        self.told.hurries.store(true, Ordering::Relaxed);
    }
}

/// What there is besides sessions, and copies of its descriptors.
fn standing(
    running: &Running,
    asked: Option<&Asked>,
    witness: Option<&Witness>,
) -> anyhow::Result<(Standing, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut listeners: Vec<ListenerSockets> = Vec::new();
    let mut listening = running
        .server
        .listening()
        .context("copying the listeners")?;
    for (listener, way_in) in running.settings.listeners.iter().zip(running.ways_in()) {
        let (own, others): (Vec<_>, Vec<_>) = listening
            .into_iter()
            .partition(|each| each.listener == listener.name);
        listening = others;
        let mut sockets = Vec::new();
        for each in own {
            sockets.push(SocketNote {
                worker: each.worker,
                mangled_side: each.side == Side::Mangled,
            });
            descriptors.push(each.socket);
        }
        listeners.push(ListenerSockets {
            name: listener.name.clone(),
            way_in: (*way_in).into(),
            sockets,
        });
    }
    let rules = match running.rules.hand()? {
        Some(handed) => {
            let (note, parts) = Handed::into_parts(handed);
            for part in parts {
                descriptors.push(part.try_clone_to_owned()?);
            }
            Some(note)
        }
        None => None,
    };
    let (mut doors, mut lasting_doors) = (Vec::new(), Vec::new());
    for (address, socket, lasts) in asked.iter().flat_map(|asked| asked.server().doors()) {
        if lasts {
            lasting_doors.push(address.clone());
        }
        doors.push(address);
        descriptors.push(socket.try_clone_to_owned()?);
    }
    if let Some(witness) = witness {
        descriptors.push(witness.as_fd().try_clone_to_owned()?);
    }
    let standing = Standing {
        listeners,
        rules,
        doors,
        lasting_doors,
        witness: witness.is_some(),
        workers: running.server.workers(),
    };
    Ok((standing, descriptors))
}

// === impl Relay ===

impl Relay {
    /// Has the main thread do something, and waits until it is done.
    fn has_main(&self, step: impl FnOnce(oneshot::Sender<()>) -> Step) {
        let (done, waiting) = oneshot::channel();
        if self.steps.send(step(done)).is_ok() {
            // One that is about to end closes everything anyway.
            let _ = waiting.blocking_recv();
        }
    }
}

impl Giver for Relay {
    fn stand_still(&mut self, sessions: Going) -> Result<(), Trouble> {
        self.going = sessions;
        match sessions {
            Going::Over => drop(self.moving.stand_still()),
            Going::Nowhere => self.moving.shut(),
        }
        Ok(())
    }

    fn carry(&mut self, carrier: Box<dyn Carrier>) -> Result<(), Trouble> {
        self.moving.carry(carrier)?;
        Ok(())
    }

    fn totals(&mut self) -> Totals {
        let mut recent = self.main.block_on(self.moving.take_records());
        if let Some(before) = self.records.take() {
            recent.add(&before);
        }
        let recorded = Portable::of(self.moving.listeners(), &recent);
        self.records = Some(recent);
        Totals {
            recorded,
            debts: self.moving.debts(),
        }
    }

    fn go_on(&mut self) {
        if let Some(records) = self.records.take() {
            self.main.block_on(self.moving.add_records(&records));
        }
        self.moving.go_on();
    }

    fn let_go(&mut self) {
        self.records = None;
        let all = self.moving.sessions() as u64;
        let moved = self.moving.let_go() as u64;
        let left = all.saturating_sub(moved);
        self.told.left.store(left, Ordering::Relaxed);
        self.told.moved.fetch_add(moved, Ordering::Relaxed);
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.has_main(Step::LetGo);
        }
    }

    fn close_doors(&mut self) {
        self.has_main(Step::CloseDoors);
    }

    fn more(&mut self) -> More {
        let until = self.since.unwrap_or_else(Instant::now) + self.drain;
        loop {
            if self.going == Going::Over && self.moving.stand_still() > 0 {
                return More::Some;
            }
            // First this, then how many are here: who comes is here before nothing more does.
            let last = self.comes.as_ref().is_none_or(Comes::nothing_more);
            let hurries = self.told.hurries.load(Ordering::Relaxed);
            if last && self.moving.sessions() == 0 || hurries || Instant::now() >= until {
                return More::None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
