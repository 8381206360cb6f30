//! Every behaviour alone, some in pairs, and a clean path.

mod others;
pub mod path;

use std::collections::BTreeSet;

use super::judge;
use crate::diagnose::probe::evidence::{Evidence, What};
use crate::diagnose::probe::finding::{Behaviour, Status, Ways};
use crate::metrics::Direction;
use crate::packet::Flags;
use crate::packet::craft::Segment;
use path::{ClientToServer, Mangle, ServerToClient, add, clean, edit, strip};

type Told = (Behaviour, Option<Ways>, Status);

pub const NOTE: Status = Status::Note;
pub const PROBLEM: Status = Status::Problem;
pub const THERE: Option<Ways> = Some(Ways::ClientToServer);
pub const BACK: Option<Ways> = Some(Ways::ServerToClient);
pub const BOTH: Option<Ways> = Some(Ways::BothWays);

/// That just this is found.
#[track_caller]
pub fn expect(evidence: &Evidence, expected: &[Told]) {
    let report = judge(evidence);
    let found: Vec<Told> = report
        .findings
        .iter()
        .map(|one| (one.behaviour, one.direction, one.status))
        .collect();
    assert_eq!(found, expected, "{:#?}", report.findings);
    for finding in &report.findings {
        assert!(!finding.sentence.contains('{'), "{}", finding.sentence);
        let tells_a_way = Ways::words(Ways::BothWays);
        assert_eq!(
            finding.direction == BOTH,
            finding.sentence.contains(tells_a_way),
            "{}",
            finding.sentence
        );
    }
}

/// That a path which does this to segments is told to do just that.
#[track_caller]
pub fn expect_of(mangle: Mangle, expected: &[Told]) {
    expect(&path::path(mangle), expected);
}

/// Sequence numbers shifted by so much each way, as a PIX does it.
pub fn isn(there: u32, back: u32, translate_sack: bool) -> impl Fn(Direction, &mut Segment) {
    move |direction, segment| {
        let (own, other) = match direction {
            ClientToServer => (there, back),
            ServerToClient => (back, there),
        };
        segment.sequence = segment.sequence.wrapping_add(own);
        if segment.flags.has(Flags::ACK) {
            segment.acknowledgement = segment.acknowledgement.wrapping_sub(other);
        }
        if translate_sack {
            edit(segment, 5, |block| {
                add(block, other.wrapping_neg());
                add(&mut block[4..], other.wrapping_neg());
            });
        }
    }
}

/// What is done to every segment that goes this way.
pub fn going(
    meant: impl Fn(Direction) -> bool,
    change: impl Fn(&mut Segment),
) -> impl Fn(What, Direction, Segment) -> Option<Segment> {
    move |_, direction, mut segment| {
        if meant(direction) {
            change(&mut segment);
        }
        Some(segment)
    }
}

fn both(_: Direction) -> bool {
    true
}

fn there(direction: Direction) -> bool {
    direction == ClientToServer
}

fn back(direction: Direction) -> bool {
    direction == ServerToClient
}

#[test]
fn nothing_is_found_on_a_clean_path() {
    expect(&clean(), &[]);
    let report = judge(&clean());
    let untold = report.passages.iter().filter(|row| {
        let is_kept =
            |cell: &Option<String>| cell.as_ref().is_some_and(|it| it.starts_with("kept"));
        !is_kept(&row.client_to_server) || !is_kept(&row.server_to_client)
    });
    let untold: Vec<&str> = untold.map(|row| row.what.as_str()).collect();
    assert_eq!(untold, ["a silent flow"], "all else was tried and kept");
    assert!(report.untried.is_empty());
}

#[test]
fn a_name_is_one_behaviours_and_stays_what_json_has() {
    let names: BTreeSet<&str> = Behaviour::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(names.len(), Behaviour::ALL.len());
    for one in Behaviour::ALL {
        let json = serde_json::to_value(one).unwrap();
        assert_eq!(json.as_str(), Some(one.name()));
    }
}

#[test]
fn hops_and_identification_are_no_findings() {
    let hop = going(both, |segment| {
        segment.carried.hops -= 9;
        segment.carried.identification = 4711;
    });
    expect_of(&hop, &[]);
}

