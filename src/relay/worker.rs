//! One worker: a thread with a current-thread runtime, its sessions, its buffer and its pipes.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::accepting::Accepting;
use super::cpus::Cpu;
use super::listen::{Accepted, Bound};
use super::parcel::Carrier;
use super::pipes::{PipeBudget, PipePool};
use super::session;
use super::sessions::Sessions;
use super::still::{self, Still, Taken};
use super::view::{self, Query, View};
use super::waiting::Held;
use super::wake::{self, TASKS, Wake};
use super::watchdog;
use super::witness::{Known, Openings};
use super::word::Word;
use crate::config::Engine;
use crate::metrics::{Counters, Gauges, ListenerId, Recorder, Recorders, Stuck};
use crate::packet::nflog::Seen;

/// What the sessions of one worker share. They run on one thread, so a borrow is short and never
/// crosses an await.
#[derive(Debug)]
pub struct Worker {
    /// What moves the bytes of its sessions.
    pub engine: Engine,
    /// What directions need while they move bytes.
    pub resources: RefCell<Resources>,
    /// What its sessions are told.
    pub word: Arc<Word>,
    /// Those that stand still.
    pub still: Still,
    /// Servers that were dialled before their clients were answered, if any are.
    pub held: Option<Arc<Held>>,
    /// The SYNs of clients.
    pub openings: Arc<Openings>,
    /// Its sessions that are being relayed.
    pub sessions: Sessions,
    /// How many of their directions were stuck when they were looked at last.
    pub stuck: Cell<Stuck>,
    /// The legs of its sessions, where the rules show their DSCP.
    pub known: RefCell<Known>,
    loads: Arc<Loads>,
    index: usize,
}

/// What a direction needs while it moves bytes.
#[derive(Debug)]
pub struct Resources {
    /// For short messages; its content means nothing between two calls.
    pub buffer: Vec<u8>,
    /// For bulk.
    pub pipes: PipePool,
    /// What is counted and timed.
    pub recorders: Recorders,
    /// What messages are timed by; nothing is timed without it, and no clock is read on the way of a byte.
    pub wake: Option<Wake>,
}

/// How many sessions each worker has: a new one goes to the worker with the fewest.
#[derive(Debug)]
pub struct Loads(Vec<Load>);

/// On a cache line of its own: each is written by another core.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load(AtomicUsize);

/// One of the sessions that [`Worker::place`] counts, until it is dropped.
#[derive(Debug)]
pub struct Counted<'a>(&'a Worker);

/// What can be said to a worker.
#[derive(Debug)]
pub enum Order {
    /// A connection that another worker accepted.
    Serve(Accepted),
    /// Say that it is here.
    Answer(oneshot::Sender<()>),
    /// Say what was recorded since the last time, in exchange for empty ones to record into.
    Tell(Box<Recorders>, oneshot::Sender<Told>),
    /// Show sessions that are being relayed.
    Show(Arc<Query>, oneshot::Sender<Vec<View>>),
    /// Take no more clients that come of themselves. What the rules still lead here is taken.
    Close,
    /// Accept nobody.
    Shut,
    /// Accept nobody; say how many sessions stand still, once all do that relay.
    StandStill(oneshot::Sender<usize>),
    /// Bring what stands still to another process; say how many that were.
    Carry(
        Arc<Mutex<Box<dyn Carrier>>>,
        oneshot::Sender<io::Result<usize>>,
    ),
    /// Another process has what was brought to it: let it go, and the listeners.
    LetGo(oneshot::Sender<usize>),
    /// Accept, and go on with what stands still.
    GoOn,
    /// Go on with sessions of another process.
    TakeOver(Vec<Taken>),
    /// End: all sessions are over.
    Stop,
}

/// What a worker says when it is asked.
#[derive(Debug)]
pub struct Told {
    /// What it has recorded since it was asked last.
    pub recorders: Box<Recorders>,
    /// How things stand.
    pub gauges: Gauges,
}

