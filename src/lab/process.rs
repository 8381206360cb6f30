//! A process of the lab that runs in the background: a wire, an sshd, a relay.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::lab::error::{Error, Result};
use crate::lab::host::describe;

/// How often a condition is looked at while it is waited for.
pub(crate) const GLANCE: Duration = Duration::from_millis(2);

/// How long a process of the lab may take to get ready or to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A child in the background. It logs to a file, and is killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to the file `log`. It has a process group of its own,
    /// so that a Ctrl-C reaches the lab alone, which then takes everything down in order.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).map_err(Error::file(log))?;
        let copy = file.try_clone().map_err(Error::file(log))?;
        let line = describe(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .map_err(Error::io(line))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where what it prints goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until its log holds `sign`.
    pub fn ready(&mut self, sign: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.log().contains(sign) {
            let name = self.name.clone();
            if self.ended()?.is_some() {
                let log = tail(&self.log());
                return Err(Error::Died { name, log });
            }
            if Instant::now() > deadline {
                let log = tail(&self.log());
                return Err(Error::NotReady { name, log });
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io(&self.name))
    }

    /// Waits for its end, at most for `patience`; `None` when it still runs.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() > deadline {
                return Ok(ended);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Asks it to end by SIGTERM and waits; one that does not listen is killed. `None` says so.
    pub fn stop(mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        self.signal(Signal::TERM);
        self.wait(patience)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The last lines of a log: enough for a message.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.trim().lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        Process::start("test", Command::new("sh").args(["-c", script]), log).unwrap()
    }

    #[test]
    fn a_process_is_ready_when_it_says_so_and_stops_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(
            "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
            &directory.path().join("log"),
        );
        process.ready("ready", Duration::from_secs(5)).unwrap();
        let status = process.stop(Duration::from_secs(5)).unwrap().unwrap();
        assert!(status.success());
    }

    #[test]
    fn one_that_dies_before_it_is_ready_is_told_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("echo no such wire; exit 1", &directory.path().join("log"));
        let error = process.ready("ready", Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, Error::Died { log, .. } if log == "no such wire"));
    }
}
