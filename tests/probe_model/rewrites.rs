//! What a firewall does beyond the usual shows as well: options that nobody knows, ECN, DSCP, urgent data, windows, ports.

use unmangle::diagnose::probe::drive::{Wishes, drive};
use unmangle::diagnose::probe::evidence::{Evidence, PortOutcome, Purpose, What};
use unmangle::diagnose::probe::order::Header;
use unmangle::lab::wire::{Direction, UnknownOptions};
use unmangle::metrics::Direction::{self as Way, ClientToServer, ServerToClient};
use unmangle::packet::{Flags, Ip, Tcp, TcpOption};

use super::ends::Model;
use super::{Setting, run};

const WAYS: [Way; 2] = [ClientToServer, ServerToClient];

fn evidence(direction: Direction) -> Evidence {
    let setting = Setting {
        to_server: direction.clone(),
        to_client: direction,
        ..Setting::default()
    };
    run(&setting).0
}

fn tcp(header: &Header) -> Tcp<&[u8]> {
    let ip = Ip::parse_quoted(&header.0).unwrap();
    Tcp::parse(&header.0[ip.payload..]).unwrap()
}

/// The headers of the first step of this kind, as sent and as it came.
fn pair(evidence: &Evidence, purpose: Purpose, what: What, way: Way) -> (&Header, &Header) {
    let step = evidence
        .exchange(purpose)
        .and_then(|exchange| exchange.step(what, way))
        .unwrap_or_else(|| panic!("{what:?} {way:?} of {evidence:?}"));
    (&step.sent, &step.arrived.first().expect("it came").header)
}

fn has_unknown(header: &Header) -> bool {
    let is_unknown = |option| matches!(option, TcpOption::Other { kind: 253, .. });
    tcp(header).options().any(is_unknown)
}

fn has_timestamps(header: &Header) -> bool {
    let are_times = |option| matches!(option, TcpOption::Timestamps { .. });
    tcp(header).options().any(are_times)
}

#[test]
fn timestamps_that_were_taken_away_are_not_sent_in_data() {
    let evidence = evidence(Direction {
        strip_timestamps: true,
        ..Direction::default()
    });
    for (what, way) in [(What::Syn, ClientToServer), (What::SynAck, ServerToClient)] {
        let (sent, came) = pair(&evidence, Purpose::Plain, what, way);
        assert!(has_timestamps(sent) && !has_timestamps(came));
        let (sent, _) = pair(&evidence, Purpose::Plain, What::Data, way);
        assert!(!has_timestamps(sent));
    }
}

#[test]
fn blocks_that_are_taken_away_show() {
    let evidence = evidence(Direction {
        strip_sack: true,
        ..Direction::default()
    });
    let has_blocks = |header: &Header| {
        let are_blocks = |option| matches!(option, TcpOption::Sack(_));
        tcp(header).options().any(are_blocks)
    };
    for way in WAYS {
        let (sent, came) = pair(&evidence, Purpose::Plain, What::Sack, way);
        assert!(has_blocks(sent) && !has_blocks(came));
    }
}

#[test]
fn an_option_that_nobody_knows_passes_is_taken_away_or_costs_the_syn() {
    for (unknown_options, passes) in [(UnknownOptions::Keep, true), (UnknownOptions::Strip, false)]
    {
        let evidence = evidence(Direction {
            unknown_options,
            ..Direction::default()
        });
        for (what, way) in [
            (What::Syn, ClientToServer),
            (What::SynAck, ServerToClient),
            (What::Data, ClientToServer),
        ] {
            let (sent, came) = pair(&evidence, Purpose::UnknownOption, what, way);
            assert!(has_unknown(sent));
            assert_eq!(has_unknown(came), passes);
        }
    }
    let evidence = evidence(Direction {
        unknown_options: UnknownOptions::DropSyn,
        ..Direction::default()
    });
    let exchange = evidence.exchange(Purpose::UnknownOption).unwrap();
    assert_eq!(exchange.steps.len(), 1);
    assert_eq!(exchange.steps[0].attempts, 4);
    assert!(exchange.steps[0].arrived.is_empty());
    assert!(evidence.exchange(Purpose::Plain).unwrap().steps.len() > 10);
}

#[test]
fn ecn_that_is_refused_and_ecn_that_is_bleached_are_told_apart() {
    let ecn = (Flags::ECE | Flags::CWR).0;
    for (refuse_ecn, bleach_ecn) in [(true, false), (false, true)] {
        let evidence = evidence(Direction {
            refuse_ecn,
            bleach_ecn,
            ..Direction::default()
        });
        let (sent, came) = pair(&evidence, Purpose::Ecn, What::Syn, ClientToServer);
        assert_eq!(tcp(sent).flags().0 & ecn, ecn);
        assert_eq!(tcp(came).flags().0 & ecn == ecn, !refuse_ecn);
        for way in WAYS {
            for (what, mark) in [(What::Ect, 2), (What::Ce, 3)] {
                let (sent, came) = pair(&evidence, Purpose::Ecn, what, way);
                assert_eq!(sent.0[1] & 3, mark);
                assert_eq!(came.0[1] & 3, if bleach_ecn { 0 } else { mark });
            }
        }
    }
}

#[test]
fn a_cleared_dscp_cleared_urgency_and_a_lowered_window_show() {
    let evidence = evidence(Direction {
        dscp: Some(0),
        clear_urgent: true,
        window: Some(300),
        ..Direction::default()
    });
    for way in WAYS {
        let (sent, came) = pair(&evidence, Purpose::Plain, What::Dscp, way);
        assert_eq!((sent.0[1] >> 2, came.0[1] >> 2), (46, 0));
        let (sent, came) = pair(&evidence, Purpose::Urgent, What::Urgent, way);
        assert!(tcp(sent).flags().has(Flags::URG) && !tcp(came).flags().has(Flags::URG));
        assert_eq!(
            (tcp(sent).urgent_pointer(), tcp(came).urgent_pointer()),
            (10, 0)
        );
        let (sent, came) = pair(&evidence, Purpose::Plain, What::Data, way);
        assert!(tcp(sent).window() > 300);
        assert_eq!(tcp(came).window(), 300);
    }
}

#[test]
fn a_port_that_is_blocked_is_told_from_one_that_passes() {
    let setting = Setting {
        to_server: Direction {
            drop_ports: vec![873],
            ..Direction::default()
        },
        ..Setting::default()
    };
    let mut model = Model::new(&setting);
    let wishes = Wishes {
        ports: vec![873, 874],
        ..Wishes::default()
    };
    let path = model.path();
    let evidence = drive(&mut model, path, &wishes, &mut |_| {}).unwrap();
    assert_eq!(evidence.ports[0].outcome, PortOutcome::Blocked);
    assert!(matches!(
        evidence.ports[1].outcome,
        PortOutcome::Compared(_)
    ));
}
