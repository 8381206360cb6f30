//! What becomes of many segments, of silent flows, and at other ports; and how long all of it takes.

use std::time::Duration;

use unmangle::diagnose::probe::drive::{Stage, Wishes, drive};
use unmangle::diagnose::probe::ends::Ends;
use unmangle::diagnose::probe::evidence::{Outcome, PortOutcome, Purpose, TrainSeen, What};
use unmangle::lab::wire::{Direction, Oversize, OversizeAction, Protocol};
use unmangle::metrics::Direction::{ClientToServer, ServerToClient};

use super::ends::Model;
use super::{Setting, run};

fn to_server(direction: Direction) -> Setting {
    Setting {
        to_server: direction,
        ..Setting::default()
    }
}

/// The trains of both directions: the one to the server first.
fn trains(setting: &Setting) -> [TrainSeen; 2] {
    let (evidence, _) = run(setting);
    let trains = evidence.trains;
    [
        trains.client_to_server.expect("a train was sent"),
        trains.server_to_client.expect("a train was sent"),
    ]
}

#[test]
fn a_clean_path_loses_doubles_and_reorders_nothing() {
    for train in trains(&Setting::default()) {
        let harvest = &train.harvest;
        assert_eq!((train.sent, harvest.arrived), (4000, 4000));
        let others = (harvest.duplicated, harvest.reordered, harvest.corrupted);
        assert_eq!(others, (0, 0, 0));
        assert_eq!((harvest.truncated, harvest.missed), (0, 0));
    }
}

#[test]
fn loss_is_seen_in_the_direction_in_which_it_happens() {
    let [there, back] = trains(&to_server(Direction {
        loss: 0.003,
        ..Direction::default()
    }));
    assert!(
        (3..30).contains(&there.harvest.lost(there.sent)),
        "{there:?}"
    );
    assert_eq!(back.harvest.lost(back.sent), 0);
}

#[test]
fn disorder_doubles_and_damage_are_told_from_loss() {
    let [there, back] = trains(&to_server(Direction {
        reorder: 0.01,
        reorder_by: Duration::from_millis(5),
        duplicate: 0.01,
        corrupt: 0.01,
        ..Direction::default()
    }));
    let harvest = &there.harvest;
    assert_eq!(harvest.lost(there.sent), 0, "{harvest:?}");
    for seen in [harvest.reordered, harvest.duplicated, harvest.corrupted] {
        assert!((15..90).contains(&seen), "{harvest:?}");
    }
    let others = (back.harvest.duplicated, back.harvest.reordered);
    assert_eq!((others, back.harvest.corrupted), ((0, 0), 0));
}

#[test]
fn doubled_segments_of_an_exchange_are_there_twice() {
    let (evidence, _) = run(&to_server(Direction {
        duplicate: 1.0,
        ..Direction::default()
    }));
    for exchange in &evidence.exchanges {
        for step in &exchange.steps {
            let times = match step.direction {
                ClientToServer => 2,
                ServerToClient => 1,
            };
            assert_eq!(step.arrived.len(), times, "{step:?}");
            assert_eq!(step.instead, []);
        }
    }
}

#[test]
fn an_exchange_survives_a_path_that_loses_a_tenth() {
    let direction = Direction {
        loss: 0.1,
        ..Direction::default()
    };
    let (evidence, _) = run(&Setting {
        to_server: direction.clone(),
        to_client: direction,
        ..Setting::default()
    });
    let exchange = evidence.exchange(Purpose::Plain).unwrap();
    let attempts: u32 = exchange.steps.iter().map(|step| step.attempts).sum();
    assert!(attempts > exchange.steps.len() as u32);
    assert!(exchange.steps.iter().all(|step| !step.arrived.is_empty()));
    assert!(exchange.step(What::Dscp, ServerToClient).is_some());
}

#[test]
fn figures_are_worth_nothing_where_the_tap_missed_packets() {
    let mut model = Model::new(&Setting::default());
    model.misses = [0, 2];
    let path = model.path();
    let evidence = drive(&mut model, path.clone(), &Wishes::default(), &mut |_| {}).unwrap();
    assert_eq!(evidence.trains.client_to_server.unwrap().harvest.missed, 0);

    let mut model = Model::new(&Setting::default());
    model.misses = [0, 3];
    let evidence = drive(&mut model, path, &Wishes::default(), &mut |_| {}).unwrap();
    assert_eq!(evidence.trains.client_to_server, None);
    assert!(evidence.trains.server_to_client.is_some());
    assert_eq!(evidence.untried.len(), 1, "{:?}", evidence.untried);
}

