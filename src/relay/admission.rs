//! Who is let in: what is judged of a connection before its server is dialled.
//!
//! Each listener has one [`Gate`], which all workers and the holder share. What it judges by is one immutable
//! [`Admission`] that can be replaced at any time; what it has counted stays. Seats are taken before a
//! connection is accepted, so that what finds none waits in the kernel; everything else is judged once it is
//! known who the client is, and resets it.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::addr::ClientAddr;
use super::refusal::{Lines, Refusal};
use super::seats::Seats;
use super::shortage::Shortage;
use super::sources::Table;
use crate::config::{Admission, Listener, Source};

/// The gates of every listener, in the order of the settings.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    shared: Arc<Shared>,
    gates: Vec<Arc<Gate>>,
}

/// What all listeners have in common.
#[derive(Debug)]
struct Shared {
    seats: Seats,
    /// More sessions than this have no descriptors.
    ceiling: AtomicUsize,
    /// Where the process itself can be reached.
    doors: OnceLock<Vec<SocketAddr>>,
    refusals: Lines,
    troubles: Lines,
}

/// What one listener lets in.
#[derive(Debug)]
pub struct Gate {
    admission: ArcSwap<Admission>,
    seats: Seats,
    sources: Sources,
    shared: Arc<Shared>,
}

/// A place for a session, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Gate>);

/// A connection that was let in; it counts for its source until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    gate: Arc<Gate>,
    source: Option<Source>,
}

/// Several tables, so that workers seldom wait for each other.
#[derive(Debug)]
struct Sources {
    tables: Vec<Mutex<Table>>,
    hasher: RandomState,
}

const TABLES: usize = 16;
/// Sources without connections that are remembered in each of them: a few MiB in all.
const REMEMBERED: usize = 4096;

// === impl Gates ===

impl Gates {
    /// A gate more.
    pub fn add(&mut self, listener: &Listener) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            seats: Seats::new(listener.admission.most),
            admission: ArcSwap::from_pointee(listener.admission.clone()),
            sources: Sources::default(),
            shared: self.shared.clone(),
        });
        self.gates.push(gate.clone());
        gate
    }

    /// The gate of each listener, in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.gates.iter()
    }

    /// How many sessions the whole process may have; those that run stay.
    pub fn limit(&self, most: Option<usize>) {
        let ceiling = self.shared.ceiling.load(Ordering::Relaxed);
        if let Some(most) = most.filter(|most| *most > ceiling) {
            tracing::warn!(
                sessions = ceiling,
                "max-connections is {most}, and the limit of open descriptors leaves room for fewer"
            );
        }
        self.shared
            .seats
            .limit(Some(most.unwrap_or(ceiling).min(ceiling)));
    }

    /// Says how many sessions there are descriptors for, whatever the limit.
    pub fn ceiling_is(&self, sessions: usize) {
        self.shared.ceiling.store(sessions, Ordering::Relaxed);
    }

    /// Says where the process itself listens, once that is known.
    pub fn doors_are(&self, doors: Vec<SocketAddr>) {
        self.shared.doors.get_or_init(|| doors);
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            seats: Seats::new(None),
            ceiling: AtomicUsize::new(usize::MAX),
            doors: OnceLock::new(),
            refusals: Lines::default(),
            troubles: Lines::default(),
        }
    }
}

// === impl Gate ===

impl Gate {
    /// From now on this is what is judged by. Connections that were let in stay; what is counted for each
    /// source goes on, unless the prefix that makes a source is another one.
    pub fn replace(&self, admission: Admission) {
        self.seats.limit(admission.most);
        self.admission.store(Arc::new(admission));
    }

    /// Whether the next connection would have to wait for a seat.
    pub fn is_full(&self) -> bool {
        self.seats.is_full() || self.shared.seats.is_full()
    }

    /// A seat, if there is one.
    pub fn try_seat(self: &Arc<Self>) -> Option<Seat> {
        let (own, all) = (self.seats.try_take()?, self.shared.seats.try_take()?);
        own.keep();
        all.keep();
        Some(Seat(self.clone()))
    }

    /// A seat, as soon as there is one.
    pub async fn seat(self: &Arc<Self>) -> Seat {
        let own = self.seats.take().await;
        let all = self.shared.seats.take().await;
        own.keep();
        all.keep();
        Seat(self.clone())
    }

