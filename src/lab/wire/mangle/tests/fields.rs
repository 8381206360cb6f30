//! Flags, window and urgent pointer; DSCP and ECN.

use super::*;

const ECN_OFFER: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);
const URGENT: Flags = Flags(Flags::ACK.0 | Flags::URG.0);

/// What comes out of a wire that does this from `a` to `b`, in both families; the same segment is carried the
/// other way, too, and must be as it was.
fn carried(direction: &Direction, segment: &Segment) -> [Vec<u8>; 2] {
    FAMILIES.map(|family| {
        let mut wire = a_to_b(direction.clone());
        let segment = Segment {
            family,
            ..segment.clone()
        };
        let back = Segment {
            from_server: true,
            ..segment.clone()
        };
        assert_eq!(carry(&mut wire, &back), back.build(), "the other way");
        carry(&mut wire, &segment)
    })
}

/// The same with a segment that must come out as this other one.
fn assert_becomes(direction: &Direction, segment: &Segment, expected: &Segment) {
    for (packet, family) in carried(direction, segment).iter().zip(FAMILIES) {
        let expected = Segment {
            family,
            ..expected.clone()
        };
        assert_eq!(*packet, expected.build(), "{direction:?}");
    }
}

#[test]
fn the_offer_of_ecn_is_taken_out_of_syn_and_syn_ack_and_its_use_is_left() {
    let refuse = Direction {
        refuse_ecn: true,
        ..Direction::default()
    };
    let flags = |flags| Segment {
        flags,
        traffic_class: 2,
        ..Segment::default()
    };
    for opening in [Flags::SYN, Flags::SYN | Flags::ACK] {
        assert_becomes(&refuse, &flags(opening | ECN_OFFER), &flags(opening));
        assert_becomes(&refuse, &flags(opening | Flags::ECE), &flags(opening));
    }
    let echo = flags(Flags::ACK | ECN_OFFER);
    assert_becomes(&refuse, &echo, &echo);
}

#[test]
fn urgent_data_is_urgent_no_more() {
    let clear = Direction {
        clear_urgent: true,
        ..Direction::default()
    };
    let urgent = |flags, urgent_pointer| Segment {
        flags,
        urgent_pointer,
        payload: 20,
        ..Segment::default()
    };
    assert_becomes(&clear, &urgent(URGENT, 20), &urgent(Flags::ACK, 0));
    assert_becomes(&clear, &urgent(Flags::ACK, 20), &urgent(Flags::ACK, 0));
    let keeps = Direction::default();
    assert_becomes(&keeps, &urgent(URGENT, 20), &urgent(URGENT, 20));
}

#[test]
fn a_larger_window_is_lowered_and_a_smaller_one_kept() {
    let narrow = Direction {
        window: Some(8_000),
        ..Direction::default()
    };
    let window = |flags, window| Segment {
        flags,
        window,
        ..Segment::default()
    };
    for flags in [Flags::SYN, Flags::SYN | Flags::ACK, Flags::ACK] {
        assert_becomes(&narrow, &window(flags, 8_001), &window(flags, 8_000));
        assert_becomes(&narrow, &window(flags, 7_999), &window(flags, 7_999));
        assert_becomes(&narrow, &window(flags, 0), &window(flags, 0));
    }
}

#[test]
fn the_dscp_is_overwritten_with_at_most_63_and_ecn_left() {
    for (set, written) in [(0, 0), (46, 46), (63, 63), (200, 63)] {
        let marked = Direction {
            dscp: Some(set),
            ..Direction::default()
        };
        let class = |traffic_class| Segment {
            traffic_class,
            payload: 9,
            ..Segment::default()
        };
        let expected = class((written << 2) | 0b01);
        assert_becomes(&marked, &class((10 << 2) | 0b01), &expected);
    }
}

#[test]
fn ecn_is_bleached_and_the_dscp_left() {
    let bleach = Direction {
        bleach_ecn: true,
        ..Direction::default()
    };
    for ecn in 0..4 {
        let class = |traffic_class| Segment {
            traffic_class,
            flags: Flags::ACK | ECN_OFFER,
            ..Segment::default()
        };
        assert_becomes(&bleach, &class((46 << 2) | ecn), &class(46 << 2));
    }
}

#[test]
fn what_is_not_tcp_is_marked_and_bleached_too() {
    for family in FAMILIES {
        let ping = samples::ping(family, 20);
        let mut marked = ping.clone();
        ip::edit_traffic_class(&mut marked, |_| 46 << 2);
        let mut congested = ping;
        ip::edit_traffic_class(&mut congested, |_| 3);
        let mut wire = a_to_b(Direction {
            dscp: Some(46),
            bleach_ecn: true,
            ..Direction::default()
        });
        let out = carry_bytes(&mut wire, Heading::AToB, NOW, congested.clone());
        assert_eq!(out[0].packet, marked);
        assert_checksums(&out[0].packet);
        let back = carry_bytes(&mut wire, Heading::BToA, NOW, congested.clone());
        assert_eq!(back[0].packet, congested);
    }
}
