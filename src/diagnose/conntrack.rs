//! Conntrack's own counters in this network namespace, from /proc, or from ctnetlink where the kernel has no
//! such file (CONFIG_NF_CONNTRACK_PROCFS).
//!
//! They count every tracked packet of the namespace, not only relayed ones, from when the namespace was made or conntrack
//! was loaded, whichever was later. Each CPU has its own, of 32 bits, which begin at 0 again when they are full.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::definitions::{
    CHAINS_TOO_LONG, CLASHES_RESOLVED, DROPS, EARLY_DROPS, INSERT_FAILED, INVALID, SEARCH_RESTARTS,
};
use crate::metrics::Definition;
use crate::packet::ctnetlink::{self, Answer};
use crate::sys::netfilter;

/// One of the counters that say something to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Packets that were called INVALID.
    Invalid,
    /// Packets whose connection could not be entered.
    InsertFailed,
    /// Packets for which there was no room.
    Drops,
    /// Entries that made room for others.
    EarlyDrops,
    /// Packets dropped because a chain of the table was too long; since Linux 5.15.
    ChainsTooLong,
    /// Connections that two packets opened at once; since Linux 5.9.
    ClashesResolved,
    /// Searches begun anew while the table was resized.
    SearchRestarts,
}

/// What the counters say, CPU by CPU.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters(Vec<PerCpu>);

/// What those of one CPU say, in the order of [`Counter::ALL`]; none where this kernel does not have it.
pub(super) type PerCpu = [Option<u32>; Counter::ALL.len()];

/// How full the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// Entries now.
    pub now: u64,
    /// Entries that there may be.
    pub limit: u64,
}

/// Why nothing is known of conntrack's counters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCounters {
    /// There is no conntrack.
    #[error("connection tracking is not loaded (nf_conntrack)")]
    NotLoaded,
    /// The file is there and cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        error: Errno,
    },
    /// The file, or the kernel's message, is of an unknown form.
    #[error("{from} has no counter of INVALID packets that is understood")]
    NotUnderstood {
        /// Where that is.
        from: &'static str,
    },
    /// Only netlink could tell, and tells it only to the privileged.
    #[error(
        "the kernel has no /proc/net/stat/nf_conntrack, and tells its counters by netlink only to CAP_NET_ADMIN"
    )]
    NotAllowed,
    /// Only netlink could tell, and does not.
    #[error("the kernel has no /proc/net/stat/nf_conntrack, and netlink says: {0}")]
    Netlink(Errno),
}

/// Where the kernel shows its files: /proc, of which the calling thread's network namespace is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc(PathBuf);

/// For how long an answer is waited for that the kernel gives at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Room for the answers of many CPUs.
const ROOM: usize = 1 << 20;

// === impl Counter ===

impl Counter {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::InsertFailed,
        Self::Drops,
        Self::EarlyDrops,
        Self::ChainsTooLong,
        Self::ClashesResolved,
        Self::SearchRestarts,
    ];

    /// Name of the column in /proc/net/stat/nf_conntrack.
    fn column(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::InsertFailed => "insert_failed",
            Self::Drops => "drop",
            Self::EarlyDrops => "early_drop",
            Self::ChainsTooLong => "chainlength",
            Self::ClashesResolved => "clashres",
            Self::SearchRestarts => "search_restart",
        }
    }

    /// Number of the attribute: CTA_STATS_INVALID and so on.
    fn attribute(self) -> u16 {
        match self {
            Self::Invalid => 4,
            Self::InsertFailed => 9,
            Self::Drops => 10,
            Self::EarlyDrops => 11,
            Self::ChainsTooLong => 15,
            Self::ClashesResolved => 14,
            Self::SearchRestarts => 13,
        }
    }

    /// What it is as a metric.
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Invalid => &INVALID,
            Self::InsertFailed => &INSERT_FAILED,
            Self::Drops => &DROPS,
            Self::EarlyDrops => &EARLY_DROPS,
            Self::ChainsTooLong => &CHAINS_TOO_LONG,
            Self::ClashesResolved => &CLASHES_RESOLVED,
            Self::SearchRestarts => &SEARCH_RESTARTS,
        }
    }
}

// === impl Counters ===

