//! Packets as they come: what `tcpdump -w -` writes, until the time is over or somebody ends it.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Usage, interrupts};

/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(100);

/// A tcpdump that runs, as what it writes.
pub(super) struct Live {
    child: Child,
    output: ChildStdout,
}

// === impl Live ===

impl Live {
    /// Headers are enough, so only they are captured.
    pub(super) fn start(interface: &str, seconds: Option<u64>) -> anyhow::Result<Self> {
        let mut child = Command::new("tcpdump")
            .args(["-i", interface, "-n", "-U", "-s", "128", "-w", "-", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C is for us: tcpdump is ended in order, so that its last packets are read.
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Usage("tcpdump is not installed: apt-get install tcpdump".to_owned())
                }
                _ => Usage(format!("tcpdump: {error}")),
            })?;
        let output = child.stdout.take().expect("it was asked for");
        let end = Arc::new(AtomicBool::new(false));
        interrupts::set(&end)?;
        let pid = Pid::from_child(&child);
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        std::thread::spawn(move || {
            let over = || until.is_some_and(|until| Instant::now() >= until);
            while !end.load(Ordering::Acquire) && !over() {
                std::thread::sleep(LOOK);
            }
            // It may have ended by itself; then there is nobody to tell.
            let _ = kill_process(pid, Signal::TERM);
        });
        Ok(Self { child, output })
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
