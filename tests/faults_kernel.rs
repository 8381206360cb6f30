//! A kernel that has nothing left to give, or whose clock jumps.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use rustix::process::{Signal, Uid};
use socket2::SockRef;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::bulk::{exchange, raise_own_limit};
use site::faults::{self, megabytes};
use site::ways::DOOR;
use site::{FAMILIES, PATIENCE, Relay, Site, Way, expect_no_session, expect_reset, talk, until};

const MIB: usize = 1 << 20;

/// Nobody else's, so that what it uses up is missed by nobody else.
const USER: u32 = 61_017;

#[test]
fn without_pipe_pages_bytes_are_copied_and_spliced_again_once_there_are_some() {
    const EACH: usize = 16 * MIB;
    let Some(site) = Site::put_up_for(Way::forward()) else {
        return;
    };
    raise_own_limit();
    site.open_the_door();
    let all_pages = use_up_pipe_pages();
    // The program may lie where that user cannot look; it can be run by its descriptor.
    let script = format!(
        "exec 9<\"$0\"; exec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all \
         --bounding-set=-all /proc/self/fd/9 \"$@\""
    );
    let listen = format!("192.0.2.1:{DOOR}");
    let relay = Relay::start_by(
        &site.lab,
        &["sh", "-c", &script],
        &["--listen", &listen, "--to", "198.51.100.2:22"],
    );
    let carry = || {
        let pair = site.connect(OpenedFrom::Client, Family::V4);
        exchange(&pair, 1, EACH);
    };
    carry();
    let without = relay.table();
    assert_eq!(without["splices"], 0, "{without:?}");
    assert!(without["pipes_refused"] > 0, "{without:?}");
    let pipes = all_pages.len() / 2;
    drop(all_pages);
    carry();
    let with = relay.table();
    assert!(with["splices"] > 0, "{with:?}");
    assert_eq!(with["pipes_refused"], without["pipes_refused"], "{with:?}");
    relay.ended(2);
    let refused = format!(
        "{pipes} pipes in the way, {} refused",
        without["pipes_refused"]
    );
    faults::PIPE_PAGES.record(megabytes(4 * EACH), refused);
}

/// Pipes of [`USER`], as many as it takes until a new one gets less than the usual 16 pages.
fn use_up_pipe_pages() -> Vec<OwnedFd> {
    let open = || {
        let user = Uid::from_raw(USER);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        let mut ends = Vec::new();
        loop {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let usual = fcntl_getpipe_size(&write).unwrap();
            // As large as the kernel lets it be.
            let _ = fcntl_setpipe_size(&write, MIB);
            ends.extend([read, write]);
            if usual < 64 << 10 {
                return ends;
            }
        }
    };
    // The user is that of a thread, which ends with it; what it opened stays accounted to that user.
    std::thread::scope(|scope| scope.spawn(open).join().unwrap())
}

