//! Everything at once, for as long as one likes: `make soak` (`SOAK_MINUTES=10`), and a verdict.
//!
//! Both legs lose, double, reorder and corrupt packets; the mangled one has its sequence numbers rewritten, too. Eight
//! kinds of work go on beside each other, each on a port of its own, by both families and opened from both sides. It
//! needs root.

mod site;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{SockRef, TcpKeepalive};
use unmangle::lab::scenario::Between;
use unmangle::lab::wire::{Direction, Isn};
use unmangle::lab::{Family, Joined, OpenedFrom, Role};

use site::bulk::{bear, exchange};
use site::{FAMILIES, OPENED, Pair, Relay, Site, accept, carry, pattern, read_to_end};

const MIB: u64 = 1 << 20;
/// What the relay may need more than at rest, buffers of what lies in evicted pipes included.
const MEMORY: u64 = 64 * MIB;
/// What it may need more in the last third of the time than in the first.
const CREEP: u64 = 8 * MIB;
/// Descriptors of what goes on here at any time, with room for a burst.
const DESCRIPTORS: usize = 150;
/// Longer than losses in a row hold anything up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A kind of work, done over and over.
struct Work {
    name: &'static str,
    port: u16,
    turn: fn(&Ground, u64) -> u64,
}

const WORK: [Work; 8] = [
    Work {
        name: "bulk",
        port: 2201,
        turn: bulk,
    },
    Work {
        name: "request and response",
        port: 2202,
        turn: requests,
    },
    Work {
        name: "connect, request, response",
        port: 2203,
        turn: short_connections,
    },
    Work {
        name: "slow reader",
        port: 2204,
        turn: slow_reader,
    },
    Work {
        name: "half-close",
        port: 2205,
        turn: half_close,
    },
    Work {
        name: "resets",
        port: 2206,
        turn: resets,
    },
    Work {
        name: "killed clients",
        port: 2207,
        turn: killed_client,
    },
    Work {
        name: "idle",
        port: 2208,
        turn: idle,
    },
];

/// Where one kind of work is done.
struct Ground<'a> {
    site: &'a Site,
    port: u16,
    sessions: &'a AtomicU64,
    over: &'a AtomicBool,
}

