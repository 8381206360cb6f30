//! A relay that is replaced by another process, and that one by the next.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use unmangle::lab::{Lab, Role};

use super::{PATIENCE, Relay, UNMANGLE, until};

/// A relay, and whoever came in its place; dropped, whoever is the last is killed.
pub struct Upgrades {
    /// The first.
    pub relay: Relay,
    socket: PathBuf,
    /// Where it runs.
    on: Role,
    /// Who relays now.
    now: Pid,
}

/// How an upgrade went.
#[derive(Debug)]
pub struct Went {
    /// Sessions that have gone over.
    pub sessions: u64,
    /// Sessions that stayed.
    pub left: u64,
}

// === impl Upgrades ===

impl Upgrades {
    /// Starts the first on the relay host.
    pub fn start(lab: &Lab, more: &[&str]) -> Self {
        Self::start_by(lab, &[], more)
    }

    /// The same, started by another program.
    pub fn start_by(lab: &Lab, starter: &[&str], more: &[&str]) -> Self {
        let socket = lab.directory().join("upgrades.sock");
        let admin = ["--admin", socket.to_str().unwrap()];
        let relay = Relay::start_by(lab, starter, &[&admin, more].concat());
        Self::of(relay, socket, Role::Relay)
    }

    /// Starts a sidecar for port 22 on an end host.
    pub fn sidecar(lab: &Lab, on: Role, mode: &str) -> Self {
        let socket = lab.directory().join(format!("{mode}.sock"));
        let admin = ["--admin", socket.to_str().unwrap()];
        Self::of(Relay::sidecar(lab, on, mode, &admin), socket, on)
    }

    fn of(relay: Relay, socket: PathBuf, on: Role) -> Self {
        let now = Pid::from_raw(relay.id() as i32).unwrap();
        Self {
            relay,
            socket,
            on,
            now,
        }
    }

    /// Where it can be asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process that relays now.
    pub fn pid(&self) -> u32 {
        self.now.as_raw_nonzero().get() as u32
    }

    fn ask(&self, lab: &Lab, more: &[&str]) -> Output {
        let mut command: Command = lab.host(self.on).command(UNMANGLE);
        command.args(["upgrade", "--json", "--admin"]);
        command.arg(&self.socket).args(more).output().unwrap()
    }

    /// Has it replaced.
    pub fn upgrade(&mut self, lab: &Lab) -> Went {
        self.upgrade_to(lab, None).unwrap()
    }

    /// Has it replaced by a program; or what is said to that.
    pub fn upgrade_to(&mut self, lab: &Lab, program: Option<&Path>) -> Result<Went, String> {
        let program = program.map(|path| ["--program", path.to_str().unwrap()]);
        let output = self.ask(lab, program.as_ref().map_or(&[], |words| &words[..]));
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |name: &str| told[name].as_u64().unwrap();
        self.now = Pid::from_raw(number("pid") as i32).unwrap();
        Ok(Went {
            sessions: number("sessions"),
            left: number("left"),
        })
    }

    /// Ends the one that relays now, in order, and waits until it is gone.
    pub fn stop(self) {
        kill_process(self.now, Signal::TERM).unwrap();
        let now = self.now;
        until("the last one ends", PATIENCE, || !is_there(now));
    }
}

/// Whether a process is there, and no zombie.
fn is_there(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && stat.is_ok_and(|stat| !stat.contains(") Z "))
}

impl Drop for Upgrades {
    fn drop(&mut self) {
        // One that has ended in order needs no killing.
        if is_there(self.now) {
            let _ = kill_process(self.now, Signal::KILL);
        }
    }
}
