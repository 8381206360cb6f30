//! How connections end: FIN both ways, resets exact and inexact.

use super::*;

#[test]
fn a_connection_goes_through_its_states_to_the_end() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        let steps = [
            (Said::client(FIN_ACK, 1, 1), State::FinWait),
            (Said::server(ACK, 1, 2), State::CloseWait),
            (Said::server(FIN_ACK, 1, 2), State::LastAck),
            (Said::client(ACK, 2, 2), State::TimeWait),
        ];
        for (said, state) in steps {
            assert_eq!(wire.state(said), state);
        }
    }
}

#[test]
fn an_ack_that_answers_a_syn_is_not_taken_for_that_of_the_last_fin() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(FIN_ACK, 1, 1));
        wire.state(Said::server(FIN_ACK, 1, 2));
        wire.ignored(Said::client(SYN, 900_000, 0));
        let ignored = wire.ignored(Said::server(ACK, 2, 2));
        assert_eq!(ignored.why, Passed::ChallengeAck);
        assert_eq!(ignored.logged(kernel), "challenge-ack ignored");
        // Only once.
        assert_eq!(wire.state(Said::server(ACK, 2, 2)), State::TimeWait);
    }
}

#[test]
fn a_reset_from_before_what_was_acknowledged_is_invalid() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(ACK, 1, 1).with(500));
        wire.state(Said::server(ACK, 1, 501));
        let invalid = wire.invalid(Said::client(RST, 500, 0));
        assert_eq!(invalid.bound, Bound::Reset);
        assert_eq!(out(invalid.measured, CLIENT), (500, 501, 1));
        assert_eq!(invalid.liberal, Liberal::StillInvalid);
        assert_eq!(wire.state(Said::client(RST, 501, 0)), State::Close);
    }
}

#[test]
fn a_reset_that_is_not_exact_leaves_the_connection_as_it_was() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(ACK, 1, 1).with(500));
        wire.state(Said::server(ACK, 1, 501));
        assert_eq!(wire.state(Said::client(RST, 600, 0)), State::Established);
        // The receiver answers it, and now it is exact.
        wire.state(Said::server(ACK, 1, 501));
        assert_eq!(wire.state(Said::client(RST, 501, 0)), State::Close);
    }
}

#[test]
fn a_reset_right_after_data_of_the_same_side_is_exact() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::server(ACK, 1, 1));
        wire.state(Said::client(ACK, 1, 1).with(500));
        assert_eq!(wire.state(Said::client(RST_ACK, 501, 1)), State::Close);
    }
}

#[test]
fn a_host_may_forgive_old_resets() {
    let mut wire = Wire::with(Settings {
        ignore_invalid_rst: true,
        ..Settings::new(Kernel::NEWEST)
    });
    wire.open();
    wire.state(Said::client(ACK, 1, 1).with(500));
    wire.state(Said::server(ACK, 1, 501));
    assert_eq!(wire.state(Said::client(RST, 400, 0)), State::Established);
}

#[test]
fn a_reset_while_closing_is_believed_since_6_1_whatever_its_number() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(ACK, 1, 1).with(500));
        wire.state(Said::server(ACK, 1, 501));
        wire.state(Said::client(FIN_ACK, 501, 1));
        let old = Said::client(RST, 100, 0);
        match kernel {
            Kernel::V5_10 => assert_eq!(wire.invalid(old).bound, Bound::Reset),
            _ => assert_eq!(wire.state(old), State::Close),
        }
    }
}

#[test]
fn a_refused_connection_is_forgotten_at_once() {
    let mut wire = Wire::new(Kernel::NEWEST);
    wire.state(Said::client(SYN, 0, 0));
    // Such a reset has 0 for its own number, wherever it begins.
    let mut refusal = wire.segment(Said::server(RST_ACK, 0, 1));
    refusal.sequence = 0;
    let verdict = wire.table.see(wire.now, &refusal).verdict;
    assert!(
        matches!(
            verdict,
            Verdict::Tracked {
                state: State::Close,
                ..
            }
        ),
        "{verdict:?}"
    );
    assert!(wire.table.is_empty());
}
