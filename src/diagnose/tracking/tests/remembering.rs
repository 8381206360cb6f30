//! How long connections are remembered, and how many.

use super::*;

/// Seconds after which the next segment of an open connection begins another.
fn forgotten_after(wire: &mut Wire, seconds: u64) {
    let before = wire.see(Said::client(ACK, 1, 1)).flow;
    assert!(before.is_some());
    wire.wait(seconds - 1);
    assert_eq!(wire.see(Said::client(ACK, 1, 1)).flow, before);
    wire.wait(seconds);
    let verdict = wire.see(Said::client(ACK, 1, 1));
    assert_ne!(verdict.flow, before);
    assert_eq!(verdict.verdict, Verdict::New(State::Established));
}

#[test]
fn an_established_connection_is_remembered_for_five_days() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::server(ACK, 1, 1));
        // Equal ACKs in a row would shorten it.
        let before = wire.see(Said::client(ACK, 1, 1).with(1)).flow;
        wire.state(Said::server(ACK, 1, 2));
        wire.wait(5 * 86_400 - 1);
        assert_eq!(wire.see(Said::server(ACK, 1, 2)).flow, before);
        wire.wait(5 * 86_400);
        assert_ne!(wire.see(Said::server(ACK, 1, 2)).flow, before);
    }
}

#[test]
fn data_that_nobody_acknowledges_shortens_it_to_five_minutes() {
    let mut wire = Wire::opened(Kernel::NEWEST);
    wire.state(Said::server(ACK, 1, 1).with(10));
    forgotten_after(&mut wire, 300);
}

#[test]
fn a_connection_picked_up_in_the_middle_is_remembered_for_five_minutes_until_it_is_answered() {
    let mut wire = Wire::new(Kernel::NEWEST);
    wire.state(Said::client(ACK, 1, 1));
    forgotten_after(&mut wire, 300);
}

#[test]
fn a_syn_again_and_again_does_not_prolong_what_nobody_answers_since_6_1() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::new(kernel);
        let first = wire.see(Said::client(SYN, 0, 0)).flow;
        wire.wait(100);
        assert_eq!(wire.see(Said::client(SYN, 0, 0)).flow, first);
        wire.wait(21);
        let same = wire.see(Said::client(SYN, 0, 0)).flow == first;
        assert_eq!(same, kernel == Kernel::V5_10, "{kernel}");
    }
}

#[test]
fn a_reset_that_is_not_exact_shortens_it_by_kernel() {
    for (kernel, seconds) in [
        (Kernel::V5_10, 10),
        (Kernel::V6_1, 10),
        (Kernel::V6_12, 300),
        (Kernel::V6_18, 10),
    ] {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::server(ACK, 1, 1));
        let before = wire.see(Said::client(RST, 100, 0)).flow;
        wire.wait(seconds);
        assert_ne!(wire.see(Said::client(ACK, 1, 1)).flow, before, "{kernel}");
    }
}

#[test]
fn an_invalid_fin_of_each_side_shortens_it_since_6_1() {
    for kernel in Kernel::ALL {
        let mut wire = Wire::opened(kernel);
        wire.state(Said::server(ACK, 1, 1));
        let before = wire.see(Said::client(ACK, 1, 1)).flow;
        wire.invalid(Said::client(FIN_ACK, 9_000_000, 1));
        wire.invalid(Said::server(FIN_ACK, 9_000_000, 1));
        wire.wait(301);
        let same = wire.see(Said::client(ACK, 1, 1)).flow == before;
        assert_eq!(same, kernel == Kernel::V5_10, "{kernel}");
    }
}

#[test]
fn the_connection_longest_silent_makes_way_and_is_counted() {
    let mut wire = Wire::with(Settings {
        capacity: 3,
        ..Settings::new(Kernel::NEWEST)
    });
    let mut syn = |port| {
        let mut segment = wire.segment(Said::client(SYN, 0, 0));
        segment.source.set_port(port);
        wire.table.see(wire.now, &segment)
    };
    let flows = [1, 2, 3].map(|port| syn(port).flow);
    // The first is heard again: now the second is the one longest silent.
    assert_eq!(syn(1).flow, flows[0]);
    syn(4);
    assert_eq!(syn(1).flow, flows[0]);
    assert_eq!(syn(3).flow, flows[2]);
    assert_ne!(syn(2).flow, flows[1]);
    assert_eq!((wire.table.len(), wire.table.evicted()), (3, 2));
}

#[test]
fn what_is_over_makes_way_without_being_counted() {
    let mut wire = Wire::with(Settings {
        capacity: 3,
        ..Settings::new(Kernel::NEWEST)
    });
    for port in 1..200 {
        let mut segment = wire.segment(Said::client(SYN, 0, 0));
        segment.source.set_port(port);
        wire.table.see(wire.now, &segment);
        wire.wait(60);
    }
    // A SYN is remembered for two minutes.
    assert_eq!((wire.table.len(), wire.table.evicted()), (2, 0));
}

#[test]
fn zones_and_families_are_apart() {
    let mut wire = Wire::opened(Kernel::NEWEST);
    let mut segment = wire.segment(Said::server(ACK, 1, 1));
    segment.zone = 7;
    let seen = wire.table.see(wire.now, &segment);
    assert_eq!(seen.verdict, Verdict::New(State::Established));
    assert_eq!(wire.table.len(), 2);
}
