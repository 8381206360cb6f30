//! A thread of another process that hangs, while its siblings go on: held by ptrace, as by a debugger.

use std::fs;

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Hangs until it is dropped, by the thread that made it.
pub struct Hanging(Pid);

// === impl Hanging ===

impl Hanging {
    /// Has the thread with this name hang.
    pub fn thread(process: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let mut ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        let is_named = |id: &String| {
            let comm = fs::read_to_string(format!("/proc/{process}/task/{id}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        };
        let id = ids.find(is_named).expect("there is such a thread");
        let thread = Pid::from_raw(id.parse().unwrap());
        ptrace::seize(thread, Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        let status = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(status, WaitStatus::PtraceEvent(..)), "{status:?}");
        Self(thread)
    }

    /// Whether its process has been ended. One that is traced is there until the tracer has looked.
    pub fn is_over(&self) -> bool {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        !matches!(waitpid(self.0, Some(flags)), Ok(WaitStatus::StillAlive))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // One that is gone cannot be let go.
        let _ = ptrace::detach(self.0, None);
    }
}
