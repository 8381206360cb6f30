//! Forward mode: clients that come to the relay, a target by name, and what a socket alone can enforce.
//!
//! These tests need root (for the hosts, not for the relay), and without it are skipped except in CI.

mod site;

use std::net::SocketAddr;

use unmangle::lab::{Family, Role};

use site::{PATIENCE, Pair, Relay, Site, Way, expect_reset, talk, until};

/// Where clients come to.
const DOOR: &str = "192.0.2.1:2222";

/// A site whose relay host lets clients in.
fn put_up() -> Option<Site> {
    let site = Site::put_up_for(Way::Forward)?;
    site.open_the_door();
    Some(site)
}

/// A relay without any capability.
fn forward(site: &Site, arguments: &[&str]) -> Relay {
    Relay::start_by(&site.lab, &site::ways::WITHOUT_CAPABILITIES, arguments)
}

/// A relay for listeners and profiles that are given as a file.
fn forward_by_file(site: &Site, text: &str) -> Relay {
    let file = site.lab.directory().join("settings.toml");
    std::fs::write(&file, text).unwrap();
    forward(site, &["--config", file.to_str().unwrap()])
}

/// What `ss` tells of the sockets of a host that match.
fn sockets(site: &Site, role: Role, options: &str, filter: &str) -> String {
    let filter: Vec<&str> = filter.split(' ').collect();
    let arguments = [&[options], &filter[..]].concat();
    site.lab.host(role).run("ss", &arguments).unwrap()
}

/// A session from the client through the door to the server's port 22.
fn session(site: &Site) -> Pair {
    let listener = site.listen(Role::Server, Family::V4);
    let client = site.dial(Role::Client, DOOR.parse().unwrap()).unwrap();
    let server = site::accept(&listener);
    let pair = Pair { client, server };
    talk(&pair);
    pair
}

#[test]
fn the_relay_runs_without_any_capability() {
    let Some(site) = put_up() else { return };
    let relay = forward(&site, &["--listen", DOOR, "--to", "198.51.100.2:22"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000000000")),
            "{status}"
        );
    }
    drop(session(&site));
    relay.ended(1);
    assert!(!site.has_table() && site.own_ip_rules() == [0, 0]);
    relay.stop();
}

/// The `/etc/hosts` of the relay host alone: `ip netns exec` puts it in the place of the machine's.
struct Names(std::path::PathBuf);

impl Names {
    fn of_the_relay_host(site: &Site, text: &str) -> Self {
        let directory = std::path::Path::new("/etc/netns").join(site.lab.relay().netns());
        std::fs::create_dir_all(&directory).unwrap();
        let names = Self(directory);
        names.are_now(text);
        names
    }

