//! What is found beside headers: sizes, trains, silence, ports, and what stands between.

use std::net::IpAddr;
use std::time::Duration;

use super::path::{
    CLIENT, ClientToServer, SERVER, ServerToClient, arrival, clean, cliff, edit, exchange, kept,
    strip, train,
};
use super::{BACK, BOTH, NOTE, PROBLEM, THERE, expect, expect_of, going, judge};
use crate::diagnose::probe::evidence::{
    Carrier, Cliff, Evidence, Faster, Harm, IdleSeen, Outcome, PortOutcome, PortSeen, Purpose,
};
use crate::diagnose::probe::finding::Behaviour;
use crate::diagnose::probe::order::{End, TooBig};
use crate::packet::Flags;
use crate::packet::craft::{Carried, Segment};

fn lost(share: f64) -> Harm {
    Harm::Lost {
        share,
        background: 0.0,
    }
}

fn over(carrier: Carrier, cliff: Cliff) -> Evidence {
    let outcome = Outcome::Cliff(cliff);
    clean()
        .sized(carrier, ClientToServer, outcome.clone())
        .sized(carrier, ServerToClient, outcome)
}

#[test]
fn a_size_cliff_is_told_by_what_becomes_of_larger_segments() {
    let tcp = |harm| over(Carrier::Tcp, cliff(1020, harm));
    let is_cliff = (Behaviour::TcpSizeCliff, BOTH, PROBLEM);
    expect(&tcp(lost(0.3)), &[is_cliff]);
    expect(&tcp(Harm::Truncated { to: 1020 }), &[is_cliff]);
    let by = Duration::from_millis(80);
    expect(&tcp(Harm::Delayed { by }), &[is_cliff]);
    let all = tcp(lost(1.0));
    expect(&all, &[(Behaviour::PathMtuBlackHole, BOTH, PROBLEM)]);
    let sentence = &judge(&all).findings[0].sentence;
    assert!(sentence.contains("more than 1020 bytes"), "{sentence}");
}

#[test]
fn a_path_mtu_that_is_told_is_only_to_be_known() {
    let by: IpAddr = "10.0.0.254".parse().unwrap();
    let told = Cliff {
        told: Some(TooBig { by, mtu: 1400 }),
        ..cliff(1400, lost(1.0))
    };
    let one = clean().sized(Carrier::Tcp, ClientToServer, Outcome::Cliff(told));
    expect(&one, &[(Behaviour::PathMtu, THERE, NOTE)]);
}

#[test]
fn echoes_that_do_not_pass_are_only_to_be_known() {
    let pings = over(Carrier::Icmp, cliff(1020, lost(1.0)));
    expect(&pings, &[(Behaviour::IcmpSizeCliff, BOTH, NOTE)]);
    let none = clean().sized(Carrier::Icmp, ServerToClient, Outcome::None);
    expect(&none, &[(Behaviour::IcmpBlocked, BACK, NOTE)]);
    let data = clean().sized(Carrier::Tcp, ClientToServer, Outcome::None);
    expect(&data, &[(Behaviour::DataBlocked, THERE, PROBLEM)]);
}

#[test]
fn what_is_unclear_is_no_finding_and_is_told() {
    let outcome = Outcome::Unclear("too much is lost anyway".to_owned());
    let evidence = clean().sized(Carrier::Tcp, ClientToServer, outcome);
    expect(&evidence, &[]);
    let untried = judge(&evidence).untried;
    assert_eq!(untried.len(), 1);
    assert!(untried[0].contains("too much is lost"), "{untried:?}");
}

#[test]
fn two_lost_of_thousands_are_no_finding_and_three_are() {
    let losing = |lost: u32| {
        let mut evidence = clean();
        evidence.trains.server_to_client = Some(train(lost));
        evidence
    };
    expect(&losing(2), &[]);
    expect(&losing(3), &[(Behaviour::Loss, BACK, NOTE)]);
    expect(&losing(40), &[(Behaviour::Loss, BACK, PROBLEM)]);
    let sentence = &judge(&losing(40)).findings[0].sentence;
    assert!(
        sentence.contains("40 of 2000 segments (2.0 %)"),
        "{sentence}"
    );
}

