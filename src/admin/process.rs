//! Metrics of the process itself: what it takes of the host, and how it stands. Names that every exporter has are
//! those of Prometheus' client libraries.

use std::fs;
use std::time::{Instant, SystemTime};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::source::About;
use super::standing::{Phase, Rules, Standing};
use crate::metrics::{BaseUnit, Definition, Family, Kind, Sample, Value};

macro_rules! definitions {
    ($($constant:ident $name:literal $kind:ident $unit:ident ($($label:literal),*) $help:literal)+) => {
        /// What is told of the process itself.
        pub static PROCESS: &[Definition] = &[$(Definition {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            unit: BaseUnit::$unit,
            labels: &[$($label),*],
        },)+];
        #[derive(Clone, Copy)]
        enum Told { $($constant,)+ }
    };
}

definitions! {
    Build "unmangle_build_info" Gauge None ("version") "Always 1, with the version of the program"
    Ready "unmangle_ready" Gauge None () "1 while new connections are relayed, as /readyz says; else 0"
    Draining "unmangle_draining" Gauge None () "1 while the relay ends with its last session; else 0"
    InPlace "unmangle_rules_in_place" Gauge None () "1 while every rule of the relay's own is in place, 0 while one is missing; absent if it has none"
    RulesLost "unmangle_rules_lost" Counter None () "Times that a rule or route of the relay's own was found missing; each is put back, as unmangle_rules_in_place says; absent if it has none"
    MaxConnections "unmangle_max_connections" Gauge None () "Sessions that may run at a time; absent where max-connections is not set"
    ListenerMaxConnections "unmangle_listener_max_connections" Gauge None ("listener") "Sessions of a listener that may run at a time; absent where its max-connections is not set"
    Cpu "process_cpu_seconds" Counter Seconds () "Processor time of all threads, user and system"
    Resident "process_resident_memory_bytes" Gauge Bytes () "Memory that is really there"
    Open "process_open_fds" Gauge None () "Descriptors that are open"
    LinesLost "unmangle_log_lines_lost" Counter None () "Lines of the log that could not be written"
    MaxOpen "process_max_fds" Gauge None () "Descriptors that may be open"
    Threads "process_threads" Gauge None () "Threads"
    Start "process_start_time_seconds" Gauge Seconds () "When the process was started, since 1970"
}

/// What `/proc/self/stat` tells.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In ticks of a clock, user and system.
    processor: u64,
    threads: u64,
    /// In pages.
    resident: u64,
}

/// All of it; what the kernel does not tell is absent.
pub(super) fn families(about: &About, standing: &Standing) -> Vec<Family> {
    let truth = |truth: bool| Some(Value::Level(f64::from(u8::from(truth))));
    let level = |number: u64| Value::Level(number as f64);
    let in_place = match standing.rules {
        Rules::InPlace { .. } => truth(true),
        Rules::Missing { .. } => truth(false),
        Rules::NotNeeded | Rules::SomebodyElses => None,
    };
    let rules_lost = in_place.is_some().then_some(standing.rules_lost);
    let most = standing.settings.process.max_connections;
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::read);
    let of_stat = |tell: fn(&Stat) -> Value| stat.as_ref().map(tell);
    let started = about.started.duration_since(SystemTime::UNIX_EPOCH).ok();
    let values = [
        (Told::Ready, truth(standing.ready(Instant::now()).is_ok())),
        (Told::Draining, truth(standing.phase == Phase::Draining)),
        (Told::InPlace, in_place),
        (Told::RulesLost, rules_lost.map(Value::Count)),
        (Told::MaxConnections, most.map(|most| level(most as u64))),
        (
            Told::Cpu,
            of_stat(|stat| Value::Amount(stat.processor as f64 / clock_ticks_per_second() as f64)),
        ),
        (
            Told::Resident,
            of_stat(|stat| Value::Level(stat.resident as f64 * page_size() as f64)),
        ),
        (Told::Open, open_descriptors().map(level)),
        (Told::LinesLost, Some(Value::Count((about.lines_lost)()))),
        (
            Told::MaxOpen,
            getrlimit(Resource::Nofile).current.map(level),
        ),
        (
            Told::Threads,
            of_stat(|stat| Value::Level(stat.threads as f64)),
        ),
        (
            Told::Start,
            started.map(|since| Value::Level(since.as_secs_f64())),
        ),
    ];
    let build = Sample {
        labels: vec![env!("CARGO_PKG_VERSION").to_owned()],
        value: Value::Level(1.0),
    };
    let unlabelled = |(told, value): (Told, Option<Value>)| {
        let labels = vec![];
        Some((
            told,
            vec![Sample {
                labels,
                value: value?,
            }],
        ))
    };
    let labelled = [
        (Told::Build, vec![build]),
        (Told::ListenerMaxConnections, of_listeners(standing)),
    ];
    let values = values.into_iter().filter_map(unlabelled);
    labelled
        .into_iter()
        .chain(values)
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(told, samples)| Family {
            definition: &PROCESS[told as usize],
            samples,
        })
        .collect()
}

/// How many sessions each listener may have, of those that have a limit of their own.
fn of_listeners(standing: &Standing) -> Vec<Sample> {
    let listeners = standing.settings.listeners.iter();
    let limited = listeners.filter_map(|listener| {
        Some(Sample {
            labels: vec![listener.name.clone()],
            value: Value::Level(listener.admission.most? as f64),
        })
    });
    limited.collect()
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name in brackets may hold anything; state is the third field, the first one after it.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            processor: field(14)? + field(15)?,
            threads: field(20)?,
            resident: field(24)?,
        })
    }
}

/// How many descriptors are open. From Linux 6.2 on the directory's size says so; to count thousands, one by one,
/// takes milliseconds.
fn open_descriptors() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        // One is open to count them.
        0 => Some(fs::read_dir(DIRECTORY).ok()?.count() as u64 - 1),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_keeps_the_conventions() {
        for definition in PROCESS {
            assert_eq!(definition.complaint(), None, "{}", definition.name);
        }
    }

    #[test]
    fn the_kernel_s_line_is_read_whatever_the_process_is_called() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 70 30 5 6 20 0 7 0 99 1000000 512 18446744073709551615 1 1";
        let expected = Stat {
            processor: 100,
            threads: 7,
            resident: 512,
        };
        assert_eq!(Stat::read(line), Some(expected));
        assert_eq!(Stat::read("42 (x) S 1"), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let own = Stat::read(&own).unwrap();
        assert!(own.threads >= 1 && own.resident > 100, "{own:?}");
    }

    #[test]
    fn descriptors_that_are_opened_are_counted() {
        let before = open_descriptors().unwrap();
        let opened: Vec<fs::File> = (0..500)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        // Other tests of this process open and close some, too.
        let grown = open_descriptors().unwrap() - before;
        assert!(grown.abs_diff(opened.len() as u64) < 250, "{grown}");
    }
}
