//! Rate, delay, jitter, reordering.

use super::*;

/// When each of `count` full packets, which all enter at `NOW`, is due.
fn dues(direction: Direction, count: usize) -> Vec<Duration> {
    let mut wire = a_to_b(direction);
    let full = Segment {
        payload: 1_460,
        ..Segment::default()
    };
    (0..count)
        .flat_map(|_| carry_at(&mut wire, NOW, &full))
        .map(|delivery| delivery.due)
        .collect()
}

#[test]
fn every_packet_is_delayed_by_the_same_time() {
    let delay = Duration::from_millis(10);
    assert_eq!(
        dues(
            Direction {
                delay,
                ..Direction::default()
            },
            3
        ),
        [NOW + delay; 3]
    );
}

#[test]
fn jitter_adds_to_the_delay_and_keeps_the_order() {
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(4));
    let dues = dues(
        Direction {
            delay,
            jitter,
            ..Direction::default()
        },
        1_000,
    );
    assert!(dues.is_sorted());
    assert!(
        dues.iter()
            .all(|due| (NOW + delay..=NOW + delay + jitter).contains(due))
    );
    assert!(dues.first() != dues.last());
}

#[test]
fn a_packet_held_back_is_overtaken() {
    let reorder_by = Duration::from_millis(4);
    let dues = dues(
        Direction {
            reorder: 0.1,
            reorder_by,
            ..Direction::default()
        },
        1_000,
    );
    let late = dues.iter().filter(|due| **due > NOW).count();
    assert!((50..150).contains(&late), "{late}");
    assert!(!dues.is_sorted());
    assert!(dues.iter().all(|due| *due <= NOW + reorder_by));
}

#[test]
fn a_rate_spaces_packets_out() {
    // 1500 bytes at 12 Mbit/s take a millisecond.
    let direction = Direction {
        rate_bits_per_s: Some(12_000_000),
        ..Direction::default()
    };
    let expected: Vec<_> = (1..=5).map(|i| NOW + Duration::from_millis(i)).collect();
    assert_eq!(dues(direction, 5), expected);
}

#[test]
fn a_rate_does_not_save_up_idle_time() {
    let mut wire = a_to_b(Direction {
        rate_bits_per_s: Some(12_000_000),
        ..Direction::default()
    });
    let full = Segment {
        payload: 1_460,
        ..Segment::default()
    };
    let ms = Duration::from_millis;
    assert_eq!(carry_at(&mut wire, ms(0), &full)[0].due, ms(1));
    assert_eq!(carry_at(&mut wire, ms(50), &full)[0].due, ms(51));
    assert_eq!(carry_at(&mut wire, ms(50), &full)[0].due, ms(52));
}

#[test]
fn a_full_queue_loses_the_newest_packets_and_counts_them() {
    let rate = |bits| Direction {
        rate_bits_per_s: Some(bits),
        ..Direction::default()
    };
    assert_eq!(
        dues(rate(12_000_000), 1_500).len(),
        1_000,
        "never less than 1000 packets"
    );
    assert_eq!(
        dues(rate(120_000_000), 2_500).len(),
        2_000,
        "200 ms at the faster rate"
    );
    let mut wire = a_to_b(rate(12_000_000));
    let full = Segment {
        payload: 1_460,
        ..Segment::default()
    };
    for _ in 0..1_500 {
        carry_at(&mut wire, NOW, &full);
    }
    assert_eq!(wire.counters(Heading::AToB).lost.queue, 500);
}
