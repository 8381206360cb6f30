//! A host that breaks: the server, or the relay itself.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use unmangle::lab::{Joined, Lab, OpenedFrom, Role};

use site::faults::{self, megabytes};
use site::{FAMILIES, PATIENCE, Pair, Site, UNMANGLE, Way, expect_reset, pattern, talk, until};

const MIB: usize = 1 << 20;

// === the server ===

#[test]
fn a_server_that_reboots_is_told_to_its_clients_as_a_reset() {
    const SENDERS: usize = 4;
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--keepalive", "1s"]);
    let before = relay.descriptors();
    let mut longest = Duration::ZERO;
    for family in FAMILIES {
        let listener = site.listen(Role::Server, family);
        let connect = || site.connect_to(&listener, OpenedFrom::Client);
        let (receives, idles) = (connect(), connect());
        let send: [Pair; SENDERS] = std::array::from_fn(|_| connect());
        talk(&idles);
        site::carry(&receives.server, &receives.client, &pattern(1, 4 * MIB));
        std::thread::scope(|scope| {
            let mut servers = vec![receives.server, idles.server];
            let mut sending = Vec::new();
            for Pair { client, server } in send {
                sending.push(scope.spawn(move || send_until_refused(&client)));
                (&server).read_exact(&mut vec![0; MIB]).unwrap();
                servers.push(server);
            }
            // Nobody hears of it: neither a FIN nor a reset leaves the host that goes down.
            let silence = "chain out { type filter hook output priority -300; policy drop; }";
            site.put_rules(Role::Server, "um_reboot", silence);
            drop(listener);
            servers.into_iter().for_each(site::reset);
            site.take_rules(Role::Server, "um_reboot");
            let up_again = Instant::now();
            for sender in sending {
                // A broken pipe would be a reset after an end.
                assert_eq!(sender.join().unwrap(), ErrorKind::ConnectionReset);
            }
            expect_reset(&receives.client);
            expect_reset(&idles.client);
            longest = longest.max(up_again.elapsed());
        });
        let again = site.connect(OpenedFrom::Client, family);
        talk(&again);
    }
    let sessions = FAMILIES.len() * (SENDERS + 2);
    let ended = relay.ended(sessions + FAMILIES.len());
    let reset = |by: &str| {
        let by_whom =
            |session: &&serde_json::Value| session["how"] == "rst" && session["closed_by"] == by;
        ended.iter().filter(by_whom).count()
    };
    assert_eq!(reset("server"), sessions, "{ended:?}");
    relay.holds_no_more_than(before);
    let told = format!("told after {:.1} s at most", longest.as_secs_f64());
    faults::REBOOT.record(format!("{sessions} sessions"), told);
}

/// Sends for as long as somebody takes it; returns why nobody does any more.
fn send_until_refused(mut to: &TcpStream) -> ErrorKind {
    let bytes = pattern(1, MIB);
    loop {
        if let Err(error) = to.write_all(&bytes) {
            return error.kind();
        }
    }
}

// === the relay ===

#[test]
fn an_rsync_whose_relay_is_killed_fails_at_once_and_arrives_when_run_again() {
    const PAYLOAD: u64 = 30_000_000;
    if !site::possible() {
        return;
    }
    let veth = || Joined::Veth { offloads: true };
    let lab = Lab::builder().unmangle(UNMANGLE).payload(PAYLOAD);
    let mut lab = lab.firewall(veth()).long_leg(veth()).start().unwrap();
    lab.start_rsyncd(Role::Server).unwrap();
    let way = Way::splice();
    let site = Site { lab, way };
    let there = |address: &str, file: &str| format!("rsync://{address}/lab/{file}");
    let payload = site.lab.payload().unwrap();
    let (received, from) = (site.lab.received(), payload.path.to_str().unwrap());
    let name = payload.path.file_name().unwrap().to_str().unwrap();
    let ways = [
        [from.to_owned(), there("198.51.100.2", "received")],
        [
            there("[2001:db8:2::2]", name),
            received.to_str().unwrap().to_owned(),
        ],
    ];
    let intercept = ["--intercept", "22,873"];
    let mut longest = Duration::ZERO;
    for [from, to] in &ways {
        let mut relay = site.relay(&intercept);
        let mut rsync = rsync(&site, &["--bwlimit=12M", from, to]);
        until("it is in the middle of it", PATIENCE, || {
            under_way(&site) > PAYLOAD / 10
        });
        relay.signal(Signal::KILL);
        let killed = Instant::now();
        until("rsync ends", PATIENCE, || {
            rsync.try_wait().unwrap().is_some()
        });
        longest = longest.max(killed.elapsed());
        let ended = rsync.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{said}");
        assert!(said.contains("rsync error: "), "{said}");
        assert!(
            !received.exists(),
            "half a file under the name of the whole"
        );
        until("the relay is gone", PATIENCE, || relay.has_ended());

        let next = site.relay(&intercept);
        let ended = self::rsync(&site, &[from, to]).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{said}");
        assert!(payload.equals(&received), "what arrived differs");
        next.ended(1);
        next.stop();
        fs::remove_file(&received).unwrap();
    }
    let told = format!("rsync failed within {:.0} ms", longest.as_secs_f64() * 1e3);
    faults::KILL.record(megabytes(2 * PAYLOAD as usize), told);
}

/// Starts one on the client, which sends every byte.
fn rsync(site: &Site, arguments: &[&str]) -> Child {
    let mut command = site.lab.client().command("rsync");
    command
        .args(["--whole-file", "--no-compress"])
        .args(arguments);
    command.stderr(Stdio::piped()).stdin(Stdio::null());
    command.spawn().unwrap()
}

/// How much there is of the file that rsync is receiving.
fn under_way(site: &Site) -> u64 {
    let entries = fs::read_dir(site.lab.data_directory()).unwrap().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(".received.")
        })
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.len())
        .sum()
}
