//! The four bounds, SACK edges, window scale, liberal tracking.

use super::*;

#[test]
fn data_up_to_the_windows_end_is_right_and_after_it_is_not() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        // The server's window ends at 1001: a segment may begin there.
        wire.state(Said::client(ACK, 1001, 1));
        // More of it than the whole window is no little overshoot in any kernel.
        let invalid = wire.invalid(Said::client(ACK, 1002, 1).with(5000));
        assert_eq!(invalid.bound, Bound::SeqOverWindow);
        assert_eq!(invalid.measured.unwrap().by, By::Seq);
        assert_eq!(out(invalid.measured, CLIENT), (1002, 1001, 1));
        assert_eq!(invalid.liberal, Liberal::Pass);
        assert_eq!(invalid.moment.state, State::Established);
        let text = invalid.logged(kernel).unwrap();
        match kernel {
            Kernel::V5_10 => assert!(text.starts_with("SEQ is over the upper bound (")),
            _ => assert!(text.starts_with("SEQ is over upper bound 1001002 (")),
        }
    }
}

#[test]
fn a_little_more_than_the_window_passes_since_6_1_and_its_ack_does_too() {
    for kernel in [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18] {
        let mut wire = Wire::opened(kernel);
        let ignored = wire.ignored(Said::client(ACK, 1101, 1).with(100));
        assert_eq!(ignored.why, Passed::Overshot);
        assert_eq!(out(ignored.measured, CLIENT), (1201, 1001, 200));
        assert_eq!(ignored.logged(kernel), "201 bytes more than expected");
        wire.state(Said::server(ACK, 1, 1201));
    }
    let mut wire = Wire::opened(Kernel::V5_10);
    let invalid = wire.invalid(Said::client(ACK, 1101, 1).with(100));
    assert_eq!(invalid.bound, Bound::SeqOverWindow);
    assert_eq!(out(invalid.measured, CLIENT), (1101, 1001, 100));
    // The ACK of what was let pass all the same is INVALID next.
    let invalid = wire.invalid(Said::server(ACK, 1, 1201));
    assert_eq!(invalid.bound, Bound::AckOverSeen);
}

#[test]
fn an_ack_of_data_that_was_not_seen_is_invalid() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(ACK, 1, 1).with(500));
        wire.state(Said::server(ACK, 1, 501));
        let invalid = wire.invalid(Said::server(ACK, 1, 502));
        assert_eq!(invalid.bound, Bound::AckOverSeen);
        assert_eq!(invalid.measured.unwrap().by, By::Ack);
        assert_eq!(out(invalid.measured, CLIENT), (502, 501, 1));
        assert_eq!(invalid.moment.way, Way::Reply);
        assert_eq!(invalid.moment.receiver.end, CLIENT + 501);
    }
}

#[test]
fn a_sack_edge_counts_as_an_ack_and_is_named() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::client(ACK, 1, 1).with(500));
        wire.state(Said::server(ACK, 1, 101).sacks(201, 501));
        let invalid = wire.invalid(Said::server(ACK, 1, 101).sacks(70_201, 70_501));
        assert_eq!(invalid.bound, Bound::AckOverSeen);
        let block = SackBlock {
            index: 0,
            left: CLIENT + 70_201,
            right: CLIENT + 70_501,
        };
        assert_eq!(invalid.measured.unwrap().by, By::Sack(block));
        assert_eq!(out(invalid.measured, CLIENT), (70_501, 501, 70_000));
    }
}

#[test]
fn a_sack_edge_is_not_looked_at_if_the_receiver_did_not_permit_it() {
    let mut wire = Wire::new(Kernel::NEWEST);
    wire.state(Said::client(SYN, 0, 0).offers(None, false));
    wire.state(Said::server(SYN_ACK, 0, 1).offers(None, true));
    wire.state(Said::client(ACK, 1, 1).with(500));
    wire.state(Said::server(ACK, 1, 101).sacks(70_201, 70_501));
    // The other way it was permitted.
    let invalid = wire.invalid(Said::client(ACK, 501, 1).sacks(70_201, 70_501));
    assert_eq!(invalid.bound, Bound::AckOverSeen);
}

