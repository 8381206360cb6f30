//! Whoever started it, the relay runs with what its mode needs and nothing else: so says the kernel, of every thread and
//! of the child that owns the rules. And with that little it does all of its work.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use unmangle::lab::{Family, OpenedFrom, Role};

use site::rules::Rules;
use site::{FAMILIES, OPENED, PATIENCE, Pair, Relay, Site, accept, carry, pattern, talk, until};

/// Nobody of this machine, by number: it has no entry, no files and no other processes.
const NUMBERS: [u32; 2] = [54_301, 54_302];
const RUN_AS: [&str; 2] = ["--run-as", "54301:54302"];

const BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;

/// What the kernel says of a process or a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    /// Real, effective, saved and of the file system.
    users: [u32; 4],
    groups: [u32; 4],
    /// Supplementary ones.
    others: Vec<u32>,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new_privileges: bool,
}

impl Status {
    fn of(process: impl AsRef<Path>) -> Self {
        let text = fs::read_to_string(process.as_ref().join("status")).unwrap();
        let words = |key: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().skip(1).collect()
        };
        let numbers = |key| -> Vec<u32> { words(key).iter().map(|n| n.parse().unwrap()).collect() };
        let set = |key| u64::from_str_radix(words(key)[0], 16).unwrap();
        Self {
            users: numbers("Uid:").try_into().unwrap(),
            groups: numbers("Gid:").try_into().unwrap(),
            others: numbers("Groups:"),
            inheritable: set("CapInh:"),
            permitted: set("CapPrm:"),
            effective: set("CapEff:"),
            bounding: set("CapBnd:"),
            ambient: set("CapAmb:"),
            no_new_privileges: words("NoNewPrivs:") == ["1"],
        }
    }

    /// Of somebody who has `held`, and gives nothing to children.
    fn with([user, group]: [u32; 2], held: u64) -> Self {
        Self {
            users: [user; 4],
            groups: [group; 4],
            others: vec![],
            inheritable: 0,
            permitted: held,
            effective: held,
            bounding: held,
            ambient: 0,
            no_new_privileges: true,
        }
    }

    /// Of a child of that somebody.
    fn child_of(parent: [u32; 2], bounding: u64) -> Self {
        Self {
            inheritable: NET_ADMIN,
            ambient: NET_ADMIN,
            bounding,
            ..Self::with(parent, NET_ADMIN)
        }
    }
}

/// Every thread of a process, its first one at the end.
fn threads(id: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let mut tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    tasks.sort_by_key(|task| task.ends_with(id.to_string()));
    tasks
}

/// Sees that every thread of the relay has this status, and the child that owns the rules no more than CAP_NET_ADMIN.
fn expect(relay: &Relay, who: [u32; 2], held: u64) {
    let threads = threads(relay.id());
    let [workers @ .., first] = threads.as_slice() else {
        panic!("no threads");
    };
    assert!(workers.len() >= 2, "{threads:?}");
    let expected = Status::with(who, held);
    for thread in workers {
        assert_eq!(Status::of(thread), expected, "{thread:?}");
    }
    // The first thread starts `ip` each second, and lends it something for a moment.
    let mut last = Status::of(first);
    until("nothing is lent", PATIENCE, || {
        last = Status::of(first);
        last.ambient == 0 && last.inheritable == 0
    });
    assert_eq!(last, expected);
    match relay.rule_owner() {
        Some(nft) => {
            let nft = Status::of(format!("/proc/{nft}"));
            assert_eq!(nft, Status::child_of(who, held));
        }
        None => assert_eq!(held & NET_ADMIN, 0, "where is nft?"),
    }
}

/// Bulk both ways.
fn transfer(pair: &Pair) {
    carry(&pair.client, &pair.server, &pattern(1, 3_000_000));
    carry(&pair.server, &pair.client, &pattern(2, 3_000_000));
}

/// Waits until what was lost is back as often as this.
fn until_restored(relay: &Relay, times: usize) {
    until("it is in place again", PATIENCE, || {
        relay.events("it is in place again").len() >= times
    });
}

