//! More than usual of everything: connections, slow readers, newcomers.
//!
//! One at a time: each wants most of the descriptors and of the processors. These tests need root, and without it
//! are skipped except in CI.

mod site;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use unmangle::lab::{OpenedFrom, Role};

use site::bulk::{crowd, exchange, raise_own_limit};
use site::faults::{self, megabytes};
use site::{FAMILIES, Pair, Relay, Site, carry, pattern, read_to_end, reset, talk};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Held by the test that runs; one that failed is no reason for the others to.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn nine_thousand_connections_at_once_each_get_their_own_bytes() {
    const CROWD: usize = 9_000;
    const UP: usize = 3_000;
    const DOWN: usize = 5_000;
    let _alone = alone();
    let Some(site) = Site::put_up() else { return };
    raise_own_limit();
    let relay = site.relay(&[]);
    let (before, at_rest) = (relay.descriptors(), relay.resident());
    let mut pairs = Vec::new();
    for family in FAMILIES {
        let listener = site.listen(Role::Server, family);
        pairs.extend(crowd(&site, &listener, CROWD / FAMILIES.len()));
    }
    let mut most = relay.resident();
    let now = relay.descriptors();
    assert_eq!(now.sockets - before.sockets, 2 * CROWD);
    for (nth, Pair { client, .. }) in (0..).zip(&pairs) {
        let mut client = client;
        client.write_all(&pattern(nth, UP)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for (nth, Pair { server, .. }) in (0..).zip(&pairs) {
        let mut server = server;
        assert!(read_to_end(server).unwrap() == pattern(nth, UP), "{nth}");
        server.write_all(&pattern(!nth, DOWN)).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
    }
    most = most.max(relay.resident());
    for (nth, Pair { client, .. }) in (0..).zip(&pairs) {
        assert!(read_to_end(client).unwrap() == pattern(!nth, DOWN), "{nth}");
    }
    drop(pairs);
    relay.holds_no_more_than(before);
    assert_eq!(relay.table()["sessions_closed"], CROWD as u64);
    let each = most.saturating_sub(at_rest) / CROWD as u64;
    // Measured: 3 to 6 KiB. A buffer of its own each would be 16 KiB more.
    assert!(each < 16 * KIB, "{each} bytes of memory a session");
    let memory = format!("{:.1} KiB of memory a session", each as f64 / 1024.0);
    faults::NINE_THOUSAND.record(megabytes(CROWD * (UP + DOWN)), memory);
}

#[test]
fn a_crowd_of_slow_readers_holds_up_nobody_and_takes_bounded_memory() {
    const CROWD: usize = 1_000;
    const EACH: usize = 192 << 10;
    const A_SECOND: usize = 1_000;
    const BULK: usize = 32 << 20;
    const ROUNDS: u64 = 8;
    const PIPE_BUDGET: u64 = 4;
    let _alone = alone();
    let Some(site) = Site::put_up() else { return };
    raise_own_limit();
    // Sockets that hold little, so that the relay's hands are full for each of them.
    site.hold_little();
    let much = "4096 1048576 4194304";
    site.lab
        .server()
        .set(&[("net/ipv4/tcp_wmem", much)])
        .unwrap();
    let budget = PIPE_BUDGET.to_string();
    let relay = site.relay(&["--pipe-budget", &budget]);
    let (before, at_rest) = (relay.descriptors(), relay.resident());
    let listener = site.listen(Role::Server, FAMILIES[0]);
    let hurried = site.connect_to(&listener, OpenedFrom::Client);
    let time = |rounds: u64| {
        let begun = Instant::now();
        for seed in 0..rounds {
            carry(&hurried.server, &hurried.client, &pattern(seed, BULK));
        }
        begun.elapsed() / rounds as u32
    };
    let alone = time(1);
    let slow = crowd(&site, &listener, CROWD);
    for (nth, Pair { server, .. }) in (0..).zip(&slow) {
        let mut server = server;
        server.write_all(&pattern(nth, EACH)).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
    }
    let over = AtomicBool::new(false);
    let (taken, beside, most) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_slowly(&slow, A_SECOND, &over));
        let mut most = 0;
        let mut beside = Duration::ZERO;
        for _ in 0..ROUNDS {
            beside += time(1) / ROUNDS as u32;
            most = relay.resident().max(most);
        }
        over.store(true, Ordering::Relaxed);
        (reading.join().unwrap(), beside, most)
    });
    for (nth, Pair { client, .. }) in (0..).zip(&slow) {
        let rest = read_to_end(client).unwrap();
        assert!(rest == pattern(nth, EACH)[taken..], "reader {nth}");
    }
    drop((slow, hurried));
    relay.ended(CROWD + 1);
    relay.holds_no_more_than(before);
    let grown = most.saturating_sub(at_rest);
    // A reader's share of it is a buffer of the relay's, or a pipe's content that was copied out.
    let bound = CROWD as u64 * 16 * KIB + 2 * PIPE_BUDGET * MIB + 4 * MIB;
    assert!(grown < bound, "grown by {grown} bytes");
    assert!(beside < 10 * alone, "{beside:?} instead of {alone:?}");
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    let memory = grown as f64 / MIB as f64;
    let measured =
        format!("{memory:.1} MiB of memory; in a hurry: {ratio:.1} times as long as alone");
    let carried = CROWD * EACH + (1 + ROUNDS as usize) * BULK;
    faults::SLOW_CROWD.record(megabytes(carried), measured);
}

