//! What is done to headers shows in what was sent and what came.

use unmangle::diagnose::probe::evidence::{Evidence, Purpose, What};
use unmangle::diagnose::probe::order::Header;
use unmangle::lab::wire::{Direction, Isn, WindowScale};
use unmangle::metrics::Direction::{self as Way, ClientToServer, ServerToClient};
use unmangle::packet::{Ip, Tcp, TcpOption};

use super::{Setting, run};

fn tcp(header: &Header) -> Tcp<&[u8]> {
    let ip = Ip::parse_quoted(&header.0).unwrap();
    Tcp::parse(&header.0[ip.payload..]).unwrap()
}

/// The headers of the first step of this kind, as sent and as it came.
fn pair(evidence: &Evidence, what: What, way: Way) -> (Tcp<&[u8]>, Tcp<&[u8]>) {
    let step = evidence
        .exchange(Purpose::Plain)
        .and_then(|exchange| exchange.step(what, way))
        .unwrap_or_else(|| panic!("{what:?} {way:?} of {evidence:?}"));
    let arrived = step.arrived.first().unwrap_or_else(|| panic!("{step:?}"));
    assert!(arrived.checksum_right && arrived.payload_right);
    (tcp(&step.sent), tcp(&arrived.header))
}

fn option<T>(header: &Tcp<&[u8]>, of: impl Fn(TcpOption<'_>) -> Option<T>) -> Option<T> {
    header.options().find_map(of)
}

fn mss(option: TcpOption<'_>) -> Option<u16> {
    match option {
        TcpOption::Mss(mss) => Some(mss),
        _ => None,
    }
}

fn scale(option: TcpOption<'_>) -> Option<u8> {
    match option {
        TcpOption::WindowScale(shift) => Some(shift),
        _ => None,
    }
}

fn times(option: TcpOption<'_>) -> Option<(u32, u32)> {
    match option {
        TcpOption::Timestamps { value, echo } => Some((value, echo)),
        _ => None,
    }
}

fn blocks(option: TcpOption<'_>) -> Option<(u32, u32)> {
    option.sack_blocks().next()
}

fn both(direction: Direction) -> Setting {
    Setting {
        to_server: direction.clone(),
        to_client: direction,
        ..Setting::default()
    }
}

#[test]
fn on_a_clean_path_all_comes_as_it_was_sent() {
    for v6 in [false, true] {
        let (evidence, _) = run(&Setting {
            v6,
            ..Setting::default()
        });
        assert_eq!(evidence.untried, [""; 0]);
        assert_eq!(evidence.exchanges.len(), 4);
        let mut kinds = Vec::new();
        for exchange in &evidence.exchanges {
            for step in &exchange.steps {
                kinds.push((exchange.purpose, step.what, step.direction));
                assert_eq!((step.attempts, step.arrived.len()), (1, 1), "{step:?}");
                let arrival = &step.arrived[0];
                assert_eq!(arrival.header, step.sent);
                assert!(arrival.checksum_right && arrival.payload_right);
                assert_eq!(step.instead, []);
            }
        }
        for way in [ClientToServer, ServerToClient] {
            for expected in [
                (Purpose::Plain, What::Data, way),
                (Purpose::Plain, What::Sack, way),
                (Purpose::Plain, What::Dscp, way),
                (Purpose::Ecn, What::Ect, way),
                (Purpose::Ecn, What::Ce, way),
                (Purpose::Urgent, What::Urgent, way),
                (Purpose::UnknownOption, What::Data, way),
            ] {
                assert!(kinds.contains(&expected), "{expected:?} of {kinds:?}");
            }
        }
    }
}

#[test]
fn a_block_speaks_of_what_came_in_the_terms_in_which_it_came() {
    let (evidence, _) = run(&Setting::default());
    let exchange = evidence.exchange(Purpose::Plain).unwrap();
    for way in [ClientToServer, ServerToClient] {
        let at = exchange
            .steps
            .iter()
            .position(|step| step.what == What::Sack && step.direction == way)
            .unwrap();
        let beyond = tcp(&exchange.steps[at - 1].arrived[0].header);
        let sack = tcp(&exchange.steps[at].sent);
        let (left, right) = option(&sack, blocks).unwrap();
        assert_eq!(left, beyond.sequence());
        assert_eq!(right, left.wrapping_add(100));
        assert_eq!(sack.acknowledgement(), left.wrapping_sub(100));
    }
}

#[test]
fn rewritten_sequence_numbers_show_and_whether_blocks_are_translated() {
    for translate_sack in [false, true] {
        let (evidence, _) = run(&both(Direction {
            isn: Some(Isn { translate_sack }),
            ..Direction::default()
        }));
        for (way, syn) in [(ClientToServer, What::Syn), (ServerToClient, What::SynAck)] {
            let (sent, came) = pair(&evidence, syn, way);
            let shift = came.sequence().wrapping_sub(sent.sequence());
            assert_ne!(shift, 0);
            let (sent, came) = pair(&evidence, What::Data, way);
            assert_eq!(came.sequence().wrapping_sub(sent.sequence()), shift);
            // Blocks go the other way.
            let back = match way {
                ClientToServer => ServerToClient,
                ServerToClient => ClientToServer,
            };
            let (sent, came) = pair(&evidence, What::Sack, back);
            assert_eq!(
                sent.acknowledgement().wrapping_sub(came.acknowledgement()),
                shift
            );
            let (sent, came) = (
                option(&sent, blocks).unwrap(),
                option(&came, blocks).unwrap(),
            );
            let expected = if translate_sack { shift } else { 0 };
            assert_eq!(sent.0.wrapping_sub(came.0), expected);
        }
        for (_, train) in evidence.trains.both() {
            let train = train.as_ref().unwrap();
            assert_eq!(train.harvest.arrived, train.sent);
        }
    }
}

#[test]
fn a_window_scale_that_is_taken_away_or_changed_shows() {
    for (rewrite, syn, syn_ack) in [
        (WindowScale::Strip, None, None),
        (WindowScale::StripFromSynAck, Some(7), None),
        (WindowScale::Set(3), Some(3), Some(3)),
    ] {
        let (evidence, _) = run(&both(Direction {
            window_scale: rewrite,
            ..Direction::default()
        }));
        let (sent, came) = pair(&evidence, What::Syn, ClientToServer);
        assert_eq!((option(&sent, scale), option(&came, scale)), (Some(7), syn));
        let (sent, came) = pair(&evidence, What::SynAck, ServerToClient);
        assert_eq!(
            (option(&sent, scale), option(&came, scale)),
            (Some(8), syn_ack)
        );
    }
}

#[test]
fn a_lowered_mss_shows() {
    let (evidence, _) = run(&both(Direction {
        mss: Some(980),
        ..Direction::default()
    }));
    let (sent, came) = pair(&evidence, What::Syn, ClientToServer);
    assert_eq!(
        (option(&sent, mss), option(&came, mss)),
        (Some(1460), Some(980))
    );
    let (sent, came) = pair(&evidence, What::SynAck, ServerToClient);
    assert_eq!(
        (option(&sent, mss), option(&came, mss)),
        (Some(1452), Some(980))
    );
}

#[test]
fn blocks_are_only_sent_by_who_heard_that_they_may_be() {
    let (evidence, _) = run(&Setting {
        to_server: Direction {
            strip_sack_permitted: true,
            ..Direction::default()
        },
        ..Setting::default()
    });
    let exchange = evidence.exchange(Purpose::Plain).unwrap();
    assert!(exchange.step(What::Sack, ServerToClient).is_none());
    assert!(exchange.step(What::Sack, ClientToServer).is_some());
}

#[test]
fn shifted_timestamps_show_and_echoes_are_of_what_came() {
    let (evidence, _) = run(&Setting {
        to_server: Direction {
            timestamp_offset: Some(77_777),
            ..Direction::default()
        },
        ..Setting::default()
    });
    let (sent, came) = pair(&evidence, What::Data, ClientToServer);
    let (sent, came) = (option(&sent, times).unwrap(), option(&came, times).unwrap());
    assert_eq!(came.0.wrapping_sub(sent.0), 77_777);
    let (sent, came) = pair(&evidence, What::SynAck, ServerToClient);
    let (sent, came) = (option(&sent, times).unwrap(), option(&came, times).unwrap());
    assert_eq!(sent.1.wrapping_sub(came.1), 77_777);
    assert_eq!(sent.0, came.0);
}
