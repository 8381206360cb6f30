//! The Debian package on a Debian that boots: installed, configured, upgraded under a session, removed and purged.
//!
//! It holds this test's own program. These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use site::machine::{Machine, SHARED};
use site::{FAMILIES, PATIENCE, Site, UNMANGLE, talk, until};
use unmangle::lab::{OpenedFrom, Role};

const UNIT: &str = "unmangle.service";
const CONFIG: &str = "/etc/unmangle/unmangle.toml";
const GATEWAY: &str =
    "[[listener]]\nmangled-side = \"fw0\"\nintercept = [22]\nprofile = \"cisco-pix\"\n";

/// A package, and later ones made from it.
struct Package {
    directory: tempfile::TempDir,
    first: PathBuf,
}

// === impl Package ===

impl Package {
    /// As `make deb` makes it, but of the program that is tested.
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let staged = directory.path().join("target/release");
        fs::create_dir_all(&staged).unwrap();
        fs::copy(UNMANGLE, staged.join("unmangle")).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let first = directory.path().join("first.deb");
        // deploy/install-packages.sh deb puts it there.
        let mut command = Command::new(repository.join("target/tools/bin/cargo-deb"));
        command.args(["--no-build", "--no-strip", "--fast", "--locked", "--output"]);
        command.arg(&first).current_dir(repository);
        command.env("CARGO_TARGET_DIR", directory.path().join("target"));
        succeeds(&mut command);
        Self { directory, first }
    }

    /// The same as another version, with something done to its files by a line of shell.
    fn later(&self, version: &str, change: &str) -> PathBuf {
        let files = self.directory.path().join(version);
        succeeds(
            Command::new("dpkg-deb")
                .arg("-R")
                .args([&self.first, &files]),
        );
        let script =
            format!("sed -i 's/^Version: .*/Version: {version}/' DEBIAN/control; {change}");
        succeeds(
            Command::new("sh")
                .args(["-ec", &script])
                .current_dir(&files),
        );
        let package = self.directory.path().join(format!("{version}.deb"));
        succeeds(
            Command::new("dpkg-deb")
                .args(["-Znone", "-b"])
                .args([&files, &package]),
        );
        package
    }
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Installs a package; returns what was said.
#[track_caller]
fn install(machine: &Machine, package: &Path) -> String {
    fs::copy(package, machine.shared().join("package.deb")).unwrap();
    let file = format!("{SHARED}/package.deb");
    said(&dpkg(
        machine,
        &["--force-confdef", "--force-confold", "-i", &file],
    ))
}

fn dpkg(machine: &Machine, args: &[&str]) -> Output {
    let fixed = ["DEBIAN_FRONTEND=noninteractive", "dpkg"];
    machine.output("env", &[&fixed, args].concat())
}

#[track_caller]
fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// A machine on the relay's host that filters nothing.
fn boot(site: &Site) -> Machine {
    let machine = Machine::boot(site.lab.host(Role::Relay));
    machine.run("systemctl", &["disable", "--now", "firewalld", "ufw"]);
    machine
}

#[track_caller]
fn start(machine: &Machine) {
    let started = machine.output("systemctl", &["start", "unmangle"]);
    assert!(started.status.success(), "{}", machine.journal(UNIT));
}

/// What a package could leave behind.
fn traces(machine: &Machine) -> String {
    const LOOK: &str = "find / -xdev \\( -path /var/lib/dpkg -o -path /var/cache -o -path /var/log/journal -o -path /tmp \
                        -o -path /proc -o -path /mnt \\) -prune -o -print | grep -v '^/etc/.*-$' | sort; \
                        find /run -name '*unmangle*'; getent passwd; getent group; nft list tables; ip rule; \
                        systemctl list-unit-files --no-legend 'unmangle*' || true";
    machine.run("sh", &["-c", LOOK])
}

#[test]
fn a_package_is_installed_configured_upgraded_under_a_session_and_purged() {
    let Some(site) = Site::put_up() else { return };
    let package = Package::make();
    let machine = boot(&site);
    let before = traces(&machine);

    // Installed, it does nothing.
    let told = install(&machine, &package.first);
    assert!(told.contains("systemctl enable --now unmangle"), "{told}");
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    assert_eq!(machine.property(UNIT, "UnitFileState"), "disabled");
    assert!(
        !machine
            .output("systemctl", &["start", "unmangle"])
            .status
            .success()
    );
    let journal = machine.journal(UNIT);
    assert!(journal.contains("nothing is configured yet"), "{journal}");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");

    // Configured, it relays.
    machine.write(CONFIG, GATEWAY);
    machine.run("systemctl", &["enable", "unmangle"]);
    start(&machine);
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    talk(&pair);

    // Upgraded, its sessions go over, and what the user has written stays.
    let old = machine.property(UNIT, "MainPID");
    let told = install(&machine, &package.later("0.1.0-2", ":"));
    assert!(told.contains("moved 1 session to process "), "{told}");
    until("the unit has another main process", PATIENCE, || {
        machine.property(UNIT, "MainPID") != old
    });
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    talk(&pair);
    let changed = package.later("0.1.0-3", "echo '# new' >> etc/unmangle/unmangle.toml");
    install(&machine, &changed);
    assert_eq!(machine.run("cat", &[CONFIG]), GATEWAY);
    talk(&pair);
    drop(pair);

    // Removed, it is stopped, and its settings are kept; installed again, it is as it was.
    said(&dpkg(&machine, &["-r", "unmangle"]));
    let tables = machine.run("nft", &["list", "tables"]);
    assert!(!tables.contains("unmangle"), "{tables}");
    assert_eq!(machine.run("cat", &[CONFIG]), GATEWAY);
    install(&machine, &changed);
    start(&machine);
    talk(&site.connect(OpenedFrom::Server, FAMILIES[1]));

    said(&dpkg(&machine, &["-P", "unmangle"]));
    let after = traces(&machine);
    let before: BTreeSet<_> = before.lines().collect();
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[test]
fn a_relay_that_cannot_be_handed_over_goes_on_and_that_is_said() {
    let Some(site) = Site::put_up() else { return };
    let package = Package::make();
    let machine = boot(&site);
    install(&machine, &package.first);
    machine.write(CONFIG, &format!("{GATEWAY}answer = \"after-connect\"\n"));
    start(&machine);
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    talk(&pair);
    let old = machine.property(UNIT, "MainPID");
    let told = install(&machine, &package.later("0.1.0-2", ":"));
    assert!(
        told.contains("goes on as the version that it was"),
        "{told}"
    );
    assert_eq!(machine.property(UNIT, "MainPID"), old);
    talk(&pair);
}