// === numbers ===

#[test]
fn sequence_numbers_that_are_rewritten_with_sack_left_alone_are_told_apart_from_those_with_sack_translated()
 {
    let sequence = (Behaviour::SequenceRewritten, THERE, NOTE);
    let pix = isn(1 << 31, 0, false);
    let mangle = |_, direction, mut segment: Segment| {
        pix(direction, &mut segment);
        Some(segment)
    };
    // The blocks that name the client's bytes are the server's.
    let untranslated = (Behaviour::SackNotTranslated, BACK, PROBLEM);
    expect_of(&mangle, &[untranslated, sequence]);
    let right = isn(1 << 31, 0, true);
    let mangle = |_, direction, mut segment: Segment| {
        right(direction, &mut segment);
        Some(segment)
    };
    let translated = (Behaviour::SackTranslated, BACK, NOTE);
    expect_of(&mangle, &[sequence, translated]);
}

#[test]
fn what_is_done_both_ways_alike_is_told_once() {
    let pix = isn(77, 0xffff_0000, false);
    let mangle = |_, direction, mut segment: Segment| {
        pix(direction, &mut segment);
        Some(segment)
    };
    expect_of(
        &mangle,
        &[
            (Behaviour::SackNotTranslated, BOTH, PROBLEM),
            (Behaviour::SequenceRewritten, BOTH, NOTE),
        ],
    );
}

#[test]
fn sack_that_nobody_agrees_on_does_no_harm() {
    let pix = isn(77, 99, false);
    let mangle = |_, direction, mut segment: Segment| {
        pix(direction, &mut segment);
        strip(&mut segment, 4);
        Some(segment)
    };
    expect_of(
        &mangle,
        &[
            (Behaviour::SequenceRewritten, BOTH, NOTE),
            (Behaviour::SackNotTranslated, BOTH, NOTE),
            (Behaviour::SackPermittedRemoved, BOTH, NOTE),
        ],
    );
}

#[test]
fn acknowledgements_that_are_not_translated_are_a_problem_of_their_own() {
    // Only what goes to the server passes the box that rewrites.
    let mangle = going(there, |segment| {
        segment.sequence = segment.sequence.wrapping_add(5)
    });
    expect_of(
        &mangle,
        &[
            (Behaviour::AcknowledgementWrong, BACK, PROBLEM),
            (Behaviour::SackNotTranslated, BACK, PROBLEM),
            (Behaviour::SequenceRewritten, THERE, NOTE),
        ],
    );
}

#[test]
fn sack_blocks_may_be_changed_or_removed() {
    let changed = going(back, |segment| edit(segment, 5, |block| add(block, 3)));
    expect_of(&changed, &[(Behaviour::SackChanged, BACK, PROBLEM)]);
    let removed = going(both, |segment| strip(segment, 5));
    expect_of(&removed, &[(Behaviour::SackBlocksRemoved, BOTH, PROBLEM)]);
}

#[test]
fn timestamps_that_come_back_right_do_no_harm_and_others_do() {
    let shift = |consistent: bool| {
        move |_, direction, mut segment: Segment| {
            edit(&mut segment, 8, |stamps| match direction {
                ClientToServer => add(stamps, 500),
                // The SYN echoes nothing, and nothing is taken from that.
                ServerToClient if consistent => add(&mut stamps[4..], 500u32.wrapping_neg()),
                ServerToClient => {}
            });
            Some(segment)
        }
    };
    let note = (Behaviour::TimestampsRewritten, THERE, NOTE);
    expect_of(&shift(true), &[note]);
    let problem = (Behaviour::TimestampsInconsistent, THERE, PROBLEM);
    expect_of(&shift(false), &[problem]);
}

#[test]
fn timestamps_may_be_removed_from_both_from_one_and_from_data_alone() {
    let removed = going(both, |segment| strip(segment, 8));
    expect_of(&removed, &[(Behaviour::TimestampsRemoved, BOTH, NOTE)]);
    let one = going(back, |segment| strip(segment, 8));
    expect_of(&one, &[(Behaviour::TimestampsRemoved, BACK, PROBLEM)]);
    let data = going(both, |segment| {
        if !segment.flags.has(Flags::SYN) {
            strip(segment, 8);
        }
    });
    expect_of(&data, &[(Behaviour::TimestampsRemoved, BOTH, PROBLEM)]);
}