fn remove_ip_rule(site: &Site, role: Role) {
    let host = site.lab.host(role);
    host.run("ip", &["rule", "del", "pref", "21069"]).unwrap();
}

fn ip_rules(site: &Site, role: Role) -> String {
    site.lab
        .host(role)
        .run("ip", &["-N", "rule", "show"])
        .unwrap()
}

fn kill(id: u32) {
    let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
    kill_process(id, Signal::KILL).unwrap();
}

/// Nothing of the relay is left on a host.
fn expect_nothing_left(site: &Site, role: Role) {
    let tables = site.lab.host(role).run("nft", &["list", "tables"]).unwrap();
    assert!(!tables.contains("unmangle"), "{tables}");
    for family in ["-4", "-6"] {
        let rules = site
            .lab
            .host(role)
            .run("ip", &["-N", family, "rule", "show"])
            .unwrap();
        assert!(!rules.contains("proto 85"), "{rules}");
    }
}

#[test]
fn a_gateway_that_root_starts_is_another_user_with_two_capabilities() {
    let Some(site) = Site::put_up() else { return };
    let before = Rules::of(&site);
    // Who is in other groups is in none afterwards.
    let relay = Relay::start_by(&site.lab, &["setpriv", "--groups", "4,24"], &RUN_AS);
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    for opened in OPENED {
        for family in FAMILIES {
            transfer(&site.connect(opened, family));
        }
    }
    // What somebody removes is put back, with the privileges that are left.
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    remove_ip_rule(&site, Role::Relay);
    until_restored(&relay, 1);
    assert_eq!(site.own_ip_rules(), [1, 1]);
    kill(relay.rule_owner().unwrap());
    until_restored(&relay, 2);
    assert!(site.is_intercepting());
    transfer(&pair);
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    drop(pair);
    relay.stop();
    assert_eq!(Rules::of(&site), before);
}

#[test]
fn a_clients_port_below_1024_is_kept_by_a_relay_that_is_not_root() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&RUN_AS);
    let listener = site.listen(Role::Server, Family::V4);
    let client = site
        .dial_from(Role::Client, 1021, listener.local_addr().unwrap())
        .unwrap();
    let server = accept(&listener);
    assert_eq!(server.peer_addr().unwrap().port(), 1021);
    talk(&Pair { client, server });
    assert_eq!(relay.table()["port_fallbacks"], 0);
}

#[test]
fn what_answers_after_the_server_does_so_without_root_and_puts_the_queues_rules_back() {
    let Some(site) = Site::put_up() else { return };
    let before = Rules::of(&site);
    let relay = site.relay(&[&["--answer", "after-connect"][..], &RUN_AS].concat());
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    for family in FAMILIES {
        transfer(&site.connect(OpenedFrom::Client, family));
    }
    assert_eq!(relay.table()["held_released"], 2);
    // Where nft cannot queue, iptables does, which is somebody else's child.
    let queue = "iptables -t raw -S PREROUTING | grep -c unmangle || true";
    let rules = || site.lab.relay().feed("sh", &[], queue).unwrap();
    if rules().trim() == "1" {
        let flush = ["-t", "raw", "-F", "PREROUTING"];
        site.lab.relay().run("iptables", &flush).unwrap();
        until_restored(&relay, 1);
        assert_eq!(rules().trim(), "1");
    }
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    relay.stop();
    assert_eq!(Rules::of(&site), before);
}

/// A service on every address of the host.
fn service(site: &Site) -> TcpListener {
    let everywhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    site.listen_at(Role::Server, (everywhere, 22).into())
}