    /// A seat although there may be none: for a session that runs already.
    pub fn seat_at_any_rate(self: &Arc<Self>) -> Seat {
        self.seats.take_at_any_rate();
        self.shared.seats.take_at_any_rate();
        Seat(self.clone())
    }

    /// Counts a connection that another process has let in, whatever may come in now.
    pub fn readmit(self: &Arc<Self>, client: ClientAddr, now: Instant) -> Admitted {
        let admission = self.admission.load();
        let per_source = &admission.per_source;
        let source = (!per_source.is_unlimited()).then(|| {
            let source = Source::of(client.0.ip(), per_source.prefix);
            self.sources.of(source).enter_again(source, now);
            source
        });
        Admitted {
            gate: self.clone(),
            source,
        }
    }

    /// Sources that have opened much lately, and for how long that counts yet.
    pub fn debts(&self, now: Instant) -> Vec<(Source, Duration)> {
        let tables = self.sources.tables.iter();
        let of = |table: &Mutex<Table>| {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.debts(now).collect::<Vec<_>>()
        };
        tables.flat_map(of).collect()
    }

    /// Takes into account what a source has opened elsewhere.
    pub fn owes(&self, source: IpAddr, owes: Duration, now: Instant) {
        let source = Source::of(source, self.admission.load().per_source.prefix);
        self.sources.of(source).owe(source, owes, now);
    }

    /// Lets a connection in. `meant` is where it is to go, as far as that is known before a name is looked up.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(
        self: &Arc<Self>,
        client: ClientAddr,
        meant: Option<SocketAddr>,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        let admission = self.admission.load();
        match meant {
            Some(server) => admission.access.judge(client.0.ip(), server)?,
            None => admission.access.judge_source(client.0.ip())?,
        }
        let per_source = &admission.per_source;
        let source = if per_source.is_unlimited() {
            None
        } else {
            let source = Source::of(client.0.ip(), per_source.prefix);
            self.sources
                .of(source)
                .enter(source, per_source, now)
                .map_err(|excess| Refusal::of(source, excess))?;
            Some(source)
        };
        Ok(Admitted {
            gate: self.clone(),
            source,
        })
    }

    /// Judges an address that a target's name has led to.
    ///
    /// # Errors
    /// Why this client is not to be passed on to it.
    pub fn judge(&self, client: ClientAddr, server: SocketAddr) -> Result<(), Refusal> {
        self.admission.load().access.judge(client.0.ip(), server)?;
        Ok(())
    }

    /// Sees that an address that is about to be dialled is not the process itself.
    ///
    /// # Errors
    /// If it is.
    pub fn leads_elsewhere(&self, server: SocketAddr) -> Result<(), Refusal> {
        let doors = self.shared.doors.get().map_or(&[][..], Vec::as_slice);
        match doors.iter().any(|door| is_behind(*door, server, is_local)) {
            true => Err(Refusal::Own(server)),
            false => Ok(()),
        }
    }

    /// The lines that refusals may fill.
    pub fn refusals(&self) -> &Lines {
        &self.shared.refusals
    }

    /// The lines that limits and shortages may fill.
    pub fn troubles(&self) -> &Lines {
        &self.shared.troubles
    }
}

/// Whether who dials `server` comes to `door`.
fn is_behind(door: SocketAddr, server: SocketAddr, is_local: impl Fn(SocketAddr) -> bool) -> bool {
    if server.port() != door.port() {
        return false;
    }
    let server = SocketAddr::new(server.ip().to_canonical(), server.port());
    if server.is_ipv4() != door.is_ipv4() {
        return false;
    }
    // Linux takes the unspecified address for this host, and so for its loopback address.
    let server_ip = match server {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    if door.ip().is_unspecified() {
        return server_ip.is_loopback() || is_local(server);
    }
    server_ip == door.ip()
}

/// Whether an address is one of this host's: only then would it be dialled from the same one.
fn is_local(server: SocketAddr) -> bool {
    let unspecified: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Nothing is sent; the kernel looks the route up.
    let from = UdpSocket::bind(unspecified).and_then(|probe| {
        probe.connect(server)?;
        probe.local_addr()
    });
    match from {
        Ok(from) => from.ip() == server.ip(),
        // What cannot be known now is not ruled out.
        Err(error) => Shortage::of_io(&error).is_some(),
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.give_back();
        self.0.shared.seats.give_back();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.gate.sources.of(source).leave(source, Instant::now());
        }
    }
}

// === impl Sources ===

