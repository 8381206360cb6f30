//! What the segments look like that come to an end host, and which path TCP measures there.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use unmangle::lab::{Family, Role};
use unmangle::packet::tcp::Flags;
use unmangle::sys::tcp_info::tcp_info;

use super::super::site::tap::{Seen, Segment, Tap};
use super::super::site::{Pair, accept, carry, inside, talk};
use super::cell::{By, Cell, Offered};
use super::stage::{ANNOUNCED, LEG_RTT, PROFILES_MSS, Stage};

// === DSCP ===

pub fn dscp_of_the_peers_bytes(stage: &Stage) -> Cell {
    const FIRST: u8 = 0x04;
    const THEN: u8 = 0x12;
    Cell::of_ends("DSCP", |family, by| {
        let pair = stage.connect(family);
        talk(&pair);
        let (from, to, at) = match by {
            By::Client => (&pair.client, &pair.server, Role::Server),
            By::Server => (&pair.server, &pair.client, Role::Client),
        };
        let mut tap = Tap::on(&stage.site, at);
        mark(&SockRef::from(from), FIRST, family);
        match arrives(&mut tap, from, to, FIRST) {
            0 => Cell::Cleared,
            FIRST => {
                mark(&SockRef::from(from), THEN, family);
                match arrives(&mut tap, from, to, THEN) {
                    THEN => Cell::Kept,
                    FIRST => Cell::Frozen,
                    other => panic!("{other:x}"),
                }
            }
            other => panic!("{other:x}"),
        }
    })
}

pub fn dscp_of_the_opening(stage: &Stage) -> Cell {
    const CLASS: u8 = 0x2e;
    Cell::of_families("DSCP of the handshake", |family| {
        let listener = stage.listen(family);
        mark(&SockRef::from(&listener), CLASS, family);
        let to = stage.target(family);
        let mut taps = Taps::on(stage);
        let client: TcpStream = inside(stage.site.lab.client(), || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            mark(&SockRef::from(&socket), CLASS, family);
            socket.connect(&to.into()).unwrap();
            socket.into()
        });
        let server = accept(&listener);
        let openings = taps.openings(&Pair { client, server });
        let observed = openings.map(|(at, segment)| match segment.dscp {
            CLASS => (at, Cell::AsSent),
            0 => (at, Cell::Cleared),
            other => panic!("{other:x}"),
        });
        Cell::agreed("DSCP of SYN and SYN-ACK", &observed)
    })
}

fn mark(socket: &SockRef, dscp: u8, family: Family) {
    let class = u32::from(dscp) << 2;
    match family {
        Family::V4 => socket.set_tos_v4(class).unwrap(),
        Family::V6 => socket.set_tclass_v6(class).unwrap(),
    }
}

/// The DSCP that arrives in the end; the one that is hoped for need not come.
fn arrives(tap: &mut Tap, from: &TcpStream, to: &TcpStream, hoped: u8) -> u8 {
    /// What does not arrive by then does not, even if the relay has had little time.
    const IN_VAIN: (usize, Duration) = (200, Duration::from_secs(2));
    let own = to.local_addr().unwrap();
    tap.segments_to(own);
    let (mut arrived, begun) = (Vec::new(), Instant::now());
    for nth in 0.. {
        carry(from, to, b"and what is its DSCP?");
        // Whoever sends has no acknowledgement to wait for.
        carry(to, from, b"I shall see.");
        let segments = tap.segments_to(own).into_iter();
        arrived.extend(
            segments
                .filter(|seen| seen.has_payload)
                .map(|seen| seen.dscp),
        );
        let in_vain = nth > IN_VAIN.0 && begun.elapsed() > IN_VAIN.1;
        if in_vain || arrived.ends_with(&[hoped; 5]) {
            break;
        }
    }
    *arrived.last().expect("segments arrive")
}

// === options ===

/// Taps on both end hosts.
struct Taps {
    client: Tap,
    server: Tap,
}

impl Taps {
    fn on(stage: &Stage) -> Self {
        let [client, server] = [Role::Client, Role::Server].map(|at| Tap::on(&stage.site, at));
        Self { client, server }
    }

