//! Micro-benchmarks: what one step costs, alone and in one process.
//!
//! | file | what is measured |
//! | --- | --- |
//! | `engines` | messages and bulk through a relay in forward mode, with each engine, and without a relay |
//! | `talk`, `relayed` | what `engines` needs: two ends that talk, and a relay of one worker between them |
//! | `pool` | the pool of pipes |
//! | `times` | histograms of times |
//! | `packets` | packets read and rewritten, and carried by the lab's wires |
//! | `tracking` | packets judged by the model of connection tracking |
//!
//! ```text
//! cargo bench --bench micro [-- FILTER]   measure
//! cargo test --bench micro                run each once: does it still do what it claims?
//! ```
//!
//! Everything runs on one processor, so that a message through three threads costs what they do, and not
//! what it takes to wake another processor, which varies more than that.
//!
//! Each benchmark checks, outside what is timed, that the work was done: by the relay's counters, the
//! histogram's count, the checksum of the packet.

mod engines;
mod packets;
mod pool;
mod relayed;
mod talk;
mod times;
mod tracking;

use std::time::Duration;

use criterion::Criterion;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use unmangle::bench::compare::cores::last_of;

fn main() {
    stay_on_one_processor();
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .without_plots()
        .configure_from_args();
    engines::bench(&mut criterion);
    pool::bench(&mut criterion);
    times::bench(&mut criterion);
    packets::bench(&mut criterion);
    tracking::bench(&mut criterion);
    criterion.final_summary();
}

/// Threads started from here on inherit it.
fn stay_on_one_processor() {
    let allowed = sched_getaffinity(None).unwrap();
    sched_setaffinity(None, &last_of(&allowed)).unwrap();
}