// === handshake ===

#[test]
fn sack_permitted_that_is_removed_from_the_answer_alone_is_a_problem() {
    let both = going(both, |segment| strip(segment, 4));
    expect_of(&both, &[(Behaviour::SackPermittedRemoved, BOTH, NOTE)]);
    let syn = going(there, |segment| strip(segment, 4));
    expect_of(&syn, &[(Behaviour::SackPermittedRemoved, THERE, NOTE)]);
    let answer = going(back, |segment| strip(segment, 4));
    expect_of(&answer, &[(Behaviour::SackPermittedRemoved, BACK, PROBLEM)]);
}

#[test]
fn window_scale_that_is_removed_on_one_side_makes_the_hosts_disagree() {
    let scale = Behaviour::WindowScaleRemoved;
    expect_of(
        &going(both, |segment| strip(segment, 3)),
        &[(scale, BOTH, NOTE)],
    );
    expect_of(
        &going(back, |segment| strip(segment, 3)),
        &[(scale, BACK, PROBLEM)],
    );
    expect_of(
        &going(there, |segment| strip(segment, 3)),
        &[(scale, THERE, PROBLEM)],
    );
}

#[test]
fn window_scale_that_is_changed_is_told_with_both_values() {
    let changed = going(back, |segment| edit(segment, 3, |scale| scale[0] = 2));
    let evidence = path::path(&changed);
    expect(&evidence, &[(Behaviour::WindowScaleChanged, BACK, PROBLEM)]);
    let finding = &judge(&evidence).findings[0];
    assert_eq!(finding.sent.as_deref(), Some("window scale 7"));
    assert_eq!(finding.arrived.as_deref(), Some("window scale 2"));
    assert!(
        finding.sentence.contains("from 7 to 2"),
        "{}",
        finding.sentence
    );
}

#[test]
fn the_mss_may_be_lowered_raised_or_removed() {
    let to = |mss: u16| {
        going(both, move |segment| {
            edit(segment, 2, |bytes| {
                bytes.copy_from_slice(&mss.to_be_bytes())
            });
        })
    };
    expect_of(&to(1380), &[(Behaviour::MssLowered, BOTH, NOTE)]);
    expect_of(&to(8000), &[(Behaviour::MssRaised, BOTH, NOTE)]);
    let removed = going(there, |segment| strip(segment, 2));
    expect_of(&removed, &[(Behaviour::MssRemoved, THERE, NOTE)]);
}

#[test]
fn windows_may_be_lowered_or_raised() {
    let capped = going(there, |segment| segment.window = segment.window.min(4096));
    let evidence = path::path(&capped);
    expect(&evidence, &[(Behaviour::WindowChanged, THERE, NOTE)]);
    let sentence = &judge(&evidence).findings[0].sentence;
    assert!(sentence.contains("to at most 4096"), "{sentence}");
    let raised = going(both, |segment| segment.window = 65_000);
    expect_of(&raised, &[(Behaviour::WindowChanged, BOTH, PROBLEM)]);
}

#[test]
fn a_window_that_fits_a_changed_scale_is_no_finding() {
    let rescaled = going(both, |segment| {
        edit(segment, 3, |scale| scale[0] = 5);
        if !segment.flags.has(Flags::SYN) {
            segment.window <<= 1;
        }
    });
    // Half of 4: 20000 << 7 is 40000 << 6.
    let half = going(both, |segment| {
        edit(segment, 3, |scale| scale[0] = 6);
        if !segment.flags.has(Flags::SYN) {
            segment.window <<= 1;
        }
    });
    expect_of(&half, &[(Behaviour::WindowScaleChanged, BOTH, PROBLEM)]);
    let changed = (Behaviour::WindowScaleChanged, BOTH, PROBLEM);
    let raised = (Behaviour::WindowChanged, BOTH, PROBLEM);
    expect_of(&rescaled, &[changed, raised]);
}

// === classes, and what few use ===

