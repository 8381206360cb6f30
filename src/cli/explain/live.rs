//! Packets as they come: what `tcpdump -w -` writes, until the time is over or somebody ends it.

use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Usage, interrupts};

/// As much is read of what tcpdump says.
const MOST_SAID: u64 = 64 << 10;
/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(100);

/// A tcpdump that runs, as what it writes.
pub(super) struct Live {
    child: Child,
    /// What it says on stderr, once it has ended.
    said: Option<JoinHandle<String>>,
}

// === impl Live ===

impl Live {
    /// Headers are enough, so only they are captured.
    pub(super) fn start(interface: &str, seconds: Option<u64>) -> anyhow::Result<Self> {
        let child = Command::new("tcpdump")
            .args(["-i", interface, "-n", "-U", "-s", "128", "-w", "-", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: tcpdump is ended in order, so that its last packets are read.
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Usage("tcpdump is not installed: apt-get install tcpdump".to_owned())
                }
                _ => Usage(format!("tcpdump: {error}")),
            })?;
        let pid = Pid::from_child(&child);
        // From here on it is ended, whatever becomes of this.
        let mut live = Self { child, said: None };
        let complains = live.child.stderr.take().expect("it was asked for");
        live.said = Some(std::thread::spawn(move || {
            let mut said = String::new();
            let _ = BufReader::new(complains)
                .take(MOST_SAID)
                .read_to_string(&mut said);
            said
        }));
        let end = Arc::new(AtomicBool::new(false));
        interrupts::set(&end)?;
        let now = Instant::now();
        let until = seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds)));
        std::thread::spawn(move || {
            let over = || until.is_some_and(|until| Instant::now() >= until);
            while !end.load(Ordering::Acquire) && !over() {
                std::thread::sleep(LOOK);
            }
            // It may have ended by itself; then there is nobody to tell.
            let _ = kill_process(pid, Signal::TERM);
        });
        Ok(live)
    }

    /// To be called when nothing more comes.
    ///
    /// # Errors
    /// Why tcpdump failed, in its words. What it has lost is told, because then more looks INVALID than was.
    pub(super) fn end(mut self, interface: &str) -> anyhow::Result<()> {
        // Nobody reads any more; what has ended already is not touched by it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.child.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        let said = said.unwrap_or_default();
        if !status.success() {
            let why = said.lines().find_map(|line| line.strip_prefix("tcpdump: "));
            let why = why.map_or_else(|| format!("tcpdump ended with {status}"), str::to_owned);
            return Err(Usage(format!("-i {interface}: {why}")).into());
        }
        let lost = said
            .lines()
            .find_map(|line| line.strip_suffix(" packets dropped by kernel"));
        if let Some(lost) = lost.filter(|lost| *lost != "0") {
            eprintln!(
                "unmangle: -i {interface}: {lost} packets were lost while capturing: what acknowledges them looks INVALID"
            );
        }
        Ok(())
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.child.stdout {
            Some(output) => output.read(buffer),
            None => Ok(0),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
