//! What the mangler does to packets, station by station.

mod fate;
mod fields;
mod filter;
mod flows;
mod isn;
mod options;
mod oversize;
mod scope;
mod timing;

use std::time::Duration;

use super::{Delivery, Mangler};
use crate::lab::wire::heading::Heading;
use crate::lab::wire::spec::{Direction, End, Isn, Stop, WireSpec};
use crate::packet::samples::{FAMILIES, Family, Segment};
use crate::packet::{Flags, Ip, Tcp, TcpOption, checksum, ip, samples};

pub const NOW: Duration = Duration::from_millis(5);

/// The options of a Linux SYN: MSS, SACK-permitted, timestamps, window scale.
pub const LINUX: [u8; 20] = [
    2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 1, 3, 3, 7,
];

/// A wire that does this to packets from `a` (the client) to `b`, and nothing to the others.
pub fn a_to_b(direction: Direction) -> Mangler {
    Mangler::new(&spec(direction, Direction::default()))
}

pub fn spec(a_to_b: Direction, b_to_a: Direction) -> WireSpec {
    let end = |netns: &str| End {
        netns: netns.into(),
        device: "wire".into(),
        mtu: 1500,
    };
    WireSpec {
        seed: 7,
        a: end("a"),
        b: end("b"),
        a_to_b,
        b_to_a,
    }
}

/// Sequence numbers are randomised, SACK blocks are left as they are.
pub fn isn() -> Direction {
    Direction {
        isn: Some(Isn {
            translate_sack: false,
        }),
        ..Direction::default()
    }
}

/// Sequence numbers are randomised, SACK blocks translated.
pub fn isn_and_sack() -> Direction {
    Direction {
        isn: Some(Isn {
            translate_sack: true,
        }),
        ..Direction::default()
    }
}

/// Carries a segment at `now`; it goes the way its sender says.
pub fn carry_at(mangler: &mut Mangler, now: Duration, segment: &Segment) -> Vec<Delivery> {
    let heading = if segment.from_server {
        Heading::BToA
    } else {
        Heading::AToB
    };
    carry_bytes(mangler, heading, now, segment.build())
}

pub fn carry_bytes(
    mangler: &mut Mangler,
    heading: Heading,
    now: Duration,
    bytes: Vec<u8>,
) -> Vec<Delivery> {
    let mut out = Vec::new();
    mangler.carry(heading, now, bytes, &mut out);
    out
}

/// Carries a segment that must come out as one packet with right checksums.
pub fn carry(mangler: &mut Mangler, segment: &Segment) -> Vec<u8> {
    let mut out = carry_at(mangler, NOW, segment);
    assert_eq!(out.len(), 1, "{segment:?}");
    let packet = out.remove(0).packet;
    assert_checksums(&packet);
    packet
}

pub fn assert_checksums(packet: &[u8]) {
    let ip = Ip::parse(packet).unwrap();
    assert_eq!(checksum::transport_is_right(&ip, packet), Some(true));
    if ip.is_v4() {
        assert_eq!(
            checksum::Sum::default()
                .bytes(&packet[..ip.payload])
                .checksum(),
            0
        );
    }
}

pub fn tcp(packet: &[u8]) -> Tcp<&[u8]> {
    Tcp::parse(&packet[Ip::parse(packet).unwrap().payload..]).unwrap()
}

pub fn syn(sequence: u32) -> Segment {
    Segment {
        flags: Flags::SYN,
        sequence,
        acknowledgement: 0,
        ..Segment::default()
    }
}

pub fn syn_ack(sequence: u32, acknowledgement: u32) -> Segment {
    let flags = Flags::SYN | Flags::ACK;
    Segment {
        flags,
        from_server: true,
        sequence,
        acknowledgement,
        ..Segment::default()
    }
}

#[test]
fn a_perfect_wire_changes_nothing() {
    let mut wire = a_to_b(Direction::default());
    for family in FAMILIES {
        for size in [0, 1, 1400] {
            let segment = Segment {
                family,
                payload: size,
                ..Segment::default()
            };
            assert_eq!(carry(&mut wire, &segment), segment.build());
        }
    }
    let counters = wire.counters(Heading::AToB);
    assert_eq!((counters.packets, counters.lost.total()), (6, 0));
}

#[test]
fn what_is_no_packet_is_carried_as_it_is() {
    let mut wire = a_to_b(Direction {
        corrupt: 1.0,
        ..isn()
    });
    for bytes in [vec![], vec![0x45], vec![0x61; 39], vec![0; 100]] {
        assert_eq!(
            carry_bytes(&mut wire, Heading::AToB, NOW, bytes.clone())[0].packet,
            bytes
        );
    }
}

