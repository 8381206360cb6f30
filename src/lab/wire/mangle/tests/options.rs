//! What becomes of TCP options.

use super::*;
use crate::lab::wire::spec::WindowScale;

/// What Linux sends: MSS, SACK-permitted, timestamps, window scale.
const LINUX: [u8; 20] = [
    2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 1, 3, 3, 7,
];

fn options(direction: Direction, segment: Segment) -> Vec<u8> {
    let segment = Segment {
        options: LINUX.to_vec(),
        ..segment
    };
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
fn options_outside_of_syns_are_none_of_its_business() {
    let direction = Direction {
        strip_sack_permitted: true,
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
