//! What becomes of TCP options.

use super::*;
use crate::lab::wire::spec::{UnknownOptions, WindowScale};

/// An option of kind 253 (RFC 4727), one with a length it cannot have, and one that every stack knows.
const STRANGE: [u8; 12] = [253, 4, 0xf9, 0x89, 1, 2, 3, 9, 2, 4, 5, 180];

/// A block of SACK beside timestamps, as Linux sends it.
const SACK: [u8; 24] = [
    1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2,
];

/// What becomes of the options of a Linux SYN on this segment.
fn options(direction: Direction, segment: Segment) -> Vec<u8> {
    let options = LINUX.to_vec();
    carried(direction, Segment { options, ..segment })
}

/// What becomes of the options of a segment.
fn carried(direction: Direction, segment: Segment) -> Vec<u8> {
    let mut outputs = FAMILIES.map(|family| {
        let mut wire = Mangler::new(&spec(direction.clone(), direction.clone()));
        tcp(&carry(
            &mut wire,
            &Segment {
                family,
                ..segment.clone()
            },
        ))
        .header()[20..]
            .to_vec()
    });
    assert_eq!(outputs[0], outputs[1]);
    std::mem::take(&mut outputs[0])
}

/// The options of a Linux SYN with some bytes changed.
fn linux_but(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut options = LINUX.to_vec();
    options[at..at + bytes.len()].copy_from_slice(bytes);
    options
}

#[test]
fn window_scale_is_kept_unless_told_otherwise() {
    assert_eq!(options(Direction::default(), syn(1)), LINUX);
}

#[test]
fn window_scale_is_stripped_from_syn_and_syn_ack() {
    let strip = Direction {
        window_scale: WindowScale::Strip,
        ..Direction::default()
    };
    assert_eq!(options(strip.clone(), syn(1)), linux_but(17, &[1, 1, 1]));
    assert_eq!(options(strip, syn_ack(1, 2)), linux_but(17, &[1, 1, 1]));
}

#[test]
fn window_scale_stripped_from_syn_ack_alone_stays_in_the_syn() {
    let strip = Direction {
        window_scale: WindowScale::StripFromSynAck,
        ..Direction::default()
    };
    assert_eq!(options(strip.clone(), syn(1)), LINUX);
    assert_eq!(options(strip, syn_ack(1, 2)), linux_but(17, &[1, 1, 1]));
}

#[test]
fn window_scale_is_overwritten_with_at_most_14() {
    for (set, written) in [(0, 0), (3, 3), (200, 14)] {
        let set = Direction {
            window_scale: WindowScale::Set(set),
            ..Direction::default()
        };
        assert_eq!(options(set, syn(1)), linux_but(19, &[written]));
    }
}

#[test]
fn a_larger_mss_is_lowered_and_a_smaller_one_kept() {
    let mss = |mss| Direction {
        mss: Some(mss),
        ..Direction::default()
    };
    assert_eq!(
        options(mss(940), syn(1)),
        linux_but(2, &940u16.to_be_bytes())
    );
    assert_eq!(options(mss(9_000), syn_ack(1, 2)), LINUX);
}

#[test]
fn sack_permitted_is_blanked_and_no_byte_moves() {
    let strip = Direction {
        strip_sack_permitted: true,
        ..Direction::default()
    };
    assert_eq!(options(strip, syn(1)), linux_but(4, &[1, 1]));
}

#[test]
fn timestamps_are_blanked_in_syn_and_syn_ack_and_no_byte_moves() {
    let strip = Direction {
        strip_timestamps: true,
        ..Direction::default()
    };
    assert_eq!(options(strip.clone(), syn(1)), linux_but(6, &[1; 10]));
    assert_eq!(options(strip, syn_ack(1, 2)), linux_but(6, &[1; 10]));
}

#[test]
fn sack_blocks_are_blanked_and_sack_permitted_passes() {
    let strip = Direction {
        strip_sack: true,
        ..Direction::default()
    };
    let ack = Segment {
        options: SACK.to_vec(),
        ..Segment::default()
    };
    let mut blanked = SACK.to_vec();
    blanked[14..].fill(1);
    assert_eq!(carried(strip.clone(), ack.clone()), blanked);
    assert_eq!(carried(Direction::default(), ack), SACK);
    assert_eq!(options(strip, syn(1)), LINUX);
}

#[test]
fn unknown_options_are_blanked_on_every_segment() {
    let strip = Direction {
        unknown_options: UnknownOptions::Strip,
        ..Direction::default()
    };
    for segment in [syn(1), syn_ack(1, 2), Segment::default()] {
        let strange = Segment {
            options: STRANGE.to_vec(),
            ..segment.clone()
        };
        assert_eq!(
            carried(strip.clone(), strange.clone()),
            [1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 180]
        );
        assert_eq!(carried(Direction::default(), strange), STRANGE);
        assert_eq!(options(strip.clone(), segment), LINUX);
    }
    let ack = Segment {
        options: SACK.to_vec(),
        ..Segment::default()
    };
    assert_eq!(carried(strip, ack), SACK);
}

#[test]
fn options_are_blanked_in_their_own_direction_only() {
    let mut wire = a_to_b(Direction {
        strip_timestamps: true,
        strip_sack: true,
        unknown_options: UnknownOptions::Strip,
        ..Direction::default()
    });
    let back = |options: &[u8], segment| Segment {
        options: options.to_vec(),
        from_server: true,
        ..segment
    };
    for segment in [
        back(&LINUX, syn_ack(1, 2)),
        back(&SACK, Segment::default()),
        back(&STRANGE, Segment::default()),
    ] {
        assert_eq!(carry(&mut wire, &segment), segment.build());
    }
}

#[test]
fn options_outside_of_syns_are_none_of_its_business() {
    let direction = Direction {
        strip_sack_permitted: true,
        strip_timestamps: true,
        unknown_options: UnknownOptions::DropSyn,
        window_scale: WindowScale::Strip,
        mss: Some(100),
        ..Direction::default()
    };
    assert_eq!(options(direction, Segment::default()), LINUX);
}

#[test]
fn timestamps_are_offset_one_way_and_restored_in_the_echo() {
    let mut wire = a_to_b(Direction {
        timestamp_offset: Some(1_000),
        ..Direction::default()
    });
    let stamps = |wire: &mut Mangler, segment: Segment| {
        let packet = carry(
            wire,
            &Segment {
                options: LINUX.to_vec(),
                ..segment
            },
        );
        let found = tcp(&packet).options().find_map(|option| match option {
            TcpOption::Timestamps { value, echo } => Some((value, echo)),
            _ => None,
        });
        found.unwrap()
    };
    assert_eq!(stamps(&mut wire, Segment::default()), (1_009, 8));
    let back = Segment {
        from_server: true,
        ..Segment::default()
    };
    assert_eq!(
        stamps(&mut wire, back.clone()),
        (9, 8u32.wrapping_sub(1_000))
    );
    let no_echo = Segment {
        flags: Flags::SYN,
        ..back
    };
    assert_eq!(stamps(&mut wire, no_echo), (9, 8));
}
