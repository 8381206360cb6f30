//! What a lab leaves on the machine while it stands, and who sweeps it up.
//!
//! A lab is a directory `/run/unmangle-lab/ID` with a file it keeps locked, namespaces called
//! `um-ID-*`, and a directory for bulk data in memory. The kernel drops the lock when the process
//! dies, however it dies; the next lab finds directories whose lock is free and clears them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::error::{Error, Result};
use crate::lab::host::output;

const LABS: &str = "/run/unmangle-lab";
/// Where bulk data is, if there is such a directory.
const MEMORY: &str = "/dev/shm";
const NAMESPACES: &str = "/run/netns";
const LOCK: &str = "lock";
/// Memory that is left to the hosts and what runs on them.
const SPARE: u64 = 256 << 20;
const NOT_WAITING: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// A lab's place on the machine; dropped, nothing of it is left.
#[derive(Debug)]
pub struct Ground {
    id: String,
    _lock: File,
}

impl Ground {
    /// Takes a place that is nobody else's.
    pub fn take() -> Result<Self> {
        let _gate = gate()?;
        fs::create_dir_all(LABS).map_err(Error::file(Path::new(LABS)))?;
        loop {
            let id = format!("{:08x}", rand::random::<u32>());
            match fs::create_dir(directory(&id)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(Error::file(&directory(&id)))?,
            }
            fs::create_dir_all(data_directory(&id)).map_err(Error::file(&data_directory(&id)))?;
            let path = directory(&id).join(LOCK);
            let lock = File::create(&path).map_err(Error::file(&path))?;
            flock(&lock, NOT_WAITING).map_err(|error| Error::file(&path)(error.into()))?;
            return Ok(Self { id, _lock: lock });
        }
    }

    /// What its namespaces are called after.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its keys, settings and logs are.
    pub fn directory(&self) -> PathBuf {
        directory(&self.id)
    }

    /// Where its bulk data is: in memory where the machine has a place for that.
    pub fn data_directory(&self) -> PathBuf {
        data_directory(&self.id)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        clear(&self.id);
        if let Ok(_gate) = gate() {
            // Only the last lab to go finds it empty.
            let _ = fs::remove_dir(LABS);
        }
    }
}

/// Removes what labs left behind whose process is gone; returns how many there were.
pub fn sweep() -> Result<usize> {
    let _gate = gate()?;
    let mut swept = 0;
    for lab in fs::read_dir(LABS).into_iter().flatten().flatten() {
        let id = lab.file_name().to_string_lossy().into_owned();
        if !is_in_use(&lab.path()) {
            tracing::info!(id, "removing what a killed lab left behind");
            clear(&id);
            swept += 1;
        }
    }
    let _ = fs::remove_dir(LABS);
    Ok(swept)
}

/// Whether a payload of `bytes` has room where bulk data is: as sent, and once more as received.
pub fn require_room(bytes: u64) -> Result<()> {
    let place = match Path::new(MEMORY) {
        memory if memory.is_dir() => memory,
        _ => Path::new("/run"),
    };
    let free = statvfs(place).map_err(|error| Error::file(place)(error.into()))?;
    let room = free.f_bavail.saturating_mul(free.f_frsize);
    let most = room.min(available_memory().saturating_sub(SPARE)) / 2;
    if bytes > most {
        return Err(Error::TooLarge { bytes, most, place });
    }
    Ok(())
}

/// What the kernel would give before it has to kill; no limit where it does not say.
fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .split_whitespace()
                .next()
        })
        .and_then(|number| number.parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024))
}

/// Whether there are labs below this `/run`, seen from outside its namespace, and nobody's any more.
pub(crate) fn is_abandoned(run: &Path) -> bool {
    // Who holds the gate is alive.
    let gate = File::open(run).map(|run| flock(&run, NOT_WAITING).map(|()| run));
    let (Ok(Ok(_gate)), Some(labs)) = (gate, Path::new(LABS).file_name()) else {
        return false;
    };
    let Ok(labs) = fs::read_dir(run.join(labs)) else {
        return false;
    };
    let labs: Vec<_> = labs.flatten().collect();
    !labs.is_empty() && !labs.iter().any(|lab| is_in_use(&lab.path()))
}

/// Whether the process that put up the lab in this directory still lives.
fn is_in_use(lab: &Path) -> bool {
    File::open(lab.join(LOCK)).is_ok_and(|lock| flock(lock, NOT_WAITING).is_err())
}

/// Held while labs are made, swept or removed, so that a lab between `mkdir` and its lock is left
/// alone. It is a lock on the directory above, which is there anyway: nothing stays behind.
fn gate() -> Result<File> {
    let above = Path::new("/run");
    let gate = File::open(above).map_err(Error::file(above))?;
    flock(&gate, FlockOperation::LockExclusive)
        .map_err(|error| Error::file(above)(error.into()))?;
    Ok(gate)
}

/// Ends what runs in the namespaces of lab `id`, removes them, and its files last.
fn clear(id: &str) {
    for netns in namespaces(id) {
        let ip = |verb: &str| output(Command::new("ip").args(["netns", verb, &netns]), "");
        for pid in ip("pids").unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Err(error) = ip("delete") {
            tracing::warn!(%error, "a namespace of the lab could not be removed");
        }
    }
    for directory in [data_directory(id), directory(id)] {
        if let Err(error) = fs::remove_dir_all(&directory) {
            tracing::debug!(%error, directory = %directory.display(), "not removed");
        }
    }
}

fn namespaces(id: &str) -> Vec<String> {
    let prefix = format!("um-{id}-");
    fs::read_dir(NAMESPACES)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

fn directory(id: &str) -> PathBuf {
    Path::new(LABS).join(id)
}

fn data_directory(id: &str) -> PathBuf {
    let memory = Path::new(MEMORY);
    if memory.is_dir() {
        memory.join(format!("unmangle-lab-{id}"))
    } else {
        directory(id).join("data")
    }
}
