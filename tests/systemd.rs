//! The units under a real systemd.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use site::hanging::Hanging;
use site::machine::Machine;
use site::{PATIENCE, Pair, Site, accept, talk, until};
use unmangle::lab::{Family, OpenedFrom, Role};

const UNIT: &str = "unmangle.service";
const SETTINGS: &str = "/etc/unmangle/unmangle.toml";
/// An address that the machine does not have when it starts.
const NOT_YET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 77), 2222);
/// A gateway for port 22.
const GATEWAY: &str = "workers = 2\n\
    [[listener]]\nname = \"ssh\"\nintercept = [22]\nmangled-side = \"fw0\"\nprofile = \"cisco-pix\"\n";

/// A machine on the relay host, with the relay and its units installed.
fn installed(site: &Site) -> Machine {
    let machine = Machine::boot(site.lab.host(Role::Relay));
    // Debian has it running from the boot on, and it rejects what the lab lets through.
    machine.run("systemctl", &["stop", "firewalld.service"]);
    machine.install_unmangle();
    machine.install_units();
    machine
}

/// Starts it, and has it relay.
#[track_caller]
fn start(machine: &Machine, unit: &str) {
    let started = machine.output("systemctl", &["start", unit]);
    assert!(started.status.success(), "{}", machine.journal(unit));
}

fn deployed(path: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    std::fs::read_to_string(deploy.join(path)).unwrap()
}

/// The main process of a unit, by its number in the machine.
fn main_pid(machine: &Machine, unit: &str) -> u32 {
    machine.property(unit, "MainPID").parse().unwrap()
}

fn is_active(machine: &Machine, unit: &str) -> bool {
    machine.property(unit, "ActiveState") == "active"
        && machine.property(unit, "SubState") == "running"
}

/// Waits until systemd has started a unit once more.
fn until_restarted(machine: &Machine, times: &str) {
    until("it was started again", PATIENCE, || {
        machine.property(UNIT, "NRestarts") == times && is_active(machine, UNIT)
    });
}

fn relayed(site: &Site) -> Pair {
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    pair
}

#[test]
fn the_units_are_sound_and_expose_little() {
    let Some(site) = Site::put_up() else { return };
    let machine = installed(&site);
    machine.write(
        "/etc/systemd/system/unmangle.socket",
        &deployed("unmangle.socket"),
    );
    for unit in [UNIT, "unmangle@one.service", "unmangle.socket"] {
        let output = machine.output("systemd-analyze", &["verify", "--man=no", unit]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && !said.contains("unmangle"),
            "{unit}: {said}"
        );
    }
    for unit in [UNIT, "unmangle@.service"] {
        let path = format!("/usr/lib/systemd/system/{unit}");
        let told = machine.run(
            "systemd-analyze",
            &["security", "--offline=true", "--no-pager", &path],
        );
        let last = told
            .lines()
            .find(|line| line.contains("Overall exposure level"))
            .unwrap();
        let mut words = last.split_whitespace();
        let exposure: f64 = words.find_map(|word| word.parse().ok()).unwrap();
        assert!(exposure > 0.0 && exposure <= 2.5, "{last}");
        eprintln!("{unit}: {exposure}");
    }
}

