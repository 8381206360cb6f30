//! The PROXY protocol: who the client is, believed from those who are named, and told to the next.
//!
//! These tests need root (for the hosts, not for most of the relays), and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use unmangle::config::Engine;
use unmangle::lab::{Family, Role};
use unmangle::packet::proxy_header::{Header, Version};

use site::{
    FAMILIES, PATIENCE, Pair, Relay, Site, Way, carry, expect_end, expect_reset, pattern, talk,
    until,
};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];
/// Who the proxy says the client is; nobody in the lab has these addresses.
const SOURCES: [&str; 2] = ["203.0.113.7:40123", "[2001:db8:77::7]:40123"];
/// Where it says the client had connected to.
const DESTINATIONS: [&str; 2] = ["203.0.113.8:2222", "[2001:db8:77::8]:2222"];

fn put_up() -> Option<Site> {
    let site = Site::put_up_for(Way::Forward)?;
    site.open_the_door();
    Some(site)
}

/// Where the relay on the relay host listens.
fn door(family: Family) -> SocketAddr {
    (Role::Relay.address(family), 2222).into()
}

fn target(family: Family) -> SocketAddr {
    (Role::Server.address(family), 22).into()
}

/// A relay without any capability, from the door to the server.
fn forward(site: &Site, family: Family, more: &[&str]) -> Relay {
    let (listen, to) = (door(family).to_string(), target(family).to_string());
    let arguments = [&["--listen", &listen, "--to", &to], more].concat();
    Relay::start_by(&site.lab, &site::ways::WITHOUT_CAPABILITIES, &arguments)
}

/// The client host is a proxy: the relay believes it.
fn believing(site: &Site, family: Family, more: &[&str]) -> Relay {
    let proxy = Role::Client.address(family).to_string();
    forward(site, family, &[&["--accept-proxy", &proxy], more].concat())
}

fn header(family: Family) -> Header {
    let of = |texts: [&str; 2]| texts[usize::from(family == Family::V6)].parse().unwrap();
    Header::Proxied {
        source: of(SOURCES),
        destination: of(DESTINATIONS),
    }
}

/// A connection to the door that begins with these bytes.
fn begin(site: &Site, family: Family, bytes: &[u8]) -> TcpStream {
    let mut proxy = site.dial(Role::Client, door(family)).unwrap();
    proxy.write_all(bytes).unwrap();
    proxy
}

fn source(header: Header) -> SocketAddr {
    match header {
        Header::Proxied { source, .. } => source,
        Header::Local => panic!("nobody's"),
    }
}

#[test]
fn a_header_from_a_named_proxy_is_believed_and_the_server_gets_what_follows() {
    let Some(site) = put_up() else { return };
    for engine in Engine::WORDS {
        for family in FAMILIES {
            let relay = believing(&site, family, &["--engine", engine]);
            let listener = site.listen(Role::Server, family);
            for (nth, version) in VERSIONS.into_iter().enumerate() {
                let header = header(family);
                let first = [&header.encode(version)[..], b"first words"].concat();
                let client = begin(&site, family, &first);
                let server = site::accept(&listener);
                let mut words = [0; 11];
                (&server).read_exact(&mut words).unwrap();
                assert_eq!(&words, b"first words");
                let via = client.local_addr().unwrap();
                talk(&Pair { client, server });
                let session = relay.ended(nth + 1).pop().unwrap();
                assert_eq!(session["client"], source(header).to_string(), "{session}");
                assert_eq!(session["via"], via.to_string(), "{session}");
                // The header is no payload.
                assert_eq!(session["client_to_server_bytes"], 11 + 14, "{session}");
            }
            relay.stop();
        }
    }
}