#[test]
fn what_is_lost_over_a_cliff_is_not_lost_by_chance() {
    let mut evidence = over(Carrier::Tcp, cliff(90, lost(0.5)));
    evidence.trains.client_to_server = Some(train(1000));
    expect(&evidence, &[(Behaviour::TcpSizeCliff, BOTH, PROBLEM)]);
}

#[test]
fn reordering_duplication_and_damage_are_told() {
    let reordered = clean().harvested(ClientToServer, |harvest| harvest.reordered = 12);
    expect(&reordered, &[(Behaviour::Reordering, THERE, NOTE)]);
    let doubled = clean().harvested(ServerToClient, |harvest| harvest.duplicated = 3);
    expect(&doubled, &[(Behaviour::Duplication, BACK, NOTE)]);
    let damaged = clean().harvested(ClientToServer, |harvest| {
        harvest.arrived -= 1;
        harvest.corrupted = 1;
    });
    expect(&damaged, &[(Behaviour::Corruption, THERE, PROBLEM)]);
    let few = clean().harvested(ClientToServer, |harvest| {
        harvest.reordered = 2;
        harvest.duplicated = 2;
    });
    expect(&few, &[]);
}

#[test]
fn figures_of_an_end_that_could_not_keep_up_are_worth_nothing() {
    let missed = clean().harvested(ClientToServer, |harvest| {
        harvest.missed = 1;
        harvest.arrived = 7;
    });
    expect(&missed, &[]);
    assert_eq!(judge(&missed).untried.len(), 1);
}

#[test]
fn what_a_damaged_segment_says_was_not_done_on_purpose() {
    let mut evidence = clean();
    let step = &mut evidence.exchanges[0].steps[0];
    let mut damaged = step.arrived[0].clone();
    damaged.checksum_right = false;
    damaged.header.0[25] ^= 0xff;
    step.arrived = vec![damaged];
    expect(&evidence, &[(Behaviour::Corruption, THERE, PROBLEM)]);
}

#[test]
fn a_flow_that_is_forgotten_is_told_and_one_that_is_not_is_not() {
    let mut evidence = clean();
    let survived = Duration::from_secs(30);
    evidence.idle = Some(IdleSeen {
        survived,
        forgotten: None,
    });
    expect(&evidence, &[]);
    evidence.idle = Some(IdleSeen {
        survived,
        forgotten: Some(Duration::from_secs(32)),
    });
    expect(&evidence, &[(Behaviour::IdleForgotten, None, PROBLEM)]);
}

#[test]
fn a_port_may_be_blocked_or_treated_otherwise() {
    let at = |port, outcome| PortSeen { port, outcome };
    let mut evidence = clean();
    evidence.ports = vec![at(25, PortOutcome::Blocked), at(445, PortOutcome::Blocked)];
    expect(&evidence, &[(Behaviour::PortBlocked, None, PROBLEM)]);
    let sentence = &judge(&evidence).findings[0].sentence;
    assert!(sentence.contains("ports 25, 445"), "{sentence}");
    let same = PortOutcome::Compared(exchange(Purpose::Port(22), &kept));
    let mut evidence = clean();
    evidence.ports = vec![
        at(22, same),
        at(80, PortOutcome::Untried("a service has it".to_owned())),
    ];
    expect(&evidence, &[]);
    assert_eq!(judge(&evidence).untried, ["port 80: a service has it"]);
    let stripped = going(
        |direction| direction == ServerToClient,
        |segment| strip(segment, 3),
    );
    let otherwise = clean().at_port(873, &stripped);
    expect(
        &otherwise,
        &[(Behaviour::PortTreatedDifferently, None, NOTE)],
    );
    let sentence = &judge(&otherwise).findings[0].sentence;
    assert!(
        sentence.contains("window scale from server to client removed"),
        "{sentence}"
    );
}

#[test]
fn what_a_service_does_not_offer_is_not_treated_otherwise() {
    let mut evidence = clean().at_port(22, &kept);
    let PortOutcome::Compared(exchange) = &mut evidence.ports[0].outcome else {
        panic!("it was compared");
    };
    exchange.steps.truncate(2);
    let answer = &mut exchange.steps[1];
    let mut plain = segment(Flags::SYN | Flags::ACK, ServerToClient);
    plain.options = vec![2, 4, 5, 180];
    plain.acknowledgement = 1001;
    answer.sent = arrival(&plain).header;
    answer.arrived = vec![arrival(&plain)];
    expect(&evidence, &[]);
}

