//! A relay that is replaced while it relays: nobody on either side notices.
//!
//! These tests need root; without it they are skipped except in CI.

mod site;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::asked::Asked;
use site::upgrades::Upgrades;
use site::{
    PATIENCE, Pair, Relay, Site, UNMANGLE, Way, accept, carry, pattern, read_to_end, talk, until,
    web, write_until_stalled,
};

/// Packets that conntrack has called INVALID, at both ends and on the relay host.
fn invalid(site: &Site) -> u64 {
    let counted = site.lab.invalid().unwrap();
    counted.client + counted.server + counted.relay_mangled + counted.relay_clean
}

/// What a relay says of itself.
fn status(upgrades: &Upgrades) -> Value {
    let stream = web::unix(upgrades.socket());
    web::exchange(stream, "GET /api/status HTTP/1.1", "")
        .unwrap()
        .json()
}

/// Waits until there are so many sessions: what has ended at both ends may not have yet here.
fn until_there_are(upgrades: &Upgrades, sessions: usize) {
    until("there are as many sessions", PATIENCE, || {
        status(upgrades)["sessions"] == sessions
    });
}

fn relaying(site: &Site, listener: &TcpListener, pairs: usize) -> Vec<Pair> {
    let pairs: Vec<_> = (0..pairs)
        .map(|_| site.connect_to(listener, OpenedFrom::Client))
        .collect();
    pairs.iter().for_each(talk);
    pairs
}

#[test]
fn sessions_go_over_with_all_that_they_hold_three_times_and_nothing_is_invalid() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &["--stall-after", "off"]);
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 30);
    // Stalled readers, whose bytes wait in pipes.
    let bytes = pattern(1, 64 << 20);
    let stalled: Vec<_> = (0..3)
        .map(|_| {
            let pair = site.connect_to(&listener, OpenedFrom::Client);
            let sent = write_until_stalled(&pair.client, &bytes);
            assert!(sent < bytes.len());
            (pair, sent)
        })
        .collect();
    // One side has said all it has.
    let half = site.connect_to(&listener, OpenedFrom::Client);
    talk(&half);
    half.client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&half.server).unwrap().is_empty());

    for turn in 1..=3 {
        let went = upgrades.upgrade(&site.lab);
        assert_eq!((went.sessions, went.left), (34, 0), "upgrade {turn}");
        pairs.iter().for_each(talk);
        talk(&site.connect_to(&listener, OpenedFrom::Client));
        until_there_are(&upgrades, 34);
    }

    for (pair, sent) in &stalled {
        carry_rest(pair, &bytes, *sent);
    }
    carry(&half.server, &half.client, &pattern(2, 3 << 20));
    half.server.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&half.client).unwrap().is_empty());
    assert_eq!(invalid(&site), 0);
    drop((pairs, stalled, half));
    site.has_no_leg_left();
    upgrades.stop();
}

/// Sends what is missing of the bytes and sees all of them arrive.
fn carry_rest(pair: &Pair, bytes: &[u8], sent: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| (&pair.client).write_all(&bytes[sent..]).unwrap());
        let mut received = vec![0; bytes.len()];
        (&pair.server).read_exact(&mut received).unwrap();
        assert!(received == bytes, "the bytes that arrived differ");
    });
}

#[test]
fn requests_by_new_connections_and_by_old_ones_see_no_error_in_ten_upgrades() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lasting = site.connect_to(&listener, OpenedFrom::Client);
        let (site, listener, over) = (&site, &listener, &over);
        let old = scope.spawn(move || {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                talk(&lasting);
                asked += 1;
            }
            asked
        });
        let new = scope.spawn(move || {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                talk(&site.connect_to(listener, OpenedFrom::Client));
                asked += 1;
            }
            asked
        });
        for _ in 0..10 {
            upgrades.upgrade(&site.lab);
        }
        over.store(true, Ordering::Relaxed);
        let (old, new): (u64, u64) = (old.join().unwrap(), new.join().unwrap());
        assert!(old > 10 && new > 10, "{old} and {new} exchanges");
    });
    until_there_are(&upgrades, 0);
}

#[test]
fn descriptors_and_counters_are_the_same_in_the_next_process() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &["--stall-after", "off"]);
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 20);
    let bytes = pattern(1, 64 << 20);
    let stalled = site.connect_to(&listener, OpenedFrom::Client);
    write_until_stalled(&stalled.client, &bytes);
    let open = |upgrades: &Upgrades| {
        let entries = fs::read_dir(format!("/proc/{}/fd", upgrades.pid())).unwrap();
        let kinds = entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        let sockets = kinds.filter(|target| target.to_string_lossy().starts_with("socket"));
        sockets.count()
    };
    let metrics = |upgrades: &Upgrades| -> Vec<String> {
        let stream = web::unix(upgrades.socket());
        let text = web::exchange(stream, "GET /metrics HTTP/1.1", "")
            .unwrap()
            .body;
        let counted = [
            "_accepted_total",
            "_passed_bytes_total",
            "_reads_total",
            "_setup_seconds_count",
        ];
        let lines = text
            .lines()
            .filter(|line| counted.iter().any(|name| line.contains(name)));
        lines
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let (sockets, counters) = (open(&upgrades), metrics(&upgrades));
    assert!(counters.len() > 4, "{counters:?}");
    upgrades.upgrade(&site.lab);
    // A stalled session may push on once: its receiver is looked at anew.
    until("as many pipes are in use", PATIENCE, || {
        status(&upgrades)["pipes"]["in_use"] == 1
    });
    until_there_are(&upgrades, 21);
    assert_eq!(metrics(&upgrades), counters);
    until("as many sockets are open", PATIENCE, || {
        open(&upgrades) <= sockets
    });
    pairs.iter().for_each(talk);
    drop((pairs, stalled));
    upgrades.stop();
}

