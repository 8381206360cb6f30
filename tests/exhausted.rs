//! What becomes of clients when the relay's descriptors have run out: nothing of theirs is lost, and it goes on
//! as soon as there are some again.
//!
//! Forward mode on this host: no privilege is needed.

mod site;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use site::{Here, PATIENCE, Pair, carry, is_unvisited, pattern, talk, until};

/// Leaves the relay so many descriptors more than it has now; the limit is one of their numbers.
fn leave(here: &Here, free: usize) {
    let taken: BTreeSet<u64> = fs::read_dir(format!("/proc/{}/fd", here.relay.id()))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    let first_too_many = (0..).filter(|number| !taken.contains(number)).nth(free);
    limit(here, first_too_many);
}

/// Gives it as many as it had.
fn leave_plenty(here: &Here) {
    limit(here, getrlimit(Resource::Nofile).maximum);
}

/// With plenty of descriptors a client that waits is served, and what it had said meanwhile arrives.
fn expect_served(here: &Here, client: TcpStream) {
    leave_plenty(here);
    let mut server = site::accept(&here.server);
    let mut received = [0; 8];
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"patience");
    talk(&Pair { client, server });
}

fn limit(here: &Here, current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let process = Pid::from_raw(here.relay.id() as i32);
    prlimit(process, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[test]
fn a_client_that_cannot_be_accepted_waits_until_there_is_a_descriptor() {
    let here = Here::with(&[]);
    let running = here.connect(1);
    talk(&running);
    leave(&here, 0);
    let mut client = here.dial(2);
    client.write_all(b"patience").unwrap();
    until("accepting rests", PATIENCE, || {
        here.count("accept_pauses") > 0
    });
    talk(&running);
    assert!(is_unvisited(&here.server));
    let rested = here.count("short_of_descriptors");
    assert!(rested > 0 && rested < 1000, "{rested} times");
    expect_served(&here, client);
    talk(&running);
}

#[test]
fn a_client_whose_server_cannot_be_dialled_for_want_of_a_descriptor_waits_for_one() {
    let here = Here::with(&[]);
    let running = here.connect(1);
    leave(&here, 1);
    let mut client = here.dial(2);
    client.write_all(b"patience").unwrap();
    until("dialling rests", PATIENCE, || here.count("dial_pauses") > 0);
    assert!(is_unvisited(&here.server));
    talk(&running);
    expect_served(&here, client);
    assert_eq!(here.count("dial_failures"), 0);
}

#[test]
fn a_client_is_reset_when_no_descriptor_came_in_time() {
    let here = Here::with(&["--connect-timeout", "300ms"]);
    leave(&here, 1);
    here.expect_refused(1);
    assert!(here.count("dial_pauses") > 0);
    assert_eq!(here.count("dial_failures"), 1);
    leave_plenty(&here);
    talk(&here.connect(1));
}

#[test]
fn bulk_is_copied_where_no_pipe_can_be_had_and_spliced_again_later() {
    const BULK: usize = 8 << 20;
    let here = Here::with(&[]);
    let pair = here.connect(1);
    talk(&pair);
    leave(&here, 0);
    carry(&pair.client, &pair.server, &pattern(1, BULK));
    let table = here.relay.table();
    assert!(
        table["pipes_refused"] > 0 && table["splices"] == 0,
        "{table:?}"
    );
    // The kernel is asked now and then, and not for each of them.
    let asked = table["short_of_descriptors"];
    assert!(asked > 0 && asked < table["pipes_refused"], "{table:?}");
    leave_plenty(&here);
    let mut seed = 1;
    until("bytes are spliced", PATIENCE, || {
        seed += 1;
        carry(&pair.server, &pair.client, &pattern(seed, BULK));
        here.count("splices") > 0
    });
}

#[test]
fn a_relay_with_few_descriptors_takes_no_more_clients_than_it_can_serve() {
    let here = Here::started_by(&["prlimit", "--nofile=80:80"], &[]);
    let clients: Vec<_> = (0..60).map(|_| here.dial(1)).collect();
    for (nth, mut client) in (0..).zip(&clients) {
        client.write_all(&u32::to_be_bytes(nth)).unwrap();
    }
    let mut named = BTreeSet::new();
    for _ in &clients {
        let mut server = site::accept(&here.server);
        let mut name = [0; 4];
        server.read_exact(&mut name).unwrap();
        named.insert(u32::from_be_bytes(name));
        // It makes room for another.
        site::reset(server);
    }
    assert_eq!(named.len(), clients.len());
    drop(clients);
    let table = here.relay.table();
    assert!(table["accept_waits"] > 0, "{table:?}");
    assert_eq!(
        (
            table["dial_failures"],
            table["dial_pauses"],
            table["accept_pauses"]
        ),
        (0, 0, 0),
        "{table:?}"
    );
}
