//! The pool of pipes: what a direction pays to get one, and what a stalled reader costs the others.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use unmangle::relay::pipes::{Pipe, PipeBudget, PipePool, Unparked};

/// The default of `--pipe-budget`.
const BUDGET: usize = 48 << 20;
/// The least that a pipe holds: a budget of as much is one pipe.
const ONE_PIPE: usize = 64 << 10;
/// Parked for longer than any pipe is left alone.
const LONG: Duration = Duration::from_secs(1);

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    group.throughput(Throughput::Elements(1));
    group.bench_function("take a free pipe, give it back", |bencher| {
        let mut pool = PipePool::new(PipeBudget::new(BUDGET));
        let pipe = pool.take().unwrap();
        pool.give_back(pipe);
        bencher.iter(|| {
            let pipe = pool.take().unwrap();
            pool.give_back(black_box(pipe));
        });
        assert_eq!((pool.refused, pool.evicted), (0, 0));
    });
    group.bench_function("open a pipe of 1 MiB, close it", |bencher| {
        let mut pool = PipePool::new(PipeBudget::new(BUDGET));
        assert_eq!(pool.take().unwrap().capacity(), 1 << 20);
        bencher.iter(|| drop(black_box(pool.take().unwrap())));
        assert_eq!((pool.refused, pool.evicted), (0, 0));
    });
    group.bench_function("park a pipe, take it up again", |bencher| {
        let mut pool = PipePool::new(PipeBudget::new(BUDGET));
        let now = Instant::now();
        let mut pipe = pool.take();
        bencher.iter(|| {
            let ticket = pool.park(pipe.take().unwrap(), black_box(now));
            match pool.unpark(ticket) {
                Unparked::Pipe(same) => pipe = Some(same),
                Unparked::Copied(_) => panic!("nobody wanted it"),
            }
        });
        assert_eq!((pool.refused, pool.evicted), (0, 0));
    });
    group.throughput(Throughput::Bytes(ONE_PIPE as u64));
    group.bench_function("evict a full pipe of 64 KiB", |bencher| {
        bencher.iter_custom(evictions);
    });
    group.finish();
}

/// How long so many evictions take: from wanting a pipe to having the bytes of the one that stalled.
fn evictions(times: u64) -> Duration {
    let mut pool = PipePool::new(PipeBudget::new(ONE_PIPE));
    let long_ago = Instant::now().checked_sub(LONG).unwrap();
    let mut took = Duration::ZERO;
    for _ in 0..times {
        let mut pipe = pool.take().unwrap();
        fill(&mut pipe);
        let ticket = pool.park(pipe, long_ago);
        let begun = Instant::now();
        let pipe = pool.take().unwrap();
        let bytes = pool.unpark(ticket);
        took += begun.elapsed();
        assert!(matches!(&bytes, Unparked::Copied(bytes) if bytes.len() == ONE_PIPE));
        black_box(bytes);
        pool.give_back(pipe);
    }
    assert_eq!((pool.refused, pool.evicted), (0, times));
    took
}

fn fill(pipe: &mut Pipe) {
    static BYTES: [u8; ONE_PIPE] = [7; ONE_PIPE];
    pipe.filled = rustix::io::write(pipe.write_end(), &BYTES).unwrap();
}
