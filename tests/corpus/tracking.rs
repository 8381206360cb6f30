//! Any segments through the model of connection tracking, by the rules of any kernel.
//!
//! The input: a byte of settings, then records of 17 bytes, each a segment with a byte for the time before it.

use std::time::Duration;

use unmangle::diagnose::reason::{Reason, Said};
use unmangle::diagnose::tracking::{
    Bound, Fault, Kernel, Measured, OptionsSeen, Passed, SackBlock, Segment, Settings, Table,
    Verdict,
};
use unmangle::packet::Flags;

/// One segment.
const RECORD: usize = 17;

/// What must hold for any segments in any order.
pub fn run(bytes: &[u8]) {
    let Some((&first, records)) = bytes.split_first() else {
        return;
    };
    let kernel = Kernel::ALL[usize::from(first & 3)];
    let settings = Settings {
        be_liberal: first & 4 != 0,
        loose: first & 8 == 0,
        ignore_invalid_rst: first & 16 != 0,
        capacity: 1 + usize::from(first >> 5),
        ..Settings::new(kernel)
    };
    let mut table = Table::new(settings.clone());
    let mut again = Table::new(settings.clone());
    let mut now = Duration::ZERO;
    for record in records.chunks_exact(RECORD) {
        // Up to four hours: short of five days, and longer than all else.
        now += Duration::from_millis(u64::from(record[0]).pow(3));
        let segment = segment(&record[1..]);
        let seen = table.see(now, &segment);
        assert_eq!(seen, again.see(now, &segment), "a run repeats");
        assert!(table.len() <= settings.capacity, "memory is bounded");
        judge(&seen.verdict, kernel, settings.be_liberal);
        let unknown = seen.flow.is_none();
        assert!(!unknown || seen.verdict.invalid().is_some(), "{seen:?}");
    }
}

fn judge(verdict: &Verdict, kernel: Kernel, be_liberal: bool) {
    match verdict {
        Verdict::New(_) | Verdict::Tracked { forgiven: None, .. } => {}
        Verdict::Tracked { .. } => {}
        Verdict::Ignored(ignored) => {
            let said = Said::parse(&format!("nf_ct_proto_6: {}", ignored.logged(kernel)));
            // The words are those of the kernels that call it INVALID, but for the bound's number.
            assert_eq!(said, Some(Said::Passed), "{ignored:?}");
            let by_number = !matches!(ignored.why, Passed::State | Passed::ChallengeAck);
            assert_eq!(ignored.measured.is_some(), by_number, "{ignored:?}");
            assert!(!by_number || (kernel > Kernel::V5_10 && !be_liberal));
            out(ignored.measured, ignored.why == Passed::Overshot);
        }
        Verdict::Invalid(invalid) => {
            if let Some(text) = invalid.logged(kernel) {
                let said = Said::parse(&format!("nf_ct_proto_6: {text}"));
                let reason = Reason::from(invalid.bound);
                assert_eq!(said, Some(Said::Invalid(reason)), "{invalid:?}");
            }
            let over = matches!(invalid.bound, Bound::SeqOverWindow | Bound::AckOverSeen);
            let under = matches!(invalid.bound, Bound::SeqUnderWindow | Bound::AckUnderWindow);
            assert!(!under || kernel == Kernel::V5_10, "{invalid:?}");
            assert!(!(be_liberal && (over || under)), "{invalid:?}");
            let by_number = over || under || invalid.bound == Bound::Reset;
            assert_eq!(invalid.measured.is_some(), by_number, "{invalid:?}");
            out(invalid.measured, over);
        }
    }
}

/// A number is out by as much as it is said to be.
fn out(measured: Option<Measured>, over: bool) {
    let Some(measured) = measured else { return };
    let out_by = match over {
        true => measured.seen.wrapping_sub(measured.allowed),
        false => measured.allowed.wrapping_sub(measured.seen),
    };
    assert_eq!(out_by, measured.out_by, "{measured:?}");
}

/// A segment between one of four clients and a server.
fn segment(record: &[u8]) -> Segment {
    let long = |at: usize| {
        u32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
    };
    let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
    let ends = [40_000 + u16::from(record[0] & 3), 22].map(|port| ([192, 0, 2, 1], port).into());
    let [from, to] = match record[0] & 4 {
        0 => ends,
        _ => [ends[1], ends[0]],
    };
    let sack = match record[14] {
        0 => None,
        reach => Some(SackBlock {
            index: 0,
            left: long(6),
            right: long(6).wrapping_add(1 << (reach % 31)),
        }),
    };
    Segment {
        source: from,
        destination: to,
        zone: 0,
        sequence: long(2),
        acknowledgement: long(6),
        window: word(10),
        flags: Flags(record[1]),
        payload: u32::from(word(12)),
        options: OptionsSeen {
            any: record[15] & 1 != 0 || sack.is_some(),
            scale: (record[15] & 2 != 0).then_some((record[15] >> 4).min(14)),
            sack_permitted: record[15] & 4 != 0,
            sack,
            cut: false,
        },
        fault: (record[0] & 0xf8 == 0xf8).then_some(Fault::Truncated),
    }
}