#[test]
fn data_acknowledged_long_ago_is_invalid_until_6_0_and_passes_since_6_1() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        for sent in [1, 1001, 2001] {
            wire.state(Said::client(ACK, sent, 1).with(1000));
            wire.state(Said::server(ACK, 1, sent + 1000));
        }
        // The window is 1000 wide: the last byte that may come again ends at 2001.
        wire.state(Said::client(ACK, 1901, 1).with(100));
        let old = Said::client(ACK, 1900, 1).with(100);
        let expected = (2000, 2001, 1);
        match kernel {
            Kernel::V5_10 => {
                let invalid = wire.invalid(old);
                assert_eq!(invalid.bound, Bound::SeqUnderWindow);
                assert_eq!(out(invalid.measured, CLIENT), expected);
                assert_eq!(invalid.liberal, Liberal::Pass);
            }
            Kernel::V6_1 | Kernel::V6_12 | Kernel::V6_18 => {
                let ignored = wire.ignored(old);
                assert_eq!(ignored.why, Passed::SeqUnderWindow);
                assert_eq!(out(ignored.measured, CLIENT), expected);
                let text = ignored.logged(kernel);
                assert!(
                    text.starts_with("SEQ is under lower bound 1002000 ("),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn an_ack_may_be_66000_bytes_late_and_no_more() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        for block in 0..100 {
            let sent = 1 + block * 1000;
            wire.state(Said::client(ACK, sent, 1).with(1000));
            wire.state(Said::server(ACK, 1, sent + 1000));
        }
        wire.state(Said::server(ACK, 1, 100_001 - 66_000));
        let late = Said::server(ACK, 1, 100_000 - 66_000);
        let expected = (34_000, 34_001, 1);
        match kernel {
            Kernel::V5_10 => {
                let invalid = wire.invalid(late);
                assert_eq!(invalid.bound, Bound::AckUnderWindow);
                assert_eq!(out(invalid.measured, CLIENT), expected);
            }
            Kernel::V6_1 | Kernel::V6_12 | Kernel::V6_18 => {
                let ignored = wire.ignored(late);
                assert_eq!(ignored.why, Passed::AckUnderWindow);
                assert_eq!(out(ignored.measured, CLIENT), expected);
            }
        }
    }
}

#[test]
fn windows_are_scaled_only_if_both_sides_offered_to() {
    for (client, server, limit) in [
        (Some(3), Some(7), 1 + (1000 << 7)),
        (None, Some(7), 1 + 1000),
        (Some(3), None, 1 + 1000),
    ] {
        let mut wire = Wire::new(Kernel::NEWEST);
        wire.state(Said::client(SYN, 0, 0).offers(client, true));
        wire.state(Said::server(SYN_ACK, 0, 1).offers(server, true));
        wire.state(Said::client(ACK, 1, 1));
        wire.state(Said::server(ACK, 1, 1));
        wire.state(Said::client(ACK, limit, 1));
        let far = Said::client(ACK, limit + 1, 1).with(1 << 20);
        let invalid = wire.invalid(far);
        assert_eq!(out(invalid.measured, CLIENT), (limit + 1, limit, 1));
    }
}

#[test]
fn a_liberal_tracker_lets_numbers_pass_and_learns_nothing_from_them() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::with(Settings {
            be_liberal: true,
            ..Settings::new(kernel)
        });
        wire.open();
        let far = Said::client(ACK, 9_000_000, 1).with(10);
        for _ in 0..2 {
            let Verdict::Tracked {
                forgiven: Some(bound),
                ..
            } = wire.say(far)
            else {
                panic!("{kernel}");
            };
            assert_eq!(bound, Bound::SeqOverWindow);
        }
        // What is not about numbers is INVALID all the same.
        let invalid = wire.invalid(Said::client(SYN_ACK, 1, 1));
        assert_eq!(invalid.bound, Bound::State);
        assert_eq!(invalid.liberal, Liberal::StillInvalid);
    }
}

#[test]
fn a_shut_window_may_be_probed_with_a_byte() {
    let mut wire = Wire::opened(Kernel::V5_10);
    wire.state(Said::client(ACK, 1, 1).with(1000));
    wire.state(Said::server(ACK, 1, 1001).window(0));
    wire.state(Said::client(ACK, 1001, 1).with(1));
    wire.state(Said::client(ACK, 1002, 1));
    let invalid = wire.invalid(Said::client(ACK, 1003, 1));
    assert_eq!(out(invalid.measured, CLIENT), (1003, 1002, 1));
}

#[test]
fn flags_that_do_not_go_together_and_broken_headers_are_invalid_for_themselves() {
    let mut wire = Wire::opened(Kernel::NEWEST);
    for flags in [0x00, 0x03, 0x06, 0x07, 0x01, 0x20, 0x24, 0x32, 0x15, 0x3f] {
        let invalid = wire.invalid(Said::client(Flags(flags), 1, 1));
        assert_eq!(invalid.bound, Bound::Flags, "{flags:#x}");
        assert_eq!(invalid.moment.state, State::Established);
    }
    // PSH, ECE and CWR go with everything.
    wire.state(Said::client(Flags(0x10 | 0x08 | 0x40 | 0x80 | 0x20), 1, 1));
    for (fault, bound) in [
        (Fault::Truncated, Bound::Malformed),
        (Fault::Checksum, Bound::Checksum),
    ] {
        let mut segment = wire.segment(Said::client(ACK, 1, 1));
        segment.fault = Some(fault);
        let seen = wire.table.see(wire.now, &segment);
        assert_eq!(seen.verdict.invalid().unwrap().bound, bound);
        assert!(seen.flow.is_some());
    }
}
