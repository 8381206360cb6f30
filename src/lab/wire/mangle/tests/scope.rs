//! A direction that confines itself to some ports.

use super::*;
use crate::lab::wire::spec::{UnknownOptions, WindowScale};

const INSPECTED: u16 = 40_021;
const OTHER: u16 = 40_080;

/// Everything that a direction may confine to some ports.
fn all(ports: Option<Vec<u16>>) -> Direction {
    Direction {
        ports,
        window_scale: WindowScale::Strip,
        mss: Some(500),
        strip_sack_permitted: true,
        strip_sack: true,
        strip_timestamps: true,
        unknown_options: UnknownOptions::Strip,
        timestamp_offset: Some(9),
        refuse_ecn: true,
        clear_urgent: true,
        window: Some(100),
        dscp: Some(8),
        bleach_ecn: true,
        ..isn_and_sack()
    }
}

/// A SYN and, each way, a segment after it, with something for every rewriting.
fn dialogue(family: Family, client_port: u16) -> [Segment; 4] {
    let busy = |segment: Segment| Segment {
        family,
        client_port,
        flags: segment.flags | Flags::ECE | Flags::CWR | Flags::URG,
        urgent_pointer: 3,
        traffic_class: 0xbb,
        ..segment
    };
    let data = Segment {
        options: vec![
            1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2,
        ],
        payload: 30,
        ..Segment::default()
    };
    let opening = [syn(1), syn_ack(1, 2)].map(|segment| Segment {
        options: LINUX.to_vec(),
        ..segment
    });
    let [syn, syn_ack] = opening.map(busy);
    let back = Segment {
        from_server: true,
        ..data.clone()
    };
    [syn, syn_ack, busy(data), busy(back)]
}

#[test]
fn flows_of_other_ports_pass_as_they_are() {
    for family in FAMILIES {
        let inspects = all(Some(vec![INSPECTED]));
        let mut wire = Mangler::new(&spec(inspects.clone(), inspects));
        for segment in dialogue(family, OTHER) {
            assert_eq!(carry(&mut wire, &segment), segment.build());
        }
        for segment in dialogue(family, INSPECTED) {
            assert_ne!(carry(&mut wire, &segment), segment.build());
        }
    }
}

#[test]
fn flows_of_the_ports_are_rewritten_as_if_there_were_no_list() {
    for family in FAMILIES {
        let [listed, unlisted] = [Some(vec![INSPECTED]), None].map(|ports| {
            let mut wire = Mangler::new(&spec(all(ports.clone()), all(ports)));
            dialogue(family, INSPECTED).map(|segment| carry(&mut wire, &segment))
        });
        assert_eq!(listed, unlisted);
    }
}

#[test]
fn the_way_back_undoes_the_shifts_of_the_ports_and_of_no_others() {
    for family in FAMILIES {
        let shifts = Direction {
            ports: Some(vec![INSPECTED]),
            timestamp_offset: Some(1_000),
            ..isn()
        };
        // The way back confines itself to ports that do not matter here.
        let back = Direction {
            ports: Some(vec![1]),
            ..Direction::default()
        };
        let mut wire = Mangler::new(&spec(shifts, back));
        for port in [INSPECTED, OTHER] {
            let [syn, syn_ack, _, _] = dialogue(family, port);
            let sent = carry(&mut wire, &syn);
            let by = tcp(&sent).sequence().wrapping_sub(syn.sequence);
            assert_eq!(by != 0, port == INSPECTED);
            let answer = Segment {
                acknowledgement: syn_ack.acknowledgement.wrapping_add(by),
                ..syn_ack.clone()
            };
            let answered = carry(&mut wire, &answer);
            let seen = tcp(&answered);
            assert_eq!(seen.acknowledgement(), syn_ack.acknowledgement);
            let echo = seen.options().find_map(|option| match option {
                TcpOption::Timestamps { echo, .. } => Some(echo),
                _ => None,
            });
            let restored = if port == INSPECTED { 1_000 } else { 0 };
            assert_eq!(echo, Some(8u32.wrapping_sub(restored)));
        }
    }
}

#[test]
fn idle_flows_and_unknown_options_of_other_ports_are_let_be() {
    let strict = Direction {
        ports: Some(vec![INSPECTED]),
        forget_idle_after: Some(Duration::from_secs(60)),
        unknown_options: UnknownOptions::DropSyn,
        ..Direction::default()
    };
    for (client_port, passes) in [(INSPECTED, false), (OTHER, true)] {
        let data = Segment {
            client_port,
            ..Segment::default()
        };
        let syn = Segment {
            client_port,
            options: vec![253, 4, 0, 0],
            ..syn(1)
        };
        let mut wire = a_to_b(strict.clone());
        carry(&mut wire, &data);
        let later = NOW + Duration::from_secs(61);
        assert_eq!(!carry_at(&mut wire, later, &data).is_empty(), passes);
        assert_eq!(!carry_at(&mut wire, later, &syn).is_empty(), passes);
    }
}

#[test]
fn what_has_no_ports_is_marked_only_where_there_is_no_list() {
    for family in FAMILIES {
        let ping = samples::ping(family, 20);
        for (ports, passes) in [(Some(vec![INSPECTED]), true), (None, false)] {
            let mut wire = a_to_b(all(ports));
            let out = carry_bytes(&mut wire, Heading::AToB, NOW, ping.clone());
            assert_eq!(out[0].packet == ping, passes);
        }
    }
}