#[test]
fn the_offer_of_ecn_may_be_removed_or_refused() {
    let ecn = Flags::ECE | Flags::CWR;
    let removed = going(both, |segment| {
        if segment.flags.has(Flags::SYN) {
            segment.flags = Flags(segment.flags.0 & !ecn.0);
        }
    });
    expect_of(&removed, &[(Behaviour::EcnOfferRemoved, BOTH, NOTE)]);
    let dropped = |_, _, segment: Segment| {
        let offers = segment.flags.opens() && segment.flags.has(ecn);
        (!offers).then_some(segment)
    };
    expect_of(&dropped, &[(Behaviour::EcnRefused, THERE, PROBLEM)]);
}

#[test]
fn the_bits_of_ecn_may_be_cleared_set_or_lose_the_mark() {
    let class = |change: fn(u8) -> u8| {
        going(both, move |segment| {
            segment.carried.traffic_class = change(segment.carried.traffic_class);
        })
    };
    let bleached = class(|class| class & !3);
    expect_of(&bleached, &[(Behaviour::EcnBleached, BOTH, NOTE)]);
    let set = class(|class| class | 2);
    expect_of(&set, &[(Behaviour::EcnSet, BOTH, NOTE)]);
    let lost = class(|class| if class & 3 == 3 { class & !1 } else { class });
    expect_of(&lost, &[(Behaviour::CongestionMarkLost, BOTH, PROBLEM)]);
    let congested = class(|class| if class & 3 == 2 { class | 1 } else { class });
    expect_of(&congested, &[]);
}

#[test]
fn the_dscp_may_be_another() {
    let cleared = going(back, |segment| segment.carried.traffic_class &= 3);
    expect_of(&cleared, &[(Behaviour::DscpChanged, BACK, NOTE)]);
    let marked = going(there, |segment| segment.carried.traffic_class |= 8 << 2);
    expect_of(&marked, &[(Behaviour::DscpChanged, THERE, NOTE)]);
}

#[test]
fn urgent_data_may_be_cleared_moved_or_dropped() {
    let cleared = going(both, |segment| {
        segment.flags = Flags(segment.flags.0 & !Flags::URG.0);
        segment.urgent = 0;
    });
    expect_of(&cleared, &[(Behaviour::UrgentCleared, BOTH, NOTE)]);
    let moved = going(there, |segment| {
        if segment.flags.has(Flags::URG) {
            segment.urgent += 1;
        }
    });
    expect_of(&moved, &[(Behaviour::UrgentPointerChanged, THERE, NOTE)]);
    let dropped = |_, _, segment: Segment| (!segment.flags.has(Flags::URG)).then_some(segment);
    expect_of(&dropped, &[(Behaviour::UrgentDropped, BOTH, PROBLEM)]);
}

#[test]
fn options_that_nobody_knows_may_be_removed_or_keep_their_segment_from_passing() {
    let opening = going(both, |segment| {
        if segment.flags.has(Flags::SYN) {
            strip(segment, 253);
        }
    });
    expect_of(&opening, &[(Behaviour::UnknownOptionsRemoved, BOTH, NOTE)]);
    let data = going(there, |segment| {
        if !segment.flags.has(Flags::SYN) {
            strip(segment, 253);
        }
    });
    expect_of(&data, &[(Behaviour::UnknownOptionsRemoved, THERE, NOTE)]);
    let dropped = |_, _, segment: Segment| {
        let unknown = segment.options.contains(&253);
        (!(segment.flags.opens() && unknown)).then_some(segment)
    };
    expect_of(&dropped, &[(Behaviour::UnknownOptionsDropped, THERE, NOTE)]);
}

#[test]
fn what_is_done_to_odd_segments_alone_is_not_told_of_ordinary_ones() {
    let odd = going(both, |segment| {
        if segment.options.contains(&253) {
            strip(segment, 2);
            strip(segment, 3);
            strip(segment, 253);
        }
    });
    expect_of(
        &odd,
        &[
            (Behaviour::UnknownOptionsRemoved, BOTH, NOTE),
            (Behaviour::UnknownOptionsRemoved, BOTH, NOTE),
        ],
    );
}
