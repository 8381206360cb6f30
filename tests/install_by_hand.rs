//! Installed without a package: `make install` puts in place what the Debian package would, `make uninstall` takes it away,
//! and `cargo install` builds the program from the checkout alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const SETTINGS: &str = "etc/unmangle/unmangle.toml";

/// A checkout in which the program that is tested was built for release, and a root to install it below.
struct Checkout(TempDir);

// === impl Checkout ===

impl Checkout {
    fn unbuilt() -> Self {
        let checkout = Self(tempfile::tempdir().unwrap());
        let copied = Command::new("cp")
            .arg("-a")
            .args([
                &format!("{REPOSITORY}/deploy"),
                &format!("{REPOSITORY}/Makefile"),
            ])
            .arg(checkout.0.path())
            .status();
        assert!(copied.unwrap().success());
        checkout
    }

    fn built() -> Self {
        let checkout = Self::unbuilt();
        let release = checkout.0.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        fs::copy(UNMANGLE, release.join("unmangle")).unwrap();
        checkout
    }

    fn make(&self, target: &str) -> Output {
        let destination = format!("DESTDIR={}", self.0.path().join("root").display());
        Command::new("make")
            .args([target, &destination, "PREFIX=/opt/unmangle"])
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn succeeds(&self, target: &str) {
        let output = self.make(target);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "make {target}: {stderr}");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join("root").join(path)).unwrap()
    }

    /// What stands below the root.
    fn files(&self) -> BTreeSet<String> {
        let root = self.0.path().join("root");
        let mut files = BTreeSet::new();
        collect(&root, &root, &mut files);
        files
    }
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

#[test]
fn make_install_puts_program_pages_completions_and_units_in_place() {
    let checkout = Checkout::built();
    checkout.succeeds("install");
    let files = checkout.files();
    let pages = fs::read_dir(format!("{REPOSITORY}/deploy/man")).unwrap();
    let mut expected: BTreeSet<String> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .map(|page| format!("opt/unmangle/share/man/man1/{page}"))
        .collect();
    assert!(expected.contains("opt/unmangle/share/man/man1/unmangle-run.1"));
    expected.extend(
        [
            SETTINGS,
            "etc/systemd/system/unmangle.service",
            "etc/systemd/system/unmangle@.service",
            "etc/sysusers.d/unmangle.conf",
            "etc/tmpfiles.d/unmangle.conf",
            "opt/unmangle/bin/unmangle",
            "opt/unmangle/share/bash-completion/completions/unmangle",
            "opt/unmangle/share/fish/vendor_completions.d/unmangle.fish",
            "opt/unmangle/share/zsh/site-functions/_unmangle",
        ]
        .map(str::to_owned),
    );
    assert_eq!(files, expected);

    for unit in ["unmangle.service", "unmangle@.service"] {
        let unit = checkout.read(&format!("etc/systemd/system/{unit}"));
        assert!(unit.contains("/opt/unmangle/bin/unmangle run"), "{unit}");
        assert!(!unit.contains("/usr/bin/unmangle"), "{unit}");
    }
    let program = checkout.0.path().join("root/opt/unmangle/bin/unmangle");
    let mode = fs::metadata(&program).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let version = Command::new(program).arg("--version").output().unwrap();
    assert!(version.stdout.starts_with(b"unmangle "), "{version:?}");
}

#[test]
fn settings_outlive_an_install_and_an_uninstall() {
    let checkout = Checkout::built();
    checkout.succeeds("install");
    let mine = "# mine\n";
    fs::write(checkout.0.path().join("root").join(SETTINGS), mine).unwrap();
    checkout.succeeds("install");
    assert_eq!(checkout.read(SETTINGS), mine);
    checkout.succeeds("uninstall");
    assert_eq!(checkout.files(), BTreeSet::from([SETTINGS.to_owned()]));
    assert_eq!(checkout.read(SETTINGS), mine);
}

#[test]
fn an_install_before_a_build_says_so_and_puts_nothing_in_place() {
    let checkout = Checkout::unbuilt();
    let output = checkout.make("install");
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("target/release/unmangle is not there: make build first"),
        "{stderr}"
    );
    assert!(!checkout.0.path().join("root").exists());
}

#[test]
#[ignore = "builds the program once more: minutes"]
fn cargo_installs_it_from_the_checkout() {
    let root = tempfile::tempdir().unwrap();
    let installed = Command::new(env!("CARGO"))
        .args([
            "install", "--locked", "--quiet", "--path", REPOSITORY, "--root",
        ])
        .arg(root.path())
        .status();
    assert!(installed.unwrap().success());
    let here = Command::new(UNMANGLE).arg("--version").output().unwrap();
    let there = Command::new(root.path().join("bin/unmangle"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(there.status.success());
    assert_eq!(there.stdout, here.stdout);
}
