//! Sessions as others may see them: plain values, taken from a worker while its sessions run.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::legs::Party;
use super::sessions::{Number, Session};
use super::stall::{Stuck, Why};
use super::told::agreed;
use super::worker::Worker;
use crate::config::{Engine, Side};
use crate::metrics::{Direction, PerDirection, PerLeg};
use crate::packet::Offer;
use crate::sys::tcp_info::tcp_info;

/// Which sessions are asked for; those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of the listener of this name.
    pub listener: Option<String>,
    /// Whose client has this address.
    pub client: Option<IpAddr>,
    /// Whose server has this address.
    pub server: Option<IpAddr>,
    /// Whether a direction of them is stuck.
    pub stuck: Option<bool>,
    /// That began at least so long ago.
    pub older_than: Option<Duration>,
    /// Which come first.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
}

/// Which sessions come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those that began first.
    #[default]
    Oldest,
    /// Those that began last.
    Newest,
    /// Those that have passed on most bytes, both directions together.
    Bytes,
    /// Those that pass on most bytes a second now, both directions together.
    Rate,
}

/// A session as it is at a moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The worker that relays it.
    pub worker: usize,
    /// Its number there; no other session of that worker has it, ever.
    pub number: u64,
    /// The listener's name.
    pub listener: String,
    /// On which side its client is.
    pub side: Side,
    /// Who opened it.
    pub client: SocketAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
    /// Who was dialled.
    pub server: SocketAddr,
    /// What moves its bytes.
    pub engine: Engine,
    /// When it was accepted.
    pub began: Instant,
    /// How long ago that was, when it was looked at.
    pub age: Duration,
    /// Bytes that were passed on; an engine that does not count tells 0 until its end.
    pub bytes: PerDirection<u64>,
    /// Bytes a second, of the last one to eleven seconds.
    pub rate: PerDirection<u64>,
    /// What the client's SYN offered before anything was stripped from it, if that was seen.
    pub client_offer: Option<Offer>,
    /// The two legs.
    pub legs: PerLeg<LegView>,
    /// Where its directions are stuck.
    pub stuck: Vec<StuckView>,
}

/// A leg as it is at a moment.
#[derive(Debug, Clone, Default)]
pub struct LegView {
    /// The profile that it goes by.
    pub profile: String,
    /// What its two ends agreed on.
    pub agreed: Offer,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// The shortest that was measured lately, if any was.
    pub min_rtt: Option<Duration>,
    /// Segments sent again since it began.
    pub retransmits: u32,
}

/// Where a direction is stuck.
#[derive(Debug, Clone)]
pub struct StuckView {
    /// Which.
    pub direction: Direction,
    /// On whose side.
    pub side: Party,
    /// What it waits for.
    pub why: Why,
    /// Bytes that wait.
    pub waiting: u64,
    /// How long no byte has moved.
    pub still: Duration,
}

/// So many sessions are looked at before others have their turn.
const AT_A_TIME: usize = 128;

