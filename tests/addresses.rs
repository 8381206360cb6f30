//! The server sees the client, and connection tracking sees two connections.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{FAMILIES, OPENED, Pair, Site, accept, talk};

#[test]
fn the_server_sees_the_clients_address_and_port_and_each_leg_has_a_zone() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    for opened in OPENED {
        for family in FAMILIES {
            let pair = site.connect(opened, family);
            talk(&pair);
            let client = pair.client.local_addr().unwrap();
            assert_eq!(pair.server.peer_addr().unwrap(), client);
            assert_eq!(
                pair.client.peer_addr().unwrap(),
                pair.server.local_addr().unwrap()
            );
            assert_eq!(site.zones(&pair.client), [21837, 21838]);
            drop(pair);
            let session = relay.ended_for(client);
            assert_eq!(session["port_kept"], true, "{session}");
        }
    }
    assert_eq!(relay.table()["port_fallbacks"], 0);
    let invalid = site.lab.invalid().unwrap();
    assert_eq!(invalid.sum(), 0, "{invalid:?}");
}

#[test]
fn a_port_that_is_taken_on_the_relay_host_is_replaced_by_another_and_counted() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    for (family, port) in FAMILIES.into_iter().zip([40_001, 40_002]) {
        let client: SocketAddr = (Role::Client.address(family), port).into();
        let _taken = site::inside(site.lab.relay(), || {
            let socket = Socket::new(Domain::for_address(client), Type::STREAM, None)?;
            match family {
                Family::V4 => socket.set_ip_transparent_v4(true)?,
                Family::V6 => socket.set_ip_transparent_v6(true)?,
            }
            socket.bind(&client.into())?;
            Ok::<_, io::Error>(socket)
        })
        .unwrap();
        let listener = site.listen(Role::Server, family);
        let to = listener.local_addr().unwrap();
        let pair = Pair {
            client: site.dial_from(Role::Client, port, to).unwrap(),
            server: accept(&listener),
        };
        talk(&pair);
        let seen = pair.server.peer_addr().unwrap();
        assert_eq!(seen.ip(), client.ip());
        assert_ne!(seen.port(), client.port());
        drop(pair);
        let session = relay.ended_for(client);
        assert_eq!(session["port_kept"], false, "{session}");
    }
    assert_eq!(relay.table()["port_fallbacks"], 2);
}

#[test]
fn a_client_that_comes_back_from_the_same_port_at_once_is_served() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    for round in 0..6 {
        let client = site.dial_from(Role::Client, 40_003, to).unwrap();
        let server = accept(&listener);
        let pair = Pair { client, server };
        talk(&pair);
        let Pair { client, server } = pair;
        // Who closes first keeps the connection in TIME_WAIT: on the relay, that is towards the other.
        if round % 2 == 0 {
            drop(server);
            site::expect_end(&client);
            drop(client);
        } else {
            // The client must not keep it, or its next connect would fail by itself.
            site::reset(client);
            site::expect_reset(&server);
        }
        relay.ended(round + 1);
    }
}

#[test]
fn a_client_on_the_clean_side_is_seen_by_a_server_behind_the_firewall() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--profile", "clean"]);
    let pair = site.connect(OpenedFrom::Server, Family::V6);
    assert_eq!(
        pair.server.peer_addr().unwrap().ip(),
        Role::Server.address(Family::V6)
    );
    talk(&pair);
    drop(pair);
    relay.ended(1);
}
