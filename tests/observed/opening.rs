//! What comes back for a SYN, and who is whom once it was answered.

use std::net::SocketAddr;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use unmangle::lab::{Family, Role};
use unmangle::packet::tcp::Flags;

use super::super::site::tap::{Packet, Tap};
use super::super::site::{PATIENCE, inside, talk, until};
use super::cell::Cell;
use super::stage::{Column, Stage};

pub fn address_at_the_server(stage: &Stage) -> Cell {
    Cell::of_families("address", |family| {
        let pair = stage.connect(family);
        talk(&pair);
        let seen = pair.server.peer_addr().unwrap().ip();
        let relays = Role::Relay.interfaces();
        let relays = relays.iter().any(|its| seen == its.v4 || seen == its.v6);
        match seen {
            _ if seen == pair.client.local_addr().unwrap().ip() => Cell::TheClients,
            _ if relays => Cell::TheRelays,
            _ => Cell::Another,
        }
    })
}

pub fn port_at_the_server(stage: &Stage) -> Cell {
    Cell::of_families("port", |family| {
        let pair = stage.connect(family);
        talk(&pair);
        let seen = pair.server.peer_addr().unwrap().port();
        if seen == pair.client.local_addr().unwrap().port() {
            Cell::TheClients
        } else {
            Cell::Another
        }
    })
}

/// The address that the service has for itself.
pub fn own_address_of_the_service(stage: &Stage) -> Cell {
    Cell::of_families("own address", |family| {
        let pair = stage.connect(family);
        talk(&pair);
        let own = pair.server.local_addr().unwrap();
        match own.ip() {
            _ if own == pair.client.peer_addr().unwrap() => Cell::Dialled,
            ip if ip.is_loopback() => Cell::Loopback,
            _ => Cell::ItsOwn,
        }
    })
}

pub fn closed_port(stage: &Stage) -> Cell {
    stage.until_nobody_listens();
    Cell::of_families("closed port", |family| answer(stage, family))
}

pub fn unreachable_server(stage: &Stage) -> Cell {
    if stage.column == Column::ServerSidecar {
        return Cell::Senseless;
    }
    let _far = stage.service_filter("reject with icmpx type host-unreachable");
    Cell::of_families("unreachable", |family| answer(stage, family))
}

pub fn silent_server(stage: &Stage) -> Cell {
    let _deaf = stage.service_filter("drop");
    Cell::of_families("silent", |family| answer(stage, family))
}

/// What a connection that comes to nothing gets.
fn answer(stage: &Stage, family: Family) -> Cell {
    /// Longer than the relay's dial may take: on Linux the next one is sent a second later at the earliest.
    const UNANSWERED: usize = 4;
    let mut tap = Tap::on(&stage.site, Role::Client);
    let (_socket, own) = begin(stage, family);
    let (mut sent, mut accepted, mut end) = (0, false, None);
    until("the connection comes to something", PATIENCE, || {
        for packet in tap.packets() {
            match packet {
                Packet::Segment(segment) if segment.from == own => {
                    sent += usize::from(segment.flags.opens());
                }
                Packet::Segment(segment) if segment.to == own => {
                    accepted |= segment.flags.has(Flags::SYN);
                    if segment.flags.has(Flags::RST) {
                        let reset = [Cell::Refused, Cell::AcceptedThenReset];
                        end = end.or(Some(reset[usize::from(accepted)]));
                    }
                }
                Packet::Undeliverable { sender } if sender == own && !accepted => {
                    end = end.or(Some(Cell::Unreachable));
                }
                _ => {}
            }
        }
        if sent >= UNANSWERED && !accepted {
            end = end.or(Some(Cell::NoAnswer));
        }
        end.is_some()
    });
    end.expect("it has come to something")
}

/// A connection that begins now, and the address that it comes from.
fn begin(stage: &Stage, family: Family) -> (Socket, SocketAddr) {
    let to = stage.target(family);
    inside(stage.site.lab.client(), || {
        let socket =
            Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None).unwrap();
        let own = SocketAddr::from((Role::Client.address(family), 0));
        socket.bind(&own.into()).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        let error = socket.connect(&to.into()).unwrap_err();
        let begun = Errno::INPROGRESS.raw_os_error();
        // On one machine the answer can be there before the call returns.
        let refused = Errno::CONNREFUSED.raw_os_error();
        let told = error.raw_os_error().unwrap();
        assert!([begun, refused].contains(&told), "{error}");
        (socket, own)
    })
}
