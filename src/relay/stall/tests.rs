//! Each way in which a direction can be stuck, and each in which it only seems so.

use super::*;

const AFTER: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// A direction under a look each second.
struct Watched {
    now: Instant,
    course: Course,
}

impl Watched {
    fn begin() -> Self {
        let now = Instant::now();
        let course = Course::new(now);
        Self { now, course }
    }

    /// The next look, and what is new.
    fn look(&mut self, read: u64, passed: u64, look: Look) -> Option<Change> {
        self.now += SECOND;
        let counted = Counted { read, passed };
        let moved = self.course.count(self.now, counted);
        moved.or_else(|| {
            self.course
                .judge(self.now, &look, Party::Server, Some(AFTER))
        })
    }

    /// The first look out of so many that finds something new, and what.
    fn same(&mut self, times: u32, look: Look) -> Option<(u32, Change)> {
        (1..=times).find_map(|nth| self.look(100, 100, look).map(|change| (nth, change)))
    }
}

/// A receiver that has not acknowledged 100 bytes.
fn on_its_way() -> OnItsWay {
    OnItsWay {
        bytes: 100,
        window: Some(50_000),
        ..OnItsWay::default()
    }
}

fn found(way: OnItsWay) -> Look {
    Look {
        on_its_way: Some(way),
        ..Look::default()
    }
}

/// Where a direction is stuck of which every look finds the same.
fn stuck_by(look: Look) -> Option<Stuck> {
    match Watched::begin().same(100, look)? {
        (_, Change::Sticks(stuck, _)) => Some(stuck),
        (_, Change::Moves(..)) => panic!("it never was stuck"),
    }
}

fn side_and_why(way: OnItsWay) -> (Party, Why) {
    let stuck = stuck_by(found(way)).expect("it is stuck");
    (stuck.side, stuck.why)
}

#[test]
fn a_receiver_without_room_that_answers_probes_has_shut_its_window() {
    let way = OnItsWay {
        unsent: 100,
        window: Some(0),
        unanswered_probes: 1,
        ..on_its_way()
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::PeerWindowShut));
}

#[test]
fn a_window_too_small_for_what_is_next_is_shut_also_where_the_kernel_does_not_tell_it() {
    for window in [Some(90), None] {
        let way = OnItsWay {
            unsent: 100,
            window,
            ..on_its_way()
        };
        assert_eq!(side_and_why(way), (Party::Server, Why::PeerWindowShut));
    }
}

#[test]
fn a_receiver_that_answers_no_probe_is_not_one_that_does_not_read() {
    let way = OnItsWay {
        unsent: 100,
        window: Some(0),
        unanswered_probes: 2,
        ..on_its_way()
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::Unacknowledged));
}

#[test]
fn segments_that_nobody_acknowledges_are_unacknowledged() {
    let way = OnItsWay {
        in_flight: 1,
        last_acknowledgement: Duration::from_secs(60),
        ..on_its_way()
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::Unacknowledged));
    // Answers that take nothing, with room for it: something on the way drops what is sent.
    let way = OnItsWay {
        last_acknowledgement: SECOND,
        ..way
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::Unacknowledged));
}

#[test]
fn segments_that_find_no_room_any_more_are_a_shut_window_while_they_are_answered() {
    let way = OnItsWay {
        in_flight: 3,
        window: Some(0),
        last_acknowledgement: SECOND,
        ..on_its_way()
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::PeerWindowShut));
    let way = OnItsWay {
        last_acknowledgement: Duration::from_secs(40),
        ..way
    };
    assert_eq!(side_and_why(way), (Party::Server, Why::Unacknowledged));
}

#[test]
fn bytes_that_nobody_but_the_relay_keeps_back_are_the_relays_own_fault() {
    for (held, unread) in [(7, 0), (0, 7), (3, 4)] {
        let look = Look {
            held,
            unread,
            on_its_way: None,
        };
        let stuck = Stuck {
            side: Party::Relay,
            why: Why::Pipe,
            waiting: 7,
        };
        assert_eq!(stuck_by(look), Some(stuck));
    }
}

