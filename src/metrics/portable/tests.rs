use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::metrics::exposition::{Format, render};
use crate::metrics::{Direction, Recorded, Recorders};

/// Something to record.
#[derive(Debug, Clone)]
enum Event {
    Time(u8, Duration),
    Size(Direction, u64),
    Added(Direction, Duration),
    Count(usize, u32),
    OfTheProcess(usize, u32),
}

fn names() -> Vec<String> {
    ["ssh", "rsync \"1\""].map(str::to_owned).to_vec()
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::ClientToServer),
        Just(Direction::ServerToClient)
    ]
}

/// Times of every magnitude, some of them beyond the longest.
fn time() -> impl Strategy<Value = Duration> {
    (0_u32..50, any::<u64>()).prop_map(|(bits, any)| Duration::from_nanos(any >> (63 - bits)))
}

fn events() -> impl Strategy<Value = Vec<(u16, Event)>> {
    let counters = Counters::default().named().len();
    let event = prop_oneof![
        (0_u8..7, time()).prop_map(|(which, time)| Event::Time(which, time)),
        (direction(), 0_u32..45, any::<u64>())
            .prop_map(|(of, bits, any)| Event::Size(of, any >> (63 - bits))),
        (direction(), time()).prop_map(|(of, time)| Event::Added(of, time)),
        (0..counters, any::<u32>()).prop_map(|(which, more)| Event::Count(which, more)),
        (0..counters, any::<u32>()).prop_map(|(which, more)| Event::OfTheProcess(which, more)),
    ];
    proptest::collection::vec((0_u16..2, event), 0..300)
}

fn recorded(events: &[(u16, Event)]) -> Recorders {
    let mut recorders = Recorders::new(2);
    for (listener, event) in events {
        let listener = ListenerId(*listener);
        let count = |counters: &mut Counters, which: usize, more: u32| {
            let name = Counters::default().named()[which].0;
            *counters.by_name(name).unwrap() += u64::from(more);
        };
        match event {
            Event::Time(which, time) => {
                let of = recorders.of(listener);
                let times = match which {
                    0 => &mut of.connect,
                    1 => &mut of.setup,
                    2 => of.first_byte.of(Direction::ServerToClient),
                    3 => of.stall.of(Direction::ClientToServer),
                    4 => &mut of.lifetime,
                    5 => &mut of.rtt.downstream,
                    _ => &mut of.min_rtt.upstream,
                };
                times.record(*time);
            }
            Event::Size(direction, bytes) => {
                recorders.of(listener).bytes.of(*direction).record(*bytes);
            }
            Event::Added(direction, time) => recorders.added(listener, *direction, *time),
            Event::Count(which, more) => {
                count(&mut recorders.of(listener).counters, *which, *more);
            }
            Event::OfTheProcess(which, more) => count(&mut recorders.process, *which, *more),
        }
    }
    recorders
}

/// All of it as Prometheus gets it.
fn told(names: &[String], recorders: &Recorders) -> String {
    let mut settled = recorders.clone();
    settled.settle();
    let all = Recorded {
        names: names.to_vec(),
        recorders: settled,
        histograms: true,
        ..Recorded::default()
    };
    render(Format::OpenMetrics, &all.families())
}

/// Every sum as a whole number: text rounds them.
fn sums(recorders: &Recorders) -> Vec<u128> {
    let mut settled = recorders.clone();
    settled.settle();
    let histograms = settled.listeners().iter().flat_map(Recorder::histograms);
    histograms.map(|measured| measured.exact).collect()
}

fn by_json(portable: &Portable) -> Portable {
    serde_json::from_str(&serde_json::to_string(portable).unwrap()).unwrap()
}

fn some() -> Portable {
    let event = (0, Event::Time(0, Duration::from_millis(7)));
    Portable::of(&names(), &recorded(&[event]))
}

/// The one histogram of [`some`].
fn only(portable: &mut Portable) -> &mut OfMetric {
    &mut portable.listeners.get_mut("ssh").unwrap().histograms[0]
}

proptest! {
    #[test]
    fn what_goes_over_tells_the_same_on_the_other_side(events in events()) {
        let before = recorded(&events);
        let mut after = before.clone();
        // Upgraded once, it is upgraded again.
        for _ in 0..3 {
            let portable = by_json(&Portable::of(&names(), &after));
            let (taken, unknown) = portable.into_recorders(&names()).unwrap();
            assert_eq!(unknown, [""; 0]);
            after = taken;
        }
        assert_eq!(told(&names(), &after), told(&names(), &before));
        assert_eq!(sums(&after), sums(&before));
    }

    #[test]
    fn a_histogram_of_any_bytes_is_an_error_or_one_within_its_limits(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut portable = some();
        let histogram = only(&mut portable);
        let mut bytes = STANDARD.decode(&histogram.counts).unwrap();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        histogram.counts = STANDARD.encode(bytes);
        match portable.into_recorders(&names()) {
            Ok((recorders, _)) => {
                let connect = &recorders.listeners()[0].connect;
                assert!(connect.max() <= Duration::from_secs(3604));
                told(&names(), &recorders);
            }
            Err(broken) => {
                let begins = "what was recorded of listener ssh, unmangle_connect_seconds cannot be read: ";
                assert!(broken.to_string().starts_with(begins), "{broken}");
            }
        }
    }
}

