//! Idle flows.

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn forgetful() -> Direction {
    Direction {
        forget_idle_after: Some(LIMIT),
        ..Direction::default()
    }
}

fn passes(wire: &mut Mangler, second: u64, segment: &Segment) -> bool {
    !carry_at(wire, Duration::from_secs(second), segment).is_empty()
}

#[test]
fn an_idle_flow_is_forgotten_until_it_is_opened_anew() {
    let mut wire = a_to_b(forgetful());
    let data = Segment::default();
    assert!(passes(&mut wire, 0, &syn(1)));
    assert!(passes(&mut wire, 60, &data), "just within the limit");
    assert!(!passes(&mut wire, 121, &data));
    assert!(
        !passes(&mut wire, 122, &data),
        "once forgotten, it stays so"
    );
    assert!(passes(&mut wire, 123, &syn(9)));
    assert!(passes(&mut wire, 124, &data));
    assert_eq!(wire.counters(Heading::AToB).lost.forgotten, 2);
}

#[test]
fn packets_of_either_direction_keep_a_flow_alive() {
    let mut wire = Mangler::new(&spec(forgetful(), forgetful()));
    assert!(passes(&mut wire, 0, &syn(1)));
    assert!(passes(
        &mut wire,
        50,
        &Segment {
            from_server: true,
            ..Segment::default()
        }
    ));
    assert!(passes(&mut wire, 100, &Segment::default()));
}

#[test]
fn one_idle_flow_does_not_take_others_with_it() {
    let mut wire = a_to_b(forgetful());
    let other = Segment {
        client_port: 50_000,
        ..Segment::default()
    };
    assert!(passes(&mut wire, 0, &syn(1)));
    assert!(passes(&mut wire, 50, &other));
    assert!(passes(&mut wire, 100, &other));
    assert!(!passes(&mut wire, 100, &Segment::default()));
}

#[test]
fn only_the_forgetful_direction_drops() {
    let mut wire = a_to_b(forgetful());
    assert!(passes(&mut wire, 0, &syn(1)));
    assert!(passes(
        &mut wire,
        100,
        &Segment {
            from_server: true,
            ..Segment::default()
        }
    ));
}