#[test]
fn a_header_in_many_segments_is_read_and_no_byte_behind_it_is_lost() {
    let Some(site) = put_up() else { return };
    let relay = believing(&site, Family::V4, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let bulk = pattern(1, 200_000);
    // With an extension that is longer than what is read at a time.
    let mut extended = header(Family::V4).encode(Version::V2);
    let extension = [&[0xee, 4, 0][..], &[7; 1024]].concat();
    extended.extend(&extension);
    extended[14..16].copy_from_slice(&(12 + extension.len() as u16).to_be_bytes());
    let plain = VERSIONS.map(|version| header(Family::V4).encode(version));
    for bytes in [&plain[0], &plain[1], &extended] {
        let client = begin(&site, Family::V4, &[]);
        for byte in bytes {
            (&client).write_all(&[*byte]).unwrap();
        }
        let server = site::accept(&listener);
        carry(&client, &server, &bulk);
        carry(&server, &client, &bulk);
    }
    for session in relay.ended(3) {
        assert_eq!(session["client"], SOURCES[0], "{session}");
        assert_eq!(session["client_to_server_bytes"], 200_000, "{session}");
    }
}

#[test]
fn the_server_is_told_who_the_client_is_before_it_hears_a_word() {
    let Some(site) = put_up() else { return };
    for family in FAMILIES {
        for version in VERSIONS {
            let relay = forward(&site, family, &["--send-proxy", &version.to_string()]);
            let listener = site.listen(Role::Server, family);
            let client = begin(&site, family, &[]);
            let server = site::accept(&listener);
            let expected = expected(version, client.local_addr().unwrap(), door(family));
            let mut told = vec![0; expected.len()];
            (&server).read_exact(&mut told).unwrap();
            assert_eq!(told, expected, "{}", String::from_utf8_lossy(&told));
            // A server that speaks first is heard by a client that has said nothing.
            carry(&server, &client, b"SSH-2.0-server\r\n");
            talk(&Pair { client, server });
            relay.ended(1);
            relay.stop();
        }
    }
}

/// The bytes of a header, written down here from the protocol's document.
fn expected(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (s, d) = (source.port(), destination.port());
    if version == Version::V1 {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (source, destination) = (source.ip(), destination.ip());
        return format!("PROXY {family} {source} {destination} {s} {d}\r\n").into_bytes();
    }
    let mut bytes = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21".to_vec();
    match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            bytes.extend([0x11, 0, 12]);
            bytes.extend(source.ip().octets());
            bytes.extend(destination.ip().octets());
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            bytes.extend([0x21, 0, 36]);
            bytes.extend(source.ip().octets());
            bytes.extend(destination.ip().octets());
        }
        _ => panic!("one family at a time"),
    }
    bytes.extend(s.to_be_bytes());
    bytes.extend(d.to_be_bytes());
    bytes
}

#[test]
fn of_two_relays_in_a_row_the_far_one_dials_with_the_clients_address_and_port() {
    let Some(site) = put_up() else { return };
    for family in FAMILIES {
        for version in VERSIONS {
            let near_door = SocketAddr::from((Role::Client.address(family), 2222));
            let (near_listen, far_listen) = (near_door.to_string(), door(family).to_string());
            let proxy = Role::Client.address(family).to_string();
            let to = target(family).to_string();
            let far = Relay::start(
                &site.lab,
                &[
                    "--listen",
                    &far_listen,
                    "--to",
                    &to,
                    "--accept-proxy",
                    &proxy,
                    "--dial-from",
                    "client",
                ],
            );
            assert!(site.has_table());
            let version = version.to_string();
            let near = Relay::start_on(
                &site.lab,
                Role::Client,
                &[
                    "--listen",
                    &near_listen,
                    "--to",
                    &far_listen,
                    "--send-proxy",
                    &version,
                ],
            );
            let listener = site.listen(Role::Server, family);
            let client = site.dial(Role::Client, near_door).unwrap();
            let server = site::accept(&listener);
            let address = client.local_addr().unwrap();
            assert_eq!(server.peer_addr().unwrap(), address);
            talk(&Pair {
                client: client.try_clone().unwrap(),
                server: server.try_clone().unwrap(),
            });
            // The end of one direction comes through both, and the other goes on.
            client.shutdown(Shutdown::Write).unwrap();
            expect_end(&server);
            carry(&server, &client, &pattern(3, 1_000_000));
            drop(server);
            expect_end(&client);
            let (told_far, told_near) = (far.ended_for(address), near.ended_for(address));
            assert_eq!(told_far["port_kept"], true, "{told_far}");
            let via: SocketAddr = told_far["via"].as_str().unwrap().parse().unwrap();
            assert_eq!(via.ip(), Role::Client.address(family));
            assert!(told_near["via"].is_null(), "{told_near}");
            near.stop();
            far.stop();
            assert!(!site.has_table() && site.own_ip_rules() == [0, 0]);
        }
    }
    let invalid = site.lab.invalid().unwrap();
    assert_eq!(invalid.sum(), 0, "{invalid:?}");
}

