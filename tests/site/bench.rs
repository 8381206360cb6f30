//! `unmangle bench` as processes: a server, loads, and what they say. None of them outlives its time.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::UNMANGLE;

/// Longer than anything here takes on a machine that has a lot to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is watched: it ends in time, or is killed and the test fails.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// What a process has left.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A `bench serve`, and where it listens.
pub struct Serve {
    running: Running,
    pub addresses: Vec<SocketAddr>,
}

/// `unmangle bench` with these words.
pub fn bench(words: &str) -> Command {
    arguments(Command::new(UNMANGLE), words)
}

/// The same with limits or another set-up of a shell's.
pub fn bench_after(set_up: &str, words: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{set_up}; exec \"$@\""), "sh", UNMANGLE]);
    arguments(command, words)
}

/// Adds `bench` and these words.
pub fn arguments(mut command: Command, words: &str) -> Command {
    command.arg("bench").args(words.split_whitespace());
    command
}

/// One load that is to print its report in JSON, run to its end.
pub fn run(words: &str) -> Ended {
    Running::start(bench(&format!("run --json {words}"))).end()
}

// === impl Running ===

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = said.send(line.unwrap());
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
        }
    }

    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line on stdout")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended by itself.
    pub fn end(mut self) -> Ended {
        let begun = Instant::now();
        while !self.has_ended() {
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.id());
            std::thread::sleep(Duration::from_millis(5));
        }
        let lines: Vec<String> = self.lines.iter().collect();
        Ended {
            status: self.child.wait().unwrap(),
            stdout: lines.join("\n"),
            stderr: self.errors.take().unwrap().join().unwrap(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Ended ===

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The report, whatever the exit code.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The report of a load of which nothing is to be said on stderr.
    pub fn faultless(&self) -> Value {
        assert_eq!(
            (self.code(), self.stderr.as_str()),
            (Some(0), ""),
            "{self:?}"
        );
        let report = self.report();
        for part in parts(&report) {
            assert_eq!(part["errors"], serde_json::json!({}), "{part}");
        }
        report
    }

    /// The report of a load in which something went wrong: how often each of the kinds was counted. Of
    /// each there is one line on stderr, with the words that name it, and no other line.
    pub fn faults(&self, kinds: &[(&str, &str)]) -> Vec<u64> {
        assert_eq!(self.code(), Some(1), "{self:?}");
        let report = self.report();
        let mut counted = serde_json::Map::new();
        for part in parts(&report) {
            for (kind, times) in part["errors"].as_object().unwrap() {
                let before = counted.get(kind).and_then(Value::as_u64).unwrap_or(0);
                counted.insert(kind.clone(), (before + times.as_u64().unwrap()).into());
            }
        }
        let mut known: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        known.sort();
        assert_eq!(counted.keys().collect::<Vec<_>>(), known, "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), kinds.len(), "{self:?}");
        for (_, words) in kinds {
            let fitting = lines.iter().filter(|line| line.contains(words)).count();
            assert_eq!(fitting, 1, "{words:?}: {self:?}");
        }
        assert!(lines.iter().all(|line| line.starts_with("unmangle: ")));
        kinds
            .iter()
            .map(|(kind, _)| counted[*kind].as_u64().unwrap())
            .collect()
    }

    /// What a request that makes no sense is refused with: exit code 2, nothing on stdout.
    pub fn refusal(&self) -> &str {
        assert_eq!(
            (self.code(), self.stdout.as_str()),
            (Some(2), ""),
            "{self:?}"
        );
        &self.stderr
    }
}

// === impl Serve ===

impl Serve {
    /// On these addresses, `--listen` each, and with these other words.
    pub fn on(listen: &[&str], words: &str) -> Self {
        let mut line = format!("serve {words}");
        for address in listen {
            line += &format!(" --listen {address}");
        }
        Self::start(bench(&line), listen.len())
    }

    /// On one port of 127.0.0.1.
    pub fn start_one(words: &str) -> Self {
        Self::on(&["127.0.0.1:0"], words)
    }

    /// Starts a command that is to listen on so many addresses.
    pub fn start(command: Command, listeners: usize) -> Self {
        let running = Running::start(command);
        let addresses = (0..listeners).map(|_| {
            let line = running.line();
            let address = line.strip_prefix("listening ").expect(&line);
            address.parse().unwrap()
        });
        Self {
            addresses: addresses.collect(),
            running,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Ends it by a signal, and sees that it ends in order. Returns what it said on stderr.
    pub fn stop(self) -> String {
        self.running.signal(Signal::TERM);
        let ended = self.running.end();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        ended.stderr
    }
}

// === reading a report ===

/// The parts of all paths.
pub fn parts(report: &Value) -> Vec<&Value> {
    let paths = report["paths"].as_array().unwrap().iter();
    paths
        .flat_map(|path| path["parts"].as_array().unwrap())
        .collect()
}

/// The only part of a report.
pub fn part(report: &Value) -> &Value {
    let parts = parts(report);
    assert_eq!(parts.len(), 1, "{report}");
    parts[0]
}

/// A number in it, such as `/latency/count`.
pub fn number(value: &Value, at: &str) -> u64 {
    let found = value.pointer(at).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{at} in {value}"))
}
