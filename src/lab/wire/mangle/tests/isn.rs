//! Sequence number randomisation.

use super::*;
use crate::packet::{OptionKind, icmp};

/// Opens a flow through the wire and says by how much each direction is shifted.
fn open(wire: &mut Mangler, family: Family) -> (u32, u32) {
    let first = carry(
        wire,
        &Segment {
            family,
            ..syn(1_000)
        },
    );
    let up = tcp(&first).sequence().wrapping_sub(1_000);
    let second = carry(
        wire,
        &Segment {
            family,
            ..syn_ack(5_000, 1_001u32.wrapping_add(up))
        },
    );
    assert_eq!(tcp(&second).acknowledgement(), 1_001);
    (up, tcp(&second).sequence().wrapping_sub(5_000))
}

/// An acknowledgement from the server with one SACK block, in the server's numbers.
fn sack(family: Family, up: u32) -> Segment {
    let mut options = vec![1, 1, 5, 10];
    options.extend(2_000u32.wrapping_add(up).to_be_bytes());
    options.extend(3_000u32.wrapping_add(up).to_be_bytes());
    let acknowledgement = 1_500u32.wrapping_add(up);
    Segment {
        family,
        from_server: true,
        sequence: 5_001,
        acknowledgement,
        options,
        ..Segment::default()
    }
}

fn sack_block(packet: &[u8]) -> (u32, u32) {
    tcp(packet)
        .options()
        .flat_map(|option| option.sack_blocks())
        .next()
        .unwrap()
}

#[test]
fn both_directions_are_shifted_and_the_hosts_do_not_notice() {
    for family in FAMILIES {
        let mut wire = Mangler::new(&spec(isn(), isn()));
        let (up, down) = open(&mut wire, family);
        assert_ne!(up, down);
        let data = Segment {
            family,
            sequence: 1_001,
            acknowledgement: 5_001u32.wrapping_add(down),
            ..Segment::default()
        };
        let packet = carry(&mut wire, &data);
        assert_eq!(tcp(&packet).sequence(), 1_001 + up);
        assert_eq!(tcp(&packet).acknowledgement(), 5_001);
    }
}

#[test]
fn one_direction_alone_can_be_shifted() {
    let mut wire = Mangler::new(&spec(isn(), Direction::default()));
    let (up, down) = open(&mut wire, Family::V4);
    assert!(up != 0 && down == 0);
}

#[test]
fn sack_blocks_are_left_behind_when_not_translated() {
    for family in FAMILIES {
        let mut wire = Mangler::new(&spec(isn(), isn()));
        let (up, _) = open(&mut wire, family);
        let packet = carry(&mut wire, &sack(family, up));
        assert_eq!(tcp(&packet).acknowledgement(), 1_500);
        assert_eq!(sack_block(&packet), (2_000 + up, 3_000 + up));
    }
}

#[test]
fn sack_blocks_follow_when_translated() {
    for family in FAMILIES {
        let mut wire = Mangler::new(&spec(isn_and_sack(), isn()));
        let (up, _) = open(&mut wire, family);
        assert_eq!(
            sack_block(&carry(&mut wire, &sack(family, up))),
            (2_000, 3_000)
        );
    }
}

#[test]
fn a_sack_left_behind_always_looks_like_one_from_the_future() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    for port in 1..500 {
        let packet = carry(
            &mut wire,
            &Segment {
                client_port: port,
                ..syn(u32::from(port))
            },
        );
        let shift = tcp(&packet).sequence().wrapping_sub(u32::from(port));
        assert!((1 << 24..(1 << 31) - (1 << 24)).contains(&shift), "{shift}");
    }
}

#[test]
fn a_retransmitted_syn_gets_the_same_shift_and_a_new_connection_another() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    let first = carry(&mut wire, &syn(1_000));
    assert_eq!(carry(&mut wire, &syn(1_000)), first);
    let another = carry(&mut wire, &syn(2_000));
    assert_ne!(
        tcp(&another).sequence() - 2_000,
        tcp(&first).sequence() - 1_000
    );
}