#[test]
fn a_successor_that_does_not_come_up_changes_nothing_and_it_is_said_why() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 5);
    for (program, why) in [
        ("/etc/passwd", "starting /etc/passwd: Permission denied"),
        ("/bin/false", "exit status: 1"),
    ] {
        let refused = upgrades
            .upgrade_to(&site.lab, Some(program.as_ref()))
            .unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        pairs.iter().for_each(talk);
        talk(&site.connect_to(&listener, OpenedFrom::Client));
    }
    until_there_are(&upgrades, 5);
    assert_eq!(upgrades.upgrade(&site.lab).sessions, 5);
    pairs.iter().for_each(talk);
}

#[test]
fn a_relay_that_is_told_to_end_waits_for_no_successor() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &[]);
    let begun = site.lab.directory().join("begun");
    let program = site.lab.directory().join("never-asks");
    let text = format!(
        "#!/bin/sh\necho $$ > {}\nexec sleep 1000\n",
        begun.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let relay = Pid::from_raw(upgrades.pid() as i32).unwrap();
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| upgrades.upgrade_to(&site.lab, Some(&program)).unwrap_err());
        let pid = || fs::read_to_string(&begun).unwrap_or_default();
        until("it is begun", PATIENCE, || pid().ends_with('\n'));
        kill_process(relay, Signal::TERM).unwrap();
        let stat = format!("/proc/{}/stat", pid().trim());
        until("it is killed", PATIENCE, || {
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
        asked.join().unwrap()
    });
    assert!(refused.contains("the end was asked for"), "{refused}");
    assert_eq!(upgrades.relay.exit_code(), Some(0));
}

#[test]
fn a_session_that_is_still_being_dialled_goes_over_twice() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    site.cut(Role::Server);
    let to = listener.local_addr().unwrap();
    let client = site.dial(Role::Client, to).unwrap();
    assert_eq!(upgrades.upgrade(&site.lab).left, 1);
    upgrades.upgrade(&site.lab);
    site.mend(Role::Server);
    let server = accept(&listener);
    assert_eq!(upgrades.relay.exit_code(), Some(0));
    let pair = Pair { client, server };
    talk(&pair);
    assert!(!upgrades.relay.log().contains("what is left ends here"));
    assert_eq!(upgrades.upgrade(&site.lab).sessions, 1);
    talk(&pair);
}

#[test]
fn the_next_process_logs_histograms_though_the_one_before_still_does() {
    let Some(site) = Site::put_up_for(Way::Forward) else {
        return;
    };
    site.open_the_door();
    let log = site.lab.directory().join("relay.hlog");
    let mut upgrades = Upgrades::start(
        &site.lab,
        &[
            "--listen",
            "192.0.2.1:2222",
            "--to",
            "198.51.100.2:22",
            // Its sessions stay, and the process with them.
            "--engine",
            "copy",
            "--hdr-log",
            log.to_str().unwrap(),
        ],
    );
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 1);
    upgrades.upgrade(&site.lab);
    let logs = || {
        let entries = fs::read_dir(site.lab.directory()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("relay.hlog")).count()
    };
    until("each has a file", PATIENCE, || logs() == 2);
    pairs.iter().for_each(talk);
    drop(pairs);
    assert_eq!(upgrades.relay.exit_code(), Some(0));
    upgrades.stop();
}

#[test]
fn a_successor_that_is_killed_while_it_takes_over_leaves_every_session_where_it_was() {
    let Some(site) = Site::put_up() else { return };
    let mut upgrades = Upgrades::start(&site.lab, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 50);
    let mut refused = 0;
    // Later and later, until one is quicker than its end.
    for millis in (0..400).step_by(3) {
        let program = killed_after(&site, millis);
        match upgrades.upgrade_to(&site.lab, Some(&program)) {
            Ok(_) => break,
            Err(_) => refused += 1,
        }
        pairs.iter().for_each(talk);
        talk(&site.connect_to(&listener, OpenedFrom::Client));
    }
    assert!(refused > 0, "the first is killed before it can be anything");
}