#[test]
fn the_gateway_starts_reloads_stops_and_comes_back_when_it_was_killed() {
    let Some(site) = Site::put_up() else { return };
    let machine = installed(&site);
    machine.write(SETTINGS, GATEWAY);
    start(&machine, UNIT);
    // Started is what relays.
    assert!(is_active(&machine, UNIT));
    assert!(site.is_intercepting());
    let pid = machine.outside(main_pid(&machine, UNIT));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let user = machine.run("id", &["-u", "unmangle"]);
    let uid = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    assert_eq!(uid.split_whitespace().nth(1), Some(user.trim_end()));
    drop(relayed(&site));
    // Who is in the group may ask.
    let ask = [
        "--reuid=nobody",
        "--regid=unmangle",
        "--clear-groups",
        "unmangle",
        "status",
    ];
    let told = machine.run("setpriv", &ask);
    assert!(told.contains("cisco-pix"), "{told}");

    machine.write(SETTINGS, &GATEWAY.replace("cisco-pix", "asa"));
    machine.run("systemctl", &["reload", UNIT]);
    until("the settings are others", PATIENCE, || {
        machine.run("unmangle", &["status"]).contains("asa")
    });
    assert_eq!(pid, machine.outside(main_pid(&machine, UNIT)));
    drop(relayed(&site));

    machine.run(
        "systemctl",
        &["kill", "--signal=KILL", "--kill-who=main", UNIT],
    );
    until_restarted(&machine, "1");
    drop(relayed(&site));

    machine.run("systemctl", &["stop", UNIT]);
    assert!(!site.is_intercepting());
    assert!(!machine.run("nft", &["list", "tables"]).contains("unmangle"));
    assert!(!machine.run("ip", &["rule"]).contains("fwmark"));

    // What is not there yet, as at a boot, may come.
    machine.write(SETTINGS, &forward(NOT_YET.into()));
    let starts = || machine.output("systemctl", &["start", UNIT]).status;
    assert!(!starts().success());
    assert_eq!(machine.property(UNIT, "ExecMainStatus"), "2");
    let address = format!("{}/32", NOT_YET.ip());
    machine.run("ip", &["address", "add", &address, "dev", "lo"]);
    until("it was tried again", PATIENCE, || is_active(&machine, UNIT));
    machine.run("systemctl", &["stop", UNIT]);

    // What cannot be done is said.
    machine.write(SETTINGS, "[[listener]]\nintercept = [0]\n");
    assert!(!starts().success());
    machine.run("systemctl", &["stop", UNIT]);
    let journal = machine.journal(UNIT);
    assert!(
        !journal.contains("not permitted") && !journal.contains("denied"),
        "{journal}"
    );
}

#[test]
fn sessions_outlive_upgrades_and_the_watchdog_ends_what_hangs() {
    let Some(site) = Site::put_up() else { return };
    let machine = installed(&site);
    machine.write(
        "/etc/systemd/system/unmangle.service.d/soon.conf",
        "[Service]\nWatchdogSec=3\n",
    );
    machine.run("systemctl", &["daemon-reload"]);
    machine.write(SETTINGS, GATEWAY);
    start(&machine, UNIT);
    let lives = relayed(&site);
    let heard = || {
        machine
            .property(UNIT, "WatchdogTimestampMonotonic")
            .parse::<u64>()
            .unwrap()
    };
    for _ in 0..2 {
        let before = main_pid(&machine, UNIT);
        machine.run("unmangle", &["upgrade"]);
        until("another process is the main one", PATIENCE, || {
            let now = main_pid(&machine, UNIT);
            now != before && now != 0
        });
        talk(&lives);
        assert!(is_active(&machine, UNIT));
        // A whole interval later it is still there.
        let since = heard();
        until("the watchdog is served", PATIENCE, || {
            heard() > since + 3_000_000
        });
        assert!(is_active(&machine, UNIT));
    }
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    talk(&lives);

    let pid = machine.outside(main_pid(&machine, UNIT));
    let hanging = Hanging::thread(pid, "worker-0");
    until("it is ended", PATIENCE, || hanging.is_over());
    drop(hanging);
    until_restarted(&machine, "1");
    let journal = machine.journal(UNIT);
    assert!(
        journal.contains("threads do not answer") && journal.contains("worker-0"),
        "{journal}"
    );
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    drop(relayed(&site));
    machine.run("systemctl", &["stop", UNIT]);
}

/// Where the client reaches the relay host.
fn door(port: u16) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 1), port).into()
}

fn opened_doors(site: &Site, ports: &[u16]) {
    for port in ports {
        let port = port.to_string();
        let accept = ["add", "rule", "inet", "um_lab", "input", "tcp", "dport"];
        let accept = [&accept[..], &[port.as_str(), "accept"]].concat();
        site.lab.relay().run("nft", &accept).unwrap();
    }
}

fn forward(at: SocketAddr) -> String {
    format!("workers = 2\n[[listener]]\nlisten = \"{at}\"\nto = \"198.51.100.2:22\"\n")
}

