//! The Debian package, of this test's own program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::UNMANGLE;
use super::machine::{Machine, SHARED};

/// A package, and later ones made from it.
pub struct Package {
    directory: tempfile::TempDir,
    pub first: PathBuf,
}

// === impl Package ===

impl Package {
    /// As `make deb` makes it, but of the program that is tested.
    pub fn make() -> Self {
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
    pub fn later(&self, version: &str, change: &str) -> PathBuf {
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
pub fn install(machine: &Machine, package: &Path) -> String {
    fs::copy(package, machine.shared().join("package.deb")).unwrap();
    let file = format!("{SHARED}/package.deb");
    said(&dpkg(
        machine,
        &["--force-confdef", "--force-confold", "-i", &file],
    ))
}

pub fn dpkg(machine: &Machine, args: &[&str]) -> Output {
    let fixed = ["DEBIAN_FRONTEND=noninteractive", "dpkg"];
    machine.output("env", &[&fixed, args].concat())
}

#[track_caller]
pub fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}
