//! The sessions that a worker relays, in the order in which they began: what is known of each while it runs.
//!
//! A session is listed once both its legs are connected, until it has ended. Its halves count in the same [`Flow`]s
//! that the watchdog looks at and the line in the log is made from.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::addr::ClientAddr;
use super::dial;
use super::flow::Flow;
use super::legs::{Close, Ended, Legs, Party};
use super::sample::{SAMPLED_EVERY, Sampled};
use super::stall::Course;
use super::view::StuckView;
use super::word::Word;
use crate::config::{Engine, Listener, Side};
use crate::metrics::{Direction, ListenerId, PerDirection};
use crate::packet::Offer;

/// The sessions of one worker.
#[derive(Debug)]
pub struct Sessions {
    listed: RefCell<BTreeMap<Number, Rc<Session>>>,
    /// How many there are of each listener.
    counted: Vec<Cell<u64>>,
    next: Cell<Number>,
    /// How often somebody has to look; never if `None`.
    pause: Cell<Option<Duration>>,
    sooner: Notify,
}

/// The number of a session of a worker: later ones have higher numbers, none is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Number(pub u64);

/// A session that runs.
#[derive(Debug)]
pub struct Session {
    /// The number of the listener that it was accepted for.
    pub id: ListenerId,
    /// What it was accepted for.
    pub settings: Arc<Listener>,
    /// On which side it was opened.
    pub side: Side,
    /// Who opened it.
    pub client: ClientAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
    /// Who was dialled.
    pub server: SocketAddr,
    /// When it was accepted.
    pub began: Instant,
    /// Its two legs.
    pub legs: Rc<Legs>,
    /// Whether its engine counts bytes as they pass.
    pub counts: bool,
    /// What was sampled last of it.
    pub sampled: Cell<Sampled>,
    /// What the client's SYN offered before anything was stripped from it, if that was seen.
    pub offer: Cell<Option<Offer>>,
    /// How its directions do, from look to look.
    pub courses: RefCell<PerDirection<Course>>,
    client_to_server: Rc<Flow>,
    server_to_client: Rc<Flow>,
    end: Cell<Option<Ended>>,
    told: Notify,
    /// Whether its server is probed when it is silent.
    probes: Cell<bool>,
}

/// What a session begins with.
pub struct Begun {
    /// The number of the listener that it was accepted for.
    pub id: ListenerId,
    /// What it was accepted for.
    pub settings: Arc<Listener>,
    /// What moves its bytes.
    pub engine: Engine,
    /// On which side it was opened.
    pub side: Side,
    /// Who opened it.
    pub client: ClientAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
    /// Who was dialled.
    pub server: SocketAddr,
    /// Its two legs.
    pub legs: Legs,
    /// When it was accepted.
    pub began: Instant,
}

/// A session is listed until this is dropped.
#[derive(Debug)]
pub struct Listed<'a> {
    sessions: &'a Sessions,
    number: Number,
    id: ListenerId,
}

/// Looks are never rarer while a session may be reset for being idle.
const IDLE_SELDOM: Duration = Duration::from_secs(1);
/// And never rarer while one may be named for being stuck. Nothing else has to be done for a session at rest.
const STALL_SELDOM: Duration = Duration::from_secs(5);
/// And never more frequent.
const OFTEN: Duration = Duration::from_millis(10);

// === impl Sessions ===

impl Sessions {
    /// None yet, of so many listeners.
    pub fn new(listeners: usize) -> Self {
        Self {
            listed: RefCell::default(),
            counted: vec![Cell::new(0); listeners],
            next: Cell::default(),
            pause: Cell::default(),
            sooner: Notify::new(),
        }
    }

    /// How many are listed of each listener.
    pub fn counted(&self) -> Vec<u64> {
        self.counted.iter().map(Cell::get).collect()
    }

    fn count(&self, id: ListenerId) -> &Cell<u64> {
        &self.counted[usize::from(id.0)]
    }

    /// Lists a session.
    pub fn list(&self, session: Rc<Session>) -> Listed<'_> {
        let (number, id) = (self.next.get(), session.id);
        self.count(id).update(|count| count + 1);
        self.next.set(Number(number.0 + 1));
        let pause = session.pause();
        if self.pause.get().is_none_or(|before| pause < before) {
            self.pause.set(Some(pause));
            self.sooner.notify_one();
        }
        self.listed.borrow_mut().insert(number, session);
        let sessions = self;
        Listed {
            sessions,
            number,
            id,
        }
    }

    /// At most so many sessions that began after the one of this number, first to last.
    pub fn some_after(&self, last: Option<Number>, most: usize) -> Vec<(Number, Rc<Session>)> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.listed.borrow();
        let some = listed.range((after, Bound::Unbounded)).take(most);
        some.map(|(number, session)| (*number, session.clone()))
            .collect()
    }

    /// The one of this number, if it is still listed.
    pub fn find(&self, number: Number) -> Option<Rc<Session>> {
        self.listed.borrow().get(&number).cloned()
    }

    /// How often somebody has to look.
    pub fn pause(&self) -> Option<Duration> {
        self.pause.get()
    }

    /// Says how often somebody has to look: what all that are listed want.
    pub fn set_pause(&self, pause: Option<Duration>) {
        self.pause.set(pause);
    }

    /// Ready once somebody has to look more often than it was.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }
}

