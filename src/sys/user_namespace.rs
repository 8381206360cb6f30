//! A user namespace for a process that is not root: inside, it holds every capability.

#![allow(unsafe_code)]

use std::fs;
use std::io;

use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, configure_capability_in_ambient_set,
    set_capabilities, unshare_unsafe,
};

/// Moves this process into a user namespace in which its user is still its user, with a mount and a
/// network namespace that belong to it. All capabilities are held, and by the programs it runs, too.
///
/// Call it before any thread is started: the kernel refuses it to a process that has more than one.
///
/// # Errors
/// Whatever the kernel says where it is forbidden; the process may then be in a namespace without
/// capabilities, and has no use but to tell.
pub fn enter() -> io::Result<()> {
    let user = rustix::process::getuid();
    let group = rustix::process::getgid();
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWNET;
    // SAFETY: descriptors stay shared: only namespaces are replaced.
    unsafe { unshare_unsafe(flags) }?;
    // Who has no privilege outside may map one group only after it has given up changing them.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    hand_down_capabilities()
}

/// A program run by anybody but user 0 keeps only what is ambient.
fn hand_down_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if sets.permitted.contains(capability) {
            configure_capability_in_ambient_set(capability, true)?;
        }
    }
    Ok(())
}
