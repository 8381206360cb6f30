//! Sessions that stand still: another process may take them over, or they go on here.
//!
//! A session is told by the [`Word`](super::word::Word) of its worker, stops between two bytes, and leaves what it is here.
//! Its task waits meanwhile and keeps everything, so that nothing is lost if the other process does not come to it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::dial::SourcePort;
use super::halves::Halves;
use super::listen::Served;
use super::parcel::{Carrier, Note, NotedOffer, NotedPort, Parcel};
use super::pipes::PipePool;
use super::sessions::{Number, Session};
use super::worker::Worker;
use crate::config::Side;
use crate::packet::Offer;

/// The sessions of a worker that stand still.
#[derive(Debug, Default)]
pub struct Still {
    frozen: RefCell<BTreeMap<Number, Frozen>>,
    /// Sessions that move bytes, and would stand still if they were told to.
    relaying: Cell<usize>,
}

/// A session of another process, and the listener of this one that it belongs to.
#[derive(Debug)]
pub struct Taken {
    /// The listener.
    pub served: Served,
    /// The session.
    pub parcel: Parcel<OwnedFd>,
}

/// How a session came about, for the line in the log at its end.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The address that the client connected to, as its socket here has it.
    pub local: SocketAddr,
    /// Which port the server sees.
    pub port: SourcePort,
    /// How long the dial took.
    pub connect_time: Duration,
    /// What the client's SYN asked for, if it was held.
    pub asked: Option<Offer>,
}

#[derive(Debug)]
struct Frozen {
    session: Rc<Session>,
    origin: Origin,
    halves: Halves,
    /// Whether another process has it, and does not touch it yet.
    is_carried: bool,
    /// Tells its task to go on; if it is dropped, the session is another's.
    back: oneshot::Sender<Halves>,
}

/// A session moves bytes until this is dropped.
pub struct Relaying<'a>(&'a Cell<usize>);

/// A session that was told to stand still does so at its next turn; this is long.
const WITHIN: Duration = Duration::from_secs(2);

/// Waits until all sessions of the worker stand still that move bytes, and says how many do.
pub async fn all(worker: Rc<Worker>, answer: oneshot::Sender<usize>) {
    let until = Instant::now() + WITHIN;
    while worker.still.relaying.get() > 0 && Instant::now() < until {
        tokio::task::yield_now().await;
    }
    let still = worker.still.frozen.borrow().len();
    // Whoever asked may have given up.
    let _ = answer.send(still);
}

// === impl Still ===

impl Still {
    /// Counts a session that moves bytes.
    pub fn relaying(&self) -> Relaying<'_> {
        self.relaying.update(|count| count + 1);
        Relaying(&self.relaying)
    }

    /// Stands still until it is known what becomes of the session: `None` if it is another process's.
    pub async fn stand(
        &self,
        number: Number,
        session: Rc<Session>,
        origin: Origin,
        halves: Halves,
    ) -> Option<Halves> {
        let (back, waiting) = oneshot::channel();
        let frozen = Frozen {
            session,
            origin,
            halves,
            is_carried: false,
            back,
        };
        self.frozen.borrow_mut().insert(number, frozen);
        waiting.await.ok()
    }

    /// Brings every session that stands still, and was not brought before, to another process.
    ///
    /// # Errors
    /// If one of them did not get there: then none that was brought since the last hand-over counts.
    pub fn carry(&self, worker: &Worker, carrier: &Mutex<Box<dyn Carrier>>) -> io::Result<usize> {
        let mut carrier = carrier.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = &mut *worker.resources.borrow_mut();
        // A pipe that another process has must not be emptied for somebody else here.
        resources.pipes.keep_parked(true);
        let pipes = &resources.pipes;
        let mut frozen = self.frozen.borrow_mut();
        let mut carried = 0;
        let mut left = frozen
            .values()
            .filter(|one| !one.is_carried)
            .inspect(|_| carried += 1)
            .map(|one| one.parcel(pipes));
        carrier.carry(&mut left)?;
        frozen.values_mut().for_each(|one| one.is_carried = true);
        Ok(carried)
    }

    /// Lets go of what another process has taken over; how many sessions that were.
    pub fn let_go(&self) -> usize {
        let mut frozen = self.frozen.borrow_mut();
        let before = frozen.len();
        frozen.retain(|_, one| !one.is_carried);
        before - frozen.len()
    }

    /// Goes on with everything, whoever else has it: it has not been touched.
    pub fn go_on(&self, worker: &Worker) {
        worker.resources.borrow_mut().pipes.keep_parked(false);
        for (_, one) in std::mem::take(&mut *self.frozen.borrow_mut()) {
            // One whose task is gone went with its worker.
            let _ = one.back.send(one.halves);
        }
    }
}

impl Drop for Relaying<'_> {
    fn drop(&mut self) {
        self.0.update(|count| count - 1);
    }
}

// === impl Frozen ===

impl Frozen {
    fn parcel<'a>(&'a self, pipes: &'a PipePool) -> Parcel<BorrowedFd<'a>> {
        let (session, origin) = (&self.session, &self.origin);
        let noted = self.halves.note(pipes);
        let legs = &session.legs;
        let mut descriptors = vec![legs.downstream.as_fd(), legs.upstream.as_fd()];
        for pipe in noted.pipes.into_iter().flatten() {
            descriptors.extend([pipe.read_end().as_fd(), pipe.write_end().as_fd()]);
        }
        let retransmits = session.sampled.get().retransmits();
        let note = Note {
            listener: session.settings.name.clone(),
            from_mangled_side: session.side == Side::Mangled,
            client: session.client.0,
            via: session.via,
            server: session.server,
            local: origin.local,
            port: origin.port.into(),
            age_us: micros(session.began.elapsed()),
            connect_us: micros(origin.connect_time),
            offer: session.offer.get().or(origin.asked).map(NotedOffer::from),
            client_ended_first: noted.client_ended_first,
            client_to_server: noted.client_to_server,
            server_to_client: noted.server_to_client,
            downstream_unpaced: legs.downstream.is_unpaced(),
            upstream_unpaced: legs.upstream.is_unpaced(),
            downstream_retransmits: retransmits.0,
            upstream_retransmits: retransmits.1,
        };
        Parcel { note, descriptors }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

// === what stands in a note ===

impl From<SourcePort> for NotedPort {
    fn from(port: SourcePort) -> Self {
        match port {
            SourcePort::Kept => Self::Kept,
            SourcePort::Fallback => Self::Fallback,
            SourcePort::OfThisHost => Self::OfThisHost,
        }
    }
}

impl From<NotedPort> for SourcePort {
    fn from(port: NotedPort) -> Self {
        match port {
            NotedPort::Kept => Self::Kept,
            NotedPort::Fallback => Self::Fallback,
            NotedPort::OfThisHost => Self::OfThisHost,
        }
    }
}

impl From<Offer> for NotedOffer {
    fn from(offer: Offer) -> Self {
        Self {
            mss: offer.mss,
            window_scale: offer.window_scale,
            sack: offer.sack,
            timestamps: offer.timestamps,
        }
    }
}

impl From<NotedOffer> for Offer {
    fn from(noted: NotedOffer) -> Self {
        Self {
            mss: noted.mss,
            window_scale: noted.window_scale,
            sack: noted.sack,
            timestamps: noted.timestamps,
        }
    }
}