// === impl Listed ===

impl Listed<'_> {
    /// The session's number.
    pub fn number(&self) -> Number {
        self.number
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.sessions.count(self.id).update(|count| count - 1);
        self.sessions.listed.borrow_mut().remove(&self.number);
    }
}

// === impl Session ===

impl Session {
    /// A session whose legs are connected.
    pub fn new(begun: Begun) -> Rc<Self> {
        let Begun {
            id,
            settings,
            engine,
            side,
            client,
            via,
            server,
            legs,
            began,
        } = begun;
        let now = Instant::now().into_std();
        Rc::new(Self {
            id,
            settings,
            side,
            client,
            via,
            server,
            began,
            legs: Rc::new(legs),
            counts: engine != Engine::TokioSplice,
            sampled: Cell::new(Sampled::first(now)),
            offer: Cell::new(None),
            courses: RefCell::new(PerDirection {
                client_to_server: Course::new(now),
                server_to_client: Course::new(now),
            }),
            client_to_server: Rc::default(),
            server_to_client: Rc::default(),
            end: Cell::new(None),
            told: Notify::new(),
            probes: Cell::new(false),
        })
    }

    /// What counts the bytes of a direction.
    pub fn flow(&self, direction: Direction) -> &Rc<Flow> {
        match direction {
            Direction::ClientToServer => &self.client_to_server,
            Direction::ServerToClient => &self.server_to_client,
        }
    }

    /// What counts the bytes from the client, and those from the server.
    pub fn flows(&self) -> [Rc<Flow>; 2] {
        [self.client_to_server.clone(), self.server_to_client.clone()]
    }

    /// What counts the bytes that a party sends.
    pub fn flow_from(&self, party: Party) -> &Rc<Flow> {
        match party {
            Party::Server => &self.server_to_client,
            Party::Client | Party::Relay => &self.client_to_server,
        }
    }

    /// Bytes that the receiving sides have accepted so far.
    pub fn passed(&self) -> PerDirection<u64> {
        PerDirection {
            client_to_server: self.client_to_server.counted().passed,
            server_to_client: self.server_to_client.counted().passed,
        }
    }

    /// Tells it to end; the first reason counts.
    pub fn end(&self, why: Ended) {
        if self.end.get().is_none() {
            self.end.set(Some(why));
            self.told.notify_one();
        }
    }

    /// Whether it was told to end.
    pub fn is_told_to_end(&self) -> bool {
        self.end.get().is_some()
    }

    /// Ready once it, or all sessions of the worker, were told to end.
    pub async fn told_to_end(&self, word: &Word) -> Close {
        let alone = async {
            // A permit that is left over from an earlier wait is none.
            loop {
                if let Some(why) = self.end.get() {
                    return why;
                }
                self.told.notified().await;
            }
        };
        tokio::select! {
            biased;
            () = word.ended() => Close::Aborted(Ended::Drain),
            why = alone => Close::Aborted(why),
        }
    }

    /// Keeps what the client's SYN offered.
    pub fn offered(&self, offer: Option<Offer>) {
        self.offer.set(offer);
    }

    /// Bytes a second, as of the last sample.
    pub fn rate(&self, now: std::time::Instant) -> PerDirection<u64> {
        self.sampled.get().rates(now, self.passed())
    }

    /// Whether a direction of it was seen to have something to deliver that did not move.
    pub fn waits(&self) -> bool {
        let courses = self.courses.borrow();
        courses.both().into_iter().any(|(_, course)| course.waits())
    }

    /// Whether a direction of it is stuck.
    pub fn is_stuck(&self) -> bool {
        let courses = self.courses.borrow();
        let mut both = courses.both().into_iter();
        both.any(|(_, course)| course.stuck().is_some())
    }

    /// Where its directions are stuck.
    pub fn stuck(&self, now: std::time::Instant) -> Vec<StuckView> {
        let courses = self.courses.borrow();
        let stuck = courses
            .both()
            .into_iter()
            .filter_map(|(direction, course)| {
                let still = now.saturating_duration_since(course.moved());
                Some(StuckView::new(direction, course.stuck()?, still))
            });
        stuck.collect()
    }