#[test]
fn flows_are_shifted_each_in_its_own_way() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    let first = carry(&mut wire, &syn(1_000));
    let second = carry(
        &mut wire,
        &Segment {
            client_port: 40_001,
            ..syn(1_000)
        },
    );
    assert_ne!(tcp(&first).sequence(), tcp(&second).sequence());
}

#[test]
fn connections_opened_from_the_other_side_are_shifted_too() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    let packet = carry(
        &mut wire,
        &Segment {
            from_server: true,
            ..syn(1_000)
        },
    );
    assert_ne!(tcp(&packet).sequence(), 1_000);
}

#[test]
fn a_flow_that_was_not_seen_opening_passes_unshifted() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    for from_server in [false, true] {
        let segment = Segment {
            from_server,
            ..Segment::default()
        };
        assert_eq!(carry(&mut wire, &segment), segment.build());
    }
}

#[test]
fn resets_are_shifted_like_any_segment() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    let (up, _) = open(&mut wire, Family::V4);
    let reset = Segment {
        flags: Flags::RST,
        sequence: 1_001,
        acknowledgement: 0,
        ..Segment::default()
    };
    let packet = carry(&mut wire, &reset);
    assert_eq!(tcp(&packet).sequence(), 1_001 + up);
    assert_eq!(
        tcp(&packet).acknowledgement(),
        0,
        "without ACK the field means nothing"
    );
}

#[test]
fn the_refusal_of_a_connection_acknowledges_what_was_sent() {
    let mut wire = Mangler::new(&spec(isn(), isn()));
    let up = tcp(&carry(&mut wire, &syn(1_000))).sequence() - 1_000;
    let flags = Flags::RST | Flags::ACK;
    let refusal = Segment {
        from_server: true,
        flags,
        sequence: 0,
        acknowledgement: 1_001 + up,
        ..Segment::default()
    };
    let packet = carry(&mut wire, &refusal);
    assert_eq!(
        (tcp(&packet).sequence(), tcp(&packet).acknowledgement()),
        (0, 1_001)
    );
}

#[test]
fn a_segment_quoted_in_an_icmp_error_is_shifted_back() {
    for family in FAMILIES {
        let mut wire = Mangler::new(&spec(isn(), isn()));
        let (up, down) = open(&mut wire, family);
        let acknowledgement = 5_001u32.wrapping_add(down);
        let data = Segment {
            family,
            sequence: 1_001,
            acknowledgement,
            payload: 1_400,
            ..Segment::default()
        };
        let beyond = carry(&mut wire, &data);
        assert_eq!(tcp(&beyond).sequence(), 1_001 + up);
        let error = icmp::too_big(&beyond, 1_300).unwrap();

        let arrived = carry_bytes(&mut wire, Heading::BToA, NOW, error)
            .remove(0)
            .packet;
        assert_checksums(&arrived);
        let ip = Ip::parse(&arrived).unwrap();
        let quoted = &arrived[icmp::quoted(&ip, &arrived).unwrap()..];
        let inner = Ip::parse_quoted(quoted).unwrap();
        let inner = Tcp::parse(&quoted[inner.payload..]).unwrap();
        assert_eq!(
            (inner.sequence(), inner.acknowledgement()),
            (1_001, acknowledgement)
        );
    }
}

#[test]
fn an_option_kind_survives_the_shift() {
    let mut wire = Mangler::new(&spec(isn_and_sack(), isn()));
    let (up, _) = open(&mut wire, Family::V4);
    let mut packet = carry(&mut wire, &sack(Family::V4, up));
    let mut kinds = Vec::new();
    Tcp::parse(&mut packet[20..])
        .unwrap()
        .edit_options(|_, option| kinds.push(option.kind));
    assert_eq!(kinds, [OptionKind::Sack]);
}
