//! A Debian that boots: systemd and its services in a container, in the network namespace of a lab's host.
//!
//! All of them begin with the same files, and keep what they change to themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use unmangle::lab::{Host, Process};
use unmangle::sys::child::die_with_parent;

use super::{PATIENCE, UNMANGLE, until};

/// What is in it beside the minimum; what is tested with it has to be there, because it has no way to the outside.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,adduser,procps,iproute2,nftables,iptables,ufw,firewalld,\
                        netcat-openbsd";

/// A machine that runs; dropped, it is gone with everything in it.
pub struct Machine {
    /// systemd-nspawn.
    container: Process,
    /// Its process 1, as it is called out here.
    init: u32,
    /// Files that are seen in the machine, too.
    shared: tempfile::TempDir,
}

/// Where [`Machine::shared`] is in the machine.
pub const SHARED: &str = "/mnt/shared";

// === impl Machine ===

impl Machine {
    /// Boots one, in the network of this host.
    pub fn boot(host: &Host) -> Self {
        let shared = tempfile::tempdir().unwrap();
        let name = format!("um{:08x}", rand::random::<u32>());
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--quiet", "--register=no", "--keep-unit"])
            .args(["--console=pipe", "--boot", "--volatile=overlay"])
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", root().display()))
            .arg(format!(
                "--network-namespace-path=/run/netns/{}",
                host.netns()
            ))
            .arg("--capability=CAP_NET_ADMIN,CAP_NET_RAW")
            .arg(format!("--bind={}:{SHARED}", shared.path().display()))
            // The hybrid hierarchy of older hosts cannot be had inside.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        die_with_parent(&mut command);
        let log = shared.path().with_extension("console");
        let container = Process::start("machine", &mut command, &log).unwrap();
        let mut machine = Self {
            init: 0,
            container,
            shared,
        };
        until("the machine has a process 1", PATIENCE, || {
            machine.is_there();
            machine.init = machine.child().unwrap_or(0);
            machine.init != 0
        });
        until("it has booted", PATIENCE, || {
            machine.is_there();
            let state = machine.output("systemctl", &["is-system-running"]).stdout;
            state.starts_with(b"running") || state.starts_with(b"degraded")
        });
        machine
    }

    fn is_there(&mut self) {
        let ended = self.container.ended().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", self.container.log());
    }

    /// The process that the container has, once there is one.
    fn child(&self) -> Option<u32> {
        let id = self.container.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().find_map(|child| {
            // Before it there is one that makes it, and leaves.
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (name.trim_end() == "systemd").then(|| child.parse().ok())?
        })
    }

    /// A directory that is [`SHARED`] in the machine.
    pub fn shared(&self) -> &Path {
        self.shared.path()
    }

    /// Its own binary of the relay, as by an installation.
    pub fn install_unmangle(&self) {
        fs::copy(UNMANGLE, self.shared().join("unmangle")).unwrap();
        let from = format!("{SHARED}/unmangle");
        self.run("install", &["-m", "755", &from, "/usr/bin/unmangle"]);
    }

    /// The units, the user and the directories, as by an installation; nothing is started.
    pub fn install_units(&self) {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        for (from, to) in [
            (
                "sysusers.d/unmangle.conf",
                "/usr/lib/sysusers.d/unmangle.conf",
            ),
            (
                "tmpfiles.d/unmangle.conf",
                "/usr/lib/tmpfiles.d/unmangle.conf",
            ),
            (
                "systemd/unmangle.service",
                "/usr/lib/systemd/system/unmangle.service",
            ),
            (
                "systemd/unmangle@.service",
                "/usr/lib/systemd/system/unmangle@.service",
            ),
        ] {
            self.write(to, &fs::read_to_string(deploy.join(from)).unwrap());
        }
        self.run("systemd-sysusers", &[]);
        self.run("systemd-tmpfiles", &["--create", "unmangle.conf"]);
        self.run("systemctl", &["daemon-reload"]);
    }

    /// The number out here of a process of the machine.
    pub fn outside(&self, pid: u32) -> u32 {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
        let own = namespace(&self.init.to_string());
        let mut numbers = all.filter_map(|entry| entry.file_name().into_string().ok());
        let is_it = |number: &String| {
            let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
            let mut lines = status
                .lines()
                .filter_map(|line| line.strip_prefix("NSpid:"));
            let inner = lines.next().and_then(|ids| ids.split_whitespace().last());
            inner == Some(&pid.to_string()) && namespace(number) == own
        };
        let found = numbers.find(is_it).expect("there is such a process");
        found.parse().unwrap()
    }

    /// Writes a file there.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.shared().join("written"), text).unwrap();
        let from = format!("{SHARED}/written");
        self.run("install", &["-D", "-m", "644", &from, path]);
    }

    /// A command that will run there, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        // Nothing of this machine's but what it is told.
        command.arg("--root").arg("--wd").args(["--", program]);
        command.env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        die_with_parent(&mut command);
        command
    }

    /// Runs a program there to its end, whatever that is.
    pub fn output(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().unwrap()
    }

    /// Runs a program there to its end, and returns what it printed.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.output(program, args);
        assert!(
            output.status.success(),
            "{program} {args:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A property of a unit, as `systemctl show` has it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let told = self.run("systemctl", &["show", unit, "--value", "-p", name]);
        told.trim_end().to_owned()
    }

    /// What a unit has logged.
    pub fn journal(&self, unit: &str) -> String {
        self.run("journalctl", &["--no-pager", "-o", "cat", "-u", unit])
    }
}

/// The files that machines begin with, made by the first that asks: a minimal Debian, the same as this one.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        fs::create_dir_all(&target).unwrap();
        // Other tests may want the same.
        let lock = File::create(target.join("machine.lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let root = target.join("machine");
        let has = fs::read_to_string(root.join("etc/unmangle-test-packages"));
        if has.is_ok_and(|has| has == PACKAGES) {
            return root;
        }
        let making = target.join("machine.making");
        for stale in [&making, &root] {
            if stale.exists() {
                fs::remove_dir_all(stale).unwrap();
            }
        }
        debootstrap(&making, &["--variant=minbase", "--include", PACKAGES]);
        fs::write(making.join("etc/unmangle-test-packages"), PACKAGES).unwrap();
        fs::rename(&making, &root).unwrap();
        root
    })
}

/// Makes the files of a minimal Debian, of the release and from the mirror that this host has.
pub fn debootstrap(root: &Path, how: &[&str]) {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let release = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .expect("a release with a name");
    let said = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args(["Created-By: Packages", &format!("Codename: {release}")])
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let mirror = said.lines().next().expect("apt knows a mirror");
    let mut command = Command::new("debootstrap");
    command.args(how).arg(release).arg(root).arg(mirror);
    let output = command.env("LC_ALL", "C").output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
