//! How connections begin: SYN after SYN, both at once, in the middle, and again.

use super::*;

#[test]
fn a_connection_that_does_not_begin_with_a_syn_is_picked_up_or_invalid() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::new(kernel);
        for flags in [SYN_ACK, FIN_ACK, RST, RST_ACK] {
            let seen = wire.see(Said::client(flags, 1, 1));
            let invalid = seen.verdict.invalid().unwrap();
            assert_eq!((invalid.bound, seen.flow), (Bound::New, None));
            let logged = (kernel >= Kernel::V6_12).then(|| "invalid new".to_owned());
            assert_eq!(invalid.logged(kernel), logged);
        }
        assert_eq!(wire.state(Said::client(ACK, 1, 1)), State::Established);
        // Nothing is known of scales: numbers are forgiven, both ways.
        for far in [
            Said::client(ACK, 9_000_000, 1),
            Said::server(ACK, 9_000_000, 1),
        ] {
            let verdict = wire.say(far);
            assert!(matches!(verdict, Verdict::Tracked { .. }), "{verdict:?}");
        }
    }
    let mut wire = Wire::with(Settings {
        loose: false,
        ..Settings::new(Kernel::NEWEST)
    });
    let invalid = wire.invalid(Said::client(ACK, 1, 1));
    assert_eq!(invalid.bound, Bound::New);
    assert!(wire.table.is_empty());
}

#[test]
fn a_client_may_not_acknowledge_before_the_server_has_answered() {
    let mut wire = Wire::new(Kernel::NEWEST);
    wire.state(Said::client(SYN, 0, 0));
    let invalid = wire.invalid(Said::client(ACK, 1, 1));
    assert_eq!(invalid.bound, Bound::State);
    assert_eq!(
        invalid.logged(Kernel::V6_1).unwrap(),
        "packet (index 3) in dir 0 invalid, state SYN_SENT"
    );
    assert_eq!(invalid.logged(Kernel::V5_10).unwrap(), "invalid state");
}

#[test]
fn both_may_open_at_once() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::new(kernel);
        assert_eq!(wire.state(Said::client(SYN, 0, 0)), State::SynSent);
        assert_eq!(wire.state(Said::server(SYN, 0, 0)), State::SynSent2);
        assert_eq!(wire.state(Said::client(SYN_ACK, 0, 1)), State::SynRecv);
        assert_eq!(wire.state(Said::server(ACK, 1, 1)), State::Established);
    }
}

#[test]
fn a_second_syn_with_a_higher_number_begins_anew() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::new(kernel);
        let first = wire.see(Said::client(SYN, 0, 0).offers(Some(7), true)).flow;
        let again = Said::client(SYN, 500_000, 0).offers(None, false);
        assert_eq!(wire.see(again).flow, first);
        wire.state(Said::server(SYN_ACK, 0, 500_001).offers(Some(7), true));
        let seen = wire.see(Said::client(ACK, 500_001, 1));
        assert_eq!(seen.flow, first);
        let invalid = wire.invalid(Said::client(ACK, 502_002, 1));
        assert_eq!(invalid.moment.receiver.scale, 0, "only one side offered");
        assert_eq!(invalid.moment.sender.scale, 0);
    }
}

#[test]
fn a_syn_in_the_middle_passes_and_its_answer_begins_anew() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        let ignored = wire.ignored(Said::client(SYN, 700_000, 0).offers(Some(2), true));
        assert_eq!(ignored.why, Passed::State);
        let expected = match kernel {
            Kernel::V5_10 => "invalid packet ignored in state ESTABLISHED",
            _ => "packet (index 0) in dir 0 ignored, state ESTABLISHED",
        };
        assert_eq!(ignored.logged(kernel), expected);
        let answer = Said::server(SYN_ACK, 800_000, 700_001).offers(Some(3), true);
        assert_eq!(wire.state(answer), State::SynRecv);
        let third = Said::client(ACK, 700_001, 800_001);
        assert_eq!(wire.state(third), State::Established);
        // With the scales of the new SYN and its answer.
        let invalid = wire.invalid(Said::client(ACK, 9_000_000, 800_001));
        let scales = (invalid.moment.sender.scale, invalid.moment.receiver.scale);
        assert_eq!(scales, (2, 3));
    }
}

#[test]
fn a_reset_that_refuses_a_syn_in_the_middle_ends_the_connection_since_6_1() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::server(ACK, 1, 1));
        wire.ignored(Said::client(SYN, 700_000, 0));
        let refusal = Said::server(RST_ACK, 0, 700_001);
        match kernel {
            // It looks at the sequence number first, which may be any.
            Kernel::V5_10 => assert_eq!(wire.invalid(refusal).bound, Bound::Reset),
            _ => assert_eq!(wire.state(refusal), State::Close),
        }
    }
}

#[test]
fn a_challenge_ack_in_the_handshake_passes_and_the_reset_that_answers_it_is_believed() {
    let mut wire = Wire::new(Kernel::NEWEST);
    wire.state(Said::client(SYN, 0, 0));
    // The server still has an old connection between the same two.
    let ignored = wire.ignored(Said::server(ACK, 7_000, 300_000));
    assert_eq!(ignored.why, Passed::State);
    assert_eq!(wire.state(Said::client(RST, 300_000, 0)), State::Close);
}

#[test]
fn a_closed_connection_may_be_opened_again_and_is_another() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        let first = wire.see(Said::server(ACK, 1, 1)).flow;
        wire.state(Said::client(FIN_ACK, 1, 1));
        wire.state(Said::server(FIN_ACK, 1, 2));
        assert_eq!(wire.state(Said::client(ACK, 2, 2)), State::TimeWait);
        let seen = wire.see(Said::client(SYN, 900_000, 0));
        assert_eq!(seen.verdict, Verdict::New(State::SynSent));
        assert_ne!(seen.flow, first);
        assert_eq!(wire.table.len(), 1);
    }
}

#[test]
fn the_server_may_open_it_again_the_other_way() {
    let mut wire = Wire::opened(Kernel::NEWEST);
    wire.state(Said::client(FIN_ACK, 1, 1));
    wire.state(Said::server(FIN_ACK, 1, 2));
    wire.state(Said::client(ACK, 2, 2));
    let seen = wire.see(Said::server(SYN, 900_000, 0));
    assert_eq!(seen.verdict, Verdict::New(State::SynSent));
    assert_eq!(seen.way, Way::Original);
    let seen = wire.see(Said::client(SYN_ACK, 950_000, 900_001));
    assert_eq!(seen.way, Way::Reply);
}
