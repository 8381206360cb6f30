//! What a candidate costs: CPU time, memory, descriptors. Text of `/proc` in, numbers out; [`Meter`] reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// In how many parts of a second `/proc` tells CPU time: `USER_HZ`, the same wherever Rust runs on Linux.
const TICKS: f64 = 100.0;

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

/// Reads what a process and its descendants cost; without a process there is only the machine.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    process: Option<u32>,
}

// === impl Meter ===

impl Meter {
    /// For this process and its descendants.
    pub fn new(process: Option<u32>) -> Self {
        Self { process }
    }

    /// CPU time up to now; none if the kernel does not tell it.
    pub fn spent(self) -> Option<Spent> {
        if !kernel_tells() {
            return None;
        }
        let candidate = self.processes().iter().map(|pid| used(*pid)).sum();
        let machine = machine_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(Spent {
            at: now.as_secs_f64(),
            candidate,
            machine: machine as f64 / TICKS,
        })
    }

    /// What is held now.
    pub fn held(self) -> Held {
        let mut held = Held::default();
        for pid in self.processes() {
            // One that has just ended holds nothing.
            let status = fs::read_to_string(entry(pid).join("status")).unwrap_or_default();
            held.resident += resident(&status).unwrap_or(0);
            let descriptors = fs::read_dir(entry(pid).join("fd"));
            held.descriptors += descriptors.map_or(0, Iterator::count) as u64;
            held.processes += 1;
        }
        held
    }

    fn processes(self) -> Vec<u32> {
        self.process.map(family).unwrap_or_default()
    }
}

/// Whether the kernel tells what is read here (`CONFIG_SCHED_INFO`, `CONFIG_PROC_CHILDREN`).
pub fn kernel_tells() -> bool {
    let own = Path::new("/proc/thread-self");
    ["schedstat", "children"]
        .iter()
        .all(|file| own.join(file).exists())
}

fn entry(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// A process and its descendants.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut at = 0;
    while let Some(pid) = family.get(at).copied() {
        at += 1;
        for thread in threads(pid) {
            let path = entry(pid).join(format!("task/{thread}/children"));
            let children = fs::read_to_string(path).unwrap_or_default();
            let children = children.split_whitespace();
            family.extend(children.filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
}

/// The threads of a process.
pub(crate) fn threads(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(entry(pid).join("task"));
    let names = tasks.into_iter().flatten().flatten();
    names.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

/// CPU seconds that the threads of a process and the children it has waited for have used; none of one that has
/// ended.
///
/// Threads that have ended are not in it: no candidate ends one while it is measured. Of its live ones the
/// scheduler tells nanoseconds; ticks are too coarse for a turn of 0.15 s.
fn used(pid: u32) -> f64 {
    let read = |name: &str| fs::read_to_string(entry(pid).join(name)).unwrap_or_default();
    let nanos: u64 = threads(pid)
        .filter_map(|thread| run_time(&read(&format!("task/{thread}/schedstat"))))
        .sum();
    let waited_for = ticks_of_children(&read("stat")).unwrap_or(0);
    nanos as f64 / 1e9 + waited_for as f64 / TICKS
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

/// Nanoseconds on a core, of `/proc/PID/task/TID/schedstat`.
pub fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// CPU time of the children that a process has waited for, in ticks, of `/proc/PID/stat`. The name of the program
/// stands in brackets and may hold anything.
pub fn ticks_of_children(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Counted from the state, which is the third field: cutime and cstime are 16 and 17.
    Some(number(13)? + number(14)?)
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
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const STAT: &str = "4711 (a) b (c) S 17 4700 17 0 -1 4194560 3053 9961 2 1 250 130 40 7 20 0 3 0 \
                        1234 5678 90 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_process_is_read_whatever_its_program_is_called() {
        assert_eq!(ticks_of_children(STAT), Some(40 + 7));
        assert_eq!(ticks_of_children("4711 (short) S 17"), None);
        assert_eq!(ticks_of_children(""), None);
    }

    #[test]
    fn the_time_of_a_thread_kernel_tells_in_nanoseconds() {
        assert_eq!(run_time("205855984 17326752 777\n"), Some(205_855_984));
        assert_eq!(run_time(""), None);
    }

    #[test]
    fn the_machine_is_busy_while_it_neither_idles_nor_waits_nor_is_stolen() {
        let stat = "cpu  100 20 300 40000 5000 6 70 8000 9 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 1\n";
        assert_eq!(machine_ticks(stat), Some(100 + 20 + 300 + 6 + 70));
        assert_eq!(machine_ticks("cpu  1 2 3\n"), None);
        assert_eq!(machine_ticks(""), None);
    }

    #[test]
    fn resident_memory_kernel_tells_in_bytes() {
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
    fn a_process_that_is_there_holds_something_and_none_does_not() {
        let own = Meter::new(Some(std::process::id()));
        let held = own.held();
        assert!(held.resident > 0 && held.descriptors > 0 && held.processes > 0);
        assert_eq!(Meter::new(None).held(), Held::default());
        let nobody = Meter::new(None).spent().unwrap();
        assert!(
            nobody.machine > 0.0 && nobody.candidate == 0.0,
            "{nobody:?}"
        );
    }

    #[test]
    fn descendants_cost_what_they_use_before_and_after_they_are_waited_for() {
        // 20 children one after the other, then one that stays: each burns some time.
        let burn = "i=0; while [ $i -lt 8000 ]; do i=$((i+1)); done";
        let script = format!(
            "n=0; while [ $n -lt 20 ]; do ({burn}); n=$((n+1)); done; \
             ({burn}; echo burnt; read end) ; :"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let family = family(child.id());
        let spent = Meter::new(Some(child.id())).spent().unwrap();
        let alone: f64 = family.iter().skip(1).map(|pid| used(*pid)).sum();
        let stat = fs::read_to_string(entry(child.id()).join("stat")).unwrap();
        let waited_for = ticks_of_children(&stat).unwrap() as f64 / TICKS;
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(family.len(), 2, "the shell and the child that stays");
        // 20 did what one has done.
        assert!(
            alone > 0.0 && waited_for > 2.0 * alone,
            "{waited_for}, {alone}"
        );
        assert!(spent.candidate >= waited_for, "{spent:?}, {waited_for}");
    }
}
