//! A lab without root: the whole of it in a user namespace, where its user may make hosts.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;

use crate::lab::error::{Error, Result};
use crate::lab::ground;
use crate::lab::requirements::is_root;
use crate::sys::user_namespace;

const TUN: &str = "/dev/net/tun";

/// Kernel settings that forbid user namespaces, with the value that does and the one that allows.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
];

/// This program, as it was found before [`enter`] moved it.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Moves a process that is not root into namespaces of its own, in which a lab can be put up. Root
/// stays where it is. Call it before any thread is started.
///
/// # Errors
/// [`Error::Forbidden`], which says what to allow.
pub fn enter() -> Result<()> {
    if is_root() || may_make_hosts() {
        return Ok(());
    }
    sweep();
    open_tun().map_err(|error| Error::Forbidden(tun_advice(&error)))?;
    if let Ok(program) = std::env::current_exe() {
        PROGRAM.get_or_init(|| program);
    }
    user_namespace::enter()
        .and_then(|()| own_directories())
        .map_err(|error| Error::Forbidden(advice(&error, setting)))
}

/// Where this program is. After [`enter`] the kernel tells it relative to a mount of the namespace that was left, which is
/// another path unless it is on the root's file system (`d_path` in Linux's fs/d_path.c).
///
/// # Errors
/// It cannot be found.
pub fn program() -> io::Result<PathBuf> {
    match PROGRAM.get() {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe(),
    }
}

/// Whether this process holds what making hosts takes.
pub fn may_make_hosts() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|held| held.effective.contains(needed))
}

/// Ends what labs of this user left behind whose process is gone; returns how many processes that were.
/// With the last of them their namespaces go, and the memory their files are in.
pub fn sweep() -> usize {
    let namespace = |process: &Path| fs::read_link(process.join("ns/user")).ok();
    let own = namespace(Path::new("/proc/self"));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let strangers = processes.filter_map(|process| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        let elsewhere = namespace(&process.path()).is_some_and(|ns| Some(ns) != own);
        let abandoned = || ground::is_abandoned(&process.path().join("root/run"));
        (elsewhere && abandoned()).then_some(pid)
    });
    let left_over: Vec<Pid> = strangers.collect();
    for pid in &left_over {
        tracing::info!(
            pid = pid.as_raw_nonzero(),
            "ending what a killed lab left behind"
        );
        let _ = kill_process(*pid, Signal::KILL);
    }
    left_over.len()
}

fn open_tun() -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(TUN, flags, Mode::empty())?;
    Ok(())
}

/// What a lab leaves on the machine it leaves in memory that goes with its namespaces.
fn own_directories() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    for (directory, mode) in [("/run", c"mode=755"), ("/dev/shm", c"mode=1777")] {
        if Path::new(directory).is_dir() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", directory, "tmpfs", flags, mode)?;
        }
    }
    Ok(())
}

fn tun_advice(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => format!("{TUN} is closed to users: chmod 666 {TUN}"),
        _ => format!("{TUN} cannot be opened ({error}): modprobe tun"),
    }
}

/// What to allow, by what `setting` says of this machine.
fn advice(error: &io::Error, setting: impl Fn(&str) -> Option<String>) -> String {
    let culprit = SETTINGS
        .iter()
        .find(|(key, forbids, _)| setting(key).as_deref() == Some(*forbids));
    match culprit {
        Some((key, forbids, allows)) => {
            format!("{key}={forbids} forbids user namespaces: sysctl {key}={allows}")
        }
        None => format!("user namespaces are forbidden here ({error})"),
    }
}

/// A kernel setting, if there is such a one.
fn setting(key: &str) -> Option<String> {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }

    #[test]
    fn the_setting_that_forbids_is_named_with_the_value_that_allows() {
        let ubuntu = |key: &str| {
            let value = match key {
                "kernel.apparmor_restrict_unprivileged_userns" => "1",
                "user.max_user_namespaces" => "63000",
                _ => return None,
            };
            Some(value.to_owned())
        };
        assert_eq!(
            advice(&refused(), ubuntu),
            "kernel.apparmor_restrict_unprivileged_userns=1 forbids user namespaces: \
             sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        );
    }

    #[test]
    fn where_no_setting_is_to_blame_the_kernel_has_the_word() {
        let text = advice(&refused(), |_| None);
        assert!(text.contains("Operation not permitted"), "{text}");
    }

    #[test]
    fn a_device_that_is_closed_is_told_from_one_that_is_not_there() {
        let closed = tun_advice(&io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(
            closed,
            "/dev/net/tun is closed to users: chmod 666 /dev/net/tun"
        );
        let missing = tun_advice(&io::Error::from_raw_os_error(libc::ENOENT));
        assert!(missing.ends_with("modprobe tun"), "{missing}");
    }
}