#[test]
fn how_long_a_silent_flow_is_remembered_is_found_to_a_tenth() {
    let limit = Duration::from_secs(600);
    for (seconds, loss) in [(47, 0.0), (300, 0.003), (3, 0.0)] {
        let forgets = Direction {
            forget_idle_after: Some(Duration::from_secs(seconds)),
            loss,
            ..Direction::default()
        };
        let mut model = Model::new(&Setting {
            to_server: forgets.clone(),
            to_client: forgets,
            ..Setting::default()
        });
        let wishes = Wishes {
            idle: Some(limit),
            ..Wishes::default()
        };
        let path = model.path();
        let evidence = drive(&mut model, path, &wishes, &mut |_| {}).unwrap();
        let took = model.now();
        let seen = evidence.idle.unwrap();
        let truth = Duration::from_secs(seconds);
        let forgotten = seen.forgotten.unwrap();
        assert!(seen.survived <= truth && truth <= forgotten, "{seen:?}");
        let width = forgotten - seen.survived;
        assert!(
            width <= (truth / 10).max(Duration::from_secs(1)),
            "{seen:?}"
        );
        assert!(took < limit * 2 + Duration::from_secs(60), "{took:?}");
    }
}

#[test]
fn a_flow_that_is_never_forgotten_survives_the_longest_silence() {
    let mut model = Model::new(&Setting::default());
    let limit = Duration::from_secs(7200);
    let wishes = Wishes {
        idle: Some(limit),
        ..Wishes::default()
    };
    let path = model.path();
    let evidence = drive(&mut model, path, &wishes, &mut |_| {}).unwrap();
    let seen = evidence.idle.unwrap();
    assert_eq!((seen.survived, seen.forgotten), (limit, None));
}

#[test]
fn other_ports_are_compared_and_a_service_answers_at_its_own() {
    let mut model = Model::new(&Setting::default());
    model.services.insert(22);
    let wishes = Wishes {
        ports: vec![22, 873],
        ..Wishes::default()
    };
    let path = model.path();
    let mut stages = Vec::new();
    let evidence = drive(&mut model, path, &wishes, &mut |stage| stages.push(stage)).unwrap();
    assert_eq!(stages, wishes.stages());
    assert!(stages.contains(&Stage::Ports));
    for (seen, window) in evidence.ports.iter().zip([64_240u16, 0xfff0]) {
        let PortOutcome::Compared(exchange) = &seen.outcome else {
            panic!("{seen:?}");
        };
        assert_eq!(exchange.purpose, Purpose::Port(seen.port));
        for (what, way) in [(What::Syn, ClientToServer), (What::SynAck, ServerToClient)] {
            let step = exchange.step(what, way).unwrap();
            assert_eq!(step.arrived.len(), 1);
            assert_eq!(step.arrived[0].header, step.sent);
            if what == What::SynAck {
                assert_eq!(step.sent.0[34..36], window.to_be_bytes());
            }
        }
    }
}

#[test]
fn where_nothing_passes_that_is_what_is_told() {
    let (evidence, took) = run(&to_server(Direction {
        loss: 1.0,
        ..Direction::default()
    }));
    for exchange in &evidence.exchanges {
        assert_eq!(exchange.steps.len(), 1);
        assert_eq!(exchange.steps[0].attempts, 4);
        assert!(exchange.steps[0].arrived.is_empty());
    }
    assert_eq!(evidence.trains.client_to_server, None);
    assert!(!evidence.untried.is_empty());
    // What goes to the client passes, echoes that nobody asked for among them.
    let to_server = evidence
        .sizes
        .iter()
        .find(|seen| seen.direction == ClientToServer);
    assert_eq!(to_server.map(|seen| &seen.outcome), Some(&Outcome::None));
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[test]
fn a_run_takes_no_longer_than_people_wait() {
    let thick = Direction {
        oversize: vec![Oversize {
            protocol: Protocol::Any,
            above: 1020,
            action: OversizeAction::Drop,
            probability: 0.02,
        }],
        loss: 0.003,
        ..Direction::default()
    };
    for (ms, most) in [(2, 40), (100, 60)] {
        for (direction, mtu) in [
            (Direction::default(), 1500),
            (thick.clone(), 1500),
            (Direction::default(), 9000),
        ] {
            let (_, took) = run(&Setting {
                round_trip: Duration::from_millis(ms),
                to_server: direction.clone(),
                to_client: direction,
                mtu,
                ..Setting::default()
            });
            println!("{ms} ms, MTU {mtu}: {took:?}");
            assert!(
                took < Duration::from_secs(most),
                "{ms} ms, MTU {mtu}: {took:?}"
            );
        }
    }
}
