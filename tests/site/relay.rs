//! The relay as a process: its log, its table of counters, its descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use unmangle::lab::{Lab, Process, Role};
use unmangle::metrics::Counters;

use super::{PATIENCE, UNMANGLE, until};

/// A relay that runs, with two workers; dropped, it is killed.
pub struct Relay {
    process: Process,
}

/// A row of the table of times.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub count: usize,
    /// p50, p90, p99, p99.9 and the longest, in seconds.
    pub times: Vec<f64>,
}

/// Open descriptors by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptors {
    pub sockets: usize,
    /// Ends of pipes.
    pub pipes: usize,
    pub others: usize,
}

/// Two free pipes of two ends each, for each of two workers.
const FREE_PIPE_ENDS: usize = 8;

// === impl Relay ===

impl Relay {
    /// Starts one and waits until it relays; `more` comes last, and wins.
    pub fn start(lab: &Lab, more: &[&str]) -> Self {
        Self::start_by(lab, &[], more)
    }

    /// The same, started by another program, such as `["nice", "-n", "5"]`.
    pub fn start_by(lab: &Lab, starter: &[&str], more: &[&str]) -> Self {
        let mut relay = Self::launch(lab, starter, more);
        relay.process.ready("\"relaying\"", PATIENCE).unwrap();
        relay
    }

    /// The same, on another host.
    pub fn start_on(lab: &Lab, role: Role, more: &[&str]) -> Self {
        let mut relay = Self::launch_on(lab, role, &[], more);
        relay.process.ready("\"relaying\"", PATIENCE).unwrap();
        relay
    }

    /// Starts one and waits for nothing.
    pub fn launch(lab: &Lab, starter: &[&str], more: &[&str]) -> Self {
        Self::launch_on(lab, Role::Relay, starter, more)
    }

    fn launch_on(lab: &Lab, role: Role, starter: &[&str], more: &[&str]) -> Self {
        let line = [starter, &[UNMANGLE, "run"]].concat();
        let mut command = lab.host(role).command(line[0]);
        command.args(&line[1..]);
        command.args(["--workers", "2"]);
        // What says itself where connections come from gets no listener for port 22 behind a PIX.
        let complete = more.contains(&"--config") || more.contains(&"--listen");
        let gateway = [
            ("--mangled-side", "fw0"),
            ("--intercept", "22"),
            ("--profile", "cisco-pix"),
        ];
        let listener = gateway.iter().filter(|_| !complete);
        for (flag, value) in listener.chain(&[("--log-format", "json")]) {
            if !more.contains(flag) {
                command.args([flag, value]);
            }
        }
        // Each has a log of its own.
        let number = rand::random::<u32>();
        let log = lab.directory().join(format!("relay-{number:08x}.log"));
        let process = Process::start("relay", command.args(more), &log).unwrap();
        Self { process }
    }

    /// Starts one on this host, which needs no privilege for what it is told, and waits until it relays. Its log is
    /// in `directory`.
    pub fn start_here(directory: &Path, starter: &[&str], more: &[&str]) -> Self {
        let line = [starter, &[UNMANGLE, "run"]].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        command.args(["--log-format", "json"]);
        if !more.contains(&"--workers") {
            command.args(["--workers", "2"]);
        }
        let log = directory.join("relay.log");
        let mut process = Process::start("relay", command.args(more), &log).unwrap();
        process.ready("\"relaying\"", PATIENCE).unwrap();
        Self { process }
    }

    /// Where it listens: the first of its ways in.
    pub fn listens_at(&self) -> SocketAddr {
        let way = self.events("relaying")[0]["way"].clone();
        let address = way.as_str().unwrap().split(' ').next().unwrap();
        address.parse().unwrap()
    }

    /// Where its admin answers by TCP.
    pub fn admin(&self) -> SocketAddr {
        let events = self.events("answering");
        let mut places = events
            .iter()
            .filter_map(|event| event["admin"].as_str()?.parse().ok());
        places
            .next()
            .unwrap_or_else(|| panic!("no admin by TCP in {}", self.log()))
    }

    /// Starts a sidecar for port 22 on an end host, and waits until it relays.
    pub fn sidecar(lab: &Lab, role: Role, mode: &str, more: &[&str]) -> Self {
        let mut relay = Self::launch_sidecar(lab, role, &[], mode, more);
        relay.process.ready("\"relaying\"", PATIENCE).unwrap();
        relay
    }

    /// Starts one by another program, and waits for nothing.
    pub fn launch_sidecar(
        lab: &Lab,
        role: Role,
        starter: &[&str],
        mode: &str,
        more: &[&str],
    ) -> Self {
        let line = [starter, &[UNMANGLE, "run", "--mode", mode]].concat();
        let mut command = lab.host(role).command(line[0]);
        command.args(&line[1..]);
        command.args(["--workers", "2", "--log-format", "json"]);
        let device = role.interfaces()[0].device;
        let usual = [
            ("--mangled-side", device),
            ("--intercept", "22"),
            ("--profile", "cisco-pix"),
        ];
        for (flag, value) in usual {
            if !more.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let number = rand::random::<u32>();
        let log = lab.directory().join(format!("{mode}-{number:08x}.log"));
        let process = Process::start(mode, command.args(more), &log).unwrap();
        Self { process }
    }

    /// Waits until it relays.
    pub fn ready(&mut self) {
        self.process.ready("\"relaying\"", PATIENCE).unwrap();
    }

    /// Sees that it refuses: exit code 2 and one line, which is returned.
    pub fn refused(mut self) -> String {
        let code = self.exit_code();
        let log = self.log();
        assert_eq!(code, Some(2), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        log.trim_end().to_owned()
    }

    /// Starts one that must refuse: exit code 2 and one line, which is returned.
    pub fn refusal(lab: &Lab, starter: &[&str], more: &[&str]) -> String {
        let mut relay = Self::launch(lab, starter, more);
        let code = relay.exit_code();
        let log = relay.log();
        assert_eq!(code, Some(2), "{more:?}: {log}");
        assert_eq!(log.lines().count(), 1, "{more:?}: {log}");
        log.trim_end().to_owned()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.ended().unwrap().is_some()
    }

    /// Waits for its end and returns its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        let status = self.process.wait(PATIENCE).unwrap();
        status.expect("the relay ends").code()
    }

    /// Asks it to end and sees that it does so in order.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.exit_code(), Some(0), "{}", self.log());
        self.log()
    }

