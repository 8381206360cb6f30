//! On which cores a turn runs.
//!
//! Request and response over a single connection give client, relay and server nothing to do at the same time.
//! Left to the scheduler they wake each other now on one core and now across cores, decided anew in each turn: with
//! requests a factor of five on the machine this was made on, and differences between relays drown in it. So there
//! all share one core, and what is measured is the work that the way through a relay takes. A stream, or many
//! connections, keep all of them busy at once, and everything is left to the scheduler.

use std::io;

use clap::ValueEnum;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::compare::cost::{family, threads};

/// On which cores the processes of a turn run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// On any.
    Any,
    /// All on the same one.
    One,
}

/// Who decides on which cores a turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// With requests over a single connection all share one core: what is measured is the work.
    Work,
    /// The scheduler, always: what is measured is the speed, with all its luck.
    Scheduler,
}

/// Processes with their descendants, and the thread that made this, on one core; dropped, they are where they were.
#[derive(Debug)]
pub struct Bound {
    /// Of the thread that made this.
    before: CpuSet,
    /// Every thread that was moved, and where it was: some are on a processor of their own choice.
    moved: Vec<(Pid, CpuSet)>,
}

// === impl Bound ===

impl Bound {
    /// Puts every thread of these processes on the last core that this thread may use.
    ///
    /// # Errors
    /// Whatever the kernel says; a thread that has just ended is none.
    pub fn to_one_core(processes: Vec<u32>) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let one = last_of(&before);
        let mut bound = Self {
            before,
            moved: Vec::new(),
        };
        sched_setaffinity(None, &one)?;
        for process in processes {
            for thread in family(process).into_iter().flat_map(threads) {
                let Some(thread) = i32::try_from(thread).ok().and_then(Pid::from_raw) else {
                    continue;
                };
                let moved = sched_getaffinity(Some(thread)).and_then(|was| {
                    sched_setaffinity(Some(thread), &one)?;
                    Ok((thread, was))
                });
                match moved {
                    Ok(moved) => bound.moved.push(moved),
                    Err(Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(bound)
    }

    /// Lets the thread that made this go on any core again; the processes stay.
    pub fn release_this_thread(&self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.release_this_thread();
        for (thread, was) in &self.moved {
            let _ = sched_setaffinity(Some(*thread), was);
        }
    }
}

/// The last of these cores: interrupts are usually served by the first.
pub fn last_of(cores: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    if let Some(last) = (0..CpuSet::MAX_CPU).rfind(|core| cores.is_set(*core)) {
        one.set(last);
    }
    one
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_on_one_core_and_then_where_it_was() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let count = || sched_getaffinity(Some(pid)).unwrap().count();
        let before = count();
        let bound = Bound::to_one_core(vec![child.id()]).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        assert_eq!(count(), 1);
        bound.release_this_thread();
        assert_eq!(
            (sched_getaffinity(None).unwrap().count(), count()),
            (before, 1)
        );
        drop(bound);
        assert_eq!(count(), before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