#[test]
fn a_server_sidecar_keeps_what_its_leg_to_the_service_needs() {
    let Some(site) = Site::put_up() else { return };
    let service = service(&site);
    for (leg, held) in [
        ("loopback", NET_ADMIN | BIND_SERVICE),
        ("own-address", NET_ADMIN),
    ] {
        let more = [&["--service-leg", leg][..], &RUN_AS].concat();
        let relay = Relay::sidecar(&site.lab, Role::Server, "server-sidecar", &more);
        expect(&relay, NUMBERS, held);
        let client = site
            .dial(Role::Client, (Role::Server.address(Family::V4), 22).into())
            .unwrap();
        let server = accept(&service);
        let pair = Pair { client, server };
        transfer(&pair);
        let rules = ip_rules(&site, Role::Server);
        remove_ip_rule(&site, Role::Server);
        until_restored(&relay, 1);
        assert_eq!(ip_rules(&site, Role::Server), rules);
        transfer(&pair);
        drop(pair);
        relay.stop();
        expect_nothing_left(&site, Role::Server);
    }
}

#[test]
fn a_client_sidecar_keeps_one_capability() {
    let Some(site) = Site::put_up() else { return };
    let relay = Relay::sidecar(&site.lab, Role::Client, "client-sidecar", &RUN_AS);
    expect(&relay, NUMBERS, NET_ADMIN);
    for family in FAMILIES {
        transfer(&site.connect(OpenedFrom::Client, family));
    }
    relay.ended(2);
    kill(relay.rule_owner().unwrap());
    until_restored(&relay, 1);
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    relay.ended(3);
    relay.stop();
    expect_nothing_left(&site, Role::Client);
}

#[test]
fn a_forward_relay_that_root_starts_binds_its_low_port_and_keeps_no_capability() {
    let Some(site) = Site::put_up() else { return };
    site.load("add rule inet um_lab input tcp dport 222 accept");
    let door = "192.0.2.1:222";
    let forward = ["--listen", door, "--to", "198.51.100.2:22"];
    let relay = site.relay(&[&forward[..], &RUN_AS].concat());
    expect(&relay, NUMBERS, 0);
    let listener = site.listen(Role::Server, Family::V4);
    let client = site.dial(Role::Client, door.parse().unwrap()).unwrap();
    transfer(&Pair {
        server: accept(&listener),
        client,
    });
    relay.stop();
}

#[test]
fn a_forward_relay_that_dials_as_its_clients_keeps_what_a_gateway_does() {
    let Some(site) = Site::put_up() else { return };
    site.open_the_door();
    let forward = [
        "--listen",
        "192.0.2.1:2222",
        "--to",
        "198.51.100.2:22",
        "--dial-from",
        "client",
    ];
    let relay = site.relay(&[&forward[..], &RUN_AS].concat());
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    let listener = site.listen(Role::Server, Family::V4);
    let client = site
        .dial(Role::Client, "192.0.2.1:2222".parse().unwrap())
        .unwrap();
    let server = accept(&listener);
    assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
    transfer(&Pair { client, server });
    relay.stop();
    expect_nothing_left(&site, Role::Relay);
}

#[test]
fn the_hosts_settings_are_changed_and_restored_by_a_relay_that_is_not_root() {
    let Some(site) = Site::put_up() else { return };
    const REORDERING: &str = "/proc/sys/net/ipv4/tcp_max_reordering";
    let host = site.lab.relay();
    host.set(&[("net/ipv4/tcp_max_reordering", "127")]).unwrap();
    let value = || host.run("cat", &[REORDERING]).unwrap().trim().to_owned();
    let relay = site.relay(&[&["--host-tuning", "apply"][..], &RUN_AS].concat());
    assert_eq!(value(), "3");
    relay.stop();
    assert_eq!(value(), "127");
    // What a killed one has left is restored by the next, whoever that runs as.
    for next in [&[][..], &RUN_AS] {
        let relay = site.relay(&[&["--host-tuning", "apply"][..], &RUN_AS].concat());
        assert_eq!(value(), "3");
        kill(relay.id());
        drop(relay);
        until("its rules are gone", PATIENCE, || !site.has_table());
        let relay = site.relay(next);
        assert_eq!(value(), "127", "{}", relay.log());
        relay.stop();
    }
}

