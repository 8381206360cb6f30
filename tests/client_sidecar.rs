//! A relay on the strict host that opens connections: they are redirected to it, and it dials on as itself.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use unmangle::lab::{Family, OpenedFrom, Process, Role};

use site::tap::Tap;
use site::{FAMILIES, PATIENCE, Relay, Site, accept, carry, is_unvisited, talk, until};

const MODE: &str = "client-sidecar";

fn sidecar(site: &Site, more: &[&str]) -> Relay {
    Relay::sidecar(&site.lab, Role::Client, MODE, more)
}

/// How many connections the relay has accepted.
fn accepted(relay: &Relay) -> u64 {
    relay.table()["accepted"]
}

fn ip(stream: &TcpStream) -> std::net::IpAddr {
    stream.peer_addr().unwrap().ip()
}

#[test]
fn what_this_host_opens_is_relayed_once_and_the_server_sees_this_host() {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(&site, &[]);
    for family in FAMILIES {
        let before = accepted(&relay);
        let mut tap = Tap::on(&site, Role::Server);
        let pair = site.connect(OpenedFrom::Client, family);
        talk(&pair);
        assert_eq!(ip(&pair.server), Role::Client.address(family));
        let meant = SocketAddr::from((Role::Server.address(family), 22));
        assert_eq!(
            pair.client.peer_addr().unwrap(),
            meant,
            "the program sees the server"
        );
        let seen = tap.openings_not_from(Role::Server.address(family));
        assert!(!seen.is_empty());
        for seen in seen {
            assert!(seen.is_plain() && seen.mss <= Some(940), "{seen:?}");
        }
        let client = pair.client.local_addr().unwrap();
        drop(pair);
        let ended = relay.ended_for(client);
        assert_eq!(ended["server"], meant.to_string());
        assert_eq!(accepted(&relay) - before, 1, "its own dial was taken again");
    }
}

#[test]
fn connections_that_ran_before_the_start_go_on_unrelayed_and_outlive_the_relay() {
    let Some(site) = Site::put_up() else { return };
    for family in FAMILIES {
        let pair = site.connect(OpenedFrom::Client, family);
        talk(&pair);
        let relay = sidecar(&site, &[]);
        talk(&pair);
        assert_eq!(accepted(&relay), 0);
        relay.stop();
        talk(&pair);
    }
}

#[test]
fn other_ports_other_networks_and_this_hosts_own_addresses_are_left_alone() {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(
        &site,
        &["--to", "203.0.113.0/24", "--to", "2001:db8:99::/48"],
    );
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    assert_eq!(accepted(&relay), 0);
    relay.stop();
    let relay = sidecar(&site, &[]);
    for family in FAMILIES {
        let address = |role: Role, port| SocketAddr::from((role.address(family), port));
        for (role, port) in [(Role::Server, 23), (Role::Client, 22)] {
            let listener = site.listen_at(role, address(role, port));
            let client = site.dial(Role::Client, address(role, port)).unwrap();
            carry(&client, &accept(&listener), b"as ever");
        }
    }
    assert_eq!(accepted(&relay), 0);
}

#[test]
fn a_closed_port_ends_in_a_reset_and_not_in_a_loop() {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(&site, &[]);
    let to = SocketAddr::from((Role::Server.address(Family::V4), 22));
    site::expect_no_session(site.dial(Role::Client, to));
    assert_eq!(accepted(&relay), 1);
}

#[test]
fn whoever_connects_to_the_relays_own_port_by_hand_is_refused() {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(&site, &["--rules", "none", "--clean-port", "4001"]);
    for loopback in ["127.0.0.1:4001", "[::1]:4001"] {
        site::expect_no_session(site.dial(Role::Client, loopback.parse().unwrap()));
    }
    until("it is told", PATIENCE, || {
        relay
            .log()
            .matches("asked for the relay's own listener")
            .count()
            == 2
    });
}

#[test]
fn a_user_whom_this_host_does_not_know_is_named_in_a_line() {
    let Some(site) = Site::put_up() else { return };
    let user = ["--user", "um-nobody"];
    let relay = Relay::launch_sidecar(&site.lab, Role::Client, &[], MODE, &user);
    let line = relay.refused();
    assert!(
        line.ends_with("there is no user \"um-nobody\" here"),
        "{line}"
    );
}

