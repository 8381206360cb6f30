//! A gigabyte by scp through a PIX, between strict hosts, while the relay is replaced three times; and how many sessions go
//! over how fast. They take a minute: `make acceptance` runs them.

mod site;

use std::fs;
use std::time::{Duration, Instant};

use unmangle::lab::matrix::{Case, Strict};
use unmangle::lab::{Family, Invalid, Joined, Lab, OpenedFrom, Role, scenario, wire};

use site::upgrades::Upgrades;
use site::{PATIENCE, Site, UNMANGLE, possible, talk, until, write_until_stalled};

const GIGABYTE: u64 = 1_000_000_000;
/// So that it lasts.
const RATE: u64 = 400_000_000;
/// What a user would take for a fault.
const A_PAUSE: Duration = Duration::from_secs(1);
/// An upload through a PIX takes ten times as long as this wire needs for it.
const MOST: Duration = Duration::from_secs(300);

#[test]
#[ignore = "takes a minute"]
fn a_gigabyte_by_scp_outlives_three_upgrades_without_a_pause_and_nothing_is_invalid() {
    if !possible() {
        return;
    }
    let pix = scenario::find("pix").unwrap();
    let slow = wire::Direction {
        rate_bits_per_s: Some(RATE),
        ..wire::Direction::default()
    };
    let lab = Lab::builder()
        .unmangle(UNMANGLE)
        .firewall(Joined::wire(pix.firewall.clone()))
        .long_leg(Joined::wire(scenario::Between::both(slow)))
        .strict(Strict::Both)
        .sshd_on(Role::Server)
        .payload(GIGABYTE)
        .start()
        .unwrap();
    let mut upgrades = Upgrades::start(&lab, &[]);
    let case = Case::relayed(pix);
    let mut scp = lab.errand(&case).spawn().unwrap();
    let arrived = || fs::metadata(lab.received()).map_or(0, |file| file.len());
    let (began, mut last, mut longest) = (Instant::now(), (Instant::now(), 0), Duration::ZERO);
    let mut due = (1..=3).map(|quarter| GIGABYTE * quarter / 4).peekable();
    let ended = loop {
        if let Some(status) = scp.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < MOST, "{} bytes by then", arrived());
        let now = arrived();
        if now > last.1 {
            if last.1 > 0 {
                longest = longest.max(last.0.elapsed());
            }
            last = (Instant::now(), now);
        }
        if due.next_if(|at| now >= *at).is_some() {
            let began = Instant::now();
            let went = upgrades.upgrade(&lab);
            println!("at {now} bytes: {went:?}, {:?}", began.elapsed());
            assert_eq!((went.sessions, went.left), (1, 0));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("{:?} in all, longest pause {longest:?}", began.elapsed());
    assert!(ended.success(), "{ended}");
    assert!(due.peek().is_none(), "it was over before the last upgrade");
    assert!(
        lab.payload().unwrap().equals(&lab.received()),
        "the file differs"
    );
    assert!(longest < A_PAUSE, "no byte for {longest:?}");
    assert_eq!(lab.invalid().unwrap(), Invalid::default());
    upgrades.stop();
}

#[test]
#[ignore = "takes a minute"]
fn five_thousand_idle_sessions_and_a_hundred_stalled_ones_go_over_and_none_is_lost() {
    const IDLE: usize = 5000;
    const STALLED: usize = 100;
    let Some(site) = Site::put_up() else { return };
    site.hold_little();
    let mut upgrades = Upgrades::start(&site.lab, &["--stall-after", "off"]);
    let listener = site.listen(Role::Server, Family::V4);
    let connect = || site.connect_to(&listener, OpenedFrom::Client);
    let idle: Vec<_> = (0..IDLE).map(|_| connect()).collect();
    let bytes = site::pattern(1, 4 << 20);
    let stalled: Vec<_> = (0..STALLED).map(|_| connect()).collect();
    let sent: Vec<_> = std::thread::scope(|scope| {
        let fill = |pair| {
            let bytes = &bytes;
            scope.spawn(move || write_until_stalled(pair, bytes))
        };
        let all: Vec<_> = stalled.iter().map(|pair| fill(&pair.client)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for _ in 0..3 {
        let began = Instant::now();
        let went = upgrades.upgrade(&site.lab);
        let took = began.elapsed();
        println!("{went:?} in {took:?}, with the start of the new process");
        assert_eq!((went.sessions, went.left), ((IDLE + STALLED) as u64, 0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    idle.iter().for_each(talk);
    for (pair, sent) in stalled.iter().zip(sent) {
        let mut received = vec![0; sent];
        std::io::Read::read_exact(&mut &pair.server, &mut received).unwrap();
        assert!(received == bytes[..sent], "the bytes that arrived differ");
    }
    drop((idle, stalled));
    until("none is left", PATIENCE, || {
        upgrades.relay.events("session ended").len() >= IDLE + STALLED
    });
    upgrades.stop();
}
