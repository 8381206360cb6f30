//! A lab put up by an ordinary user, in a user namespace.
//!
//! The user is one that only these tests know: `/etc/passwd` and `/dev/net/tun` are covered in a mount
//! namespace of the test's own, so that nothing of the machine is changed. Making that needs root,
//! and without it the tests are skipped except in CI.

mod site;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use unmangle::lab::{Invalid, Outcome, Row};

use site::{UNMANGLE, possible};

/// Becomes the user, with no privilege left, and runs the rest. `$1` is the directory with the user's
/// things, `$2` the user's number.
const AS_USER: &str = r#"
set -e
# As where /home or /tmp is a file system of its own.
mount --bind "$1" "$1"
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs tmpfs "$1/dev"
mknod -m "$3" "$1/dev/tun" c 10 200
mount --bind "$1/dev/tun" /dev/net/tun
directory=$1 user=$2
shift 3
cd "$directory/home"
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all \
    env HOME="$directory/home" "$directory/unmangle" "$@"
"#;

/// An ordinary user of this machine, for as long as the test runs.
struct User {
    directory: tempfile::TempDir,
    number: u32,
}

impl User {
    fn new(number: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path.join("dev")).unwrap();
        let home = path.join("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(number), Some(number)).unwrap();
        fs::copy(UNMANGLE, path.join("unmangle")).unwrap();
        let others = fs::read_to_string("/etc/passwd").unwrap();
        let line = format!("um-test:x:{number}:{number}::{}:/bin/sh\n", home.display());
        fs::write(path.join("passwd"), others + &line).unwrap();
        Self { directory, number }
    }

    fn unmangle(&self, tun_mode: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", AS_USER, "sh"])
            .arg(self.directory.path())
            .args([&self.number.to_string(), tun_mode])
            .args(arguments);
        command
    }

    /// Runs it with a TUN device that is open to all, as distributions have it; `None` where the
    /// machine forbids user namespaces.
    fn run(&self, arguments: &[&str]) -> Option<Output> {
        let ended = self.unmangle("666", arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        if ended.status.code() == Some(2) && stderr.contains("forbids") {
            println!("skipped: {stderr}");
            return None;
        }
        Some(ended)
    }

    /// How many processes of this user run.
    fn processes(&self) -> usize {
        let uid = format!("Uid:\t{}\t", self.number);
        let runs = |directory: &Path| {
            let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
            status.contains(&uid) && !status.contains("State:\tZ")
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter(|process| runs(&process.path())).count()
    }

    /// Waits until this user has as many processes as that.
    fn wait_until(&self, what: &str, enough: impl Fn(usize) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !enough(self.processes()) {
            assert!(Instant::now() < deadline, "{what}: {}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn an_ordinary_user_sees_the_fault_and_the_cure() {
    if !possible() {
        return;
    }
    let user = User::new(54_321);
    let arguments = "lab run pix --path direct,relay,normalise --size 5M --timeout 10s --json";
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let Some(ended) = user.run(&arguments) else {
        return;
    };
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{stderr}");
    let rows: Vec<Row> = serde_json::from_slice(&ended.stdout).unwrap();
    let outcomes: Vec<_> = rows.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Reset, Outcome::Ok, Outcome::Ok]);
    assert_eq!(rows[1].conntrack_invalid, Invalid::default());
    user.wait_until("still running", |processes| processes == 0);
}

#[test]
fn an_ordinary_user_has_every_tool_and_a_report() {
    if !possible() {
        return;
    }
    let user = User::new(54_322);
    let arguments = "lab run pix --path relay --tool scp,sftp,rsync-ssh,rsync-daemon --size 2M \
                     --family 6 --opened-from server --json --report report";
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let Some(ended) = user.run(&arguments) else {
        return;
    };
    let rows: Vec<Row> = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter().all(|row| row.outcome == Outcome::Ok),
        "{rows:?}"
    );
    let report = user.directory.path().join("home/report");
    assert!(
        report
            .join("004-pix-relay-rsync-daemon-upload-ipv6-run1/server.pcap")
            .exists()
    );
}

#[test]
fn a_tun_device_that_is_closed_is_named_with_what_opens_it() {
    if !possible() {
        return;
    }
    let user = User::new(54_323);
    let ended = user.unmangle("600", &["lab", "run"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("chmod 666 /dev/net/tun"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn what_a_killed_lab_of_a_user_left_running_is_ended_by_the_next_command() {
    if !possible() {
        return;
    }
    let user = User::new(54_324);
    if user
        .run(&["lab", "run", "clean", "--path", "direct", "--size", "1k"])
        .is_none()
    {
        return;
    }
    let arguments = "lab run idle-drop --path direct --idle 60s --size 1k";
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let mut lab: Child = user
        .unmangle("666", &arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Wires, sshd and its session, the tool.
    user.wait_until("not yet up", |processes| processes >= 9);
    user.run(&["lab", "list"]).unwrap();
    assert!(user.processes() >= 9, "a lab that lives was swept away");

    lab.kill().unwrap();
    lab.wait().unwrap();
    user.run(&["lab", "list"]).unwrap();
    user.wait_until("left behind", |processes| processes == 0);
}