    /// The SYN as it came to the service, the SYN-ACK as it came to the client.
    fn openings(&mut self, pair: &Pair) -> [(&'static str, Segment); 2] {
        let find = |tap: &mut Tap, own: SocketAddr, answers| {
            let mut segments = tap.segments_to(own);
            segments
                .retain(|seen| seen.flags.has(Flags::SYN) && seen.flags.has(Flags::ACK) == answers);
            segments.pop().expect("the handshake was seen")
        };
        let at_server = find(&mut self.server, pair.server.local_addr().unwrap(), false);
        let at_client = find(&mut self.client, pair.client.local_addr().unwrap(), true);
        [("SYN", at_server), ("SYN-ACK", at_client)]
    }
}

/// What one of the two opening segments of a connection says.
fn opening(stage: &Stage, family: Family, by: By) -> Seen {
    let mut taps = Taps::on(stage);
    let pair = stage.connect(family);
    let [(_, syn), (_, syn_ack)] = taps.openings(&pair);
    let segment = match by {
        By::Client => syn,
        By::Server => syn_ack,
    };
    segment.opening.expect("it opens")
}

pub fn mss_of_the_server(stage: &Stage) -> Cell {
    mss(stage, By::Server, Cell::TheServers)
}

pub fn mss_of_the_client(stage: &Stage) -> Cell {
    mss(stage, By::Client, Cell::TheClients)
}

fn mss(stage: &Stage, by: By, theirs: Cell) -> Cell {
    Cell::of_families("MSS", |family| match opening(stage, family, by).mss {
        Some(ANNOUNCED) => theirs,
        Some(PROFILES_MSS) => Cell::TheProfiles,
        Some(_) => Cell::TheRelays,
        None => panic!("every Linux announces an MSS"),
    })
}

pub fn options_of_the_server(stage: &Stage) -> Cell {
    options(stage, By::Server)
}

pub fn options_of_the_client(stage: &Stage) -> Cell {
    options(stage, By::Client)
}

fn options(stage: &Stage, by: By) -> Cell {
    Cell::of_families("options", |family| {
        let seen = opening(stage, family, by);
        Cell::Offered(Offered {
            sack: seen.sack_permitted,
            window_scale: seen.window_scale,
            timestamps: seen.timestamps,
        })
    })
}

// === time: only on long ground ===

pub fn rtt_of_the_handshake(stage: &Stage) -> Cell {
    Cell::of_families("RTT of the handshake", |family| {
        // The shortest of some, because anything can take longer on a machine that has a lot to do.
        let rtts = (0..3).map(|_| tcp_info(&stage.connect(family).client).unwrap().rtt);
        path(rtts.min().unwrap())
    })
}

pub fn rtt_at_the_client(stage: &Stage) -> Cell {
    rtt(stage, By::Client)
}

pub fn rtt_at_the_server(stage: &Stage) -> Cell {
    rtt(stage, By::Server)
}

fn rtt(stage: &Stage, at: By) -> Cell {
    Cell::of_families("RTT", |family| {
        let pair = stage.connect(family);
        for _ in 0..6 {
            talk(&pair);
        }
        path(shortest(stage, &pair, at))
    })
}

/// The shortest round trip that the kernel has measured at this end.
fn shortest(stage: &Stage, pair: &Pair, at: By) -> Duration {
    let (role, socket) = match at {
        By::Client => (Role::Client, &pair.client),
        By::Server => (Role::Server, &pair.server),
    };
    let [own, peer] = [socket.local_addr().unwrap(), socket.peer_addr().unwrap()];
    // The relay's own sockets can be on this host, with the same ports.
    let [own, peer] = [own.to_string(), peer.to_string()];
    let filter = ["-Htin", "src", &own, "and", "dst", &peer];
    let told = stage.site.lab.host(role).run("ss", &filter).unwrap();
    let mut words = told.split_whitespace();
    let milliseconds = words.find_map(|word| word.strip_prefix("minrtt:"));
    let milliseconds = milliseconds.unwrap_or_else(|| panic!("{filter:?}: {told}"));
    Duration::from_secs_f64(milliseconds.parse::<f64>().unwrap() / 1000.0)
}

/// What takes this long.
fn path(rtt: Duration) -> Cell {
    match rtt {
        _ if rtt >= 2 * LEG_RTT => Cell::WholePath,
        _ if rtt >= LEG_RTT => Cell::OneLeg,
        _ => Cell::NoWire,
    }
}
