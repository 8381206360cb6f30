//! A real sshd on a throw-away key, which reads and writes nothing of the machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::error::{Error, Result};
use crate::lab::host::{Host, output};
use crate::lab::process::Process;
use crate::lab::requirements::find;

/// Where sshd locks up its unprivileged half; distributions make it when they start theirs.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// An sshd that listens on port 22 of one host. Started by root it lets root in, by anybody else that
/// user: nobody else could be served.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    key: PathBuf,
    user: String,
}

impl Sshd {
    /// Starts it on `host`, with its files in `directory`.
    pub fn start(host: &Host, directory: &Path) -> Result<Self> {
        let [host_key, key] = ["host_key", "key"].map(|name| directory.join(name));
        make_key(&host_key)?;
        make_key(&key)?;
        let settings = directory.join("sshd_config");
        fs::write(&settings, config(&host_key, &key, root_is_locked()))
            .map_err(Error::file(&settings))?;
        fs::create_dir_all(PRIVILEGE_SEPARATION)
            .map_err(Error::file(Path::new(PRIVILEGE_SEPARATION)))?;
        // sshd insists on being called by its full path.
        let program = find("sshd").ok_or(Error::MissingTool {
            tool: "sshd",
            package: "openssh-server",
        })?;
        let mut command = host.command(program);
        command.args(["-D", "-e", "-f"]).arg(&settings);
        let mut process = Process::start("sshd", &mut command, &directory.join("sshd.log"))?;
        process.ready("listening on :: port 22", Duration::from_secs(10))?;
        let user = output(Command::new("id").arg("-un"), "")?.trim().to_owned();
        Ok(Self { process, key, user })
    }

    /// The private key it lets in.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// Who it lets in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it logged: who came, from which address and port.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn make_key(path: &Path) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "unmangle lab", "-f"])
        .arg(path);
    output(&mut command, "").map(drop)
}

fn config(host_key: &Path, key: &Path, pam: bool) -> String {
    format!(
        "Port 22\n\
         HostKey {}\n\
         AuthorizedKeysFile {}.pub\n\
         PidFile none\n\
         LogLevel VERBOSE\n\
         StrictModes no\n\
         UsePAM {}\n\
         UseDNS no\n\
         PermitRootLogin yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PrintMotd no\n\
         MaxStartups 1000\n\
         Subsystem sftp internal-sftp\n",
        host_key.display(),
        key.display(),
        if pam { "yes" } else { "no" },
    )
}

/// Where root's password is locked (as on Ubuntu), sshd lets root in by key only through PAM.
fn root_is_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_settings_stay_within_the_labs_own_files() {
        let text = config(Path::new("/lab/host_key"), Path::new("/lab/key"), false);
        assert!(text.contains("HostKey /lab/host_key\n"));
        assert!(text.contains("AuthorizedKeysFile /lab/key.pub\n"));
        assert!(text.contains("PidFile none\n") && text.contains("UsePAM no\n"));
    }
}