impl Default for Sources {
    fn default() -> Self {
        let table = || Mutex::new(Table::new(REMEMBERED));
        Self {
            tables: (0..TABLES).map(|_| table()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Sources {
    fn of(&self, source: Source) -> MutexGuard<'_, Table> {
        let table = self.hasher.hash_one(source) as usize % TABLES;
        let table = self.tables[table].lock();
        // A thread that panics ends the process.
        table.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Contents, Keys, Settings};

    /// A forward listener with these settings more.
    fn listener(more: &[(&str, &str)]) -> Listener {
        let mut keys = Keys::default();
        let base = [("listen", "127.0.0.1:2222"), ("to", "192.0.2.7:22")];
        for (key, value) in base.iter().chain(more) {
            keys.set_flag(key, [*value]);
        }
        let settings = Settings::resolve(Contents::default(), Keys::default(), keys);
        settings.unwrap().listeners.remove(0)
    }

    fn client(host: u8) -> ClientAddr {
        ClientAddr(([10, 0, 0, host], 40_000).into())
    }

    #[test]
    fn lists_and_limits_are_replaced_at_once_and_what_is_counted_stays() {
        let mut gates = Gates::default();
        let gate = gates.add(&listener(&[("deny", "10.0.0.9"), ("max-per-source", "2")]));
        let now = Instant::now();
        let enter = |host| gate.admit(client(host), None, now);
        let running = [enter(1).unwrap(), enter(1).unwrap()];
        assert!(matches!(enter(1), Err(Refusal::TooMany(_, 2))));
        assert!(matches!(enter(9), Err(Refusal::Barred(_))));

        gate.replace(listener(&[("deny", "10.0.0.8"), ("max-per-source", "3")]).admission);
        assert!(enter(9).is_ok());
        assert!(matches!(enter(8), Err(Refusal::Barred(_))));
        let third = enter(1).unwrap();
        assert!(matches!(enter(1), Err(Refusal::TooMany(_, 3))));
        drop(running);
        drop(third);
        let again = [enter(1).unwrap(), enter(1).unwrap(), enter(1).unwrap()];
        assert!(enter(1).is_err());
        drop(again);
    }

    #[test]
    fn seats_are_of_the_process_and_of_the_listener_and_can_be_replaced() {
        let mut gates = Gates::default();
        let one = gates.add(&listener(&[("max-connections", "2")]));
        let two = gates.add(&listener(&[]));
        gates.limit(Some(3));
        let of_one = [one.try_seat().unwrap(), one.try_seat().unwrap()];
        assert!(one.try_seat().is_none() && one.is_full() && !two.is_full());
        let of_two = two.try_seat().unwrap();
        // The one that the listener had was given back when the process had none.
        assert!(two.try_seat().is_none() && two.is_full());
        gates.limit(Some(5));
        assert!(one.try_seat().is_none());
        one.replace(listener(&[("max-connections", "3")]).admission);
        assert!(one.try_seat().is_some());
        drop((of_one, of_two));
        gates.limit(Some(1));
        let last = two.try_seat().unwrap();
        assert!(one.is_full());
        drop(last);
        assert!(!one.is_full());
    }

    #[test]
    fn whoever_dials_one_of_this_hosts_addresses_comes_to_a_door_without_one() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own = |server: SocketAddr| {
            ["192.0.2.1", "2001:db8::1"].contains(&server.ip().to_string().as_str())
        };
        for (door, server, behind) in [
            ("0.0.0.0:2222", "192.0.2.1:2222", true),
            ("0.0.0.0:2222", "[::ffff:192.0.2.1]:2222", true),
            ("0.0.0.0:2222", "127.1.2.3:2222", true),
            ("0.0.0.0:2222", "192.0.2.2:2222", false),
            ("0.0.0.0:2222", "192.0.2.1:22", false),
            ("[::]:2222", "[2001:db8::1]:2222", true),
            ("[::]:2222", "192.0.2.1:2222", false),
            ("192.0.2.1:2222", "192.0.2.1:2222", true),
            ("192.0.2.1:2222", "127.0.0.1:2222", false),
            ("127.0.0.1:2222", "0.0.0.0:2222", true),
        ] {
            assert_eq!(
                is_behind(address(door), address(server), own),
                behind,
                "{door} {server}"
            );
        }
    }

    #[test]
    fn the_loopback_address_is_this_hosts_and_one_for_documents_is_not() {
        assert!(is_local("127.0.0.1:2222".parse().unwrap()));
        assert!(!is_local("203.0.113.77:2222".parse().unwrap()));
    }
}