#[test]
#[ignore = "make soak runs it, for ten minutes"]
fn everything_at_once_goes_well_for_minutes() {
    let minutes: f64 = match std::env::var("SOAK_MINUTES") {
        Ok(minutes) => minutes.parse().expect("SOAK_MINUTES is a number"),
        Err(_) => 10.0,
    };
    let lasts = Duration::from_secs_f64(minutes * 60.0);
    let site = put_up().expect("a soak needs root");
    let ports: Vec<String> = WORK.iter().map(|work| work.port.to_string()).collect();
    let relay = site.relay(&[
        "--intercept",
        &ports.join(","),
        "--keepalive",
        "5s",
        "--close-timeout",
        "30s",
        "--log",
        "warn,unmangle::session=off,unmangle::cli=info",
    ]);
    let (before, at_rest) = (relay.descriptors(), relay.resident());
    let (sessions, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let (looks, bytes, failed) = std::thread::scope(|scope| {
        let working = WORK.map(|work| {
            let ground = Ground {
                site: &site,
                port: work.port,
                sessions: &sessions,
                over: &over,
            };
            let name = work.name;
            (name, scope.spawn(move || work_until_over(&work, &ground)))
        });
        let looks = look_until(&relay, begun + lasts);
        over.store(true, Ordering::Relaxed);
        let (mut bytes, mut failed) = (0, Vec::new());
        for (name, worker) in working {
            match worker.join() {
                Ok(carried) => bytes += carried,
                Err(_) => failed.push(name),
            }
        }
        (looks, bytes, failed)
    });
    relay.holds_no_more_than(before);
    site.has_no_leg_left();
    let most = |looks: &[Look]| looks.iter().map(|look| look.memory).max().unwrap_or(0);
    let third = looks.len().div_ceil(3);
    let (first, last) = (most(&looks[..third]), most(&looks[looks.len() - third..]));
    let most = most(&looks);
    let descriptors = looks.iter().map(|look| look.descriptors).max().unwrap_or(0);
    let sound = failed.is_empty()
        && most < at_rest + MEMORY
        && last < first + CREEP
        && descriptors < DESCRIPTORS;
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    println!(
        "soak: {}: {minutes} minutes, {} sessions, {:.1} GB compared, failed: {failed:?}; memory {:.1} MiB at rest, \
         {:.1} at most ({:.1} in the first third, {:.1} in the last); {descriptors} descriptors at most, none left",
        if sound { "sound" } else { "NOT SOUND" },
        sessions.load(Ordering::Relaxed),
        bytes as f64 / 1e9,
        mib(at_rest),
        mib(most),
        mib(first),
        mib(last),
    );
    assert!(sound);
    relay.stop();
}

/// Two bad wires.
fn put_up() -> Option<Site> {
    let bad = Direction {
        loss: 0.001,
        duplicate: 0.001,
        corrupt: 0.001,
        reorder: 0.001,
        reorder_by: Duration::from_millis(2),
        ..Direction::default()
    };
    let mangling = Direction {
        isn: Some(Isn {
            translate_sack: false,
        }),
        ..bad.clone()
    };
    Site::joined_by(
        Joined::wire(Between::both(mangling)),
        Joined::wire(Between::both(bad)),
    )
}

// === what is looked at ===

/// What the relay needs at a moment.
struct Look {
    memory: u64,
    descriptors: usize,
}

/// Looks every second. A relay that can read its settings anew is told to, now and then.
fn look_until(relay: &Relay, end: Instant) -> Vec<Look> {
    let mut looks = Vec::new();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(1));
        let open = std::fs::read_dir(format!("/proc/{}/fd", relay.id())).unwrap();
        looks.push(Look {
            memory: relay.resident(),
            descriptors: open.count(),
        });
        if looks.len().is_multiple_of(10) {
            relay.signal(Signal::HUP);
        }
    }
    looks
}

// === work ===

fn work_until_over(work: &Work, ground: &Ground) -> u64 {
    let mut bytes = 0;
    for nth in 0.. {
        if ground.over.load(Ordering::Relaxed) {
            break;
        }
        bytes += (work.turn)(ground, nth);
    }
    println!("{}: {:.1} MB", work.name, bytes as f64 / 1e6);
    bytes
}

impl Ground<'_> {
    /// Every turn another family, every two another side.
    fn way(nth: u64) -> (OpenedFrom, Family) {
        (OPENED[nth as usize / 2 % 2], FAMILIES[nth as usize % 2])
    }

    fn listen(&self, nth: u64) -> TcpListener {
        let (opened, family) = Self::way(nth);
        let role = opened.listener();
        self.site
            .listen_at(role, (role.address(family), self.port).into())
    }

    fn connect(&self, nth: u64) -> Pair {
        let listener = self.listen(nth);
        self.connect_to(&listener, nth)
    }

    fn connect_to(&self, listener: &TcpListener, nth: u64) -> Pair {
        let opener = Self::way(nth).0.opener();
        let client = self.site.dial(opener, listener.local_addr().unwrap());
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let pair = Pair {
            client: client.expect("it is accepted"),
            server: accept(listener),
        };
        bear(&pair, PATIENCE);
        pair
    }
}

fn any(range: std::ops::Range<u64>) -> u64 {
    range.start + rand::random::<u64>() % (range.end - range.start)
}

fn bulk(ground: &Ground, nth: u64) -> u64 {
    let bytes = any(MIB..6 * MIB);
    exchange(&ground.connect(nth), nth, bytes as usize);
    2 * bytes
}

fn requests(ground: &Ground, nth: u64) -> u64 {
    let pair = ground.connect(nth);
    (0..200).map(|seed| exchange_little(&pair, seed)).sum()
}

/// A request of few bytes and a response of some more.
fn exchange_little(pair: &Pair, seed: u64) -> u64 {
    let (request, response) = (pattern(seed, 64), pattern(!seed, 700));
    carry(&pair.client, &pair.server, &request);
    carry(&pair.server, &pair.client, &response);
    (request.len() + response.len()) as u64
}

