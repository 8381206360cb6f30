//! Who is let in by lists, and that nothing comes around again.
//!
//! What needs hosts of its own needs root, and without it is skipped except in CI.

mod site;

use std::io::{ErrorKind, Write};
use std::net::TcpListener;

use unmangle::lab::{Family, Role};

use site::{Here, PATIENCE, Pair, Relay, Site, Way, expect_reset, is_unvisited, talk, until};

#[test]
fn a_client_that_is_denied_is_reset_before_the_server_is_dialled_and_another_is_served() {
    let here = Here::with(&["--deny", "127.0.0.2"]);
    here.expect_refused(2);
    assert!(is_unvisited(&here.server));
    talk(&here.connect(3));
    let refused = here.relay.events("connection refused").remove(0);
    assert_eq!(refused["why"], "it is denied by 127.0.0.2/32");
    assert!(
        refused["client"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.2:")
    );
    assert_eq!(here.count("refused_by_lists"), 1);
}

#[test]
fn what_is_not_allowed_is_refused_and_deny_wins() {
    let here = Here::with(&["--allow", "127.0.0.0/29", "--deny", "127.0.0.4"]);
    here.expect_refused(9);
    here.expect_refused(4);
    talk(&here.connect(5));
    assert_eq!(here.count("refused_by_lists"), 2);
}

#[test]
fn a_name_leads_only_where_the_lists_let_it() {
    let server = || TcpListener::bind("127.0.0.1:0").unwrap();
    let target =
        |server: &TcpListener| format!("localhost:{}", server.local_addr().unwrap().port());

    let elsewhere = server();
    let to = target(&elsewhere);
    let inside = [
        "--to",
        &to,
        "--deny",
        "any -> 127.0.0.0/8",
        "--deny",
        "any -> ::1",
    ];
    let here = Here::before(elsewhere, &[], &inside);
    here.expect_refused(1);
    assert!(is_unvisited(&here.server));
    assert_eq!(
        (here.count("refused_by_lists"), here.count("dial_failures")),
        (1, 0)
    );

    let there = server();
    let to = target(&there);
    let entry = format!("any -> 127.0.0.1:{}", there.local_addr().unwrap().port());
    let here = Here::before(there, &[], &["--to", &to, "--allow", &entry]);
    talk(&here.connect(1));
}

#[test]
fn a_client_is_judged_and_not_the_proxy_that_it_came_by() {
    let here = Here::with(&["--accept-proxy", "127.0.0.1", "--deny", "10.9.0.0/16"]);
    let introduced = |client: &str| {
        let mut proxy = here.dial(1);
        let header = format!("PROXY TCP4 {client} 192.0.2.1 40000 22\r\n");
        proxy.write_all(header.as_bytes()).unwrap();
        proxy
    };
    expect_reset(&introduced("10.9.0.1"));
    let client = introduced("10.8.0.1");
    let server = site::accept(&here.server);
    talk(&Pair { client, server });
    let refused = here.relay.events("connection refused").remove(0);
    assert_eq!(refused["client"], "10.9.0.1:40000");
    assert!(refused["via"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn a_flood_of_refused_clients_fills_few_lines_and_every_one_is_accounted_for() {
    const FLOOD: usize = 200;
    let here = Here::with(&["--deny", "127.0.0.2"]);
    for _ in 0..FLOOD {
        here.expect_refused(2);
    }
    let lines = here.relay.events("connection refused");
    let left_out = here.count("lines_left_out") as usize;
    assert_eq!(here.count("refused_by_lists"), FLOOD as u64);
    assert_eq!(lines.len() + left_out, FLOOD);
    assert!(lines.len() < FLOOD / 2, "{} lines", lines.len());
}

#[test]
fn a_way_that_leads_back_to_the_relay_resets_its_client_and_does_not_come_around() {
    let Some(site) = Site::put_up_for(Way::Forward) else {
        return;
    };
    let listeners = |ways: &[(&str, &str)]| -> String {
        let listener = |(listen, to): &(&str, &str)| {
            format!("[[listener]]\nlisten = \"{listen}\"\nto = \"{to}\"\n")
        };
        ways.iter().map(listener).collect()
    };
    for (what, ways) in [
        ("itself", &[("127.0.0.1:2222", "127.0.0.1:2222")][..]),
        (
            "another address of this host",
            &[("0.0.0.0:2222", "192.0.2.1:2222")],
        ),
        ("no address at all", &[("127.0.0.1:2222", "0.0.0.0:2222")]),
        (
            "IPv4 in IPv6 notation",
            &[("0.0.0.0:2222", "[::ffff:192.0.2.1]:2222")],
        ),
        (
            "each other",
            &[
                ("127.0.0.1:2222", "[2001:db8:1::1]:2223"),
                ("[::]:2223", "127.0.0.1:2222"),
            ],
        ),
        (
            "its own name",
            &[
                ("0.0.0.0:2222", "localhost:2222"),
                ("[::]:2222", "localhost:2222"),
            ],
        ),
    ] {
        let file = site.lab.directory().join("loop.toml");
        std::fs::write(&file, listeners(ways)).unwrap();
        let relay = Relay::start(&site.lab, &["--config", file.to_str().unwrap()]);
        let before = relay.descriptors();
        let door = "127.0.0.1:2222".parse().unwrap();
        site::expect_no_session(site.dial(Role::Relay, door));
        relay.holds_no_more_than(before);
        let table = relay.table();
        assert_eq!(
            (table["refused_own"], table["accepted"]),
            (1, 1),
            "{what}: {table:?}"
        );
        relay.stop();
    }
}

#[test]
fn a_gateway_resets_who_is_denied_and_dials_nobody() {
    let Some(site) = Site::put_up() else { return };
    let denied = format!("any -> {}:22", Role::Server.address(Family::V4));
    let relay = site.relay(&["--deny", &denied]);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    site::expect_no_session(site.dial(Role::Client, to));
    until("it is counted", PATIENCE, || {
        relay.table()["refused_by_lists"] == 1
    });
    assert!(is_unvisited(&listener));
    talk(&site.connect(unmangle::lab::OpenedFrom::Client, Family::V6));
}

#[test]
fn with_answer_after_connect_who_is_denied_finds_a_closed_port() {
    let Some(site) = Site::put_up() else { return };
    let denied = format!("{} -> any:22", Role::Client.address(Family::V4));
    let relay = site.relay(&["--answer", "after-connect", "--deny", &denied]);
    let listener = site.listen(Role::Server, Family::V4);
    let refused = site.dial(Role::Client, listener.local_addr().unwrap());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(is_unvisited(&listener));
    talk(&site.connect(unmangle::lab::OpenedFrom::Client, Family::V6));
    let table = relay.table();
    assert_eq!(
        (table["refused_by_lists"], table["held"], table["accepted"]),
        (1, 1, 1)
    );
}