/// What a worker thread is made from.
pub struct Start {
    /// Its number, from 0.
    pub index: usize,
    /// The processor that it has for itself.
    pub cpu: Option<Cpu>,
    /// The listeners of its own, sharing their ports with those of other workers.
    pub listeners: Vec<Bound>,
    /// How many listeners the settings have.
    pub served: usize,
    /// Whether times and sizes are recorded.
    pub histograms: bool,
    /// What moves the bytes.
    pub engine: Engine,
    /// Shared by all.
    pub budget: Arc<PipeBudget>,
    /// Shared by all.
    pub loads: Arc<Loads>,
    /// Shared by all.
    pub held: Option<Arc<Held>>,
    /// What is said to it.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Segments that the rules have shown: they may be of one of this worker's legs.
    pub shown: mpsc::Receiver<Seen>,
    /// What can be said to every worker, by number.
    pub peers: Vec<mpsc::UnboundedSender<Order>>,
    /// What its sessions are told.
    pub word: Arc<Word>,
    /// Shared by all.
    pub openings: Arc<Openings>,
    /// Whether it accepts at once; if not, once it is told to go on.
    pub accepts: bool,
    /// Told when it accepts connections; dropped untold if it never does.
    pub ready: std::sync::mpsc::Sender<()>,
}

/// Size of the buffer for short messages; a read that fills it is bulk.
const BUFFER: usize = 16 << 10;

/// Runs a worker until it is told to stop; the body of its thread.
///
/// # Errors
/// If the kernel gives no epoll instance or does not take a listener.
pub fn run(start: Start) -> io::Result<()> {
    let mut runtime = Builder::new_current_thread();
    if let Some(cpu) = start.cpu {
        cpu.take(&start.listeners);
    }
    runtime.enable_io().enable_time().event_interval(TASKS);
    if start.histograms {
        runtime.on_thread_unpark(wake::woken);
    }
    let runtime = runtime.build_local(LocalOptions::default())?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start) -> io::Result<()> {
    let Start {
        index,
        cpu: _,
        listeners,
        served,
        histograms,
        engine,
        budget,
        loads,
        held,
        mut orders,
        mut shown,
        peers,
        word,
        openings,
        accepts,
        ready,
    } = start;
    let worker = Rc::new(Worker {
        engine,
        resources: RefCell::new(Resources {
            buffer: vec![0; BUFFER],
            pipes: PipePool::new(budget),
            recorders: Recorders::new(served),
            wake: histograms.then(Wake::default),
        }),
        word,
        still: Still::default(),
        held,
        openings,
        sessions: Sessions::new(served),
        stuck: Cell::default(),
        known: RefCell::default(),
        loads,
        index,
    });
    let mut doors = Accepting::register(listeners, peers)?;
    if accepts {
        doors.open(&worker);
    }
    tokio::task::spawn_local(watchdog::watch(worker.clone()));
    // Whoever waits for it may have given up because another worker failed.
    let _ = ready.send(());
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(seen) = shown.recv() => {
                worker.known.borrow_mut().tell(seen);
                continue;
            }
        };
        let Some(order) = order else { break };
        match order {
            Order::Serve(accepted) => worker.clone().begin(accepted),
            // Whoever asked may have given up.
            Order::Answer(answer) => drop(answer.send(())),
            Order::Tell(empty, answer) => drop(answer.send(worker.tell(empty))),
            // It may take a while, and others have their turn.
            Order::Show(query, answer) => {
                let worker = worker.clone();
                tokio::task::spawn_local(async move {
                    let views = view::show(&worker, &query, || !answer.is_closed()).await;
                    drop(answer.send(views));
                });
            }
            Order::Close => doors.close_known(),
            Order::Shut => doors.shut(),
            Order::StandStill(answer) => {
                doors.shut();
                tokio::task::spawn_local(still::all(worker.clone(), answer));
            }
            Order::Carry(carrier, answer) => {
                let carried = worker.still.carry(&worker, &carrier);
                drop(answer.send(carried));
            }
            Order::LetGo(answer) => {
                doors.close();
                // Whoever asked may have given up.
                let _ = answer.send(worker.still.let_go());
            }
            Order::GoOn => {
                worker.still.go_on(&worker);
                doors.open(&worker);
            }
            Order::TakeOver(sessions) => {
                for taken in sessions {
                    tokio::task::spawn_local(session::carry_on(worker.clone(), taken));
                }
            }
            Order::Stop => break,
        }
    }
    Ok(())
}

