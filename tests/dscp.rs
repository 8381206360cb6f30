//! The DSCP of each side's segments is kept on the other leg, and followed when it changes.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};
use unmangle::lab::{Family, OpenedFrom, Role};

use site::tap::Tap;
use site::{FAMILIES, OPENED, PATIENCE, Pair, Site, Way, carry, until};

site::in_ways!(splice, tokio_splice, copy: (
    each_side_keeps_its_own_and_the_other_leg_follows_when_it_changes,
    what_a_client_has_from_the_start_is_kept_from_the_start,
));

/// As scp of old: low delay for the handshake, throughput for the copy; as ssh of today: AF21, CS1.
const CHANGES: [u8; 5] = [0x04, 0x02, 0x12, 0x08, 0];

fn mark(stream: &SockRef, dscp: u8, v4: bool) {
    let class = u32::from(dscp) << 2;
    if v4 {
        stream.set_tos_v4(class).unwrap();
    } else {
        stream.set_tclass_v6(class).unwrap();
    }
}

/// Sends until what arrives has this DSCP, and stays so; nothing else than it and the one before arrives.
fn expect(tap: &mut Tap, from: &TcpStream, to: &TcpStream, dscp: u8, before: u8) {
    let sender = to.peer_addr().unwrap();
    tap.classes(sender);
    let mut arrived = Vec::new();
    until("the other leg follows", PATIENCE, || {
        carry(from, to, b"and what is its DSCP?");
        arrived.extend(tap.classes(sender));
        arrived.ends_with(&[dscp; 5])
    });
    let others = arrived.iter().filter(|seen| ![dscp, before].contains(seen));
    assert_eq!(others.count(), 0, "{arrived:x?}");
}

fn each_side_keeps_its_own_and_the_other_leg_follows_when_it_changes(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        let Pair { client, server } = site.connect(opened, family);
        let v4 = client.local_addr().unwrap().is_ipv4();
        let mut at_server = Tap::on(&site, opened.listener());
        let mut at_client = Tap::on(&site, opened.opener());
        let mut before = 0;
        for dscp in CHANGES {
            mark(&SockRef::from(&client), dscp, v4);
            expect(&mut at_server, &client, &server, dscp, before);
            // The other direction has its own, which is none.
            expect(&mut at_client, &server, &client, 0, 0);
            before = dscp;
        }
        for dscp in CHANGES {
            mark(&SockRef::from(&server), dscp, v4);
            expect(&mut at_client, &server, &client, dscp, before);
            expect(&mut at_server, &client, &server, 0, 0);
            before = dscp;
        }
        drop((client, server));
    }
    relay.ended(2);
    let invalid = site.lab.invalid().unwrap();
    assert_eq!(invalid.sum(), 0, "{invalid:?}");
}

fn what_a_client_has_from_the_start_is_kept_from_the_start(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let _relay = site.relay(&[]);
    for family in FAMILIES {
        let listener = site.listen(Role::Server, family);
        let to: SocketAddr = listener.local_addr().unwrap();
        let client: TcpStream = site::inside(site.lab.host(Role::Client), || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            mark(&SockRef::from(&socket), 0x2e, to.is_ipv4());
            socket.connect(&to.into()).unwrap();
            socket.into()
        });
        let server = site::accept(&listener);
        let mut at_server = Tap::on(&site, Role::Server);
        expect(&mut at_server, &client, &server, 0x2e, 0);
    }
}

#[test]
fn what_has_no_dscp_is_not_shown_to_the_relay() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    carry(&pair.client, &pair.server, &site::pattern(1, 1_000_000));
    let rules = site
        .lab
        .relay()
        .run("nft", &["list", "table", "inet", "unmangle"]);
    let rules = rules.unwrap();
    let set = rules.split("set shown4 {").nth(1).unwrap();
    assert!(
        !set.split('}').next().unwrap().contains("elements"),
        "{rules}"
    );
    drop(pair);
    relay.ended(1);
}
