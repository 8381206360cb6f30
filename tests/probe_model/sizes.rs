//! Sizes that do not pass are found, to the byte, and what becomes of them.

use std::time::Duration;

use unmangle::diagnose::probe::evidence::{Carrier, Cliff, Evidence, Harm, Outcome};
use unmangle::lab::wire::{Direction, Oversize, OversizeAction, Protocol};
use unmangle::metrics::Direction::{self as Way, ClientToServer, ServerToClient};

use super::{Setting, run};

const ABOVE: u16 = 1020;

fn oversize(protocol: Protocol, action: OversizeAction, probability: f64, loss: f64) -> Setting {
    let direction = Direction {
        oversize: vec![Oversize {
            protocol,
            above: ABOVE,
            action,
            probability,
        }],
        loss,
        ..Direction::default()
    };
    Setting {
        to_server: direction.clone(),
        to_client: direction,
        ..Setting::default()
    }
}

fn outcome(evidence: &Evidence, carrier: Carrier, way: Way) -> &Outcome {
    let seen = evidence
        .sizes
        .iter()
        .find(|seen| (seen.carrier, seen.direction) == (carrier, way));
    &seen.unwrap_or_else(|| panic!("{evidence:?}")).outcome
}

fn cliff(evidence: &Evidence, carrier: Carrier, way: Way) -> &Cliff {
    match outcome(evidence, carrier, way) {
        Outcome::Cliff(cliff) => {
            assert_eq!(
                (cliff.passes, cliff.harmed),
                (ABOVE, ABOVE + 1),
                "{carrier:?} {way:?} {cliff:?}"
            );
            cliff
        }
        other => panic!("{carrier:?} {way:?}: {other:?}"),
    }
}

const WAYS: [Way; 2] = [ClientToServer, ServerToClient];

#[test]
fn every_size_passes_a_path_that_does_nothing_to_sizes() {
    for (mtu, loss, v6) in [(1500, 0.0, false), (9000, 0.0, false), (1500, 0.003, true)] {
        let direction = Direction {
            loss,
            ..Direction::default()
        };
        let (evidence, _) = run(&Setting {
            to_server: direction.clone(),
            to_client: direction,
            mtu,
            v6,
            ..Setting::default()
        });
        assert_eq!(evidence.sizes.len(), 4);
        for seen in &evidence.sizes {
            assert_eq!(seen.outcome, Outcome::EverySize, "{seen:?}");
            assert_eq!(seen.largest, mtu);
        }
    }
}

#[test]
fn what_is_dropped_above_a_size_is_found_and_for_which_protocol() {
    for loss in [0.0, 0.003] {
        for protocol in [Protocol::Tcp, Protocol::Icmp, Protocol::Any] {
            let (evidence, _) = run(&oversize(protocol, OversizeAction::Drop, 1.0, loss));
            for way in WAYS {
                for (carrier, spared) in [
                    (Carrier::Tcp, Protocol::Icmp),
                    (Carrier::Icmp, Protocol::Tcp),
                ] {
                    if protocol == spared {
                        assert_eq!(*outcome(&evidence, carrier, way), Outcome::EverySize);
                        continue;
                    }
                    let cliff = cliff(&evidence, carrier, way);
                    assert!(
                        matches!(cliff.harm, Harm::Lost { share, .. } if share > 0.99),
                        "{cliff:?}"
                    );
                    assert_eq!(cliff.told, None);
                }
            }
        }
    }
}

#[test]
fn one_in_fifty_lost_above_a_size_is_found_to_the_byte() {
    for loss in [0.0, 0.003] {
        for seed in 0..4 {
            let setting = oversize(Protocol::Tcp, OversizeAction::Drop, 0.02, loss);
            let (evidence, _) = run(&Setting { seed, ..setting });
            for way in WAYS {
                let cliff = cliff(&evidence, Carrier::Tcp, way);
                assert!(
                    matches!(cliff.harm, Harm::Lost { share, background }
                        if (0.01..0.06).contains(&share) && background < 0.01),
                    "{cliff:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_router_says_of_a_size_is_told() {
    for probability in [1.0, 0.02] {
        let setting = oversize(Protocol::Any, OversizeAction::TooBig, probability, 0.0);
        let (evidence, _) = run(&setting);
        for way in WAYS {
            let told = cliff(&evidence, Carrier::Tcp, way).told;
            assert_eq!(told.map(|told| told.mtu), Some(ABOVE));
            if probability == 1.0 {
                let told = cliff(&evidence, Carrier::Icmp, way).told;
                assert_eq!(told.map(|told| told.mtu), Some(ABOVE));
            }
        }
    }
}

#[test]
fn what_is_held_back_above_a_size_is_found_by_how_late_it_comes() {
    for (ms, probability, loss) in [
        (5, 1.0, 0.0),
        (50, 1.0, 0.003),
        (700, 1.0, 0.0),
        (50, 0.02, 0.0),
        (50, 0.02, 0.003),
    ] {
        let delay = Duration::from_millis(ms);
        let action = OversizeAction::Delay(delay);
        let (evidence, _) = run(&oversize(Protocol::Tcp, action, probability, loss));
        for way in WAYS {
            let cliff = cliff(&evidence, Carrier::Tcp, way);
            let Harm::Delayed { by } = cliff.harm else {
                panic!("{ms} ms, {probability}: {cliff:?}");
            };
            assert!(by.abs_diff(delay) < delay / 5, "{ms} ms: {by:?}");
        }
    }
}

#[test]
fn what_is_cut_above_a_size_is_found_and_to_what() {
    for (probability, loss) in [(1.0, 0.0), (1.0, 0.003), (0.02, 0.0), (0.02, 0.003)] {
        let setting = oversize(Protocol::Any, OversizeAction::Truncate, probability, loss);
        let (evidence, _) = run(&setting);
        for way in WAYS {
            let harm = cliff(&evidence, Carrier::Tcp, way).harm;
            assert_eq!(harm, Harm::Truncated { to: ABOVE });
            if probability == 1.0 {
                let harm = cliff(&evidence, Carrier::Icmp, way).harm;
                assert_eq!(harm, Harm::Truncated { to: ABOVE });
            }
        }
    }
}