    /// Has its server probed when it is silent, which its client is from the accept on.
    pub fn keep_alive(&self) {
        if self.probes.replace(true) {
            return;
        }
        let (leg, profile) = (
            &self.legs.upstream,
            self.settings.profile(self.side.other()),
        );
        if let Err(error) = dial::keep_alive(&SockRef::from(leg), &self.settings, profile) {
            tracing::warn!(%error, server = %self.server, "a server is not probed when it is silent");
        }
    }

    /// How often somebody has to look at it: four times within the shorter of the two times it is watched for, or
    /// often enough to sample it, and to have its server probed in time.
    pub fn pause(&self) -> Duration {
        let watch = &self.settings.watch;
        let within = |time: Duration, seldom| (time / 4).clamp(OFTEN, seldom);
        let idle = watch.idle.map(|time| within(time, IDLE_SELDOM));
        let stall = watch.stall_after.map(|time| within(time, STALL_SELDOM));
        let pause = idle.into_iter().chain(stall).min().unwrap_or(SAMPLED_EVERY);
        pause.min(
            self.settings
                .keepalive_of(self.settings.profile(self.side.other()))
                .idle,
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::leg::TcpLeg;
    use super::*;
    use crate::config::{Keys, Profile, Settings, file};

    /// Runs something that has sockets.
    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test)
    }

    /// A session of a listener with these keys; its legs are the two ends of one connection.
    async fn session(keys: &str) -> Rc<Session> {
        let text =
            format!("[[listener]]\nlisten = \"127.0.0.1:1\"\nto = \"127.0.0.1:2\"\n{keys}\n");
        let contents = file::parse("test".as_ref(), &text).unwrap();
        let settings = Settings::resolve(contents, Keys::default(), Keys::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let upstream = TcpStream::connect(server).await.unwrap();
        let (downstream, client) = listener.accept().await.unwrap();
        let leg = |stream: TcpStream| {
            TcpLeg::new(stream.into_std().unwrap().into(), &Profile::default()).unwrap()
        };
        let legs = Legs {
            downstream: leg(downstream),
            upstream: leg(upstream),
        };
        Session::new(Begun {
            id: ListenerId::default(),
            settings: Arc::new(settings.listeners[0].clone()),
            engine: Engine::Splice,
            side: Side::Clean,
            client: ClientAddr(client),
            via: None,
            server,
            legs,
            began: Instant::now(),
        })
    }

    #[test]
    fn sessions_are_told_in_their_order_and_only_while_they_are_listed() {
        run(async {
            let sessions = Sessions::new(1);
            let (one, two, three) = (session("").await, session("").await, session("").await);
            let first = sessions.list(one.clone());
            let second = sessions.list(two);
            let third = sessions.list(three);
            let told = |last, most| -> Vec<Number> {
                let some = sessions.some_after(last, most).into_iter();
                some.map(|(number, _)| number).collect()
            };
            assert_eq!(told(None, 2), [first.number, second.number]);
            assert_eq!(told(Some(second.number), 2), [third.number]);
            drop(second);
            assert_eq!(told(None, 9), [first.number, third.number]);
            drop(first);
            assert_eq!(Rc::strong_count(&one), 1, "nothing keeps its legs");
        });
    }

    #[test]
    fn looks_are_as_frequent_as_the_most_impatient_session_wants() {
        run(async {
            let sessions = Sessions::new(1);
            let mut listed = Vec::new();
            for (keys, pause) in [
                ("stall-after = \"off\"", Some(SAMPLED_EVERY)),
                ("stall-after = \"1h\"", Some(STALL_SELDOM)),
                ("idle-timeout = \"1h\"", Some(IDLE_SELDOM)),
                ("stall-after = \"2s\"", Some(Duration::from_millis(500))),
                (
                    "idle-timeout = \"1s\"\nstall-after = \"off\"",
                    Some(Duration::from_millis(250)),
                ),
                ("stall-after = \"1h\"", Some(Duration::from_millis(250))),
                ("stall-after = \"1ms\"", Some(OFTEN)),
            ] {
                listed.push(sessions.list(session(keys).await));
                assert_eq!(sessions.pause(), pause, "{keys}");
            }
            // Whoever slept through all of that is told.
            sessions.sooner().await;
        });
    }

    #[test]
    fn a_session_ends_for_the_first_reason_it_is_told() {
        run(async {
            let session = session("").await;
            let word = Word::default();
            session.end(Ended::Idle);
            session.end(Ended::Stuck);
            for _ in 0..2 {
                let close = session.told_to_end(&word).await;
                assert!(matches!(close, Close::Aborted(Ended::Idle)), "{close:?}");
            }
        });
    }
}