#[test]
fn who_connects_during_a_restart_waits_in_the_socket_unit() {
    let Some(site) = Site::put_up() else { return };
    let machine = installed(&site);
    opened_doors(&site, &[2222, 2223]);
    machine.write(SETTINGS, &forward(door(2222)));
    machine.write(
        "/etc/systemd/system/unmangle.socket",
        &deployed("unmangle.socket"),
    );
    machine.run("systemctl", &["daemon-reload"]);
    machine.run("systemctl", &["start", "unmangle.socket"]);
    let server = site.listen(Role::Server, Family::V4);
    let connect = |port| site.dial(Role::Client, door(port)).unwrap();
    // The first one starts it.
    let first = connect(2222);
    let first = Pair {
        server: accept(&server),
        client: first,
    };
    talk(&first);
    drop(first);
    let before = main_pid(&machine, UNIT);
    // While it is down somebody comes: the stop has ended before the start begins.
    machine.write(
        "/etc/systemd/system/unmangle.service.d/slow.conf",
        &format!(
            "[Service]\nExecStartPre=/bin/sh -c 'until [ -e {0}/go ]; do sleep 0.05; done'\n",
            site::machine::SHARED
        ),
    );
    machine.run("systemctl", &["daemon-reload"]);
    machine.run("systemctl", &["restart", "--no-block", UNIT]);
    until("it is down", PATIENCE, || {
        machine.property(UNIT, "SubState") == "start-pre"
    });
    let waits = connect(2222);
    std::fs::write(machine.shared().join("go"), "").unwrap();
    let waits = Pair {
        server: accept(&server),
        client: waits,
    };
    talk(&waits);
    until("it has begun", PATIENCE, || is_active(&machine, UNIT));
    assert_ne!(main_pid(&machine, UNIT), before);
    // An upgrade of one that was passed its socket.
    machine.run("unmangle", &["upgrade"]);
    talk(&waits);

    // Another relay beside it, by a file of its own.
    machine.write("/etc/unmangle/other.toml", &forward(door(2223)));
    start(&machine, "unmangle@other.service");
    let other = connect(2223);
    let other = Pair {
        server: accept(&server),
        client: other,
    };
    talk(&other);
    assert!(is_active(&machine, "unmangle@other.service"));
    drop((other, waits));

    // What the settings do not name is refused, and not tried for ever.
    machine.write(SETTINGS, &forward(door(2224)));
    assert!(
        !machine
            .output("systemctl", &["restart", UNIT])
            .status
            .success()
    );
    assert_eq!(machine.property(UNIT, "ExecMainStatus"), "2");
    let journal = machine.journal(UNIT);
    assert!(
        journal.contains("unmangle.socket was passed in for 192.0.2.1:2222"),
        "{journal}"
    );
    machine.run("systemctl", &["stop", "unmangle.socket", "unmangle@other"]);
}

#[test]
fn the_host_is_tuned_with_the_drop_in_alone() {
    let Some(site) = Site::put_up() else { return };
    let machine = installed(&site);
    machine.write(SETTINGS, &format!("host-tuning = \"apply\"\n{GATEWAY}"));
    let tuned = || machine.run("sysctl", &["-n", "net.ipv4.tcp_max_reordering"]);
    let untuned = tuned();
    assert_ne!(untuned, "3\n");
    start(&machine, UNIT);
    assert_eq!(tuned(), untuned);
    let journal = machine.journal(UNIT);
    assert!(
        journal.contains("WARN") && journal.contains("tcp_max_reordering"),
        "{journal}"
    );
    machine.run("systemctl", &["stop", UNIT]);
    let drop_in = "/etc/systemd/system/unmangle.service.d/host-tuning.conf";
    machine.write(drop_in, &deployed("unmangle.service.d/host-tuning.conf"));
    machine.run("systemctl", &["daemon-reload"]);
    start(&machine, UNIT);
    assert_eq!(tuned(), "3\n");
    machine.run("systemctl", &["stop", UNIT]);
    assert_eq!(tuned(), untuned);
}