/// Takes so many bytes a second from each, and returns how many it has taken from each in the end.
fn read_slowly(crowd: &[Pair], a_second: usize, over: &AtomicBool) -> usize {
    let mut piece = vec![0; a_second];
    let mut taken = 0;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        for (nth, Pair { client, .. }) in (0..).zip(crowd) {
            let mut client = client;
            client.read_exact(&mut piece).unwrap();
            let expected = &pattern(nth, taken + a_second)[taken..];
            assert!(piece == expected, "reader {nth} after {taken} bytes");
        }
        taken += a_second;
        next += Duration::from_secs(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    taken
}

#[test]
fn a_flood_of_connections_for_3_seconds_harms_nobody_else() {
    flood_for(3);
}

/// `make acceptance` runs it.
#[test]
#[ignore = "takes a minute"]
fn a_flood_of_connections_for_30_seconds_harms_nobody_else() {
    if let Some((carried, flood)) = flood_for(30) {
        let Flood {
            opened,
            refused,
            unanswered,
            took,
        } = flood;
        let rate = opened as f64 / took.as_secs_f64();
        let measured = format!(
            "{opened} connections, {rate:.0} a second; {refused} refused, {unanswered} unanswered"
        );
        faults::FLOOD.record(megabytes(carried), measured);
    }
}

/// How many connections a second.
const RATE: u32 = 5_000;
/// How long each of them stays.
const STAY: Duration = Duration::from_millis(200);

/// What became of connections that were opened as fast as that.
#[derive(Debug)]
struct Flood {
    opened: u32,
    /// Reset, or answered by an error.
    refused: u32,
    /// Not connected when they were given up.
    unanswered: u32,
    took: Duration,
}

/// Returns how many bytes a session beside it carried.
fn flood_for(seconds: u32) -> Option<(usize, Flood)> {
    let _alone = alone();
    let site = Site::put_up()?;
    raise_own_limit();
    let sources: Vec<Ipv4Addr> = (11..19)
        .map(|host| Ipv4Addr::new(192, 0, 2, host))
        .collect();
    for source in &sources {
        let address = format!("{source}/25");
        let add = ["address", "add", &address, "dev", "fw0"];
        site.lab.client().run("ip", &add).unwrap();
    }
    // Its own lines are those of the flood; the table is what counts.
    let relay = site.relay(&["--log", "warn,unmangle::session=off,unmangle::cli=info"]);
    let before = relay.descriptors();
    let listener = site.listen(Role::Server, FAMILIES[0]);
    let beside = FAMILIES.map(|family| match family {
        _ if family == FAMILIES[0] => site.connect_to(&listener, OpenedFrom::Client),
        other => site.connect(OpenedFrom::Client, other),
    });
    let to = listener.local_addr().unwrap();
    let over = AtomicBool::new(false);
    let (flood, carried) = std::thread::scope(|scope| {
        let [one, other] = &beside;
        let carrying = [one, other].map(|pair| scope.spawn(|| carry_until(pair, &over)));
        scope.spawn(|| serve_until(&listener, &over));
        let flood = site::inside(site.lab.client(), || flood(&sources, to, seconds));
        over.store(true, Ordering::Relaxed);
        let carried = carrying.map(|carried| carried.join().expect("nothing is lost beside it"));
        (flood, carried.iter().sum())
    });
    println!("{flood:?}, {carried} bytes beside it");
    is_accounted_for(&site, &relay, &flood);
    drop(listener);
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    for (seed, pair) in (0..).zip(&beside) {
        exchange(pair, seed, 1 << 20);
    }
    drop(beside);
    relay.holds_no_more_than(before);
    Some((carried, flood))
}

/// Opens connections at [`RATE`], from each of the sources in turn, whatever becomes of them, and resets each when it
/// has stayed for so long. Who is late catches up.
fn flood(sources: &[Ipv4Addr], to: SocketAddr, seconds: u32) -> Flood {
    let mut flood = Flood {
        opened: 0,
        refused: 0,
        unanswered: 0,
        took: Duration::ZERO,
    };
    let mut open: VecDeque<(Instant, Socket)> = VecDeque::new();
    let begun = Instant::now();
    while flood.opened < seconds * RATE {
        let due = (begun.elapsed().as_secs_f64() * f64::from(RATE)) as u32;
        while flood.opened < due.min(seconds * RATE) {
            let source = sources[flood.opened as usize % sources.len()];
            open.push_back((Instant::now(), dial_from(source, to)));
            flood.opened += 1;
        }
        while open
            .front()
            .is_some_and(|(since, _)| since.elapsed() >= STAY)
        {
            let (_, socket) = open.pop_front().expect("there is one");
            flood.settle(socket);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    flood.took = begun.elapsed();
    std::thread::sleep(STAY);
    open.into_iter()
        .for_each(|(_, socket)| flood.settle(socket));
    flood
}

/// Begins to connect, and waits for nothing.
fn dial_from(source: Ipv4Addr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let own = SocketAddr::from((IpAddr::V4(source), 0));
    socket.bind(&own.into()).unwrap();
    let _ = socket.connect(&to.into());
    socket
}

impl Flood {
    /// Sees what became of one, and resets it.
    fn settle(&mut self, socket: Socket) {
        if socket.take_error().unwrap().is_some() {
            self.refused += 1;
        } else if socket.peer_addr().is_err() {
            self.unanswered += 1;
        }
        reset(socket.into());
    }
}

/// Accepts whoever comes; of those it has, as many stay as come in the time that a client does.
fn serve_until(listener: &TcpListener, over: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let mut served = VecDeque::new();
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => served.push_back(stream),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        if served.len() > 2_000 {
            served.pop_front();
        }
    }
}

/// Carries a little each way, over and over, compared; returns how much.
fn carry_until(pair: &Pair, over: &AtomicBool) -> usize {
    const PIECE: usize = 50_000;
    let mut carried = 0;
    for seed in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let bytes = pattern(seed, PIECE);
        carry(&pair.client, &pair.server, &bytes);
        carry(&pair.server, &pair.client, &bytes);
        carried += 2 * PIECE;
        std::thread::sleep(Duration::from_millis(5));
    }
    carried
}

/// Every connection that a client had is one that the relay accepted, or that its kernel counted as too many.
fn is_accounted_for(site: &Site, relay: &Relay, flood: &Flood) {
    let connected = u64::from(flood.opened - flood.refused - flood.unanswered);
    let accepted = || relay.table()["accepted"] - 2;
    let overflows = tcp_counter(site, "ListenOverflows") + tcp_counter(site, "ListenDrops");
    site::until("all that came are accepted", site::PATIENCE, || {
        accepted() + overflows >= connected
    });
    let accepted = accepted();
    println!("{accepted} accepted, {overflows} too many for the listen queue");
    assert!(accepted <= u64::from(flood.opened), "{accepted}: {flood:?}");
    assert!(connected * 2 > u64::from(flood.opened), "{flood:?}");
}

/// A counter of the relay's host, of those that the kernel calls `TcpExt`.
fn tcp_counter(site: &Site, name: &str) -> u64 {
    let text = site.lab.relay().run("cat", &["/proc/net/netstat"]).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = both.find(|(found, _)| *found == name).unwrap();
    value.parse().unwrap()
}