#[test]
fn root_without_a_user_is_told_so_and_keeps_no_more_than_another_would() {
    let Some(site) = Site::put_up() else { return };
    let warned = |relay: &Relay| relay.log().contains("give --run-as USER");
    let relay = site.relay(&[]);
    expect(&relay, [0, 0], NET_ADMIN | BIND_SERVICE);
    assert!(warned(&relay), "{}", relay.log());
    transfer(&site.connect(OpenedFrom::Client, Family::V4));
    relay.stop();
    // Who says so is not told.
    let relay = site.relay(&["--run-as", "root"]);
    expect(&relay, [0, 0], NET_ADMIN | BIND_SERVICE);
    assert!(!warned(&relay), "{}", relay.log());
    relay.stop();
    let relay = site.relay(&RUN_AS);
    assert!(!warned(&relay), "{}", relay.log());
    relay.stop();
}

/// What starts the program for everybody, in the place of the one that only root may reach, as an ordinary user who has
/// been given two capabilities.
fn as_ordinary_user(instead: &str) -> [&str; 16] {
    let sets = "-all,+net_admin,+net_bind_service";
    [
        "setpriv",
        "--reuid",
        "54301",
        "--regid",
        "54302",
        "--clear-groups",
        "--inh-caps",
        sets,
        "--ambient-caps",
        sets,
        "--bounding-set",
        sets,
        "sh",
        "-c",
        instead,
        "sh",
    ]
}

#[test]
fn an_ordinary_user_with_ambient_capabilities_needs_no_root_at_all() {
    let Some(site) = Site::put_up() else { return };
    let (_directory, program) = site::program_for_everybody();
    let before = Rules::of(&site);
    let instead = format!("shift; exec {program} \"$@\"");
    let starter = as_ordinary_user(&instead);
    let relay = Relay::start_by(&site.lab, &starter, &[]);
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    for opened in OPENED {
        transfer(&site.connect(opened, Family::V4));
    }
    remove_ip_rule(&site, Role::Relay);
    until_restored(&relay, 1);
    relay.stop();
    assert_eq!(Rules::of(&site), before);

    // To become itself is nothing; to become another is root's.
    let relay = Relay::start_by(&site.lab, &starter, &RUN_AS);
    expect(&relay, NUMBERS, NET_ADMIN | BIND_SERVICE);
    relay.stop();
    let refusal = Relay::refusal(&site.lab, &starter, &["--run-as", "root"]);
    assert_eq!(
        refusal,
        "unmangle: --run-as: only root can run as another user: CAP_SETUID and CAP_SETGID are missing"
    );
    assert_eq!(Rules::of(&site), before);
}

#[test]
fn a_user_that_there_is_not_is_refused_and_nothing_is_changed() {
    let Some(site) = Site::put_up() else { return };
    let before = Rules::of(&site);
    for (run_as, why) in [
        ("nosuch", "there is no user \"nosuch\" here"),
        ("root:nosuch", "there is no group \"nosuch\" here"),
        (
            "54301",
            "user 54301 has no entry here, and so no group; give 54301:GROUP",
        ),
    ] {
        let refusal = Relay::refusal(&site.lab, &[], &["--run-as", run_as]);
        assert_eq!(refusal, format!("unmangle: --run-as: {why}"));
    }
    assert_eq!(Rules::of(&site), before);
}

#[test]
fn neither_another_process_of_its_user_nor_a_core_dump_sees_its_memory() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&RUN_AS);
    // What cannot be dumped is root's in /proc, whoever it runs as.
    let memory = fs::metadata(format!("/proc/{}/mem", relay.id())).unwrap();
    assert_eq!(memory.uid(), 0);
    let user = ["--reuid", "54301", "--regid", "54302", "--clear-groups"];
    for process in [relay.id(), relay.rule_owner().unwrap()] {
        let memory = format!("/proc/{process}/mem");
        let read = [&user[..], &["--", "head", "-c1", &memory]].concat();
        let error = site.lab.relay().run("setpriv", &read).unwrap_err();
        assert!(error.to_string().contains("Permission denied"), "{error}");
    }
}