#[test]
fn a_relay_out_of_descriptors_keeps_its_sessions_and_its_listener() {
    const LATER: usize = 100;
    const BULK: usize = 4 * MIB;
    let Some(site) = Site::put_up() else { return };
    raise_own_limit();
    let relay = site.relay_by(&["prlimit", "--nofile=128:128"], &[]);
    let before = relay.descriptors();
    let running = FAMILIES.map(|family| site.connect(OpenedFrom::Client, family));
    running.iter().for_each(talk);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..LATER).map(|_| site.dial(Role::Client, to)).collect();
    // It takes no more than there are descriptors for, so it need not run into the limit.
    let held_up = |table: &BTreeMap<String, u64>| table["accept_waits"] + table["accept_pauses"];
    until("clients wait to be accepted", PATIENCE, || {
        held_up(&relay.table()) > 0
    });
    running.iter().for_each(talk);
    // The server serves whoever comes, at once. Each client is served, now or as soon as others have gone, or is
    // told that it is not.
    SockRef::from(&listener)
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let ends: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = [0];
            while let Ok((mut server, _)) = listener.accept() {
                match server.read_exact(&mut byte) {
                    Ok(()) if byte == *b"." => return,
                    Ok(()) => server.write_all(&byte).unwrap(),
                    // Given up for lack of descriptors.
                    Err(_) => {}
                }
            }
        });
        let ends = answers(clients);
        // It tells the server that nobody comes any more.
        let mut last = site.dial(Role::Client, to).unwrap();
        last.write_all(b".").unwrap();
        ends
    });
    let refused: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    for error in &refused {
        // Whoever writes after it was reset is told so by that.
        let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(reset.contains(&error.kind()), "{error}");
    }
    let refused = refused.len();
    let served = LATER - refused;
    drop(listener);
    assert!(served > LATER / 10, "{served} served, {refused} refused");
    let table = relay.table();
    assert_eq!(table["dial_failures"], refused as u64, "{table:?}");
    for (seed, pair) in (0..).zip(&running) {
        exchange(pair, seed, BULK);
    }
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    drop(running);
    relay.holds_no_more_than(before);
    let waits = held_up(&table);
    let measured = format!("{served} served, {refused} reset, {waits} waits");
    faults::DESCRIPTORS.record(megabytes(4 * BULK), measured);
}

/// All ask at once; what each got. Whoever has an answer goes at once and makes room for those who wait.
fn answers(clients: Vec<io::Result<TcpStream>>) -> Vec<io::Result<()>> {
    let mut ends = Vec::new();
    let mut waiting = Vec::new();
    for client in clients {
        match client.and_then(|mut client| client.write_all(b"x").map(|()| client)) {
            Ok(client) => waiting.push(client),
            Err(error) => ends.push(Err(error)),
        }
    }
    waiting
        .iter()
        .for_each(|client| client.set_nonblocking(true).unwrap());
    until("each has an answer", PATIENCE, || {
        waiting.retain_mut(|client| match client.read_exact(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            end => {
                ends.push(end);
                false
            }
        });
        waiting.is_empty()
    });
    ends
}

/// A full table drops what would make an entry of it; here it is a rule that does, just behind conntrack, because the
/// size of the table is the whole machine's.
const REFUSE_INPUT: &str = "chain pre { type filter hook prerouting priority -190; \
    meta l4proto tcp ct state new counter drop; }";
const REFUSE_OUTPUT: &str = "chain out { type filter hook output priority -190; \
    meta l4proto tcp ct state new counter drop; }";

#[test]
fn running_sessions_go_on_while_conntrack_takes_no_new_ones() {
    const EACH: usize = 8 * MIB;
    const FULL: &str = "um_full";
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--connect-timeout", "2s"]);
    let before = relay.descriptors();
    let mut told = Duration::ZERO;
    for (seed, family) in (0..).zip(FAMILIES) {
        let listener = site.listen(Role::Server, family);
        let to = listener.local_addr().unwrap();
        let running = site.connect_to(&listener, OpenedFrom::Client);
        talk(&running);
        site.put_rules(
            Role::Relay,
            FULL,
            &format!("{REFUSE_INPUT}\n{REFUSE_OUTPUT}"),
        );
        let unanswered = site::inside(site.lab.client(), || {
            TcpStream::connect_timeout(&to, Duration::from_millis(1500))
        });
        assert_eq!(unanswered.unwrap_err().kind(), ErrorKind::TimedOut);
        talk(&running);
        site.take_rules(Role::Relay, FULL);
        site.put_rules(Role::Relay, FULL, REFUSE_OUTPUT);
        let begun = Instant::now();
        expect_no_session(site.dial(Role::Client, to));
        told = told.max(begun.elapsed());
        exchange(&running, seed, EACH);
        site.take_rules(Role::Relay, FULL);
        assert!(site::is_unvisited(&listener));
        talk(&site.connect_to(&listener, OpenedFrom::Client));
    }
    assert_eq!(relay.table()["dial_failures"], 2);
    relay.ended(4);
    relay.holds_no_more_than(before);
    let told = format!("a client was reset after {:.1} s", told.as_secs_f64());
    faults::CONNTRACK.record(megabytes(4 * EACH), told);
}