    /// Overwritten in its place, so that a relay that runs sees it too.
    fn are_now(&self, text: &str) {
        std::fs::write(self.0.join("hosts"), text).unwrap();
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A session through the door to a listener on the relay host, and what was told of it.
fn expect_session_to(site: &Site, relay: &Relay, address: &str) -> serde_json::Value {
    let listener = site.listen_at(Role::Relay, address.parse().unwrap());
    let client = site.dial(Role::Client, DOOR.parse().unwrap()).unwrap();
    let server = site::accept(&listener);
    let pair = Pair { client, server };
    talk(&pair);
    let client = pair.client.local_addr().unwrap();
    drop(pair);
    let session = relay.ended_for(client);
    assert_eq!(session["server"], address);
    session
}

#[test]
fn a_name_is_looked_up_at_each_dial() {
    let Some(site) = put_up() else { return };
    let names = Names::of_the_relay_host(&site, "127.0.0.1 backup.test\n");
    let relay = forward(&site, &["--listen", DOOR, "--to", "backup.test:5022"]);
    expect_session_to(&site, &relay, "127.0.0.1:5022");
    names.are_now("127.0.0.7 backup.test\n");
    expect_session_to(&site, &relay, "127.0.0.7:5022");
}

#[test]
fn each_address_of_a_name_is_tried_until_one_answers() {
    let Some(site) = put_up() else { return };
    let _names = Names::of_the_relay_host(&site, "127.0.0.1 backup.test\n::1 backup.test\n");
    let relay = forward(&site, &["--listen", DOOR, "--to", "backup.test:5022"]);
    // Only one of the two listens: first this one, then that one.
    expect_session_to(&site, &relay, "127.0.0.1:5022");
    expect_session_to(&site, &relay, "[::1]:5022");
    assert_eq!(relay.table()["dial_failures"], 0);
}

#[test]
fn a_name_that_leads_nowhere_resets_the_client_and_is_told() {
    let Some(site) = put_up() else { return };
    let relay = forward(&site, &["--listen", DOOR, "--to", "nowhere.invalid:22"]);
    let client = site.dial(Role::Client, DOOR.parse().unwrap()).unwrap();
    expect_reset(&client);
    until("the failure is logged", PATIENCE, || {
        !relay.events("session failed").is_empty()
    });
    let failure = relay.events("session failed").remove(0);
    let error = failure["error"].as_str().unwrap();
    assert!(
        error.starts_with("looking up nowhere.invalid:22 for "),
        "{error}"
    );
    assert_eq!(relay.table()["dial_failures"], 1);
}

#[test]
fn a_port_that_the_kernel_chooses_is_told_in_the_log() {
    let Some(site) = put_up() else { return };
    let relay = forward(
        &site,
        &["--listen", "192.0.2.1:0", "--to", "198.51.100.2:22"],
    );
    let way = relay.events("relaying")[0]["way"]
        .as_str()
        .unwrap()
        .to_owned();
    let address: SocketAddr = way.split(' ').next().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0, "{way}");
    let listening = sockets(&site, Role::Relay, "-Hltn", "src 192.0.2.1");
    assert!(listening.contains(&address.to_string()), "{listening}");
}

#[test]
fn an_address_in_use_is_refused_in_one_line() {
    let Some(site) = put_up() else { return };
    let arguments = ["--listen", DOOR, "--to", "198.51.100.2:22"];
    let first = forward(&site, &arguments);
    let refusal = Relay::refusal(&site.lab, &site::ways::WITHOUT_CAPABILITIES, &arguments);
    assert!(
        refusal.contains(DOOR) && refusal.contains("another process listens there"),
        "{refusal}"
    );
    drop(session(&site));
    first.ended(1);
}

#[test]
fn two_listeners_of_one_process_lead_to_two_targets() {
    let Some(site) = put_up() else { return };
    let relay = forward_by_file(
        &site,
        "[[listener]]\nname = \"one\"\nlisten = \"192.0.2.1:2222\"\nto = \"198.51.100.2:22\"\n\
         [[listener]]\nname = \"two\"\nlisten = \"[2001:db8:1::1]:2222\"\nto = \"198.51.100.2:873\"\n",
    );
    let doors = [("one", DOOR, 22), ("two", "[2001:db8:1::1]:2222", 873)];
    for (name, door, port) in doors {
        let to = SocketAddr::from((Role::Server.address(Family::V4), port));
        let listener = site.listen_at(Role::Server, to);
        let client = site.dial(Role::Client, door.parse().unwrap()).unwrap();
        let server = site::accept(&listener);
        let pair = Pair { client, server };
        talk(&pair);
        let client = pair.client.local_addr().unwrap();
        drop(pair);
        let session = relay.ended_for(client);
        assert_eq!(
            (&session["listener"], &session["server"]),
            (&name.into(), &to.to_string().into())
        );
    }
}

#[test]
fn the_segments_of_a_profile_are_announced_on_the_leg_that_it_is_for() {
    let Some(site) = put_up() else { return };
    for (leg, at_client, at_server) in [("downstream", 940, 1460), ("upstream", 1460, 940)] {
        let relay = forward(
            &site,
            &[
                "--listen",
                DOOR,
                "--to",
                "198.51.100.2:22",
                "--profile",
                "blackhole",
                "--mangled-leg",
                leg,
            ],
        );
        let pair = session(&site);
        // What the peer was told is what it sends at most.
        assert_eq!(sends_at_most(&pair.client), at_client, "{leg}");
        assert_eq!(sends_at_most(&pair.server), at_server, "{leg}");
        drop(pair);
        relay.ended(1);
        relay.stop();
    }
}

/// Payload of the largest segment, with the options of every segment given back.
fn sends_at_most(stream: &std::net::TcpStream) -> u32 {
    const TIMESTAMPS: u32 = 12;
    socket2::SockRef::from(stream).tcp_mss().unwrap() + TIMESTAMPS
}

#[test]
fn a_silent_leg_is_probed_as_the_profile_says() {
    let Some(site) = put_up() else { return };
    let arguments = [
        "--listen",
        DOOR,
        "--to",
        "198.51.100.2:22",
        "--profile",
        "idle-drop",
        "--mangled-leg",
        "upstream",
        "--keepalive",
        "10m",
    ];
    let _relay = forward(&site, &arguments);
    let _pair = session(&site);
    let remaining = |filter: &str| {
        let told = sockets(&site, Role::Relay, "-Htno", filter);
        let timer = told.split("timer:(keepalive,").nth(1);
        let timer = timer.unwrap_or_else(|| panic!("{filter}: {told}"));
        timer.split(',').next().unwrap().to_owned()
    };
    // The server is probed from the first look at the session on.
    until("the server's leg has a timer", PATIENCE, || {
        sockets(&site, Role::Relay, "-Htno", "dport = :22").contains("timer:(keepalive,")
    });
    let upstream = remaining("dport = :22");
    let seconds = upstream.trim_end_matches("sec").parse::<f64>();
    let milliseconds = upstream.trim_end_matches("ms").parse::<f64>();
    let left = seconds.unwrap_or_else(|_| milliseconds.unwrap() / 1000.0);
    assert!(left <= 10.0, "{upstream}");
    let downstream = remaining("sport = :2222");
    assert!(
        downstream.starts_with("9min") || downstream == "10min",
        "{downstream}"
    );
}

#[test]
fn what_a_profile_of_the_users_own_asks_of_a_socket_is_seen_in_the_kernel() {
    let Some(site) = put_up() else { return };
    // Which congestion controls anybody may choose is the machine's setting: this relay has the privilege.
    let file = site.lab.directory().join("settings.toml");
    std::fs::write(
        &file,
        "[[listener]]\nlisten = \"192.0.2.1:2222\"\nto = \"198.51.100.2:22\"\nmangled-leg = \"upstream\"\n\
         profile = \"small\"\nclean-profile = \"steady\"\n\
         [profile.small]\nwindow-clamp = 65535\ncongestion-control = \"reno\"\n\
         [profile.steady]\ncongestion-control = \"cubic\"\n",
    )
    .unwrap();
    let relay = Relay::start(&site.lab, &["--config", file.to_str().unwrap()]);
    let pair = session(&site);
    let upstream = sockets(&site, Role::Relay, "-Htni", "dport = :22");
    let downstream = sockets(&site, Role::Relay, "-Htni", "sport = :2222");
    assert!(upstream.contains(" reno ") && downstream.contains(" cubic "));
    // The server's kernel tells what was announced to it, and what it announced.
    let server = sockets(&site, Role::Server, "-Htni", "sport = :22");
    assert!(server.contains(" wscale:0,"), "{server}");
    let client = sockets(&site, Role::Client, "-Htni", "dport = :2222");
    assert!(!client.contains(" wscale:0,"), "{client}");
    drop(pair);
    relay.ended(1);
}

#[test]
fn a_congestion_control_that_cannot_be_had_is_refused_at_the_start_for_either_leg() {
    let Some(site) = put_up() else { return };
    for leg in ["downstream", "upstream"] {
        let file = site.lab.directory().join("settings.toml");
        let text = format!(
            "[[listener]]\nlisten = \"{DOOR}\"\nto = \"198.51.100.2:22\"\nmangled-leg = \"{leg}\"\n\
             profile = \"fast\"\n[profile.fast]\ncongestion-control = \"warp\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let arguments = ["--config", file.to_str().unwrap()];
        let refusal = Relay::refusal(&site.lab, &site::ways::WITHOUT_CAPABILITIES, &arguments);
        for word in ["profile fast", "congestion control warp"] {
            assert!(
                refusal.contains(word),
                "{leg}: {word:?} is not in: {refusal}"
            );
        }
    }
}

#[test]
fn a_port_that_needs_privilege_is_refused_with_the_capability_it_needs() {
    let Some(site) = put_up() else { return };
    let arguments = ["--listen", "192.0.2.1:22", "--to", "198.51.100.2:22"];
    let refusal = Relay::refusal(&site.lab, &site::ways::WITHOUT_CAPABILITIES, &arguments);
    assert!(
        refusal.contains("192.0.2.1:22") && refusal.contains("CAP_NET_BIND_SERVICE"),
        "{refusal}"
    );
}

#[test]
fn a_profile_that_needs_the_wire_is_refused_by_name_with_what_to_do() {
    let Some(site) = put_up() else { return };
    let arguments = [
        "--listen",
        DOOR,
        "--to",
        "198.51.100.2:22",
        "--mangled-leg",
        "upstream",
        "--profile",
        "cisco-pix",
    ];
    let refusal = Relay::refusal(&site.lab, &[], &arguments);
    for word in [
        "cisco-pix",
        "SACK",
        "window scale",
        "unmangle normalise",
        "blackhole",
    ] {
        assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
    }
}

#[test]
fn a_silent_address_leaves_time_for_the_other() {
    let Some(site) = put_up() else { return };
    let _names = Names::of_the_relay_host(&site, "127.0.0.1 backup.test\n::1 backup.test\n");
    let relay = forward(
        &site,
        &[
            "--listen",
            DOOR,
            "--to",
            "backup.test:5022",
            "--connect-timeout",
            "2s",
        ],
    );
    for (silent, answers) in [
        ("ip6 daddr ::1", "127.0.0.1:5022"),
        ("ip daddr 127.0.0.1", "[::1]:5022"),
    ] {
        site.load(&format!(
            "table inet deaf; delete table inet deaf; table inet deaf {{ chain input {{
            type filter hook input priority -1; tcp dport 5022 {silent} drop; }}; }}"
        ));
        let session = expect_session_to(&site, &relay, answers);
        assert!(
            session["connect_ms"].as_f64().unwrap() < 2000.0,
            "{session}"
        );
    }
}