fn segment(flags: Flags, direction: crate::metrics::Direction) -> Segment {
    let (mut source, mut destination) = ((CLIENT, 40_000).into(), (SERVER, 7532).into());
    if direction == ServerToClient {
        std::mem::swap(&mut source, &mut destination);
    }
    Segment {
        source,
        destination,
        carried: Carried::default(),
        sequence: 1,
        acknowledgement: 0,
        flags,
        window: 100,
        urgent: 0,
        options: Vec::new(),
        payload: Vec::new(),
    }
}

#[test]
fn translations_are_told() {
    let mut evidence = clean();
    evidence.path.client_seen = "192.0.2.1".parse().unwrap();
    expect(&evidence, &[(Behaviour::AddressesTranslated, None, NOTE)]);
    let there = |direction| direction == ClientToServer;
    let ports = going(there, |segment| segment.source.set_port(1025));
    expect_of(&ports, &[(Behaviour::PortsTranslated, None, NOTE)]);
}

#[test]
fn a_proxy_is_told_and_hides_what_lies_behind_it() {
    let mut evidence = clean();
    let syn = &mut evidence.exchanges[0].steps[0];
    syn.arrived.clear();
    syn.instead = vec![arrival(&segment(Flags::SYN | Flags::ACK, ServerToClient))];
    evidence.exchanges[0].steps.truncate(1);
    let expected = [(Behaviour::EndedOnTheWay, None, NOTE)];
    expect(&evidence, &expected);
    // Its own SYN: other numbers, and options in another order.
    let there = |direction| direction == ClientToServer;
    let anew = going(there, |segment| {
        if segment.flags.opens() {
            segment.sequence ^= 0x5555_5555;
            segment.options = vec![2, 4, 5, 180, 1, 3, 3, 9, 4, 2];
        }
    });
    expect_of(&anew, &expected);
}

#[test]
fn resets_of_neither_end_and_a_broken_connection_are_told() {
    let mut evidence = clean();
    let ack = &mut evidence.exchanges[0].steps[2];
    ack.instead = vec![arrival(&segment(Flags::RST, ServerToClient))];
    expect(&evidence, &[(Behaviour::ResetFromBetween, BACK, PROBLEM)]);
    evidence.exchanges[0].reset_by_host = vec![End::Server];
    expect(&evidence, &[(Behaviour::ResetByHost, BACK, PROBLEM)]);
    let broken = |times| {
        let mut evidence = clean();
        evidence.path.broken = times;
        evidence
    };
    expect(&broken(1), &[(Behaviour::ControlBroken, None, NOTE)]);
    expect(&broken(2), &[(Behaviour::ControlBroken, None, PROBLEM)]);
}

#[test]
fn a_path_on_which_no_syn_passes_says_so_and_finds_nothing() {
    let nothing = |_, _, _| None;
    let evidence = super::path::path(&nothing);
    expect(&evidence, &[]);
    let untried = judge(&evidence).untried;
    assert!(
        untried[0].contains("no SYN came to port 7532"),
        "{untried:?}"
    );
}

#[test]
fn two_behaviours_at_once_are_both_told() {
    let both = |_| true;
    let mangle = going(both, |segment| {
        strip(segment, 3);
        edit(segment, 2, |mss| mss.copy_from_slice(&[5, 100]));
    });
    let evidence = super::path::path(&mangle).sized(
        Carrier::Tcp,
        ServerToClient,
        Outcome::Cliff(cliff(1020, lost(1.0))),
    );
    expect(
        &evidence,
        &[
            (Behaviour::PathMtuBlackHole, BACK, PROBLEM),
            (Behaviour::WindowScaleRemoved, BOTH, NOTE),
            (Behaviour::MssLowered, BOTH, NOTE),
        ],
    );
}

#[test]
fn a_way_of_little_bandwidth_and_one_that_fragments_are_told_and_are_no_harm() {
    let mut evidence = clean();
    let slow = evidence.trains.client_to_server.as_mut().unwrap();
    slow.kbit_per_s = 500;
    slow.faster = Some(Faster {
        kbit_per_s: 8000,
        sent: 4000,
        lost: 3100,
    });
    evidence.fragmented.server_to_client = true;
    expect(
        &evidence,
        &[
            (Behaviour::Fragmented, BACK, NOTE),
            (Behaviour::BandwidthLimited, THERE, NOTE),
        ],
    );
}