fn short_connections(ground: &Ground, nth: u64) -> u64 {
    let listener = ground.listen(nth);
    let turn = |seed| exchange_little(&ground.connect_to(&listener, nth), seed);
    (0..50).map(turn).sum()
}

fn slow_reader(ground: &Ground, nth: u64) -> u64 {
    let Pair { mut client, server } = ground.connect(nth);
    let bytes = pattern(nth, any(100_000..3_000_000) as usize);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&server).write_all(&bytes).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        let (mut received, mut piece) = (Vec::new(), vec![0; 50_000]);
        loop {
            let read = client.read(&mut piece).expect("a clean end");
            if read == 0 {
                break;
            }
            received.extend_from_slice(&piece[..read]);
            std::thread::sleep(Duration::from_millis(any(1..100)));
        }
        assert!(
            received == bytes,
            "{} of {} bytes",
            received.len(),
            bytes.len()
        );
    });
    bytes.len() as u64
}

fn half_close(ground: &Ground, nth: u64) -> u64 {
    let Pair {
        mut client,
        mut server,
    } = ground.connect(nth);
    let (question, answer) = (
        pattern(nth, 30_000),
        pattern(!nth, any(0..200_000) as usize),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&question).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_to_end(&server).unwrap() == question);
    });
    std::thread::sleep(Duration::from_millis(any(0..50)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            server.write_all(&answer).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_to_end(&client).unwrap() == answer);
    });
    (question.len() + answer.len()) as u64
}

/// One end resets in the middle of it: the other has a prefix, and then a reset.
fn resets(ground: &Ground, nth: u64) -> u64 {
    let Pair { client, server } = ground.connect(nth);
    let (breaks, other) = if nth.is_multiple_of(3) {
        (server, client)
    } else {
        (client, server)
    };
    // A reset that is lost is not sent again: whoever only reads hears of it when it asks.
    let often = Duration::from_secs(1);
    let asking = TcpKeepalive::new().with_time(often).with_interval(often);
    SockRef::from(&other).set_tcp_keepalive(&asking).unwrap();
    let bytes = pattern(nth, any(1..300_000) as usize);
    let received = std::thread::scope(|scope| {
        let reading = scope.spawn(|| site::read_until_reset(&other));
        (&breaks).write_all(&bytes).unwrap();
        site::reset(breaks);
        reading.join().expect("a reset and no clean end")
    });
    assert!(
        bytes.starts_with(&received),
        "{} bytes that differ",
        received.len()
    );
    received.len() as u64
}

/// A process that reads is killed: whoever sends to it is told.
fn killed_client(ground: &Ground, nth: u64) -> u64 {
    let listener = ground.listen(4 * nth + nth % 2);
    let to: SocketAddr = listener.local_addr().unwrap();
    let script = format!("exec 3<>/dev/tcp/{}/{}; exec cat <&3", to.ip(), to.port());
    let mut command = ground.site.lab.host(Role::Client).command("bash");
    command.args(["-c", &script]).stdout(Stdio::null());
    let mut client = command.spawn().unwrap();
    ground.sessions.fetch_add(1, Ordering::Relaxed);
    let mut server = accept(&listener);
    server.set_write_timeout(Some(PATIENCE)).unwrap();
    let over = Instant::now() + Duration::from_millis(any(1..400));
    let piece = pattern(nth, 16 << 10);
    while Instant::now() < over {
        server.write_all(&piece).expect("it lives, and reads");
    }
    client.kill().unwrap();
    client.wait().unwrap();
    let told = loop {
        if let Err(error) = server.write_all(&piece) {
            break error.kind();
        }
    };
    assert!(
        [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&told),
        "{told}"
    );
    0
}

/// Longer than the keepalive, and then a word each way.
fn idle(ground: &Ground, nth: u64) -> u64 {
    let pair = ground.connect(nth);
    site::talk(&pair);
    for _ in 0..any(10..120) {
        if ground.over.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    exchange_little(&pair, nth)
}
