//! What becomes of packets above a size.

use super::*;
use crate::lab::wire::spec::{Oversize, OversizeAction, Protocol};
use crate::packet::{icmp, samples};

fn rule(protocol: Protocol, above: u16, action: OversizeAction) -> Direction {
    let oversize = vec![Oversize {
        protocol,
        above,
        action,
        probability: 1.0,
    }];
    Direction {
        oversize,
        ..Direction::default()
    }
}

fn large(family: Family) -> Segment {
    Segment {
        family,
        payload: 1_400,
        ..Segment::default()
    }
}

#[test]
fn ping_of_993_bytes_is_lost_and_992_passes() {
    let mut wire = a_to_b(rule(Protocol::Icmp, 1_020, OversizeAction::Drop));
    let mut ping = |size| {
        carry_bytes(
            &mut wire,
            Heading::AToB,
            NOW,
            samples::ping(Family::V4, size),
        )
        .len()
    };
    assert_eq!((ping(992), ping(993)), (1, 0));
    assert_eq!(wire.counters(Heading::AToB).lost.oversize, 1);
}

#[test]
fn a_rule_for_one_protocol_leaves_the_others_alone() {
    let mut wire = a_to_b(rule(Protocol::Icmp, 1_020, OversizeAction::Drop));
    assert_eq!(carry_at(&mut wire, NOW, &large(Family::V4)).len(), 1);
    let mut wire = a_to_b(rule(Protocol::Tcp, 1_020, OversizeAction::Drop));
    assert_eq!(carry_at(&mut wire, NOW, &large(Family::V6)).len(), 0);
    assert_eq!(
        carry_bytes(
            &mut wire,
            Heading::AToB,
            NOW,
            samples::ping(Family::V6, 1_400)
        )
        .len(),
        1
    );
    let mut wire = a_to_b(rule(Protocol::Any, 1_020, OversizeAction::Drop));
    assert_eq!(
        carry_bytes(
            &mut wire,
            Heading::AToB,
            NOW,
            samples::ping(Family::V6, 1_400)
        )
        .len(),
        0
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let mut direction = rule(Protocol::Tcp, 1_000, OversizeAction::Drop);
    direction.oversize[0].probability = 0.0;
    direction
        .oversize
        .extend(rule(Protocol::Any, 500, OversizeAction::Drop).oversize);
    let mut wire = a_to_b(direction);
    assert_eq!(carry_at(&mut wire, NOW, &large(Family::V4)).len(), 1);
    assert_eq!(
        carry_at(
            &mut wire,
            NOW,
            &Segment {
                payload: 800,
                ..Segment::default()
            }
        )
        .len(),
        0
    );
}

#[test]
fn the_chance_of_a_rule_is_kept() {
    let mut direction = rule(Protocol::Tcp, 1_020, OversizeAction::Drop);
    direction.oversize[0].probability = 0.02;
    let mut wire = a_to_b(direction);
    let passed = (0..10_000)
        .filter(|_| !carry_at(&mut wire, NOW, &large(Family::V4)).is_empty())
        .count();
    assert!((9_700..9_900).contains(&passed), "{passed}");
}

#[test]
fn the_sender_of_a_packet_too_big_is_told_in_its_own_numbers() {
    for family in FAMILIES {
        let too_big = Direction {
            isn: isn().isn,
            ..rule(Protocol::Tcp, 1_300, OversizeAction::TooBig)
        };
        let mut wire = a_to_b(too_big);
        carry(&mut wire, &Segment { family, ..syn(999) });
        let mut out = carry_at(&mut wire, NOW, &large(family));
        assert_eq!(
            (out.len(), out[0].heading, out[0].due),
            (1, Heading::BToA, NOW)
        );
        let answer = out.remove(0).packet;
        assert_checksums(&answer);
        let ip = Ip::parse(&answer).unwrap();
        assert_eq!(ip.destination, samples::client(family));
        let quoted = &answer[icmp::quoted(&ip, &answer).unwrap()..];
        assert_eq!(quoted, &large(family).build()[..quoted.len()]);
        assert_eq!(wire.counters(Heading::AToB).answered_too_big, 1);
    }
}

#[test]
fn a_large_packet_can_be_held_back_while_others_overtake() {
    let late = Duration::from_millis(30);
    let mut wire = a_to_b(rule(Protocol::Tcp, 1_000, OversizeAction::Delay(late)));
    assert_eq!(
        carry_at(&mut wire, NOW, &large(Family::V4))[0].due,
        NOW + late
    );
    assert_eq!(carry_at(&mut wire, NOW, &Segment::default())[0].due, NOW);
}

#[test]
fn a_truncated_packet_has_lengths_and_checksums_that_fit() {
    for family in FAMILIES {
        let mut wire = a_to_b(rule(Protocol::Any, 600, OversizeAction::Truncate));
        let packet = carry(&mut wire, &large(family));
        assert_eq!(packet.len(), 600);
        let ping = carry_bytes(&mut wire, Heading::AToB, NOW, samples::ping(family, 1_000))
            .remove(0)
            .packet;
        assert_eq!(ping.len(), 600);
        assert_checksums(&ping);
        assert_eq!(wire.counters(Heading::AToB).truncated, 2);
    }
}
