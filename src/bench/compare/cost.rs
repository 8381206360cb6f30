//! What a candidate costs: CPU time, memory, descriptors. Text of `/proc` in, numbers out; [`Meter`] reads it.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// In how many parts of a second `/proc` tells CPU time: `USER_HZ`, the same wherever Rust runs on Linux.
const TICKS: f64 = 100.0;

/// What `/proc/PID/stat` says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessTimes {
    /// Its process group.
    pub group: u32,
    /// CPU time in ticks, its own and that of children it has waited for.
    pub ticks: u64,
}

/// CPU time that was used up to some moment, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// When, in seconds since 1970.
    pub at: f64,
    /// By the candidate.
    pub candidate: f64,
    /// By the whole machine.
    pub machine: f64,
}

/// What a candidate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Memory that is resident, in bytes, added up over its processes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Processes.
    pub processes: u64,
}

/// Reads what the processes of one group cost; without a group there is only the machine.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    group: Option<u32>,
}

// === impl Meter ===

impl Meter {
    /// For the processes of this group.
    pub fn new(group: Option<u32>) -> Self {
        Self { group }
    }

    /// CPU time up to now.
    pub fn spent(self) -> Spent {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: u64 = processes(self.group).map(|(_, times)| times.ticks).sum();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Spent {
            at: now.map_or(0.0, |since| since.as_secs_f64()),
            candidate: ticks as f64 / TICKS,
            machine: machine_ticks(&stat).unwrap_or(0) as f64 / TICKS,
        }
    }

    /// What is held now.
    pub fn held(self) -> Held {
        let mut held = Held::default();
        for (pid, _) in processes(self.group) {
            let process = Path::new("/proc").join(pid);
            // One that has just ended holds nothing.
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            held.resident += resident(&status).unwrap_or(0);
            held.descriptors += fs::read_dir(process.join("fd")).map_or(0, Iterator::count) as u64;
            held.processes += 1;
        }
        held
    }
}

// === impl Spent ===

impl Spent {
    /// What was spent between two moments, by what was read around them; none if too little was.
    ///
    /// The generator says when it measured only once it is over, so the samples lie beside those moments:
    /// between two of them time is taken to be spent evenly.
    pub fn between(samples: &[Self], from: f64, to: f64) -> Option<Self> {
        let [from, to] = [from, to].map(|moment| Self::at(samples, moment));
        let (from, to) = (from?, to?);
        Some(Self {
            at: to.at - from.at,
            candidate: to.candidate - from.candidate,
            machine: to.machine - from.machine,
        })
    }

    fn at(samples: &[Self], moment: f64) -> Option<Self> {
        let after = samples.iter().position(|sample| sample.at >= moment)?;
        let (a, b) = (samples.get(after.checked_sub(1)?)?, samples[after]);
        let part = (moment - a.at) / (b.at - a.at).max(f64::EPSILON);
        let share = |a: f64, b: f64| a + (b - a) * part;
        Some(Self {
            at: moment,
            candidate: share(a.candidate, b.candidate),
            machine: share(a.machine, b.machine),
        })
    }
}

/// The processes of a group, by their numbers; none without a group.
pub(crate) fn processes(group: Option<u32>) -> impl Iterator<Item = (String, ProcessTimes)> {
    let entries = group.and_then(|_| fs::read_dir("/proc").ok());
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().into_string().ok()?;
        pid.parse::<u32>().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let times = process_times(&stat)?;
        (Some(times.group) == group).then_some((pid, times))
    })
}

/// Reads `/proc/PID/stat`. The name of the program stands in brackets and may hold anything.
pub fn process_times(stat: &str) -> Option<ProcessTimes> {
    let after_name = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Counted from the state, which is the third field: group 5; utime, stime, cutime, cstime 14 to 17.
    Some(ProcessTimes {
        group: number(2)?.try_into().ok()?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

/// Ticks in which the machine was busy, of `/proc/stat`: user, nice, system, interrupts. Not idle, not waiting
/// for a disk, and not what the hypervisor gave to others.
pub fn machine_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

/// Resident bytes, of `/proc/PID/status`.
pub fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a) b (c) S 17 4700 17 0 -1 4194560 3053 9961 2 1 250 130 40 7 20 0 3 0 \
                        1234 5678 90 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_process_is_read_whatever_its_program_is_called() {
        let times = process_times(STAT).unwrap();
        assert_eq!((times.group, times.ticks), (4700, 250 + 130 + 40 + 7));
        assert_eq!(process_times("4711 (short) S 17"), None);
        assert_eq!(process_times(""), None);
    }

    #[test]
    fn the_machine_is_busy_while_it_neither_idles_nor_waits_nor_is_stolen() {
        let stat = "cpu  100 20 300 40000 5000 6 70 8000 9 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 1\n";
        assert_eq!(machine_ticks(stat), Some(100 + 20 + 300 + 6 + 70));
        assert_eq!(machine_ticks("cpu  1 2 3\n"), None);
        assert_eq!(machine_ticks(""), None);
    }

    #[test]
    fn resident_memory_is_told_in_bytes() {
        let status = "Name:\tsocat\nVmPeak:\t    9000 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident(status), Some(2 << 20));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    fn sample(at: f64, candidate: f64, machine: f64) -> Spent {
        Spent {
            at,
            candidate,
            machine,
        }
    }

    #[test]
    fn what_is_spent_before_and_after_the_measurement_does_not_count() {
        let samples = [
            sample(0.0, 0.0, 0.0),
            sample(1.0, 1.0, 2.0),
            sample(2.0, 1.5, 4.0),
            sample(3.0, 9.0, 9.0),
        ];
        let spent = Spent::between(&samples, 0.5, 2.0).unwrap();
        assert!((spent.candidate - 1.0).abs() < 1e-9, "{spent:?}");
        assert!((spent.machine - 3.0).abs() < 1e-9, "{spent:?}");
    }

    #[test]
    fn moments_outside_what_was_read_have_no_cost() {
        let samples = [sample(1.0, 0.0, 0.0), sample(2.0, 1.0, 1.0)];
        assert_eq!(Spent::between(&samples, 0.5, 1.5), None);
        assert_eq!(Spent::between(&samples, 1.5, 2.5), None);
        assert_eq!(Spent::between(&[], 1.5, 2.5), None);
    }

    #[test]
    fn a_group_that_is_there_holds_something_and_another_does_not() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let own = Meter::new(process_times(&stat).map(|times| times.group)).held();
        assert!(own.resident > 0 && own.descriptors > 0 && own.processes > 0);
        assert_eq!(Meter::new(None).held(), Held::default());
        assert!(Meter::new(None).spent().machine > 0.0);
    }
}