// === impl Worker ===

impl Worker {
    /// Starts a session on this worker.
    pub fn begin(self: Rc<Self>, accepted: Accepted) {
        tokio::task::spawn_local(session::run(self, accepted));
    }

    /// Who is to serve the next connection: this worker, unless another has fewer sessions. The session
    /// counts from here on.
    pub fn place(&self) -> usize {
        let chosen = chosen(self.index, self.loads.now());
        self.loads.0[chosen].0.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// Takes back what [`Worker::place`] counted, because that worker does not serve it.
    pub fn unplace(&self, chosen: usize) {
        self.loads.0[chosen].0.fetch_sub(1, Ordering::Relaxed);
    }

    /// This worker's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Takes over the count of a session that [`Worker::place`] gave to this worker.
    pub fn counted(&self) -> Counted<'_> {
        Counted(self)
    }

    /// What counts what becomes of a listener's connections. The borrow must not outlive the statement.
    pub fn counters(&self, listener: ListenerId) -> RefMut<'_, Counters> {
        RefMut::map(self.resources.borrow_mut(), |resources| {
            &mut resources.recorders.of(listener).counters
        })
    }

    /// Records times and sizes of a listener's sessions, unless none are recorded.
    pub fn recorded(&self, listener: ListenerId, record: impl FnOnce(&mut Recorder)) {
        let mut resources = self.resources.borrow_mut();
        if resources.wake.is_some() {
            record(resources.recorders.of(listener));
        }
    }

    /// What was recorded since the last time, and how things stand; from now on into the empty ones.
    fn tell(&self, mut given: Box<Recorders>) -> Told {
        let mut resources = self.resources.borrow_mut();
        resources.recorders.settle();
        std::mem::swap(&mut resources.recorders, &mut given);
        let pipes = &mut resources.pipes;
        given.process.pipes_refused += std::mem::take(&mut pipes.refused);
        given.process.pipes_evicted += std::mem::take(&mut pipes.evicted);
        std::mem::take(&mut pipes.shortages).count(&mut given.process);
        let gauges = Gauges {
            sessions: self.sessions.counted(),
            stuck: self.stuck.get(),
            pipes_in_use: pipes.parked() as u64,
            pipes_free: pipes.free() as u64,
            workers: 1,
            ..Gauges::default()
        };
        Told {
            recorders: given,
            gauges,
        }
    }
}

// === impl Counted ===

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.loads.0[self.0.index]
            .0
            .fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Loads ===

impl Loads {
    /// One load for each of `workers`.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Load::default()).collect()))
    }

    /// The worker with the fewest sessions; one more counts for it from here on.
    pub fn take_least(&self) -> usize {
        let least = self.now().enumerate().min_by_key(|(_, load)| *load);
        let chosen = least.map_or(0, |(index, _)| index);
        self.0[chosen].0.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// Sessions of all workers.
    pub fn total(&self) -> usize {
        self.now().sum()
    }

    fn now(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|load| load.0.load(Ordering::Relaxed))
    }
}

/// Which worker is to serve a connection that worker `own` has accepted, by how many sessions each has.
fn chosen(own: usize, loads: impl Iterator<Item = usize>) -> usize {
    let (mut of_own, mut best, mut least) = (usize::MAX, own, usize::MAX);
    for (index, load) in loads.enumerate() {
        if load < least {
            (best, least) = (index, load);
        }
        if index == own {
            of_own = load;
        }
    }
    // A hand-over wakes another core up. With few sessions each one counts; with many, one more or less is no reason
    // for it.
    match least + of_own / SLACK < of_own {
        true => best,
        false => own,
    }
}

/// A worker keeps a connection while it has no more than one in so many above the worker with the fewest.
const SLACK: usize = 8;

/// How long an accept loop rests when descriptors or memory have run out.
pub const REST: Duration = Duration::from_millis(100);
