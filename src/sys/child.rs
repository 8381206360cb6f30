//! Children that do not outlive their parent.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Has the kernel kill the child when the thread that spawned it ends, however that happens.
///
/// Spawn from a thread that lives as long as the child should: the main thread, or a test's.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = rustix::process::getpid();
    let bind_to_parent = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(parent) {
            Ok(())
        } else {
            // The parent died between fork and here: the signal would never come.
            Err(std::io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: the closure runs between fork and exec; it makes two system calls, allocates
    // nothing and takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(bind_to_parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_is_killed_when_the_thread_that_spawned_it_ends() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            die_with_parent(command.arg("60")).spawn().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