/// A program that is this one, and is killed after so long.
fn killed_after(site: &Site, millis: u32) -> PathBuf {
    let path = site.lab.directory().join(format!("killed-after-{millis}"));
    let text = format!(
        "#!/bin/sh\n{UNMANGLE} \"$@\" & it=$!\nsleep 0.{millis:03}\nkill -9 $it\nwait $it 2>/dev/null\nexit 9\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn sessions_of_an_engine_that_cannot_stand_still_drain_where_they_are() {
    let Some(site) = Site::put_up() else { return };
    for engine in ["tokio-splice", "copy"] {
        let mut upgrades = Upgrades::start(&site.lab, &["--engine", engine]);
        let listener = site.listen(Role::Server, Family::V4);
        let pairs = relaying(&site, &listener, 3);
        let went = upgrades.upgrade(&site.lab);
        assert_eq!((went.sessions, went.left), (0, 3), "{engine}");
        pairs.iter().for_each(talk);
        talk(&site.connect_to(&listener, OpenedFrom::Client));
        assert!(!upgrades.relay.has_ended());
        drop(pairs);
        assert_eq!(upgrades.relay.exit_code(), Some(0));
        assert!(upgrades.relay.log().contains(&format!("engine {engine}")));
        upgrades.stop();
    }
}

#[test]
fn a_relay_that_holds_opening_packets_says_that_it_cannot_go_over() {
    let Some(site) = Site::put_up() else { return };
    let more = ["--answer", "after-connect"];
    let mut relay = Relay::launch(&site.lab, &[], &more);
    if relay.has_ended() {
        return;
    }
    relay.ready();
    // In order: the table of one that is killed is there for a moment more.
    relay.stop();
    let mut upgrades = Upgrades::start(&site.lab, &more);
    let refused = upgrades.upgrade_to(&site.lab, None).unwrap_err();
    assert!(refused.contains("after-connect"), "{refused}");
}

#[test]
fn a_sidecar_on_either_host_goes_over_with_its_sessions() {
    for (on, mode) in [
        (Role::Server, "server-sidecar"),
        (Role::Client, "client-sidecar"),
    ] {
        let Some(site) = Site::put_up() else { return };
        let mut upgrades = Upgrades::sidecar(&site.lab, on, mode);
        // A service on every address, which a server sidecar finds at the loopback one.
        let listener = site.listen_at(Role::Server, (Ipv4Addr::UNSPECIFIED, 22).into());
        let at = SocketAddr::from((Role::Server.address(Family::V4), 22));
        let connect = || Pair {
            client: site.dial(Role::Client, at).unwrap(),
            server: site::accept(&listener),
        };
        let pairs: Vec<_> = (0..4).map(|_| connect()).collect();
        pairs.iter().for_each(talk);
        for _ in 0..2 {
            let went = upgrades.upgrade(&site.lab);
            assert_eq!((went.sessions, went.left), (4, 0), "{mode}");
            pairs.iter().for_each(talk);
            talk(&connect());
            until_there_are(&upgrades, 4);
        }
        drop(pairs);
        upgrades.stop();
    }
}

#[test]
fn an_upgrade_works_where_clients_come_by_themselves() {
    let Some(site) = Site::put_up_for(Way::Forward) else {
        return;
    };
    site.open_the_door();
    let listen = ["--listen", "192.0.2.1:2222", "--to", "198.51.100.2:22"];
    let mut upgrades = Upgrades::start(&site.lab, &listen);
    let listener = site.listen(Role::Server, Family::V4);
    let pairs = relaying(&site, &listener, 4);
    for _ in 0..2 {
        assert_eq!(upgrades.upgrade(&site.lab).sessions, 4);
        pairs.iter().for_each(talk);
    }
    talk(&site.connect_to(&listener, OpenedFrom::Client));
    drop(pairs);
    upgrades.stop();
}

#[test]
fn a_service_manager_is_told_which_process_matters_from_now_on() {
    let Some(site) = Site::put_up() else { return };
    let path = site.lab.directory().join("manager.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let read = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    };
    let environment = format!("NOTIFY_SOCKET={}", path.display());
    let mut upgrades = Upgrades::start_by(&site.lab, &["env", &environment], &[]);
    assert_eq!(told(), "READY=1\n");
    upgrades.upgrade(&site.lab);
    let (one, other) = (told(), told());
    let main = format!("MAINPID={}\nREADY=1\n", upgrades.pid());
    // Two processes speak.
    assert!([&one, &other].contains(&&main), "{one:?}, {other:?}");
    assert!(
        [one.as_str(), other.as_str()].contains(&"READY=1\n"),
        "{one:?}, {other:?}"
    );
    upgrades.stop();
    assert_eq!(told(), "STOPPING=1\n");
}

#[test]
fn the_end_is_heard_while_a_newcomer_says_nothing() {
    let mut asked = Asked::start();
    let mut newcomer = web::unix(&asked.socket);
    let request = "POST /takeover HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: unmangle-takeover\r\n\r\n";
    newcomer.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    newcomer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let relay = &mut asked.here.relay;
    until("it hands over", PATIENCE, || {
        relay.log().contains("handing over")
    });
    relay.signal(Signal::TERM);
    assert_eq!(relay.exit_code(), Some(0));
    assert!(relay.log().contains("the end was asked for"));
    assert!(relay.log().contains("\"drained\""));
}
