//! A bad wire on either leg: what TCP promises on each, the relay keeps from end to end.
//!
//! The mangled leg has no SACK (profile `cisco-pix`), which is the harder case. These tests need root, and
//! without it are skipped except in CI.

mod site;

use std::time::Duration;

use unmangle::lab::scenario::Between;
use unmangle::lab::wire::counters::Counters;
use unmangle::lab::wire::{Direction, Stop};
use unmangle::lab::{Joined, OpenedFrom};

use site::bulk::{bear, exchange};
use site::faults::{self, megabytes};
use site::{FAMILIES, Site, Way};

/// Which of the relay's legs has the bad wire.
#[derive(Debug, Clone, Copy)]
enum Leg {
    Mangled,
    Clean,
}

impl Leg {
    const BOTH: [Self; 2] = [Self::Mangled, Self::Clean];

    /// A site whose other leg is sound.
    fn site(self, between: Between) -> Option<Site> {
        let (bad, sound) = (Joined::wire(between), Joined::Veth { offloads: true });
        match self {
            Self::Mangled => Site::joined_by(bad, sound),
            Self::Clean => Site::joined_by(sound, bad),
        }
    }
}

/// Each way, over each connection.
const EACH: usize = 4_000_000;
/// On each leg: one connection of each family.
const CARRIED: usize = 2 * 2 * 2 * EACH;

/// Carries bytes over a wire that does this on either leg, both ways at once and over both families, and counts how
/// often it `happened`. None where no lab can be put up.
fn carried_over(way: Way, direction: &Direction, happened: fn(&Counters) -> u64) -> Option<u64> {
    let mut times = 0;
    for leg in Leg::BOTH {
        let site = leg.site(Between::both(direction.clone()))?;
        let mut site = Site { way, ..site };
        let relay = site.relay(&[]);
        let pairs = FAMILIES.map(|family| site.connect(OpenedFrom::Client, family));
        std::thread::scope(|scope| {
            for (seed, pair) in pairs.iter().enumerate() {
                bear(pair, Duration::from_secs(60));
                scope.spawn(move || exchange(pair, seed as u64, EACH));
            }
        });
        let ended = relay.ended(2);
        for session in &ended {
            assert_eq!(session["how"], "fin", "{leg:?}: {session}");
            for bytes in ["client_to_server_bytes", "server_to_client_bytes"] {
                assert_eq!(session[bytes], EACH, "{leg:?}: {session}");
            }
        }
        drop((pairs, relay));
        for report in site.lab.part().unwrap() {
            for counters in [report.a_to_b, report.b_to_a] {
                let now = happened(&counters);
                assert!(now > 0, "{leg:?}: it never happened: {counters:?}");
                times += now;
            }
        }
    }
    Some(times)
}

#[test]
fn half_a_percent_of_loss_on_either_leg_loses_no_byte() {
    let lossy = Direction {
        loss: 0.005,
        ..Direction::default()
    };
    if let Some(lost) = carried_over(Way::splice(), &lossy, |counters| counters.lost.random) {
        faults::LOSS.record(megabytes(CARRIED), format!("{lost} packets lost"));
    }
}

#[test]
fn packets_out_of_order_on_either_leg_lose_no_byte() {
    let disorderly = Direction {
        reorder: 0.01,
        reorder_by: Duration::from_millis(5),
        ..Direction::default()
    };
    if let Some(late) = carried_over(Way::splice(), &disorderly, |counters| counters.held_back) {
        faults::REORDERING.record(megabytes(CARRIED), format!("{late} packets held back"));
    }
}

#[test]
fn packets_that_arrive_twice_on_either_leg_deliver_no_byte_twice() {
    let stuttering = Direction {
        duplicate: 0.005,
        ..Direction::default()
    };
    if let Some(twice) = carried_over(Way::splice(), &stuttering, |counters| counters.duplicated) {
        faults::DUPLICATION.record(megabytes(CARRIED), format!("{twice} packets twice"));
    }
}

#[test]
fn packets_with_wrong_checksums_on_either_leg_change_no_byte() {
    let corrupting = Direction {
        corrupt: 0.005,
        ..Direction::default()
    };
    if let Some(wrong) = carried_over(Way::splice(), &corrupting, |counters| counters.corrupted) {
        faults::CORRUPTION.record(megabytes(CARRIED), format!("{wrong} packets corrupted"));
    }
}

#[test]
fn other_engines_and_forward_mode_lose_no_byte_over_bad_wires_either() {
    let bad = Direction {
        loss: 0.003,
        reorder: 0.003,
        reorder_by: Duration::from_millis(5),
        duplicate: 0.003,
        corrupt: 0.003,
        ..Direction::default()
    };
    for way in [Way::tokio_splice(), Way::copy(), Way::forward()] {
        carried_over(way, &bad, |counters| counters.lost.random);
    }
}

#[test]
fn a_wire_that_stops_for_3_seconds_loses_no_byte() {
    stopped_for(Duration::from_secs(3));
}

/// `make acceptance` runs it.
#[test]
#[ignore = "takes a minute"]
fn a_wire_that_stops_for_20_seconds_loses_no_byte() {
    if let Some(silence) = stopped_for(Duration::from_secs(20)) {
        let silence = format!("silent for up to {:.1} s", silence.as_secs_f64());
        faults::STOP.record(megabytes(CARRIED), silence);
    }
}

/// Returns the longest silence that an end saw.
fn stopped_for(lasts: Duration) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for leg in Leg::BOTH {
        let stop = Stop {
            // In mid-transfer: `EACH` alone is more packets than this.
            after_packets: 1_500,
            lasts,
        };
        let mut site = leg.site(Between {
            client_to_server: Direction {
                stops: Some(stop),
                ..Direction::default()
            },
            ..Between::default()
        })?;
        let relay = site.relay(&[]);
        let pairs = FAMILIES.map(|family| site.connect(OpenedFrom::Client, family));
        let silences = std::thread::scope(|scope| {
            let exchanging: Vec<_> = (0..)
                .zip(&pairs)
                .map(|(seed, pair)| {
                    // What is lost is sent again after twice as long each time.
                    bear(pair, 4 * lasts + site::PATIENCE);
                    scope.spawn(move || exchange(pair, seed, EACH))
                })
                .collect();
            exchanging
                .into_iter()
                .map(|exchanged| exchanged.join().expect("the transfer goes on"))
                .max()
        });
        let ended = relay.ended(2);
        assert!(ended.iter().all(|session| session["how"] == "fin"));
        let silence = silences.expect("there are two");
        assert!(
            silence >= lasts / 2,
            "{leg:?}: it did not stop: {silence:?}"
        );
        longest = longest.max(silence);
        drop((pairs, relay));
        let reports = site.lab.part().unwrap();
        let stopped = reports[0].a_to_b.lost.stopped + reports[0].b_to_a.lost.stopped;
        assert!(stopped > 0, "{leg:?}: {reports:?}");
        println!("{leg:?}: silent for {silence:?}, {stopped} packets lost");
    }
    Some(longest)
}
