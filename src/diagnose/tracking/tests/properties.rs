//! What holds of any segments in any order.

use proptest::prelude::*;

use super::*;

/// A segment around the numbers that matter.
fn said() -> impl Strategy<Value = Said> {
    let flags = prop_oneof![
        6 => Just(ACK),
        1 => Just(SYN),
        1 => Just(SYN_ACK),
        1 => Just(FIN_ACK),
        1 => Just(RST),
        1 => Just(RST_ACK),
        1 => any::<u8>().prop_map(Flags),
    ];
    let number = || {
        prop_oneof![
            3 => 1u32..4,
            4 => 1u32..3000,
            1 => 1u32..300_000,
            1 => 1u32..20_000_000,
        ]
    };
    let window = prop_oneof![Just(0), Just(1000), Just(65_535)];
    let payload = prop_oneof![Just(0), Just(1), 0u32..2000, Just(70_000)];
    let sack = proptest::option::weighted(0.3, number());
    let scale = proptest::option::of(0u8..15);
    let numbers = (any::<bool>(), flags, number(), number(), window, payload);
    (numbers, sack, scale, any::<bool>()).prop_map(
        |((from_server, flags, seq, ack, window, payload), sack, scale, sack_permitted)| {
            let mut said = Said {
                from_server,
                flags,
                seq,
                ack,
                window,
                payload,
                options: OptionsSeen::default(),
            };
            if flags.has(SYN) {
                said = said.offers(scale, sack_permitted);
            }
            match sack {
                // A block that is not beyond the ACK is none.
                Some(right) if right > ack => said.sacks(right - 1, right),
                _ => said,
            }
        },
    )
}

fn kernel() -> impl Strategy<Value = Kernel> {
    proptest::sample::select(&Kernel::ALL[..])
}

/// What came out, without the numbers, until the connection is another. Of one that begins the tracker knows
/// but one side's numbers, and has 0 for the other's.
fn outlines(wire: &mut Wire, said: &[Said]) -> Vec<(Way, String)> {
    let outline = |seen: Seen| {
        let verdict = match seen.verdict {
            Verdict::New(_) => return None,
            Verdict::Invalid(invalid) => {
                let out_by = invalid.measured.map(|measured| measured.out_by);
                format!("{:?} by {out_by:?}", invalid.bound)
            }
            Verdict::Ignored(ignored) => {
                let out_by = ignored.measured.map(|measured| measured.out_by);
                format!("{:?} by {out_by:?}", ignored.why)
            }
            tracked @ Verdict::Tracked { .. } => format!("{tracked:?}"),
        };
        Some((seen.way, verdict))
    };
    said.iter()
        .map_while(|said| {
            wire.wait(1);
            outline(wire.see(*said))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn where_sequence_numbers_begin_changes_no_verdict(
        kernel in kernel(),
        story in proptest::collection::vec(said(), 1..40),
        client: u32,
        server: u32,
    ) {
        // Of a number that happens to be 0 there are rules of its own.
        let holds = |base: u32| base != 0 && base.checked_add(30_000_000).is_some();
        prop_assume!(holds(client) && holds(server));
        let mut wire = Wire::opened(kernel);
        let mut moved = Wire { client, server, ..Wire::new(kernel) };
        moved.open();
        prop_assert_eq!(outlines(&mut wire, &story), outlines(&mut moved, &story));
    }

    #[test]
    fn a_wrap_in_the_middle_of_a_connection_changes_no_verdict(
        kernel in kernel(),
        story in proptest::collection::vec(said(), 1..40),
        before in 1u32..3000,
        of_client: bool,
    ) {
        // Numbers that happen to be 0 would have rules of their own, and so would bounds that are made of them.
        let zero = |said: &Said| {
            let (end, window) = (said.seq + said.payload, u32::from(said.window));
            let numbers = [said.seq, end, said.ack, end + window, said.ack + window];
            numbers.iter().any(|number| number.abs_diff(before) <= 3)
        };
        prop_assume!(!story.iter().any(zero));
        // As far from each other as they are on the other wire: the rules compare a side's number with the other's, too.
        let apart = SERVER.wrapping_sub(CLIENT);
        let wraps = before.wrapping_neg();
        let (client, server) = match of_client {
            true => (wraps, wraps.wrapping_add(apart)),
            false => (wraps.wrapping_sub(apart), wraps),
        };
        let mut wire = Wire::opened(kernel);
        let mut wrapping = Wire { client, server, ..Wire::new(kernel) };
        wrapping.open();
        prop_assert_eq!(outlines(&mut wire, &story), outlines(&mut wrapping, &story));
    }

    #[test]
    fn a_liberal_tracker_calls_nothing_invalid_for_its_numbers(
        kernel in kernel(),
        story in proptest::collection::vec(said(), 1..40),
    ) {
        let mut wire = Wire::with(Settings { be_liberal: true, ..Settings::new(kernel) });
        for said in story {
            if let Verdict::Invalid(invalid) = wire.say(said) {
                prop_assert_eq!(invalid.liberal, Liberal::StillInvalid);
            }
        }
    }

    #[test]
    fn an_invalid_packet_can_be_left_out(
        kernel in kernel(),
        story in proptest::collection::vec(said(), 1..40),
    ) {
        // But for FIN and RST, which are noted.
        let mut wire = Wire::opened(kernel);
        let mut without = Wire::opened(kernel);
        for said in story {
            let seen = wire.see(said);
            let noted = matches!(Kind::of(said.flags), Kind::Fin | Kind::Rst);
            match seen.verdict {
                Verdict::Invalid(invalid) if invalid.measured.is_none() || !noted => {
                    // A side that was not heard before is set up by whatever comes; and 5.10 begins
                    // anew by whatever comes in a handshake.
                    let fresh = invalid.moment.sender.max_window == 0
                        || (kernel == Kernel::V5_10 && invalid.moment.state != State::Established)
                        || said.flags.has(SYN);
                    prop_assume!(!fresh || invalid.measured.is_none());
                }
                _ => prop_assert_eq!(without.see(said).verdict, seen.verdict),
            }
        }
    }

    #[test]
    fn a_verdict_names_how_far_a_number_is_out(
        kernel in kernel(),
        story in proptest::collection::vec(said(), 1..40),
    ) {
        let mut wire = Wire::opened(kernel);
        for said in story {
            let Verdict::Invalid(invalid) = wire.say(said) else { continue };
            let Some(Measured { seen, allowed, out_by, .. }) = invalid.measured else { continue };
            let out = match invalid.bound {
                Bound::SeqOverWindow | Bound::AckOverSeen => seen.wrapping_sub(allowed),
                _ => allowed.wrapping_sub(seen),
            };
            prop_assert_eq!(out, out_by);
            prop_assert!((1..1 << 31).contains(&out_by), "{:?}", invalid);
        }
    }
}