    /// Lines of the log that are events with this message.
    pub fn events(&self, message: &str) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["message"] == message)
            .collect()
    }

    /// Waits until this many sessions have ended, and returns their lines.
    pub fn ended(&self, sessions: usize) -> Vec<Value> {
        let count = || self.events("session ended").len();
        until("sessions end and are logged", PATIENCE, || {
            count() >= sessions
        });
        self.events("session ended")
    }

    /// Waits for the line of the session that this client had.
    pub fn ended_for(&self, client: SocketAddr) -> Value {
        let find = || {
            let events = self.events("session ended");
            let client = client.to_string();
            events.into_iter().find(|event| event["client"] == client)
        };
        until("the session ends and is logged", PATIENCE, || {
            find().is_some()
        });
        find().unwrap()
    }

    /// One on this host that leads to a server, and can be asked at a port.
    pub fn in_front_of(server: SocketAddr, directory: &Path) -> Self {
        let to = server.to_string();
        let listen = ["--listen", "127.0.0.1:0", "--to", &to];
        let words = [&listen[..], &["--admin", "127.0.0.1:0"]].concat();
        Self::start_here(directory, &[], &words)
    }

    /// The table as it stands now, by name: counters, and how often each time was recorded.
    pub fn table(&self) -> BTreeMap<String, u64> {
        let before = tables(&self.log()).len();
        self.signal(Signal::USR1);
        until("the table is printed", PATIENCE, || {
            tables(&self.log()).len() > before
        });
        tables(&self.log()).pop().unwrap()
    }

    /// What it holds, at a moment at which it is not just starting or ending a program of its own: it
    /// looks at its routes by `ip` every second.
    pub fn descriptors(&self) -> Descriptors {
        let begun = std::time::Instant::now();
        loop {
            let first = self.look();
            let alike = (0..3).all(|_| {
                std::thread::sleep(Duration::from_millis(10));
                self.look() == first
            });
            let (open, programs) = first;
            // Its nft is always there.
            if (alike && programs <= 1) || begun.elapsed() > PATIENCE {
                return open;
            }
        }
    }

    /// Open descriptors, and how many of them stand for programs that it has started.
    fn look(&self) -> (Descriptors, usize) {
        let mut open = Descriptors::default();
        let mut programs = 0;
        for entry in fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .flatten()
        {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let target = target.to_string_lossy();
            programs += usize::from(target.contains("pidfd"));
            match target.split(':').next() {
                Some("socket") => open.sockets += 1,
                Some("pipe") => open.pipes += 1,
                _ => open.others += 1,
            }
        }
        (open, programs)
    }

    /// Sees that nothing is left of the sessions there were since `before`, free pipes aside.
    pub fn holds_no_more_than(&self, before: Descriptors) {
        let mut now = Descriptors::default();
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            now = self.descriptors();
            if now.sockets <= before.sockets
                && now.others <= before.others
                && now.pipes <= before.pipes + FREE_PIPE_ENDS
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("descriptors are left: {before:?} before, {now:?} now");
    }

    /// Memory that is really there, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Time on a processor, in ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // The name in brackets may hold anything; user and system time are 12 fields after it.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// The process that owns the rules.
    pub fn rule_owner(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().find_map(|child| {
            let child = child.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (name.trim() == "nft").then_some(child)
        })
    }
}

/// Every table in a log, first to last; a table is complete with its last counter.
fn tables(log: &str) -> Vec<BTreeMap<String, u64>> {
    let mut tables = Vec::new();
    let mut table = BTreeMap::new();
    for line in log.lines().filter(|line| !line.starts_with('{')) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| word.parse::<u64>().is_ok()) {
            table.insert(words[..at].join(" "), words[at].parse().unwrap());
        }
        if words.first() == Some(&"everything") {
            // Those that have counted nothing are not told.
            for (name, ..) in Counters::default().named() {
                table.entry(name.to_owned()).or_insert(0);
            }
            add_both_ways(&mut table);
            tables.push(std::mem::take(&mut table));
        }
    }
    tables
}

/// The last row of this name in the tables of a log.
pub fn row(log: &str, name: &str) -> Row {
    let line = log
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in {log}"));
    let mut words = line.trim_start()[name.len()..].split_whitespace();
    let count = words.next().unwrap().parse().unwrap();
    let words: Vec<&str> = words.collect();
    let times = words.chunks(2).map(|time| {
        let unit = match time[1] {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            unit => panic!("{unit} in {line}"),
        };
        time[0].parse::<f64>().unwrap() * unit
    });
    let times = times.collect();
    Row { count, times }
}

/// What is counted for each direction, and not in all, is in the table as a sum, too: `splices`, `copies`.
fn add_both_ways(table: &mut BTreeMap<String, u64>) {
    let there = table.iter().filter_map(|(name, count)| {
        let stem = name.strip_suffix("_client_to_server")?;
        Some((
            stem.to_owned(),
            count + table.get(&format!("{stem}_server_to_client"))?,
        ))
    });
    for (stem, sum) in there.collect::<Vec<_>>() {
        table.entry(stem).or_insert(sum);
    }
}
