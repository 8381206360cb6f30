//! A minimal Debian with nothing but a checkout and a Rust toolchain, for what is done there from the start.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use unmangle::sys::child::die_with_parent;

use super::machine::debootstrap;

/// Such a machine; dropped, it is removed.
pub struct Fresh {
    root: PathBuf,
}

/// Where the checkout is there.
const CHECKOUT: &str = "/root/unmangle";
/// Where the toolchain is there.
const TOOLCHAIN: &str = "/opt/rust";

/// The root of such a machine becomes that of everything below, as after a boot, and not only of a `chroot`: what a
/// container is made of must work in it. Mounts are gone with the last process.
const ENTER: &str = r#"
set -eu
mount --bind "$ROOT" "$ROOT"
cd "$ROOT"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --bind "$TOOLCHAIN_HERE" ".$TOOLCHAIN"
mount -o remount,bind,ro ".$TOOLCHAIN"
mkdir -p old
pivot_root . old
umount -l /old
cd "$CHECKOUT"
exec env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 $WAY_OUT \
    PATH="$TOOLCHAIN/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    /bin/sh -c "$COMMAND"
"#;

/// What says how the outside is reached.
const WAY_OUT: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

// === impl Fresh ===

impl Fresh {
    /// Makes one, with the files that git knows here, as they are.
    pub fn make() -> Self {
        let name = format!("fresh-{:08x}", rand::random::<u32>());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fresh = Self {
            root: here.join("target").join(name),
        };
        debootstrap(&fresh.root, &["--variant=minbase"]);
        let there = |path: &str| fresh.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(there(TOOLCHAIN)).unwrap();
        fs::create_dir_all(there(CHECKOUT)).unwrap();
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others"])
            .arg("--exclude-standard")
            .current_dir(here)
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for file in listed.split_terminator('\0') {
            let to = there(CHECKOUT).join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            match fs::read_link(here.join(file)) {
                Ok(target) => symlink(target, to).unwrap(),
                // A file that git knows may have been removed.
                Err(_) if !here.join(file).exists() => {}
                Err(_) => drop(fs::copy(here.join(file), to).unwrap()),
            }
        }
        // The way out is this machine's: its resolver, and whom it trusts.
        fs::copy("/etc/resolv.conf", there("etc/resolv.conf")).unwrap();
        let trusted = "/usr/local/share/ca-certificates";
        if Path::new(trusted).exists() {
            let copied = Command::new("cp")
                .args(["-a", trusted])
                .arg(there("usr/local/share/"))
                .status();
            assert!(copied.unwrap().success());
        }
        fresh
    }

    /// Runs a line of shell in its checkout, as root; what it prints is printed.
    pub fn run(&self, line: &str) -> ExitStatus {
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()
            .unwrap();
        let sysroot = String::from_utf8(sysroot.stdout).unwrap();
        let way_out: Vec<String> = WAY_OUT
            .iter()
            .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)))
            .collect();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--uts", "--ipc", "--pid", "--fork"])
            .args(["--kill-child", "--propagation", "private"])
            .args(["sh", "-c", ENTER])
            .env("ROOT", &self.root)
            .env("TOOLCHAIN_HERE", sysroot.trim_end())
            .env("TOOLCHAIN", TOOLCHAIN)
            .env("CHECKOUT", CHECKOUT)
            .env("WAY_OUT", way_out.join(" "))
            .env("COMMAND", line)
            .stdin(Stdio::null());
        die_with_parent(&mut command).status().unwrap()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // What is mounted there was mounted in another namespace of mounts, and is not to be seen here.
        let _ = Command::new("rm")
            .args(["-rf", "--one-file-system"])
            .arg(&self.root)
            .status();
    }
}