#[test]
fn all_that_waits_is_told() {
    let look = Look {
        held: 1000,
        unread: 10_000,
        on_its_way: Some(OnItsWay {
            unsent: 100,
            ..on_its_way()
        }),
    };
    assert_eq!(stuck_by(look).map(|stuck| stuck.waiting), Some(11_100));
}

#[test]
fn nothing_to_deliver_is_no_stall() {
    assert_eq!(Watched::begin().same(10_000, Look::default()), None);
}

#[test]
fn it_is_told_once_and_again_only_after_it_has_moved() {
    let mut watched = Watched::begin();
    let stuck = found(on_its_way());
    let (nth, change) = watched.same(100, stuck).expect("it is stuck");
    assert_eq!(nth, 31);
    let Change::Sticks(first, still) = change else {
        panic!("{change:?}")
    };
    assert_eq!(still, AFTER);
    assert_eq!(watched.course.stuck, Some(first));
    assert_eq!(watched.same(1000, stuck), None);

    // The first look saw the bytes counted; 1030 followed, and this one.
    let moves = Change::Moves(first, Duration::from_secs(1031));
    let change = watched.look(101, 100, stuck);
    assert_eq!(change, Some(moves));
    assert_eq!(watched.course.stuck, None);
    let again = watched.same(100, stuck);
    assert!(matches!(again, Some((_, Change::Sticks(..)))), "{again:?}");
}

#[test]
fn bytes_that_are_read_written_or_acknowledged_move_it() {
    type Step = fn(u64) -> (u64, u64, u64);
    let steps: [Step; 3] = [
        |nth| (nth, 0, 0),
        |nth| (1000, nth, 0),
        |nth| (1000, 1000, nth),
    ];
    for step in steps {
        let mut watched = Watched::begin();
        for nth in 0..1000 {
            // Every 20 seconds.
            let (read, passed, acknowledged) = step(nth / 20);
            let way = OnItsWay {
                acknowledged,
                ..on_its_way()
            };
            assert_eq!(watched.look(read, passed, found(way)), None);
        }
    }
}

#[test]
fn the_last_byte_that_is_acknowledged_moves_it() {
    let mut watched = Watched::begin();
    let (_, change) = watched.same(100, found(on_its_way())).unwrap();
    assert!(matches!(change, Change::Sticks(..)));
    let change = watched.look(100, 100, Look::default());
    assert!(matches!(change, Some(Change::Moves(..))), "{change:?}");
}

#[test]
fn what_comes_after_a_long_silence_has_its_time_from_then() {
    let mut watched = Watched::begin();
    assert_eq!(watched.same(3600, Look::default()), None);
    let unread = Look {
        unread: 5,
        ..Look::default()
    };
    let (nth, change) = watched.same(100, unread).unwrap();
    assert_eq!(nth, 31);
    assert!(matches!(change, Change::Sticks(_, AFTER)), "{change:?}");
}

#[test]
fn a_direction_at_rest_is_looked_at_once_in_a_while_and_one_that_moves_not_at_all() {
    let begun = Instant::now() + SECOND;
    let mut course = Course::new(begun - SECOND);
    let counted = Counted {
        read: 100,
        passed: 100,
    };
    course.count(begun, counted);
    assert!(!course.is_worth_a_look(begun, AFTER), "it moves");
    assert!(course.is_worth_a_look(begun + SECOND, AFTER));
    course.judge(begun + SECOND, &Look::default(), Party::Client, None);
    assert!(!course.is_worth_a_look(begun + 2 * SECOND, AFTER));
    assert!(course.is_worth_a_look(begun + SECOND + AFTER, AFTER));
    course.judge(
        begun + 40 * SECOND,
        &found(on_its_way()),
        Party::Client,
        None,
    );
    assert!(course.is_worth_a_look(begun + 41 * SECOND, AFTER));
}

#[test]
fn a_direction_whose_stalls_nobody_wants_to_know_is_never_stuck() {
    let mut course = Course::new(Instant::now());
    let begun = course.moved();
    for second in 1..1000 {
        let now = begun + second * SECOND;
        assert_eq!(
            course.judge(now, &found(on_its_way()), Party::Client, None),
            None
        );
    }
}