#[test]
fn a_wall_clock_that_jumps_ends_nothing_early_and_hangs_nothing() {
    const EACH: usize = 8 * MIB;
    const TIMEOUT: Duration = Duration::from_secs(1);
    let Some(site) = Site::put_up() else { return };
    let Some(faketime) = faketime() else { return };
    let clock = site.lab.directory().join("clock");
    let jump = |offset: &str| fs::write(&clock, offset).unwrap();
    jump("+0d");
    let preload = format!("LD_PRELOAD={}", faketime.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
    // Of the two clocks only that on the wall is set.
    let only_wall = "FAKETIME_DONT_FAKE_MONOTONIC=1";
    let mut relay = site.relay_by(
        &["env", &preload, &file, "FAKETIME_NO_CACHE=1", only_wall],
        &["--connect-timeout", "1s", "--intercept", "22,24"],
    );
    // Who asks there gets no answer.
    let silence = "chain in { type filter hook input priority 0; tcp dport 24 drop; }";
    site.put_rules(Role::Server, "um_silent", silence);
    let running = FAMILIES.map(|family| site.connect(OpenedFrom::Client, family));
    running.iter().for_each(talk);
    let mut late = Duration::ZERO;
    for offset in ["+400d", "-400d"] {
        let silent = SocketAddr::from((Role::Server.address(Family::V4), 24));
        let begun = Instant::now();
        let waiting = site.dial(Role::Client, silent).unwrap();
        jump(offset);
        running.iter().for_each(talk);
        expect_reset(&waiting);
        let waited = begun.elapsed();
        assert!(waited >= TIMEOUT, "{offset}: given up after {waited:?}");
        late = late.max(waited - TIMEOUT);
        talk(&site.connect(OpenedFrom::Client, Family::V4));
    }
    for (seed, pair) in (0..).zip(&running) {
        jump(if seed == 0 { "+400d" } else { "-400d" });
        exchange(pair, seed, EACH);
    }
    // A drain of 30 s is not over because 400 days seem to be.
    let draining = site.connect(OpenedFrom::Client, Family::V6);
    talk(&draining);
    drop(running);
    let ended = relay.ended(4);
    relay.signal(Signal::TERM);
    until("it drains", PATIENCE, || !site.takes_new_ones());
    jump("+400d");
    talk(&draining);
    jump("-400d");
    talk(&draining);
    drop(draining);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
    for session in &ended {
        let lasted = session["duration_ms"].as_f64().unwrap();
        assert!((0.0..60_000.0).contains(&lasted), "{session}");
    }
    let years = years(&relay.log());
    assert!(years.len() >= 3, "its clock did not jump: {years:?}");
    let late = format!(
        "dials given up {:.0} ms after their time",
        late.as_secs_f64() * 1e3
    );
    faults::CLOCK.record(megabytes(4 * EACH), late);
}

/// The library that sets the clock of one process; where it is not installed the test is skipped, except in CI.
fn faketime() -> Option<PathBuf> {
    let mut directories = fs::read_dir("/usr/lib").unwrap().flatten();
    let library = directories.find_map(|directory| {
        let library = directory.path().join("faketime/libfaketime.so.1");
        library.exists().then_some(library)
    });
    if library.is_none() {
        let missing = "libfaketime is not installed: apt install libfaketime";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        println!("skipped: {missing}");
    }
    library
}

/// Which years the lines of a log say it is.
fn years(log: &str) -> Vec<String> {
    let mut years: Vec<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| Some(event["timestamp"].as_str()?.get(..4)?.to_owned()))
        .collect();
    years.sort();
    years.dedup();
    years
}
