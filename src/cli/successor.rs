//! The process that is to take over, started by the one that has everything.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::standing::Asked;
use crate::admin::Ask;
use crate::sys::notify;
use crate::sys::privileges::passing_on;

/// A process that has not asked by then does not come up.
const ASKS_WITHIN: Duration = Duration::from_secs(30);

/// The program that this process was started from, by the path it had then; another may be there by now.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Keeps by which path this process was started.
pub fn remember() {
    if let Ok(program) = std::env::current_exe() {
        PROGRAM.get_or_init(|| program);
    }
}

/// Starts a program, this one if none is named, with the arguments of this process; the connection by which it asks to
/// take over.
///
/// # Errors
/// If it does not ask: it is not there, does not come up, or wants something else.
pub async fn start(program: Option<PathBuf>, asked: &mut Option<Asked>) -> anyhow::Result<OwnedFd> {
    let Some(asked) = asked else {
        bail!("nobody could ask this process to hand over");
    };
    let Some(door) = asked.server().unix().map(PathBuf::from) else {
        bail!("there is no Unix socket at which a new process could ask: give --admin PATH");
    };
    let program = match program.or_else(|| PROGRAM.get().cloned()) {
        Some(program) => program,
        None => bail!("it is not known which program this is: give --program PATH"),
    };
    let arguments = arguments(std::env::args_os().skip(1));
    // The manager's watchdog waits for whoever is the main process: for the successor, once that is ready. If it waits
    // for another one of the service, it is nothing to this one nor to that.
    let not_passed_on: &[&str] = match notify::watchdog() {
        Ok(Some(_)) => &["WATCHDOG_PID"],
        Ok(None) | Err(_) => &["WATCHDOG_PID", "WATCHDOG_USEC"],
    };
    let started = passing_on(|| {
        let mut command = Command::new(&program);
        for name in not_passed_on {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .arg("--takeover")
            .arg(&door)
            // Ctrl-C on a terminal is for the relay that runs.
            .process_group(0)
            .spawn()
    });
    let started = started.with_context(|| format!("starting {}", program.display()))?;
    let mut starting = Starting(Some(started));
    let child = starting.0.as_mut().context("it was just started")?;
    let asks = async {
        loop {
            match asked.next().await {
                Ask::Takeover(socket) => return socket,
                // One that asks for the drain is heard when this is over; for another upgrade, told to wait by the door.
                Ask::Drain => {
                    tracing::warn!("the drain was asked for during an upgrade: ask again")
                }
                Ask::Upgrade { answer, .. } => {
                    let _ = answer.send(Err("another upgrade is under way".to_owned()));
                }
            }
        }
    };
    tokio::select! {
        asks = timeout(ASKS_WITHIN, asks) => match asks {
            Ok(socket) => {
                if let Some(mut child) = starting.0.take() {
                    // It is reaped, should it end before this process.
                    tokio::spawn(async move { child.wait().await });
                }
                Ok(socket)
            }
            Err(_) => {
                bail!("{} did not ask to take over within {ASKS_WITHIN:?}", program.display())
            }
        },
        status = child.wait() => bail!(
            "{} did not take over: {}; why is on its stderr, or in its log",
            program.display(),
            status?
        ),
    }
}

/// One that has not asked yet; it is killed if nobody waits for that any more.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // One that has ended cannot be killed, and need not be.
            let _ = child.start_kill();
        }
    }
}

/// The arguments of a successor: those of this process, but not whom it took over from itself.
fn arguments(own: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut kept = Vec::new();
    let mut own = own;
    while let Some(argument) = own.next() {
        let text = argument.to_string_lossy();
        if text == "--takeover" {
            own.next();
        } else if !text.starts_with("--takeover=") {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_gets_the_same_arguments_but_not_whom_this_process_took_over_from() {
        let given = |text: &str| -> Vec<std::ffi::OsString> {
            arguments(text.split(' ').map(std::ffi::OsString::from))
        };
        let plain = ["run", "--config", "a.toml"];
        assert_eq!(given("run --config a.toml"), plain);
        assert_eq!(given("run --takeover x.sock --config a.toml"), plain);
        assert_eq!(given("run --takeover=x.sock --config a.toml"), plain);
        assert_eq!(given("run --config a.toml --takeover x.sock"), plain);
    }
}
