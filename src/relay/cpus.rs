//! Which processor each worker has for itself.
//!
//! A worker that stays on one processor finds its sockets in that processor's cache, and a connection is best accepted
//! where its packets arrive: `SO_INCOMING_CPU` has the kernel prefer that worker's listener among those that share a port.
//! Only with as many workers as processors does everybody get one; with fewer, who waits for a busy one would wait
//! beside idle ones.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::listen::Bound;
use crate::config::PinWorkers;

/// A processor, by the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(usize);

/// The processor of each of so many workers; nothing where they are left to the scheduler.
pub fn assigned(pin: PinWorkers, workers: usize) -> Vec<Option<Cpu>> {
    let allowed = match pin {
        PinWorkers::Auto => sched_getaffinity(None).ok(),
        PinWorkers::Off => None,
    };
    let allowed = allowed.map(|set| {
        (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect()
    });
    dealt(allowed.unwrap_or_default(), workers)
}

fn dealt(allowed: Vec<usize>, workers: usize) -> Vec<Option<Cpu>> {
    match allowed.len() == workers {
        true => allowed.into_iter().map(|cpu| Some(Cpu(cpu))).collect(),
        false => vec![None; workers],
    }
}

// === impl Cpu ===

impl Cpu {
    /// Keeps the calling thread on this processor, and has what arrives there come to these listeners.
    pub fn take(self, listeners: &[Bound]) {
        let mut one = CpuSet::new();
        one.set(self.0);
        let pinned = sched_setaffinity(None, &one).map_err(std::io::Error::from);
        let preferred = || listeners.iter().try_for_each(|bound| bound.prefer(self.0));
        if let Err(error) = pinned.and_then(|()| preferred()) {
            // It serves as well from anywhere, only slower.
            tracing::warn!(%error, cpu = self.0, "a worker is not kept on its processor");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_a_processor_of_its_own_or_none_has() {
        let cpus = |numbers: &[usize]| -> Vec<Option<Cpu>> {
            numbers.iter().map(|number| Some(Cpu(*number))).collect()
        };
        assert_eq!(dealt(vec![2, 5, 7], 3), cpus(&[2, 5, 7]));
        assert_eq!(dealt(vec![2, 5, 7], 2), [None; 2]);
        assert_eq!(dealt(vec![2, 5], 3), [None; 3]);
        assert_eq!(dealt(vec![], 1), [None]);
    }

    #[test]
    fn nobody_is_pinned_who_is_not_to_be() {
        assert!(assigned(PinWorkers::Off, 2).iter().all(Option::is_none));
    }
}
