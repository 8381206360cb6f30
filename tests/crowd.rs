//! Many connections at once: every byte of each arrives, and nothing of them stays.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{PATIENCE, Pair, Relay, Site, Way, carry, pattern, read_to_end};

site::in_every_way!(
    a_thousand_connections_at_once_each_get_their_own_bytes,
    a_thousand_stalled_readers_leave_room_for_a_healthy_flow_and_lose_nothing,
    a_thousand_resets_at_once_leave_nothing_behind,
);

const CROWD: usize = 1_000;

/// The test itself holds both ends of every connection.
fn raise_own_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn a_thousand_connections_at_once_each_get_their_own_bytes(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    raise_own_limit();
    let relay = relay_with_the_default_limit(&site);
    let before = relay.descriptors();
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = connect_all(&site, &listener);
    let now = relay.descriptors();
    assert_eq!(now.sockets - before.sockets, 2 * CROWD);
    // The crate's engine opens two pipes for each session, whatever the pipe budget is.
    let is_crate = way == Way::tokio_splice();
    let pipes = now.pipes - before.pipes;
    assert!(
        if is_crate {
            pipes == 4 * CROWD
        } else {
            pipes <= 8
        },
        "{pipes}"
    );

    for (nth, pair) in pairs.iter().enumerate() {
        (&pair.client)
            .write_all(&pattern(nth as u64, 20_000))
            .unwrap();
        pair.client.shutdown(Shutdown::Write).unwrap();
    }
    for (nth, pair) in pairs.iter().enumerate() {
        assert!(read_to_end(&pair.server).unwrap() == pattern(nth as u64, 20_000));
        (&pair.server)
            .write_all(&pattern(!nth as u64, 30_000))
            .unwrap();
        pair.server.shutdown(Shutdown::Write).unwrap();
    }
    for (nth, pair) in pairs.iter().enumerate() {
        assert!(read_to_end(&pair.client).unwrap() == pattern(!nth as u64, 30_000));
    }
    drop(pairs);
    let sessions = relay.ended(CROWD);
    assert!(sessions.iter().all(|session| session["how"] == "fin"));
    relay.holds_no_more_than(before);
    assert_eq!(relay.table()["sessions_closed"], CROWD as u64);
}

fn a_thousand_stalled_readers_leave_room_for_a_healthy_flow_and_lose_nothing(way: Way) {
    const EACH: usize = 192 << 10;
    const BULK: usize = 64 << 20;
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    raise_own_limit();
    // Sockets that hold little, so that each reader stalls with the relay's hands full.
    site.hold_little();
    site.lab
        .server()
        .set(&[("net/ipv4/tcp_wmem", "4096 1048576 4194304")])
        .unwrap();
    let relay = site.relay(&["--pipe-budget", "4"]);
    let before = relay.descriptors();
    let listener = site.listen(Role::Server, Family::V4);

    let stalled = connect_all(&site, &listener);
    for (nth, pair) in stalled.iter().enumerate() {
        (&pair.server)
            .write_all(&pattern(nth as u64, EACH))
            .unwrap();
        pair.server.shutdown(Shutdown::Write).unwrap();
    }
    // Passed on are only the bytes that the readers' kernels take by themselves.
    let healthy = site.connect_to(&listener, OpenedFrom::Client);
    let earlier = relay.table();
    for seed in 0..4 {
        carry(&healthy.client, &healthy.server, &pattern(seed, BULK / 4));
        carry(&healthy.server, &healthy.client, &pattern(seed, BULK / 4));
    }
    let now = relay.table();
    let grown = |name: &str| now[name] - earlier[name];
    let spliced = grown("splices");
    let copied_at_most = grown("copies") * (16 << 10);
    let squeezed = now["pipes_evicted"] + now["pipes_refused"];
    if way.is_foreign() {
        // Whatever they do, they do not count it.
        assert_eq!((spliced, copied_at_most, squeezed), (0, 0, 0), "{now:?}");
    } else {
        assert!(spliced >= 100, "{spliced} splices: {now:?}");
        assert!(
            copied_at_most < BULK as u64,
            "{copied_at_most} of {} bytes copied: {now:?}",
            2 * BULK
        );
        assert!(squeezed > 0, "pipes were never short: {now:?}");
    }

    for (nth, pair) in stalled.iter().enumerate() {
        let received = read_to_end(&pair.client).unwrap();
        assert!(
            received == pattern(nth as u64, EACH),
            "reader {nth}: {} bytes",
            received.len()
        );
    }
    drop((stalled, healthy));
    relay.ended(CROWD + 1);
    relay.holds_no_more_than(before);
}

fn a_thousand_resets_at_once_leave_nothing_behind(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    raise_own_limit();
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = connect_all(&site, &listener);
    for (nth, Pair { client, server }) in pairs.into_iter().enumerate() {
        (&client).write_all(&pattern(nth as u64, 50_000)).unwrap();
        site::reset(if nth % 2 == 0 { client } else { server });
    }
    relay.ended(CROWD);
    relay.holds_no_more_than(before);
    assert_eq!(relay.table()["sessions_aborted"], CROWD as u64);
}

/// A relay that was started as a service or from a login: with 1024 descriptors, and leave to take more.
fn relay_with_the_default_limit(site: &Site) -> Relay {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let limits = format!("--nofile=1024:{most}");
    site.relay_by(&["prlimit", &limits], &[])
}

/// A thousand connections, opened without waiting for one another, each with its other end.
fn connect_all(site: &Site, listener: &TcpListener) -> Vec<Pair> {
    let to = site.door(Role::Client, Family::V4);
    let opening: Vec<Socket> = site::inside(site.lab.client(), || {
        let open = |_| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&to.into());
            socket
        };
        (0..CROWD).map(open).collect()
    });
    let mut accepted: HashMap<_, _> = (0..CROWD)
        .map(|_| site::accept(listener))
        .map(|server| (server.peer_addr().unwrap(), server))
        .collect();
    let opened = opening.into_iter().map(|socket| {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        TcpStream::from(socket)
    });
    match site.way {
        Way::Gateway(_) => opened
            .map(|client| {
                let server = accepted.remove(&client.local_addr().unwrap());
                let server = server.expect("the server sees the client");
                Pair { client, server }
            })
            .collect(),
        Way::Forward => paired_by_name(opened.collect(), accepted.into_values()),
    }
}

/// The server does not see who it is: each client says so.
fn paired_by_name(clients: Vec<TcpStream>, accepted: impl Iterator<Item = TcpStream>) -> Vec<Pair> {
    for (nth, mut client) in clients.iter().enumerate() {
        client.write_all(&(nth as u32).to_be_bytes()).unwrap();
    }
    let mut named: HashMap<_, _> = accepted
        .map(|mut server| {
            let mut name = [0; 4];
            server.read_exact(&mut name).unwrap();
            (u32::from_be_bytes(name), server)
        })
        .collect();
    let pair = |(nth, client)| Pair {
        client,
        server: named.remove(&nth).expect("each has said its name"),
    };
    (0..).zip(clients).map(pair).collect()
}