#[test]
fn a_run_repeats_with_the_same_seed() {
    let faulty = Direction {
        loss: 0.1,
        duplicate: 0.1,
        corrupt: 0.1,
        reorder: 0.1,
        reorder_by: Duration::from_millis(3),
        jitter: Duration::from_millis(1),
        ..isn()
    };
    let run = |seed| {
        let mut wire = Mangler::new(&WireSpec {
            seed,
            ..spec(faulty.clone(), faulty.clone())
        });
        let mut out = carry_at(&mut wire, NOW, &syn(1));
        out.extend(carry_at(&mut wire, NOW, &syn_ack(1, 2)));
        for i in 0..300 {
            let segment = Segment {
                from_server: i % 3 == 0,
                sequence: i,
                payload: 20,
                ..Segment::default()
            };
            out.extend(carry_at(
                &mut wire,
                Duration::from_micros(u64::from(i)),
                &segment,
            ));
        }
        out
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

proptest::proptest! {
    #[test]
    fn bytes_from_a_stranger_never_panic(
        mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        kind in 0usize..6,
        heading: bool,
    ) {
        use crate::lab::wire::spec::{Oversize, OversizeAction, Protocol, UnknownOptions, WindowScale};
        let known = [(4, 6), (4, 1), (4, 17), (6, 6), (6, 58), (6, 44)];
        let (version, protocol) = known[kind];
        if bytes.len() > 40 {
            bytes[0] = (version << 4) | 5;
            bytes[if version == 4 { 9 } else { 6 }] = protocol;
            let length = bytes.len() as u16 - if version == 4 { 0 } else { 40 };
            let at = if version == 4 { 2 } else { 4 };
            bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        let all = Direction {
            window_scale: WindowScale::Strip,
            mss: Some(500),
            strip_sack_permitted: true,
            strip_sack: true,
            strip_timestamps: true,
            unknown_options: UnknownOptions::Strip,
            timestamp_offset: Some(9),
            refuse_ecn: true,
            clear_urgent: true,
            window: Some(9),
            dscp: Some(9),
            bleach_ecn: true,
            drop_ports: vec![9],
            forget_idle_after: Some(Duration::from_secs(1)),
            corrupt: 1.0,
            oversize: vec![Oversize {
                protocol: Protocol::Any, above: 60, action: OversizeAction::Truncate, probability: 0.5,
            }],
            ..isn_and_sack()
        };
        let mut wire = Mangler::new(&spec(all.clone(), all));
        carry_at(&mut wire, NOW, &syn(1));
        let heading = if heading { Heading::AToB } else { Heading::BToA };
        carry_bytes(&mut wire, heading, NOW, bytes.clone());
    }

    #[test]
    fn checksums_stay_right_whatever_the_firewall_rewrites(
        v6: bool, from_server: bool, flags: u8, sequence: u32, acknowledgement: u32,
        payload in 0usize..50, offset: u32, window: u16, urgent_pointer: u16, traffic_class: u8,
        strip_sack: bool, strip_timestamps: bool, dscp in proptest::option::of(0u8..64), limit: u16,
    ) {
        let all = Direction {
            window_scale: crate::lab::wire::spec::WindowScale::Set(3),
            mss: Some(500),
            strip_sack_permitted: true,
            strip_sack,
            strip_timestamps,
            unknown_options: crate::lab::wire::spec::UnknownOptions::Strip,
            timestamp_offset: Some(offset),
            refuse_ecn: true,
            clear_urgent: true,
            window: Some(limit),
            dscp,
            bleach_ecn: true,
            ..isn_and_sack()
        };
        let mut wire = Mangler::new(&spec(all.clone(), all));
        let family = if v6 { Family::V6 } else { Family::V4 };
        let options = vec![
            1, 2, 4, 5, 180, 4, 2, 3, 3, 7, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 253, 3, 9,
        ];
        carry(&mut wire, &Segment { family, ..syn(1) });
        carry(&mut wire, &Segment { family, ..syn_ack(1, 2) });
        let flags = Flags(flags);
        let segment = Segment { family, from_server, flags, sequence, acknowledgement, options, payload, window, urgent_pointer, traffic_class, ..Segment::default() };
        let packet = carry(&mut wire, &segment);
        let readable = |option| !matches!(option, TcpOption::Other { .. });
        proptest::prop_assert!(tcp(&packet).options().all(readable));
    }
}