#[test]
fn only_the_named_users_connections_are_taken_to_every_port() {
    let Some(site) = Site::put_up() else { return };
    let user = |name: &str| {
        let file = site.lab.directory().join("user.toml");
        let text = format!(
            "[[listener]]\nmode = \"client-sidecar\"\nuser = \"{name}\"\nmangled-side = \"fw0\"\nprofile = \"clean\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = site.lab.client().command(site::UNMANGLE);
        command
            .args(["run", "--log-format", "json", "--config"])
            .arg(file);
        let log = site.lab.directory().join(format!("{name}.log"));
        let mut relay = Process::start("relay", &mut command, &log).unwrap();
        relay.ready("\"relaying\"", PATIENCE).unwrap();
        relay
    };
    let ended = |relay: &Process| relay.log().matches("session ended").count();
    // This test is root, and so is the relay, whose own dials are not taken all the same.
    let root = user("root");
    drop(site.connect(OpenedFrom::Client, Family::V4));
    until("the session ends", PATIENCE, || ended(&root) == 1);
    root.stop(PATIENCE).unwrap();

    let nobody = user("nobody");
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    assert_eq!(
        pair.server.peer_addr().unwrap(),
        pair.client.local_addr().unwrap()
    );
    let log = nobody.log_path().to_owned();
    nobody.stop(PATIENCE).unwrap();
    assert!(
        !std::fs::read_to_string(log)
            .unwrap()
            .contains("session ended")
    );
}

/// A control group that goes when this goes.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        until("the group is empty", PATIENCE, || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

#[test]
fn only_the_named_control_groups_connections_are_taken() {
    let Some(site) = Site::put_up() else { return };
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots
        .map(Path::new)
        .into_iter()
        .find(|root| root.join("cgroup.procs").exists());
    let name = format!("um-test-{:08x}", rand::random::<u32>());
    let Some(Ok(group)) =
        root.map(|root| std::fs::create_dir(root.join(&name)).map(|()| Group(root.join(&name))))
    else {
        println!("skipped: no control groups of version 2 can be made here");
        return;
    };
    // `ip netns exec` mounts another /sys.
    let mount = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let starter = ["sh", "-c", mount, "sh"];
    let missing = Relay::launch_sidecar(
        &site.lab,
        Role::Client,
        &starter,
        MODE,
        &["--cgroup", "um-none"],
    );
    assert!(
        missing
            .refused()
            .contains("there is no control group um-none")
    );
    let mut relay = Relay::launch_sidecar(
        &site.lab,
        Role::Client,
        &starter,
        MODE,
        &["--cgroup", &name],
    );
    relay.ready();

    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    assert_eq!(accepted(&relay), 0, "this test is not in the group");
    drop(pair);

    let listener = site.listen(Role::Server, Family::V4);
    let procs = group.0.join("cgroup.procs");
    let enter = format!(
        "echo $$ > {}; exec ip netns exec {} bash -c 'exec 3<>/dev/tcp/198.51.100.2/22; head -c1 <&3'",
        procs.display(),
        site.lab.client().netns()
    );
    let mut inside = std::process::Command::new("sh")
        .args(["-c", &enter])
        .spawn()
        .unwrap();
    let server = accept(&listener);
    std::io::Write::write_all(&mut &server, b"x").unwrap();
    assert!(inside.wait().unwrap().success());
    assert_eq!(accepted(&relay), 1);
}

#[test]
fn a_killed_relays_connections_flow_unrelayed_unless_it_fails_closed() {
    let Some(site) = Site::put_up() else { return };
    let relay = sidecar(&site, &["--fail", "closed"]);
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    let other = site.listen_at(Role::Server, (Role::Server.address(Family::V4), 23).into());
    kill(&site, relay);
    let listener = site.listen(Role::Server, Family::V4);
    let refused = dial_briefly(&site, listener.local_addr().unwrap());
    assert_eq!(refused, Some(ErrorKind::TimedOut));
    assert!(is_unvisited(&listener));
    site.dial(Role::Client, other.local_addr().unwrap())
        .unwrap();
    drop(listener);

    let relay = sidecar(&site, &[]);
    kill(&site, relay);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    assert_eq!(
        pair.server.peer_addr().unwrap(),
        pair.client.local_addr().unwrap()
    );
}

/// Kills it and waits until its rules are gone.
fn kill(site: &Site, mut relay: Relay) {
    relay.signal(Signal::KILL);
    relay.exit_code();
    until("the table is gone", PATIENCE, || {
        let tables = site.lab.client().run("nft", &["list", "tables"]).unwrap();
        !tables
            .lines()
            .any(|table| table.trim() == "table inet unmangle")
    });
}

/// Why a connection does not come to be, if it does not.
fn dial_briefly(site: &Site, to: SocketAddr) -> Option<ErrorKind> {
    let briefly = std::time::Duration::from_millis(500);
    let dialled = site::inside(site.lab.client(), || {
        TcpStream::connect_timeout(&to, briefly)
    });
    dialled.err().map(|error| error.kind())
}

#[test]
fn what_output_would_have_dropped_is_not_taken() {
    let Some(site) = Site::put_up() else { return };
    let rules =
        "table inet own { chain out { type filter hook output priority 0; tcp dport 22 drop; }; }";
    site.lab.client().feed("nft", &["-f", "-"], rules).unwrap();
    let refused = Relay::launch_sidecar(&site.lab, Role::Client, &[], MODE, &[]).refused();
    assert!(refused.contains("OUTPUT would have dropped"), "{refused}");
    assert!(refused.contains("inet own out"), "{refused}");
}

#[test]
fn the_address_that_a_program_chose_is_the_one_that_the_server_sees() {
    let Some(site) = Site::put_up() else { return };
    let another = "192.0.2.77";
    let add = ["address", "add", "192.0.2.77/25", "dev", "fw0"];
    site.lab.client().run("ip", &add).unwrap();
    let _relay = sidecar(&site, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    let client = site::inside(site.lab.client(), || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: SocketAddr = format!("{another}:0").parse().unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&to.into()).unwrap();
        TcpStream::from(socket)
    });
    let server = accept(&listener);
    assert_eq!(ip(&server).to_string(), another);
    carry(&client, &server, b"from here");
}

#[test]
fn in_the_drain_running_sessions_go_on_and_new_connections_flow_unrelayed() {
    let Some(site) = Site::put_up() else { return };
    let mut relay = sidecar(&site, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let running = site.connect_to(&listener, OpenedFrom::Client);
    talk(&running);
    relay.signal(Signal::TERM);
    until("nothing is taken any more", PATIENCE, || {
        relay.log().contains("new connections are no longer taken")
    });
    let direct = site.connect_to(&listener, OpenedFrom::Client);
    assert_eq!(
        direct.server.peer_addr().unwrap(),
        direct.client.local_addr().unwrap()
    );
    talk(&running);
    drop(running);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    talk(&direct);
}
