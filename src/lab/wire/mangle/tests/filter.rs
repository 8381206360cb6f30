//! Blocked ports, and SYNs with options that a firewall does not know.

use super::*;
use crate::lab::wire::spec::UnknownOptions;

fn both_ways(direction: &Direction) -> Mangler {
    Mangler::new(&spec(direction.clone(), direction.clone()))
}

fn passes(wire: &mut Mangler, segment: &Segment) -> bool {
    !carry_at(wire, NOW, segment).is_empty()
}

fn to_port(client_port: u16) -> Segment {
    Segment {
        client_port,
        ..syn(1)
    }
}

#[test]
fn segments_from_or_to_a_blocked_port_are_lost_and_nobody_is_told() {
    for family in FAMILIES {
        let mut wire = both_ways(&Direction {
            drop_ports: vec![23, 8_080],
            ..Direction::default()
        });
        for from_server in [false, true] {
            for flags in [Flags::SYN, Flags::ACK] {
                let of = |port| Segment {
                    family,
                    from_server,
                    flags,
                    ..to_port(port)
                };
                assert!(!passes(&mut wire, &of(8_080)));
                assert!(passes(&mut wire, &of(8_081)));
            }
        }
        for heading in Heading::BOTH {
            let lost = wire.counters(heading).lost;
            assert_eq!((lost.blocked_port, lost.total()), (2, 2));
        }
    }
}

#[test]
fn a_port_is_blocked_in_its_own_direction_only_and_for_tcp_only() {
    let mut wire = a_to_b(Direction {
        drop_ports: vec![22],
        ..Direction::default()
    });
    assert!(!passes(&mut wire, &syn(1)));
    assert!(passes(&mut wire, &syn_ack(1, 2)));
    for family in FAMILIES {
        let ping = samples::ping(family, 8);
        assert_eq!(
            carry_bytes(&mut wire, Heading::AToB, NOW, ping).len(),
            1,
            "{family:?}"
        );
    }
}

#[test]
fn a_syn_with_an_unknown_option_is_dropped_and_other_segments_are_not() {
    let drops = Direction {
        unknown_options: UnknownOptions::DropSyn,
        ..Direction::default()
    };
    for family in FAMILIES {
        let with = |segment: Segment, options: &[u8]| Segment {
            family,
            options: options.to_vec(),
            ..segment
        };
        let mut wire = both_ways(&drops);
        let unknown = [2, 4, 5, 180, 253, 4, 0xf9, 0x89];
        assert!(!passes(&mut wire, &with(syn(1), &unknown)));
        assert!(!passes(&mut wire, &with(syn_ack(1, 2), &unknown)));
        let data = with(Segment::default(), &unknown);
        assert_eq!(carry(&mut wire, &data), data.build());
        for known in [&LINUX[..], &[], &[0; 4]] {
            let syn = with(syn(1), known);
            assert_eq!(carry(&mut wire, &syn), syn.build());
        }
        for heading in Heading::BOTH {
            let lost = wire.counters(heading).lost;
            assert_eq!((lost.unknown_option, lost.total()), (1, 1));
        }
    }
}

#[test]
fn only_the_direction_that_drops_unknown_options_does() {
    let mut wire = a_to_b(Direction {
        unknown_options: UnknownOptions::DropSyn,
        ..Direction::default()
    });
    let back = Segment {
        options: vec![253, 4, 0, 0],
        ..syn_ack(1, 2)
    };
    assert_eq!(carry(&mut wire, &back), back.build());
}
