//! Each engine over loopback, beside the same exchange without a relay.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use unmangle::config::Engine;

use crate::talk::{Exchange, Path, Talk};

/// From a keystroke to what no single read takes.
const MESSAGES: [(&str, usize); 5] = [
    ("64 B", 64),
    ("1 KiB", 1 << 10),
    ("16 KiB", 16 << 10),
    ("128 KiB", 128 << 10),
    ("1 MiB", 1 << 20),
];
/// So much one way, told by one byte when all has arrived.
const BULK: Exchange = Exchange {
    message: 256 << 10,
    times: 32,
    answer: 1,
};

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ping");
    for (name, size) in MESSAGES {
        let ping = Exchange {
            message: size,
            times: 1,
            answer: size,
        };
        group.throughput(Throughput::Bytes(ping.asked() + ping.answered()));
        each_path(&mut group, name, ping);
    }
    group.finish();
    let mut group = criterion.benchmark_group("bulk");
    group.throughput(Throughput::Bytes(BULK.asked()));
    each_path(&mut group, "8 MiB", BULK);
    group.finish();
}

fn each_path(group: &mut BenchmarkGroup<WallTime>, name: &str, exchange: Exchange) {
    group.sampling_mode(SamplingMode::Flat);
    let engines = [Engine::Splice, Engine::TokioSplice, Engine::Copy].map(Path::Relayed);
    for path in [Path::Direct].into_iter().chain(engines) {
        // Opened by the first run, so that what is filtered out opens nothing.
        let mut talk = None;
        group.bench_function(BenchmarkId::new(path.name(), name), |bencher| {
            let talk = talk.get_or_insert_with(|| Talk::open(path, exchange));
            bencher.iter(|| talk.exchange());
        });
        if let Some(talk) = talk {
            talk.close();
        }
    }
}
