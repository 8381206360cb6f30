//! A network namespace of a test's own, sound at first, and what `unmangle doctor` says of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};

use rustix::thread::LinkNameSpaceType;
use serde_json::Value;
use tempfile::TempDir;

use super::site;

/// A gateway between two interfaces on which nothing is wrong, whatever the host around it is set to.
const SOUND: &str = "set -e
    echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode
    ip link set lo up
    ip link add fw0 type veth peer name fw1
    ip link add long0 type veth peer name long1
    ip link set fw1 up
    ip link set long1 up
    ip link set fw0 up
    ip link set long0 up
    ip addr add 10.1.0.1/24 dev fw0
    ip addr add 10.2.0.1/24 dev long0
    cd /proc/sys/net
    for each in ipv4/conf/*; do
        echo 0 > $each/rp_filter
        echo 0 > $each/src_valid_mark
    done
    echo 1 > ipv4/ip_forward
    echo 1 > ipv6/conf/all/forwarding
    echo 0 > ipv4/tcp_fwmark_accept
    echo 1 > ipv4/tcp_sack
    echo 1 > ipv4/tcp_window_scaling
    echo 1 > ipv4/tcp_timestamps
    echo '32768 60999' > ipv4/ip_local_port_range
    echo 4096 > core/somaxconn
    echo 0 > netfilter/nf_conntrack_tcp_be_liberal
    echo 1 > netfilter/nf_conntrack_tcp_loose
    echo 1 > netfilter/nf_conntrack_checksum
    echo 0 > netfilter/nf_conntrack_log_invalid
    cd /
    echo ready
    exec cat";

/// A gateway for SSH of both families, whose mangled leg has no SACK.
pub const GATEWAY: &str = "[[listener]]
intercept = [22]
mangled-side = \"fw0\"
profile = \"cisco-pix\"
";

/// One namespace. It is gone when this is dropped.
pub struct Namespace {
    /// Ends when its stdin closes.
    holder: Child,
    directory: TempDir,
}

/// What was said.
pub struct Told {
    pub report: Value,
    pub exit: i32,
}

// === impl Namespace ===

impl Namespace {
    /// A sound one, unless namespaces cannot be made here; in CI they must.
    pub fn sound() -> Option<Self> {
        if !site::possible() {
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", SOUND])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n", "it was not set up");
        let directory = tempfile::tempdir().unwrap();
        Some(Self { holder, directory })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A program in it; every session is allowed its descriptors, whatever the host around it allows.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        command
            .args(["prlimit", "--nofile=8192:8192", "--"])
            .args(words);
        command
    }

    /// What a shell prints there; it must succeed.
    pub fn shell(&self, script: &str) -> String {
        let script = format!("set -e; {script}");
        let output = self.command(&["sh", "-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Does something in a thread that has entered it.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                act()
            });
            there.join().unwrap()
        })
    }

    /// The words of `unmangle doctor` for this configuration, if one is given.
    pub fn words(&self, config: &str, more: &[&str]) -> Vec<String> {
        let mut words = vec![site::UNMANGLE.to_owned(), "doctor".to_owned()];
        if !config.is_empty() {
            let path = self.directory.path().join("unmangle.toml");
            fs::write(&path, config).unwrap();
            words.extend(["--config".to_owned(), path.display().to_string()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    /// What the doctor prints, asked by another program if `by` names one.
    pub fn run(&self, by: &[&str], config: &str, more: &[&str]) -> Output {
        let words = self.words(config, more);
        let words: Vec<&str> = by
            .iter()
            .copied()
            .chain(words.iter().map(String::as_str))
            .collect();
        self.command(&words).output().unwrap()
    }

    /// What the doctor says, without a wait for counters.
    pub fn doctor(&self, config: &str) -> Told {
        self.doctor_by(&[], config, "0")
    }

    /// The same, by another program, and with counters watched for some seconds.
    pub fn doctor_by(&self, by: &[&str], config: &str, seconds: &str) -> Told {
        let output = self.run(by, config, &["--json", "--seconds", seconds]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "nothing goes wrong");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let exit = output.status.code().unwrap();
        let told = Told { report, exit };
        assert_eq!(told.exit, i32::from(told.report["problems"] != 0));
        told
    }

    /// Sees that something is not found at first, is found once it was planted, and, where a command is told that
    /// mends it, is found no more after that.
    pub fn plant(&self, script: &str, expected: &Expected) {
        let Expected { id, config, .. } = *expected;
        let before = self.doctor(config);
        let ill = before.findings(id, |status| status != "ok");
        assert_eq!(ill, Vec::<Value>::new(), "before it was planted");
        self.shell(script);
        let found = self.doctor(config).expect(expected);
        if expected.mended {
            let command = found["now"].as_str().expect("a command that mends it");
            self.shell(&command.replace("unmangle ", &format!("{} ", site::UNMANGLE)));
            let after = self.doctor(config);
            let ill = after.findings(id, |status| status != "ok");
            assert_eq!(ill, Vec::<Value>::new(), "after {command}");
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

/// What has to be found.
#[derive(Clone, Copy)]
pub struct Expected {
    pub id: &'static str,
    pub status: &'static str,
    /// Every word is in the sentence.
    pub words: &'static [&'static str],
    /// The configuration that is judged, if one is.
    pub config: &'static str,
    /// Whether the command that is told mends it.
    pub mended: bool,
}

/// A problem that has to be found.
pub const fn problem(id: &'static str, words: &'static [&'static str]) -> Expected {
    Expected {
        id,
        status: "problem",
        words,
        config: "",
        mended: false,
    }
}

/// A note that has to be found.
pub const fn note(id: &'static str, words: &'static [&'static str]) -> Expected {
    Expected {
        status: "note",
        ..problem(id, words)
    }
}

// === impl Expected ===

impl Expected {
    /// For a relay with this configuration.
    pub const fn with(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    /// The command that is told mends it.
    pub const fn mended(self) -> Self {
        Self {
            mended: true,
            ..self
        }
    }
}

// === impl Told ===

impl Told {
    /// What was found under this name, if its status is one of those that are meant.
    pub fn findings(&self, id: &str, status: impl Fn(&str) -> bool) -> Vec<Value> {
        let all = self.report["findings"].as_array().unwrap().iter();
        let named = all.filter(|finding| finding["id"] == id);
        named
            .filter(|finding| status(finding["status"].as_str().unwrap()))
            .cloned()
            .collect()
    }

    /// The problems, one a line.
    pub fn problems(&self) -> String {
        let all = self.report["findings"].as_array().unwrap().iter();
        let problems = all.filter(|finding| finding["status"] == "problem");
        problems.map(|finding| format!("{finding}\n")).collect()
    }

    /// Names of what was not seen.
    pub fn unseen(&self) -> Vec<String> {
        let all = self.report["unseen"].as_array().unwrap().iter();
        all.map(|unseen| unseen["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The finding that has to be there.
    #[track_caller]
    pub fn expect(&self, expected: &Expected) -> Value {
        let found = self.findings(expected.id, |status| status == expected.status);
        let says = |finding: &&Value| {
            let sentence = finding["sentence"].as_str().unwrap();
            expected.words.iter().all(|word| sentence.contains(word))
        };
        let Some(finding) = found.iter().find(says) else {
            panic!(
                "{} {:?} is not in {:#}",
                expected.id, expected.words, self.report
            );
        };
        if expected.status == "problem" {
            assert_eq!(self.exit, 1);
        }
        finding.clone()
    }
}