impl Counters {
    /// As they are now.
    ///
    /// # Errors
    /// Why they are not known. None is ever taken for zero.
    pub fn read(proc: &Proc) -> Result<Self, NoCounters> {
        let path = proc.statistics();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(NoCounters::NotUnderstood {
                from: "/proc/net/stat/nf_conntrack",
            }),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let error = errno(&error);
                Err(NoCounters::Unreadable { path, error })
            }
            // The settings are there whenever conntrack is.
            Err(_) if !proc.setting_path("nf_conntrack_max").exists() => Err(NoCounters::NotLoaded),
            Err(_) => Self::from_netlink(),
        }
    }

    /// What the counters of all CPUs add up to; none if this kernel does not have it.
    pub fn of(&self, counter: Counter) -> Option<u64> {
        let known = self.0.iter().filter_map(|cpu| cpu[counter as usize]);
        known.map(u64::from).reduce(|sum, one| sum + one)
    }

    /// CPU by CPU, always in the same order.
    pub(super) fn cpus(&self) -> &[PerCpu] {
        &self.0
    }

    /// Reads a line of names, and a line of hexadecimal numbers for each CPU.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next()?.split_whitespace().collect();
        let place = |counter: Counter| names.iter().position(|name| *name == counter.column());
        let places = Counter::ALL.map(place);
        let mut counters = Self::default();
        for line in lines {
            let numbers: Vec<&str> = line.split_whitespace().collect();
            let mut cpu = PerCpu::default();
            for (value, place) in cpu.iter_mut().zip(places) {
                if let Some(place) = place {
                    *value = Some(u32::from_str_radix(numbers.get(place)?, 16).ok()?);
                }
            }
            counters.0.push(cpu);
        }
        counters.of(Counter::Invalid).map(|_| counters)
    }

    /// The same by netlink.
    ///
    /// # Errors
    /// As for [`Counters::read`].
    pub fn from_netlink() -> Result<Self, NoCounters> {
        let failed = |error: &io::Error| NoCounters::Netlink(errno(error));
        let socket = netfilter::socket(ROOM).map_err(|error| failed(&error))?;
        netfilter::request(&socket, &ctnetlink::ask()).map_err(|error| failed(&error))?;
        let mut counters = Self::default();
        let mut buffer = netfilter::buffer();
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = match netfilter::receive(&socket, &mut buffer) {
                Ok(datagram) => Answer::parse(datagram),
                Err(Errno::AGAIN) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let left = Timespec::try_from(left).unwrap_or_default();
                    let mut watched = [PollFd::new(&socket, PollFlags::IN)];
                    match poll(&mut watched, Some(&left)) {
                        Ok(0) => return Err(NoCounters::Netlink(Errno::TIMEDOUT)),
                        Ok(_) | Err(Errno::INTR) => continue,
                        Err(error) => return Err(NoCounters::Netlink(error)),
                    }
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(NoCounters::Netlink(error)),
            };
            counters.add(&answer);
            match answer.end {
                None => {}
                Some(0) => break,
                Some(code) => return Err(refusal(code)),
            }
        }
        let understood = counters.of(Counter::Invalid).is_some();
        understood
            .then_some(counters)
            .ok_or(NoCounters::NotUnderstood { from: "netlink" })
    }

    fn add(&mut self, answer: &Answer) {
        for cpu in &answer.cpus {
            let of = |counter: Counter| {
                let mut values = cpu.iter().filter(|(kind, _)| *kind == counter.attribute());
                values.next().map(|(_, value)| *value)
            };
            self.0.push(Counter::ALL.map(of));
        }
    }
}

// === impl Entries ===

impl Entries {
    /// As it is now; none if that cannot be read.
    pub fn read(proc: &Proc) -> Option<Self> {
        Some(Self {
            now: proc.setting("nf_conntrack_count")?.parse().ok()?,
            limit: proc.setting("nf_conntrack_max")?.parse().ok()?,
        })
    }
}

// === impl Proc ===

impl Default for Proc {
    fn default() -> Self {
        Self("/proc".into())
    }
}

impl Proc {
    /// Another place that looks like /proc.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn statistics(&self) -> PathBuf {
        self.0.join("thread-self/net/stat/nf_conntrack")
    }

    fn setting_path(&self, name: &str) -> PathBuf {
        self.0.join("sys/net/netfilter").join(name)
    }

    /// A file below it, if it can be read.
    pub(super) fn read(&self, path: impl AsRef<std::path::Path>) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    /// The same for one that is no text.
    pub(super) fn read_bytes(&self, path: impl AsRef<std::path::Path>) -> Option<Vec<u8>> {
        fs::read(self.0.join(path)).ok()
    }

    /// The names in a directory below it, in order; none if it cannot be read.
    pub(super) fn names(&self, path: impl AsRef<std::path::Path>) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path));
        let names = entries.into_iter().flatten().flatten();
        let mut names: Vec<_> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// A setting of netfilter, `net.netfilter.NAME`, if it can be read.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.setting_path(name)).ok()?;
        Some(text.trim().to_owned())
    }
}

