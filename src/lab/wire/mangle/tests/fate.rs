//! Loss, duplication, corruption.

use super::*;

const COUNT: usize = 10_000;

fn data() -> Segment {
    Segment {
        payload: 100,
        ..Segment::default()
    }
}

fn carry_many(direction: Direction) -> (Mangler, Vec<Delivery>) {
    let mut wire = a_to_b(direction);
    let out = (0..COUNT)
        .flat_map(|_| carry_at(&mut wire, NOW, &data()))
        .collect();
    (wire, out)
}

#[test]
fn packets_are_lost_as_often_as_told() {
    let (wire, out) = carry_many(Direction {
        loss: 0.003,
        ..Direction::default()
    });
    let lost = COUNT - out.len();
    assert!((10..60).contains(&lost), "{lost}");
    assert_eq!(wire.counters(Heading::AToB).lost.random, lost as u64);
}

#[test]
fn all_packets_can_be_lost() {
    assert!(
        carry_many(Direction {
            loss: 1.0,
            ..Direction::default()
        })
        .1
        .is_empty()
    );
}

#[test]
fn a_duplicate_is_the_same_packet_again() {
    let (wire, out) = carry_many(Direction {
        duplicate: 0.5,
        ..Direction::default()
    });
    assert!(out.iter().all(|delivery| delivery.packet == data().build()));
    let extra = out.len() - COUNT;
    assert!((4_500..5_500).contains(&extra), "{extra}");
    assert_eq!(wire.counters(Heading::AToB).duplicated, extra as u64);
}

#[test]
fn a_corrupted_packet_differs_by_one_byte_of_payload_and_its_checksum_is_wrong() {
    for family in FAMILIES {
        let mut wire = a_to_b(Direction {
            corrupt: 1.0,
            ..Direction::default()
        });
        let sent = Segment { family, ..data() }.build();
        let arrived = carry_at(&mut wire, NOW, &Segment { family, ..data() })
            .remove(0)
            .packet;
        let ip = Ip::parse(&arrived).unwrap();
        assert_eq!(checksum::transport_is_right(&ip, &arrived), Some(false));
        let changed: Vec<_> = (0..sent.len())
            .filter(|i| sent[*i] != arrived[*i])
            .collect();
        assert!(
            matches!(changed[..], [at] if at >= ip.payload + 20),
            "{changed:?}"
        );
    }
}

#[test]
fn a_packet_without_payload_has_nothing_to_corrupt() {
    let mut wire = a_to_b(Direction {
        corrupt: 1.0,
        ..Direction::default()
    });
    assert_eq!(
        carry(&mut wire, &Segment::default()),
        Segment::default().build()
    );
    assert_eq!(wire.counters(Heading::AToB).corrupted, 0);
}

#[test]
fn a_wire_that_stops_loses_what_enters_either_way_and_comes_back() {
    let stop = Stop {
        after_packets: 2,
        lasts: Duration::from_secs(3),
    };
    let mut wire = a_to_b(Direction {
        stops: Some(stop),
        ..Direction::default()
    });
    let answer = Segment {
        from_server: true,
        ..data()
    };
    let mut carried = |at: u64, segment: &Segment| {
        let at = Duration::from_millis(at);
        !carry_at(&mut wire, at, segment).is_empty()
    };
    assert!(carried(5, &data()) && carried(5, &answer) && carried(5, &data()));
    assert!(!carried(10, &data()) && !carried(11, &answer) && !carried(3009, &data()));
    assert!(carried(3010, &answer) && carried(3010, &data()));
    let lost = Heading::BOTH.map(|heading| wire.counters(heading).lost.stopped);
    assert_eq!(lost, [2, 1]);
}