/// Sees that a connection which begins so is reset, and that the log has these words.
fn expect_refusal(site: &Site, relay: &Relay, bytes: &[u8], words: &str) {
    let before = relay.events("session failed").len();
    let proxy = begin(site, Family::V4, bytes);
    expect_reset(&proxy);
    until("the failure is logged", PATIENCE, || {
        relay.events("session failed").len() > before
    });
    let failure = relay.events("session failed").pop().unwrap();
    let error = failure["error"].as_str().unwrap();
    let address = proxy.local_addr().unwrap();
    assert_eq!(error, format!("the proxy {address} sent {words}"));
}

#[test]
fn a_named_proxy_that_sends_no_valid_header_is_reset_and_the_log_says_why() {
    let Some(site) = put_up() else { return };
    let relay = believing(&site, Family::V4, &[]);
    let before = relay.descriptors();
    let listener = site.listen(Role::Server, Family::V4);
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat();
    let udp = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x01\x01\x01\x02\x02\x02\x02\0\x01\0\x02";
    let bad: [(&[u8], &str); 5] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no PROXY header"),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "a malformed PROXY header",
        ),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n",
            "a malformed PROXY header",
        ),
        (&long, "a PROXY header of more than 107 bytes"),
        (udp, "a PROXY header for something else than TCP"),
    ];
    for (bytes, words) in bad {
        expect_refusal(&site, &relay, bytes, words);
    }
    assert_eq!(relay.table()["headers_refused"], 5);
    assert!(site::is_unvisited(&listener));
    relay.holds_no_more_than(before);
}

#[test]
fn a_proxy_that_does_not_finish_its_header_in_time_or_leaves_is_let_go() {
    let Some(site) = put_up() else { return };
    let relay = believing(&site, Family::V4, &["--proxy-timeout", "300ms"]);
    let before = relay.descriptors();
    let words = "no whole PROXY header within 300ms";
    expect_refusal(&site, &relay, b"", words);
    expect_refusal(&site, &relay, b"PROXY TCP4 1.2.3.4 ", words);
    drop(begin(&site, Family::V4, b"PROXY TCP4 1.2.3.4 "));
    until("the failure is logged", PATIENCE, || {
        relay.events("session failed").len() == 3
    });
    let last = relay.events("session failed").pop().unwrap();
    let error = last["error"].as_str().unwrap();
    assert!(
        error.ends_with(" left before its PROXY header was whole"),
        "{error}"
    );
    relay.holds_no_more_than(before);
}

#[test]
fn a_relay_that_drains_does_not_wait_for_a_header() {
    let Some(site) = put_up() else { return };
    let relay = believing(
        &site,
        Family::V4,
        &["--proxy-timeout", "1h", "--drain", "100ms"],
    );
    let proxy = begin(&site, Family::V4, b"PROXY ");
    until("it is accepted", PATIENCE, || {
        relay.table()["accepted"] == 1
    });
    relay.stop();
    expect_reset(&proxy);
}