#[test]
fn every_counter_and_every_histogram_has_its_place_on_the_other_side() {
    let mut before = Recorders::new(1);
    let all = Counters::default().named();
    for (nth, (name, ..)) in all.iter().enumerate() {
        *before.of(ListenerId(0)).counters.by_name(name).unwrap() = nth as u64 + 1;
    }
    let empty = Recorder::default();
    let mut histogram = Histogram::new(3).unwrap();
    histogram.record(5).unwrap();
    for measured in empty.histograms() {
        let metric = measured.definition.name;
        let kept = before.of(ListenerId(0)).kept(metric, measured.of);
        kept.expect(metric).restore(&histogram, 9);
    }
    let names = &names()[..1];
    let (after, _) = by_json(&Portable::of(names, &before))
        .into_recorders(names)
        .unwrap();
    assert_eq!(
        after.listeners()[0].counters,
        before.listeners()[0].counters
    );
    for measured in after.listeners()[0].histograms() {
        let one = (measured.histogram.len(), measured.exact);
        assert_eq!(
            one,
            (1, 9),
            "{} {:?}",
            measured.definition.name,
            measured.of
        );
    }
}

#[test]
fn what_this_version_does_not_know_is_left_out_and_named_once() {
    let told = r#"{
        "listeners": {
            "ssh": {
                "counters": {"accepted": 3, "of_tomorrow": 1},
                "histograms": [{"metric": "unmangle_tomorrow_seconds", "of": "x", "sum": "1", "counts": ""}],
                "more": []
            },
            "gone": {"counters": {"accepted": 9}}
        },
        "process": {"reloads": 2, "of_tomorrow": 1},
        "version": 7
    }"#;
    let portable: Portable = serde_json::from_str(told).unwrap();
    let (recorders, unknown) = portable.into_recorders(&names()).unwrap();
    let left_out = [
        "listener gone",
        "of_tomorrow",
        "unmangle_tomorrow_seconds x",
    ];
    assert_eq!(unknown, left_out);
    assert_eq!(recorders.listeners()[0].counters.accepted, 3);
    assert_eq!(recorders.merged().counters.accepted, 3);
    assert_eq!(recorders.process.reloads, 2);
}

#[test]
fn what_nobody_can_have_recorded_is_an_error_that_names_it() {
    type Change = fn(&mut Portable);
    let changes: [(Change, &str); 6] = [
        (
            |all| only(all).counts = "!!!!".to_owned(),
            "listener ssh, unmangle_connect_seconds cannot be read: Invalid",
        ),
        (
            |all| only(all).counts = STANDARD.encode([0; 39]),
            "listener ssh, unmangle_connect_seconds cannot be read: it ends within its head",
        ),
        (
            |all| only(all).sum = "-1".to_owned(),
            "listener ssh, unmangle_connect_seconds cannot be read: \"-1\" is no sum",
        ),
        (
            |all| only(all).sum = (1_u128 << 100).to_string(),
            "listener ssh, unmangle_connect_seconds cannot be read: \"12676",
        ),
        (
            // Sizes have two digits.
            |all| {
                only(all).metric = "unmangle_session_size_bytes".to_owned();
                only(all).of = Some("client_to_server".to_owned());
            },
            "listener ssh, unmangle_session_size_bytes client_to_server cannot be read: it is one of other values",
        ),
        (
            |all| {
                all.process.insert("reloads".to_owned(), u64::MAX);
            },
            "the process, reloads cannot be read: 18446744073709551615 is more than can be",
        ),
    ];
    for (change, why) in changes {
        let mut portable = some();
        change(&mut portable);
        let broken = portable.into_recorders(&names()).unwrap_err().to_string();
        let begins = format!("what was recorded of {why}");
        assert!(broken.starts_with(&begins), "{broken}");
    }
}

#[test]
fn zeros_without_end_are_refused_before_anybody_counts_them() {
    let mut portable = some();
    let histogram = only(&mut portable);
    let mut bytes = STANDARD.decode(&histogram.counts).unwrap();
    bytes.truncate(40);
    bytes.extend([0xff; 9]);
    bytes[4..8].copy_from_slice(&9_u32.to_be_bytes());
    histogram.counts = STANDARD.encode(bytes);
    let broken = portable.into_recorders(&names()).unwrap_err();
    assert!(
        broken
            .to_string()
            .ends_with("it has more zeros than values")
    );
}
