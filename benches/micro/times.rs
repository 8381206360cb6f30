//! Histograms of times: recording into them, and merging one into another.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use unmangle::metrics::{Micros, Nanos, Timed, Unit};

/// How many are recorded at a time, so that the loop around them is not what is timed.
const MANY: u32 = 1024;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram");
    group.throughput(Throughput::Elements(MANY.into()));
    record::<Micros>(&mut group, "record in Times");
    record::<Nanos>(&mut group, "record in FineTimes");
    group.throughput(Throughput::Elements(1));
    add::<Micros>(&mut group, "merge Times");
    add::<Nanos>(&mut group, "merge FineTimes");
    group.finish();
}

fn record<U: Unit>(group: &mut BenchmarkGroup<WallTime>, name: &str) {
    let samples = samples();
    group.bench_function(name, |bencher| {
        let (mut times, mut expected) = (Timed::<U>::default(), 0);
        bencher.iter(|| {
            for sample in &samples {
                times.record(black_box(*sample));
            }
            expected += u64::from(MANY);
        });
        assert_eq!(times.count(), expected);
    });
}

fn add<U: Unit>(group: &mut BenchmarkGroup<WallTime>, name: &str) {
    let mut other = Timed::<U>::default();
    for sample in samples() {
        other.record(sample);
    }
    group.bench_function(name, |bencher| {
        let (mut times, mut expected) = (Timed::<U>::default(), 0);
        bencher.iter(|| {
            times.add(black_box(&other));
            expected += u64::from(MANY);
        });
        assert_eq!(times.count(), expected);
    });
}

/// 10 us to 10 ms, as many of each order of magnitude, in no order.
fn samples() -> Vec<Duration> {
    (0..MANY)
        // An odd factor visits each of a power of two once.
        .map(|i| f64::from(i * 619 % MANY) / f64::from(MANY))
        .map(|part| Duration::from_secs_f64(1e-5 * 1000_f64.powf(part)))
        .collect()
}
