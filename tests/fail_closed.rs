//! A relay that fails closed: while it lives nothing is dropped, and once it was killed nothing that it
//! would have taken passes until somebody says so.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use unmangle::config::Fail;
use unmangle::lab::{Family, Host, OpenedFrom, Role};
use unmangle::rules::{Change, InPlace, Lock, fail_closed};

use site::rules::{Rules, plan};
use site::{
    FAMILIES, OPENED, PATIENCE, Pair, Site, UNMANGLE, accept, inside, is_unvisited, talk, until,
};

/// Long enough for a SYN that is let through, and its first repetition.
const A_WHILE: Duration = Duration::from_millis(1500);

fn install(site: &Site) {
    inside(site.lab.relay(), || fail_closed::install(&plan())).unwrap();
}

fn is_installed(site: &Site) -> bool {
    inside(site.lab.relay(), fail_closed::is_installed).unwrap()
}

/// How many opening packets were dropped so far.
fn dropped(site: &Site) -> u64 {
    let list = ["list", "table", "inet", fail_closed::TABLE];
    let table = site.lab.relay().run("nft", &list).unwrap();
    let counters = table.split("counter packets ").skip(1);
    counters
        .map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Exit code and output of `unmangle rules --remove` on the relay host.
fn remove(site: &Site) -> (Option<i32>, String) {
    let mut command = site.lab.relay().command(UNMANGLE);
    let output = command.args(["rules", "--remove"]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn dial_for_a_while(site: &Site, from: Role, to: SocketAddr) -> io::Result<TcpStream> {
    inside(site.lab.host(from), || {
        TcpStream::connect_timeout(&to, A_WHILE)
    })
}

/// Nobody gets through to a listener on an intercepted port.
fn expect_closed(site: &Site) {
    let ways = OPENED
        .into_iter()
        .flat_map(|opened| FAMILIES.map(|family| (opened, family)));
    std::thread::scope(|scope| {
        for (opened, family) in ways {
            scope.spawn(move || {
                let listener: TcpListener = site.listen(opened.listener(), family);
                let to = listener.local_addr().unwrap();
                let error = dial_for_a_while(site, opened.opener(), to).unwrap_err();
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::TimedOut,
                    "{opened:?} {family:?}"
                );
                assert!(is_unvisited(&listener), "{opened:?} {family:?}");
            });
        }
    });
}

#[test]
fn a_killed_relay_lets_no_intercepted_connection_pass_until_the_table_is_removed() {
    let Some(site) = Site::put_up() else { return };
    let at_first = Rules::of(&site);
    let running = site.connect(OpenedFrom::Client, Family::V4);
    let mut relay = site.relay(&["--fail", "closed"]);
    talk(&running);
    for opened in OPENED {
        for family in FAMILIES {
            talk(&site.connect(opened, family));
        }
    }
    assert_eq!(
        dropped(&site),
        0,
        "while it relays nothing comes to be dropped"
    );
    let (code, said) = remove(&site);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another relay runs"), "{said}");

    relay.signal(Signal::KILL);
    until("it ends", PATIENCE, || relay.has_ended());
    until("its table is gone", PATIENCE, || !site.has_table());
    expect_closed(&site);
    assert!(dropped(&site) >= 4);
    talk(&running);
    // What is not intercepted is not its business.
    let other = site.listen_at(
        Role::Server,
        (Role::Server.address(Family::V6), 2222).into(),
    );
    let client = site.dial(Role::Client, other.local_addr().unwrap());
    talk(&Pair {
        client: client.unwrap(),
        server: accept(&other),
    });

    let (code, said) = remove(&site);
    assert_eq!(code, Some(0), "{said}");
    for what in [
        fail_closed::TABLE,
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route",
        "ip -6 route",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(Rules::of(&site), at_first);
    for opened in OPENED {
        for family in FAMILIES {
            talk(&site.connect(opened, family));
        }
    }
    assert_eq!(remove(&site), (Some(0), "nothing was left\n".to_owned()));
}

#[test]
fn the_next_relay_replaces_the_table_or_removes_it_as_it_is_told() {
    let Some(site) = Site::put_up() else { return };
    let at_first = Rules::of(&site);
    for fail in [Fail::Closed, Fail::Open] {
        install(&site);
        let listener = site.listen(Role::Server, Family::V4);
        let to = listener.local_addr().unwrap();
        assert!(dial_for_a_while(&site, Role::Client, to).is_err());
        assert!(dropped(&site) > 0);
        inside(site.lab.relay(), || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let lock = Lock::relay().unwrap();
                let mut rules = InPlace::own(plan(), fail, lock).await.unwrap();
                assert_eq!(fail_closed::is_installed().unwrap(), fail == Fail::Closed);
                rules.drain().await.unwrap();
                assert!(
                    !fail_closed::is_installed().unwrap(),
                    "an orderly stop opens the path"
                );
                rules.remove().await;
            });
        });
        assert_eq!(Rules::of(&site), at_first, "{fail:?}");
        talk(&site.connect_to(&listener, OpenedFrom::Client));
    }
}

#[test]
fn a_table_that_is_removed_or_emptied_under_a_relay_that_runs_is_told_and_put_back() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    inside(host, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let lock = Lock::relay().unwrap();
            let mut rules = InPlace::own(plan(), Fail::Closed, lock).await.unwrap();
            let whole = rules_of(host);
            assert!(whole > 0);
            for verb in ["delete", "flush"] {
                host.run("nft", &[verb, "table", "inet", fail_closed::TABLE])
                    .unwrap();
                let (tell, mut told) = unbounded_channel();
                let both = async { [told.recv().await, told.recv().await] };
                let told = tokio::select! {
                    told = timeout(PATIENCE, both) => told.expect("it is told"),
                    never = rules.keep(|change| tell.send(change).unwrap()) => match never {},
                };
                let [Some(Change::Lost { why, parts }), Some(Change::Restored)] = told else {
                    panic!("{verb}: {told:?}");
                };
                let table = format!("table inet {}", fail_closed::TABLE);
                assert_eq!(why, format!("somebody changed or removed the {table}"));
                let gone = parts.iter().filter(|part| !part.in_place);
                let gone: Vec<&str> = gone.map(|part| part.rule.as_str()).collect();
                assert_eq!(gone, [table], "{verb}");
                assert_eq!(rules_of(host), whole, "{verb}");
            }
            rules.remove().await;
            assert!(!fail_closed::is_installed().unwrap());
        });
    });
}

/// How many rules the table has.
fn rules_of(host: &Host) -> usize {
    let list = ["list", "table", "inet", fail_closed::TABLE];
    host.run("nft", &list).unwrap().matches(" drop\n").count()
}

#[test]
fn a_table_that_is_put_in_place_again_begins_anew_and_is_there_once() {
    let Some(site) = Site::put_up() else { return };
    install(&site);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    assert!(dial_for_a_while(&site, Role::Client, to).is_err());
    install(&site);
    assert!(is_installed(&site));
    assert_eq!(dropped(&site), 0);
    assert!(dial_for_a_while(&site, Role::Client, to).is_err());
}