/// The sessions of a worker that are asked for, those that come first in front. Others run meanwhile: one that
/// ends is left out, or was still there. It looks no further once nobody wants to know.
pub async fn show(worker: &Worker, query: &Query, is_wanted: impl Fn() -> bool) -> Vec<View> {
    let now = Instant::now();
    let mut found: Vec<(u64, Number)> = Vec::new();
    let mut last = None;
    while is_wanted() {
        // None is kept over an await: whoever ends closes its legs at once.
        let some = worker.sessions.some_after(last, AT_A_TIME);
        let Some((number, _)) = some.last() else {
            break;
        };
        last = Some(*number);
        let fitting = some.iter().filter(|(_, session)| query.fits(session, now));
        found.extend(fitting.map(|(number, session)| (query.rank(session, now), *number)));
        drop(some);
        tokio::task::yield_now().await;
    }
    found.sort_unstable();
    found.truncate(query.limit);
    let mut views = Vec::with_capacity(found.len());
    for (done, (_, number)) in found.into_iter().enumerate() {
        views.extend(
            worker
                .sessions
                .find(number)
                .map(|session| View::of(worker, number, &session, now)),
        );
        if done % AT_A_TIME == AT_A_TIME - 1 {
            if !is_wanted() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    views
}

/// A client's SYN that was shown to another thread, which was late.
fn late(worker: &Worker, session: &Session) -> Option<Offer> {
    let local = session.legs.leg(Party::Client).local_addr().ok()?;
    let opening = worker.openings.take(session.client, local)?;
    session.offered(Some(opening.offer));
    Some(opening.offer)
}

// === impl Query ===

impl Query {
    fn fits(&self, session: &Session, now: Instant) -> bool {
        let is = |wanted: Option<IpAddr>, has: SocketAddr| {
            wanted.is_none_or(|wanted| wanted == has.ip().to_canonical())
        };
        let age = now.saturating_duration_since(session.began.into_std());
        self.listener
            .as_ref()
            .is_none_or(|name| *name == session.settings.name)
            && is(self.client, session.client.0)
            && is(self.server, session.server)
            && self.older_than.is_none_or(|least| age >= least)
            && self.stuck.is_none_or(|stuck| stuck == session.is_stuck())
    }

    /// The lower, the further in front.
    fn rank(&self, session: &Session, now: Instant) -> u64 {
        // Sessions of a process before have numbers in the order in which they came over.
        let age = now.saturating_duration_since(session.began.into_std());
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        match self.order {
            Order::Oldest => u64::MAX - age,
            Order::Newest => age,
            Order::Bytes => u64::MAX - session.passed().total(),
            Order::Rate => u64::MAX - session.rate(now).total(),
        }
    }

    /// Puts what several workers have shown in order, and leaves as much as is wanted.
    pub fn merge(&self, mut views: Vec<View>) -> Vec<View> {
        match self.order {
            // Not by age: each worker has looked at its own time.
            Order::Oldest => views.sort_by_key(|view| view.began),
            Order::Newest => views.sort_by_key(|view| std::cmp::Reverse(view.began)),
            Order::Bytes => views.sort_by_key(|view| std::cmp::Reverse(view.bytes.total())),
            Order::Rate => views.sort_by_key(|view| std::cmp::Reverse(view.rate.total())),
        }
        views.truncate(self.limit);
        views
    }
}

// === impl View ===

impl View {
    fn of(worker: &Worker, number: Number, session: &Session, now: Instant) -> Self {
        let leg = |party: Party, side| {
            // A leg of which the kernel tells nothing is closed.
            let info = tcp_info(session.legs.leg(party)).unwrap_or_default();
            LegView {
                profile: session.settings.profile(side).name.clone(),
                agreed: agreed(&info),
                rtt: info.rtt,
                min_rtt: info.min_rtt,
                retransmits: info.retransmits,
            }
        };
        Self {
            worker: worker.index(),
            number: number.0,
            listener: session.settings.name.clone(),
            side: session.side,
            client: session.client.0,
            via: session.via,
            server: session.server,
            engine: worker.engine,
            began: session.began.into_std(),
            age: now.saturating_duration_since(session.began.into_std()),
            bytes: session.passed(),
            rate: session.rate(now),
            client_offer: session.offer.get().or_else(|| late(worker, session)),
            legs: PerLeg {
                downstream: leg(Party::Client, session.side),
                upstream: leg(Party::Server, session.side.other()),
            },
            stuck: session.stuck(now),
        }
    }
}

impl StuckView {
    /// Of a direction that is stuck so.
    pub fn new(direction: Direction, stuck: Stuck, still: Duration) -> Self {
        Self {
            direction,
            side: stuck.side,
            why: stuck.why,
            waiting: stuck.waiting,
            still,
        }
    }
}
