//! The generator as a child: `unmangle bench run`, as a user would run it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::bench::compare::stand::Standing;
use crate::bench::report::{Part, Report};
use crate::bench::work::Mode;
use crate::lab::{self, Interrupt};

/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Why a candidate could not do a work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// A generator that runs; dropped, it is killed.
#[derive(Debug)]
pub struct Generator {
    child: Child,
    out: PathBuf,
    errors: PathBuf,
}

/// What the generator is asked for.
///
/// Streams are downloads: then the generator counts what has arrived at the far end of the path. Of an upload it
/// only knows what the next host has acknowledged, which may still be in a relay's buffers.
pub fn ask(
    command: &mut Command,
    mode: Mode,
    connections: u32,
    duration: Duration,
    warmup: Duration,
) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = connections.min(u32::try_from(cores).unwrap_or(1));
    command.args(["--mode", &mode.to_string(), "--direction", "download"]);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--threads", &threads.to_string()]);
    command.args(["--duration", &format!("{}ms", duration.as_millis())]);
    command.args(["--warmup", &format!("{}ms", warmup.as_millis())]);
}

/// What went wrong, by kind.
pub(crate) fn errors(parts: &[Part]) -> String {
    let counted: Vec<String> = parts
        .iter()
        .flat_map(|part| &part.errors)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    counted.join(", ")
}

/// The last lines of a log: enough for a message.
pub(crate) fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.trim().lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

// === impl Failed ===

impl Failed {
    /// With what somebody's log says, if anything.
    pub(crate) fn with(self, words: &str) -> Self {
        match words {
            "" => self,
            words => Self(format!("{}: {words}", self.0)),
        }
    }
}

// === impl Generator ===

impl Generator {
    /// Starts it. What it prints goes to files: a report is larger than a pipe.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, standing: &Standing) -> lab::Result<Self> {
        Self::start_as("run", command, standing)
    }

    /// The same for one of several that run at a time: what each prints has a name of its own.
    ///
    /// # Errors
    /// As for [`Generator::start`].
    pub fn start_as(name: &str, command: &mut Command, standing: &Standing) -> lab::Result<Self> {
        let [out, errors] =
            ["json", "log"].map(|what| standing.directory().join(format!("{name}.{what}")));
        let create = |path: &PathBuf| File::create(path).map_err(lab::Error::file(path));
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&out)?)
            .stderr(create(&errors)?)
            .process_group(0)
            .spawn()
            .map_err(lab::Error::io("unmangle bench run"))?;
        Ok(Self { child, out, errors })
    }

    /// Waits until it has ended and says how; none if it takes longer than `patience`. `meanwhile` is done each
    /// time that `every` has passed.
    ///
    /// # Errors
    /// An interrupt, or a kernel that does not tell.
    pub fn wait(
        &mut self,
        patience: Duration,
        interrupt: &Interrupt,
        every: Duration,
        mut meanwhile: impl FnMut(),
    ) -> lab::Result<Option<ExitStatus>> {
        let began = Instant::now();
        let mut next = every;
        loop {
            interrupt.check()?;
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if began.elapsed() > patience {
                return Ok(None);
            }
            if began.elapsed() > next {
                meanwhile();
                next = began.elapsed() + every;
            }
            sleep(GLANCE);
        }
    }

    /// Waits until it has said this; what keeps it from that is inside.
    ///
    /// # Errors
    /// An interrupt, or a kernel that does not tell.
    pub fn says(
        &mut self,
        sign: &str,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> lab::Result<Result<(), Failed>> {
        let deadline = Instant::now() + patience;
        loop {
            interrupt.check()?;
            if fs::read_to_string(&self.errors).is_ok_and(|said| said.contains(sign)) {
                return Ok(Ok(()));
            }
            if let Some(status) = self.ended()? {
                return Ok(Err(self.ended_early(status)));
            }
            if Instant::now() > deadline {
                return Ok(Err(Failed("nothing is told of it".to_owned())));
            }
            sleep(GLANCE);
        }
    }

    /// Ends a load that would go on; its report, unless it had ended by itself.
    ///
    /// # Errors
    /// An interrupt, or a kernel that does not tell.
    pub fn end(
        mut self,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> lab::Result<Result<Report, Failed>> {
        if let Some(status) = self.ended()? {
            return Ok(Err(self.ended_early(status)));
        }
        // One that has ended since is waited for below.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let Some(status) = self.wait(patience, interrupt, patience, || {})? else {
            return Ok(Err(Failed("it did not come to an end".to_owned())));
        };
        let as_asked = status.code() == Some(128 + Signal::TERM.as_raw());
        Ok(self.read(status, as_asked))
    }

    fn ended(&mut self) -> lab::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait();
        ended.map_err(lab::Error::io("unmangle bench run"))
    }

    fn ended_early(&self, status: ExitStatus) -> Failed {
        let failed = self.report(status).err();
        failed.unwrap_or_else(|| Failed("it ended before it was to".to_owned()))
    }

    /// Its report, once it has ended like this.
    ///
    /// # Errors
    /// If it has counted errors, or has not written any report.
    pub fn report(&self, status: ExitStatus) -> Result<Report, Failed> {
        self.read(status, status.success())
    }

    fn read(&self, status: ExitStatus, as_asked: bool) -> Result<Report, Failed> {
        let text = fs::read(&self.out).unwrap_or_default();
        let report: Result<Report, _> = serde_json::from_slice(&text);
        if as_asked {
            return report.map_err(|error| Failed(format!("an unreadable report: {error}")));
        }
        let counted = report.ok().and_then(|report| {
            let path = report.paths.into_iter().next()?;
            (path.errors() > 0).then(|| errors(&path.parts))
        });
        let said = last_words(&fs::read_to_string(&self.errors).unwrap_or_default());
        Err(Failed(match (counted, said.as_str()) {
            (Some(counted), "") => counted,
            (Some(counted), said) => format!("{counted}: {said}"),
            (None, "") => format!("the generator ended with {status}"),
            (None, said) => said.to_owned(),
        }))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_one() {
        assert_eq!(last_words("a\nb\nc\nd\ne\n"), "b | c | d | e");
        assert_eq!(last_words("\n"), "");
    }
}