fn refusal(code: i32) -> NoCounters {
    match error_of(code) {
        Errno::PERM => NoCounters::NotAllowed,
        error => NoCounters::Netlink(error),
    }
}

/// An error that a message of the kernel tells; what can be none is told as another.
pub(super) fn error_of(code: i32) -> Errno {
    match code {
        1..4096 => Errno::from_raw_os_error(code),
        _ => Errno::PROTO,
    }
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 4.19: no column of clashes, none of chains; two CPUs.
    const OLD: &str = "\
entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
000000f3  00000000 00000011 00000000 0000002a 00000ca1 00000000 00000000 00000000 00000002 00000002 00000001 00000000  00000000 00000000 00000000 0000000b
000000f3  00000000 00000007 00000000 00000011 00000801 00000000 00000000 00000000 00000001 00000000 00000000 00000000  00000000 00000000 00000000 00000001
";
    /// Linux 5.10: clashes in the place of searches.
    const MIDDLE: &str = "\
entries  clashres found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000001  00000003 00000000 00000000 ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000000
00000001  00000000 00000000 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000000
";
    /// Linux 6.18: chains in the place of deletions.
    const NEW: &str = "\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000001  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000000
00000001  00000000 00000000 00000000 0000000a 00000000 00000000 00000004 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000000
";

    fn values(text: &str) -> [Option<u64>; 7] {
        let counters = Counters::parse(text).unwrap();
        Counter::ALL.map(|counter| counters.of(counter))
    }

    #[test]
    fn the_files_of_several_kernels_are_read_and_all_cpus_added_up() {
        let old = [Some(59), Some(3), Some(2), Some(1), None, None, Some(12)];
        assert_eq!(values(OLD), old);
        let middle = [
            Some(0x1_0000_0001),
            Some(0),
            Some(0),
            Some(0),
            None,
            Some(3),
            Some(0),
        ];
        assert_eq!(values(MIDDLE), middle);
        let new = [
            Some(10),
            Some(0),
            Some(0),
            Some(0),
            Some(4),
            Some(0),
            Some(0),
        ];
        assert_eq!(values(NEW), new);
    }

    #[test]
    fn what_is_not_understood_is_no_zero() {
        let cut = &NEW[..NEW.len() - 30];
        for text in ["", "entries found\n0 0\n", "invalid\n", "invalid\nx\n", cut] {
            assert_eq!(Counters::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
        }
    }

    #[test]
    fn the_same_is_read_by_netlink() {
        let mut counters = Counters::default();
        for invalid in [3, 4] {
            counters.add(&Answer {
                cpus: vec![vec![(2, 77), (4, invalid), (15, 1)]],
                end: None,
            });
        }
        assert_eq!(counters.of(Counter::Invalid), Some(7));
        assert_eq!(counters.of(Counter::ChainsTooLong), Some(2));
        assert_eq!(counters.of(Counter::Drops), None);
    }

    #[test]
    fn a_refusal_is_told_whatever_its_number() {
        assert_eq!(refusal(1), NoCounters::NotAllowed);
        assert_eq!(refusal(16), NoCounters::Netlink(Errno::BUSY));
        for code in [0, -1, 4096, i32::MAX, i32::MIN] {
            assert_eq!(refusal(code), NoCounters::Netlink(Errno::PROTO));
        }
    }

    #[test]
    fn why_there_are_no_counters_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let proc = Proc::at(directory.path());
        assert_eq!(Counters::read(&proc), Err(NoCounters::NotLoaded));
        assert_eq!(Entries::read(&proc), None);
        let place = proc.statistics();
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "something else\n").unwrap();
        let error = Counters::read(&proc).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/proc/net/stat/nf_conntrack has no counter of INVALID packets that is understood"
        );
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        let error = Counters::read(&proc).unwrap_err();
        assert!(matches!(
            &error,
            NoCounters::Unreadable { path, error: Errno::ISDIR } if *path == place
        ));
    }
}
