//! The HDR log is what others can read: an independent implementation finds the same in it.

#[path = "python/intervals.rs"]
mod intervals;
mod python;

use std::fs;
use std::time::{Duration, SystemTime};

use unmangle::bench::hdr_log::HdrLog;
use unmangle::bench::tally::{Interval, Tallies};
use unmangle::bench::work::Mode;
use unmangle::metrics::FineTimes;

use intervals::{PERCENTILES, read};

/// Latencies whose number, times each share that is asked for, is a whole number: what rounding does to the
/// rank shows there.
fn latencies(seed: u64) -> FineTimes {
    let mut times = FineTimes::default();
    let mut state = seed;
    for _ in 0..10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // From 1 us to 30 ms, each magnitude as often.
        let nanos = 1000.0 * 30_000_f64.powf((state >> 11) as f64 / (1_u64 << 53) as f64);
        times.record(Duration::from_nanos(nanos as u64));
    }
    times
}

fn interval(mode: Mode, from: u64, kinds: &[(Mode, &FineTimes)]) -> Interval {
    let mut tallies = Tallies::of(mode);
    for (kind, times) in kinds {
        tallies.mode(*kind).latency.add(times);
    }
    Interval {
        from: Duration::from_millis(from),
        length: Duration::from_millis(500),
        tallies,
    }
}

#[test]
fn an_independent_reader_finds_the_same_counts_and_percentiles() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("latency.hlog");
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_125);
    let (one, two, none) = (latencies(1), latencies(2), FineTimes::default());
    let mut longest = FineTimes::default();
    longest.record(Duration::from_nanos(1));
    longest.record(Duration::from_secs(3599));

    let mut log = HdrLog::new(fs::File::create(&file).unwrap(), start).unwrap();
    let mut expected = Vec::new();
    let later = start + Duration::from_secs(20);
    for (path, begun, from, times) in [
        ("direct", start, 0, &one),
        ("direct", start, 500, &none),
        ("via", later, 0, &two),
        ("via", later, 500, &longest),
    ] {
        let interval = interval(Mode::Rr, from, &[(Mode::Rr, times)]);
        log.interval(path, begun, &interval).unwrap();
        let offset = if path == "via" { 20_000 } else { 0 };
        expected.push((path, 1_700_000_000_125 + offset + from, times));
    }
    let mix = interval(Mode::Mix, 1000, &[(Mode::Rr, &one), (Mode::Crr, &two)]);
    log.interval("via", later, &mix).unwrap();
    for (tag, times) in [("via-rr", &one), ("via-crr", &two), ("via-idle", &none)] {
        expected.push((tag, 1_700_000_021_125, times));
    }
    log.finish().unwrap();

    let found = read(&[file.as_os_str()]);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, (tag, from, times)) in found.iter().zip(expected) {
        assert_eq!(found.tag, tag);
        assert!((found.from - from as f64).abs() < 0.5, "{found:?}");
        assert!((found.to - found.from - 500.0).abs() < 0.5, "{found:?}");
        assert_eq!(found.count, times.count(), "{found:?}");
        let ours = PERCENTILES.map(|percent| times.percentile(percent).as_nanos() as u64);
        assert_eq!(found.percentiles, ours, "{tag} from {from}");
    }
}