#[test]
fn a_reset_and_a_break_are_no_further_harm_where_their_cause_is_found() {
    let rewrite = super::isn(7, 9, false);
    let mut evidence = super::path::path(&|_, direction, mut segment| {
        rewrite(direction, &mut segment);
        Some(segment)
    });
    evidence.exchanges[0].reset_by_host = vec![End::Client];
    evidence.path.broken = 3;
    let report = judge(&evidence);
    let of = |behaviour| {
        report
            .findings
            .iter()
            .find(|one| one.behaviour == behaviour)
    };
    let broken = of(Behaviour::ControlBroken).unwrap();
    assert_eq!(broken.status, NOTE);
    assert!(!broken.sentence.contains("ordinary"), "{}", broken.sentence);
    assert!(of(Behaviour::SackNotTranslated).is_some());
    let verdict = &report.verdict;
    assert!(verdict.contains("does harm: the bytes"), "{verdict}");
    assert!(
        verdict.contains("rules of the client's host already reset"),
        "{verdict}"
    );
}

#[test]
fn a_reset_by_a_host_with_nothing_else_is_to_be_looked_at_on_that_host() {
    let mut evidence = clean();
    evidence.exchanges[0].reset_by_host = vec![End::Server];
    evidence.path.broken = 2;
    let expected = [
        (Behaviour::ResetByHost, BACK, PROBLEM),
        (Behaviour::ControlBroken, None, NOTE),
    ];
    expect(&evidence, &expected);
    let report = judge(&evidence);
    let why = &report.recommended.why;
    assert!(why.contains("Rules of the server's host do it"), "{why}");
    assert!(why.contains("unmangle doctor"), "{why}");
    assert!(
        report.verdict.starts_with("Nothing was found"),
        "{}",
        report.verdict
    );
    // A black hole does not explain a reset: both are told.
    let hole = evidence.sized(
        Carrier::Tcp,
        ClientToServer,
        Outcome::Cliff(cliff(1020, lost(1.0))),
    );
    let verdict = judge(&hole).verdict;
    assert!(verdict.contains("in 2 ways"), "{verdict}");
}

#[test]
fn a_path_mtu_is_told_once_of_both_carriers_and_of_both_ways() {
    let told = |by: &str, passes| {
        let by = by.parse().unwrap();
        let mut cliff = cliff(passes, lost(1.0));
        cliff.told = Some(TooBig { by, mtu: passes });
        Outcome::Cliff(cliff)
    };
    let of = |icmp| {
        clean()
            .sized(Carrier::Tcp, ClientToServer, told("10.0.0.1", 1280))
            .sized(Carrier::Tcp, ServerToClient, told("10.0.1.1", 1280))
            .sized(Carrier::Icmp, ClientToServer, told("10.0.0.1", icmp))
            .sized(Carrier::Icmp, ServerToClient, told("10.0.1.1", icmp))
    };
    expect(&of(1280), &[(Behaviour::PathMtu, BOTH, NOTE)]);
    let sentence = judge(&of(1280)).findings[0].sentence.clone();
    assert!(sentence.contains("(10.0.0.1, 10.0.1.1)"), "{sentence}");
    // Other figures are another finding.
    let twice = [
        (Behaviour::PathMtu, BOTH, NOTE),
        (Behaviour::PathMtu, BOTH, NOTE),
    ];
    expect(&of(1000), &twice);
}

#[test]
fn what_was_not_tried_is_not_said_to_be_well() {
    assert!(judge(&clean()).verdict.starts_with("Nothing between"));
    let mut some = clean();
    some.untried = vec!["urgent data".to_owned()];
    let verdict = judge(&some).verdict;
    assert!(verdict.starts_with("Nothing was found"), "{verdict}");
    let nothing = |_, _, _| None;
    let verdict = judge(&super::path::path(&nothing)).verdict;
    assert!(verdict.contains("is not known"), "{verdict}");
    let mut none = clean();
    none.exchanges.clear();
    none.untried = vec!["headers".to_owned()];
    let verdict = judge(&none).verdict;
    assert!(verdict.contains("is not known"), "{verdict}");
}
