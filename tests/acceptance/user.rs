//! The same as an ordinary user: no privilege left, and a TUN device that is open to all, as
//! distributions have it. The device is covered in a mount namespace of its own, so that the machine's
//! stays as it is, however this ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Nobody of this machine.
const NUMBER: u32 = 54_300;

/// `$1` is the directory with the user's things, `$2` the user's number, the rest is for `unmangle`.
const BECOME: &str = r#"
set -e
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs tmpfs "$1/dev"
mknod -m 666 "$1/dev/tun" c 10 200
mount --bind "$1/dev/tun" /dev/net/tun
directory=$1 user=$2
shift 2
cd "$directory/home"
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all \
    env HOME="$directory/home" "$directory/unmangle" "$@"
"#;

/// An ordinary user, for as long as this lives.
pub struct User(TempDir);

// === impl User ===

impl User {
    /// A user who has a home and this program.
    pub fn new(unmangle: &Path) -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(path.join("dev"))?;
        let home = path.join("home");
        fs::create_dir(&home)?;
        chown(&home, Some(NUMBER), Some(NUMBER))?;
        fs::copy(unmangle, path.join("unmangle"))?;
        let others = fs::read_to_string("/etc/passwd")?;
        let line = format!(
            "acceptance:x:{NUMBER}:{NUMBER}::{}:/bin/sh\n",
            home.display()
        );
        fs::write(path.join("passwd"), others + &line)?;
        Ok(Self(directory))
    }

    /// What runs `unmangle` as this user; its arguments are to follow.
    pub fn unmangle(&self) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", BECOME, "sh"])
            .arg(self.0.path())
            .arg(NUMBER.to_string());
        command
    }
}
