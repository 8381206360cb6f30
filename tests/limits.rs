//! How many connections there may be: at a limit of the process or of a listener clients wait, at a limit of
//! their source they are reset.
//!
//! What needs hosts of its own needs root, and without it is skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use unmangle::lab::{Family, Role};

use site::{Here, PATIENCE, Pair, Site, is_unvisited, talk, until};

/// Sees that a client that was let in now gets what it had sent before.
fn served(here: &Here, client: TcpStream, sent: &[u8]) -> Pair {
    let mut server = site::accept(&here.server);
    let mut received = vec![0; sent.len()];
    server.read_exact(&mut received).unwrap();
    assert_eq!(received, sent);
    let pair = Pair { client, server };
    talk(&pair);
    pair
}

#[test]
fn beyond_max_connections_clients_wait_to_be_accepted_and_nothing_spins() {
    const GLANCE: std::time::Duration = std::time::Duration::from_millis(300);
    let here = Here::with(&["--max-connections", "2"]);
    let running = [here.connect(1), here.connect(2)];
    // Several, so that listeners of both workers have somebody who waits.
    let waiting: Vec<TcpStream> = (0..6).map(|_| here.dial(3)).collect();
    for mut client in &waiting {
        client.write_all(b"I can wait.").unwrap();
    }
    until("one is seen to wait", PATIENCE, || {
        here.count("accept_waits") >= 1
    });
    let before = here.relay.ticks();
    std::thread::sleep(GLANCE);
    let spent = here.relay.ticks() - before;
    assert!(spent <= 3, "{spent} ticks of 10 ms within {GLANCE:?}");
    running.iter().for_each(talk);
    assert!(is_unvisited(&here.server));
    assert_eq!(here.count("accepted"), 2);

    drop(running);
    for _ in &waiting {
        let mut server = site::accept(&here.server);
        let mut received = [0; 11];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"I can wait.");
        // It makes room for the next.
        site::reset(server);
    }
    assert_eq!(here.count("accepted"), 2 + waiting.len() as u64);
}

#[test]
fn a_limit_of_one_listener_leaves_the_others_alone() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("two.toml");
    let listener = format!("[[listener]]\nlisten = \"127.0.0.1:0\"\nto = \"{to}\"\n");
    let text = format!("{listener}max-connections = 1\n{listener}");
    std::fs::write(&file, text).unwrap();
    let arguments = ["--config", file.to_str().unwrap()];
    let relay = site::Relay::start_here(directory.path(), &[], &arguments);
    let doors: Vec<String> = relay
        .events("relaying")
        .iter()
        .map(|event| {
            event["way"]
                .as_str()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let connect = |door: &str| Pair {
        client: TcpStream::connect(door).unwrap(),
        server: site::accept(&server),
    };
    let first = connect(&doors[0]);
    let _waits = TcpStream::connect(&doors[0]).unwrap();
    until("it waits", PATIENCE, || relay.table()["accept_waits"] == 1);
    for _ in 0..3 {
        talk(&connect(&doors[1]));
    }
    talk(&first);
}

#[test]
fn a_place_is_given_back_by_dials_that_fail_and_clients_that_are_refused() {
    let here = Here::with(&["--max-connections", "1", "--deny", "127.0.0.2"]);
    for _ in 0..5 {
        here.expect_refused(2);
    }
    talk(&here.connect(1));

    let somewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens there.
    let nowhere = ["--to", "127.0.0.1:1", "--max-connections", "1"];
    let here = Here::before(somewhere, &[], &nowhere);
    for _ in 0..5 {
        here.expect_refused(1);
    }
    assert_eq!(here.count("dial_failures"), 5);
}

#[test]
fn a_source_that_has_as_many_as_it_may_is_reset_until_one_ends_and_others_are_served() {
    let here = Here::with(&["--max-per-source", "2"]);
    let mut running = vec![here.connect(1), here.connect(1)];
    for _ in 0..3 {
        here.expect_refused(1);
    }
    running.extend([here.connect(2), here.connect(2)]);
    running.iter().for_each(talk);
    assert_eq!(here.count("refused_too_many"), 3);
    let Pair { client, server } = running.remove(0);
    drop((client, server));
    here.relay.ended(1);
    talk(&here.connect(1));
    let refused = here.relay.events("connection refused").remove(0);
    assert_eq!(refused["why"], "127.0.0.1 has 2 connections already");
}

#[test]
fn a_source_that_opens_more_than_its_rate_is_reset_and_others_are_served() {
    let here = Here::with(&["--rate-per-source", "3/1day"]);
    for _ in 0..3 {
        talk(&here.connect(1));
    }
    here.expect_refused(1);
    here.expect_refused(1);
    talk(&here.connect(2));
    assert_eq!(here.count("refused_too_fast"), 2);
}

#[test]
fn addresses_of_one_prefix_are_one_source() {
    let here = Here::with(&["--max-per-source", "1", "--source-prefix", "30,64"]);
    let one = here.connect(1);
    here.expect_refused(2);
    talk(&here.connect(4));
    talk(&one);
}

#[test]
fn with_answer_after_connect_a_client_beyond_the_limit_waits_and_its_server_does_not() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--answer", "after-connect", "--max-connections", "1"]);
    let listener = site.listen(Role::Server, Family::V4);
    let first = site.connect_to(&listener, unmangle::lab::OpenedFrom::Client);
    // The server is there before the relay has accepted the client, which takes the place.
    talk(&first);
    let second = site
        .dial(Role::Client, listener.local_addr().unwrap())
        .unwrap();
    until("it waits", PATIENCE, || relay.table()["accept_waits"] >= 1);
    assert!(is_unvisited(&listener));
    assert_eq!(relay.table()["held_fell_back"], 1);
    talk(&first);
    drop(first);
    let server = site::accept(&listener);
    talk(&Pair {
        client: second,
        server,
    });
}

#[test]
fn a_source_is_counted_once_for_a_connection_that_was_held() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[
        "--answer",
        "after-connect",
        "--max-per-source",
        "1",
        "--rate-per-source",
        "3/1day",
    ]);
    let listener = site.listen(Role::Server, Family::V4);
    for _ in 0..2 {
        let pair = site.connect_to(&listener, unmangle::lab::OpenedFrom::Client);
        talk(&pair);
        let second = site.dial(Role::Client, listener.local_addr().unwrap());
        assert_eq!(
            second.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        let client = pair.client.local_addr().unwrap();
        drop(pair);
        relay.ended_for(client);
    }
    let third = site.connect_to(&listener, unmangle::lab::OpenedFrom::Client);
    let client = third.client.local_addr().unwrap();
    drop(third);
    relay.ended_for(client);
    let fourth = site.dial(Role::Client, listener.local_addr().unwrap());
    assert_eq!(
        fourth.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    let table = relay.table();
    assert_eq!(
        (table["refused_too_many"], table["refused_too_fast"]),
        (2, 1),
        "{table:?}"
    );
}

#[test]
fn what_waited_is_whole() {
    let here = Here::with(&["--max-connections", "1"]);
    let first = here.connect(1);
    let mut second = here.dial(2);
    second.write_all(b"sent before I was accepted").unwrap();
    until("it waits", PATIENCE, || here.count("accept_waits") >= 1);
    drop(first);
    served(&here, second, b"sent before I was accepted");
}