#[test]
fn a_header_from_elsewhere_is_not_believed_and_is_passed_on_as_it_came() {
    let Some(site) = put_up() else { return };
    let relay = forward(
        &site,
        Family::V4,
        &["--accept-proxy", "203.0.113.0/24,2001:db8:9::/48"],
    );
    let listener = site.listen(Role::Server, Family::V4);
    let lie = header(Family::V4).encode(Version::V1);
    let client = begin(&site, Family::V4, &lie);
    let server = site::accept(&listener);
    let mut heard = vec![0; lie.len()];
    (&server).read_exact(&mut heard).unwrap();
    assert_eq!(heard, lie);
    let address = client.local_addr().unwrap();
    drop((client, server));
    let session = relay.ended_for(address);
    assert!(session["via"].is_null(), "{session}");
}

#[test]
fn a_proxys_own_connection_is_relayed_as_its_own() {
    let Some(site) = put_up() else { return };
    let relay = believing(&site, Family::V4, &["--send-proxy", "v1"]);
    let listener = site.listen(Role::Server, Family::V4);
    for version in VERSIONS {
        let client = begin(&site, Family::V4, &Header::Local.encode(version));
        let server = site::accept(&listener);
        let address = client.local_addr().unwrap();
        let expected = expected(Version::V1, address, door(Family::V4));
        let mut told = vec![0; expected.len()];
        (&server).read_exact(&mut told).unwrap();
        assert_eq!(told, expected);
        talk(&Pair { client, server });
        relay.ended_for(address);
    }
}

#[test]
fn what_a_proxy_said_is_told_on_unchanged() {
    let Some(site) = put_up() else { return };
    for family in FAMILIES {
        let relay = believing(&site, family, &["--send-proxy", "v2"]);
        let listener = site.listen(Role::Server, family);
        let header = header(family);
        let client = begin(&site, family, &header.encode(Version::V1));
        let server = site::accept(&listener);
        let expected = header.encode(Version::V2);
        let mut told = vec![0; expected.len()];
        (&server).read_exact(&mut told).unwrap();
        assert_eq!(told, expected);
        talk(&Pair { client, server });
        relay.ended(1);
        relay.stop();
    }
}

#[test]
fn a_client_of_another_family_than_the_servers_cannot_be_dialled_for() {
    let Some(site) = put_up() else { return };
    let (listen, to) = (door(Family::V4).to_string(), target(Family::V4).to_string());
    let proxy = Role::Client.address(Family::V4).to_string();
    let relay = Relay::start(
        &site.lab,
        &[
            "--listen",
            &listen,
            "--to",
            &to,
            "--accept-proxy",
            &proxy,
            "--dial-from",
            "client",
        ],
    );
    let proxy = begin(&site, Family::V4, &header(Family::V6).encode(Version::V2));
    expect_reset(&proxy);
    until("the failure is logged", PATIENCE, || {
        !relay.events("session failed").is_empty()
    });
    let failure = relay.events("session failed").remove(0);
    let error = failure["error"].as_str().unwrap();
    assert!(
        error.contains("no address of the client's family"),
        "{error}"
    );
}

#[test]
fn dialling_with_a_clients_address_is_refused_at_the_start_without_the_capability() {
    let Some(site) = put_up() else { return };
    let listen = door(Family::V4).to_string();
    let arguments = [
        "--listen",
        &listen,
        "--to",
        "198.51.100.2:22",
        "--dial-from",
        "client",
    ];
    for more in [&[][..], &["--rules", "none"]] {
        let arguments = [&arguments, more].concat();
        let refusal = Relay::refusal(&site.lab, &site::ways::WITHOUT_CAPABILITIES, &arguments);
        assert!(refusal.contains("CAP_NET_ADMIN"), "{refusal}");
    }
    assert!(!site.has_table());
}
