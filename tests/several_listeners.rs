//! One table serves several listeners: each takes its own connections, and each profile strips its own.
//!
//! The rules are tested without the relay, against the smallest one there can be. These tests need root,
//! and without it are skipped except in CI.

mod site;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};
use unmangle::config::{Intercept, Networks};
use unmangle::lab::{Family, OpenedFrom, Role};
use unmangle::rules::nft::{self, Ownership};
use unmangle::rules::{Interception, ListenPorts, Plan, Tracking, fail_closed, routes};

use site::tap::{Seen, Tap};
use site::{FAMILIES, OPENED, Pair, Site, accept, inside, talk};

/// Port 22 loses SACK, window scale and large segments, port 5432 window scale only.
fn plan() -> Plan {
    let interception = |port: &str, profile: &str, first| {
        let intercept = Intercept {
            ports: port.parse().unwrap(),
            from: Networks::default(),
            to: Networks::default(),
            mangled_side: "fw0".parse().unwrap(),
        };
        let listen = ListenPorts {
            mangled: first,
            clean: first + 1,
        };
        Interception::new(intercept, &profile.parse().unwrap(), listen)
    };
    let plan = Plan::of(vec![
        interception("22", "cisco-pix", 4001),
        interception("5432", "wscale-strip", 4003),
    ]);
    assert_eq!(plan.conflict(), None);
    plan
}

/// Loads the plan on the relay host.
fn load(site: &Site, plan: &Plan) {
    site.load(&nft::table(plan, Ownership::Nobody));
    let commands = routes::commands(plan);
    site.lab.relay().feed("sh", &["-e"], &commands).unwrap();
}

/// A socket that may bear any address.
fn transparent(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match at {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_ip_transparent_v6(true)?;
            socket.set_only_v6(true)?;
        }
    }
    socket.bind(&at.into())?;
    Ok(socket)
}

fn listen(site: &Site, family: Family, port: u16) -> TcpListener {
    let loopback: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let listen = || {
        let socket = transparent((loopback, port).into())?;
        socket.listen(8)?;
        Ok::<_, io::Error>(socket.into())
    };
    inside(site.lab.relay(), listen).unwrap()
}

/// Relays one connection: accepts, dials the original destination from the client's own address.
fn relay_one(site: &Site, listener: &TcpListener) -> [TcpStream; 2] {
    let downstream = accept(listener);
    let (client, server) = (
        downstream.peer_addr().unwrap(),
        downstream.local_addr().unwrap(),
    );
    let upstream = inside(site.lab.relay(), || {
        let socket = transparent(client)?;
        socket.connect(&server.into())?;
        Ok::<_, io::Error>(TcpStream::from(socket))
    });
    [downstream, upstream.unwrap()]
}

/// Opens a connection through the relay, talks, and returns what opened it on the side of the firewall.
fn opened(
    site: &Site,
    opened: OpenedFrom,
    family: Family,
    port: u16,
    relay: &TcpListener,
) -> (Pair, Seen) {
    let server: SocketAddr = (opened.listener().address(family), port).into();
    let listener = site.listen_at(opened.listener(), server);
    let mut tap = Tap::on(site, Role::Client);
    let (legs, pair) = std::thread::scope(|scope| {
        let legs = scope.spawn(|| relay_one(site, relay));
        let client = site.dial(opened.opener(), server).unwrap();
        let server = accept(&listener);
        (legs.join().unwrap(), Pair { client, server })
    });
    std::thread::scope(|scope| {
        let [downstream, upstream] = &legs;
        scope.spawn(move || io::copy(&mut &*downstream, &mut &*upstream));
        scope.spawn(move || io::copy(&mut &*upstream, &mut &*downstream));
        talk(&pair);
        for end in [downstream, upstream] {
            end.shutdown(std::net::Shutdown::Read).unwrap();
        }
    });
    let seen = tap.openings_not_from(Role::Client.address(family));
    assert!(!seen.is_empty());
    (pair, seen[0].clone())
}

#[test]
fn each_listener_gets_its_own_connections_and_each_profile_strips_its_own() {
    let Some(site) = Site::put_up() else { return };
    load(&site, &plan());
    for family in FAMILIES {
        for (port, first) in [(22, 4001), (5432, 4003)] {
            for (side, way) in OPENED.into_iter().enumerate() {
                let relay = listen(&site, family, first + side as u16);
                let (pair, seen) = opened(&site, way, family, port, &relay);
                assert!(!seen.window_scale, "{port} {way:?} {seen:?}");
                assert_eq!(seen.sack_permitted, port == 5432, "{port} {way:?} {seen:?}");
                assert_eq!(seen.mss <= Some(940), port == 22, "{port} {way:?} {seen:?}");
                assert_eq!(site.zones(&pair.client), [21837, 21838], "{port} {way:?}");
            }
        }
    }
}

#[test]
fn without_zones_both_legs_work_and_conntrack_sees_neither() {
    let Some(site) = Site::put_up() else { return };
    load(
        &site,
        &Plan {
            tracking: Tracking::Notrack,
            ..plan()
        },
    );
    for family in FAMILIES {
        for (side, way) in OPENED.into_iter().enumerate() {
            let relay = listen(&site, family, 4001 + side as u16);
            let (pair, seen) = opened(&site, way, family, 22, &relay);
            assert!(seen.is_plain(), "{way:?} {seen:?}");
            assert_eq!(site.zones(&pair.client), [0; 0], "{way:?}");
        }
    }
}

#[test]
fn what_crosses_from_one_mangled_side_to_another_is_not_taken() {
    let Some(site) = Site::put_up() else { return };
    let mut plan = plan();
    plan.interceptions[1].intercept = Intercept {
        mangled_side: "long0".parse().unwrap(),
        ..plan.interceptions[0].intercept.clone()
    };
    assert_eq!(plan.conflict(), None);
    load(&site, &plan);
    for way in OPENED {
        for family in FAMILIES {
            let pair = site.connect(way, family);
            talk(&pair);
            assert_eq!(site.zones(&pair.client), [0], "{way:?} {family:?}");
        }
    }
}

#[test]
fn what_fails_closed_names_every_mangled_side() {
    let Some(site) = Site::put_up() else { return };
    let mut plan = plan();
    plan.interceptions[1].intercept.mangled_side = "long0".parse().unwrap();
    inside(site.lab.relay(), || fail_closed::install(&plan)).unwrap();
    // Port 22 is intercepted on one side only, and what crosses both is never taken.
    talk(&site.connect(OpenedFrom::Client, Family::V4));
}
