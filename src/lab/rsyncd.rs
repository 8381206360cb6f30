//! A real rsync daemon on port 873, which serves the lab's bulk data and nothing else.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::lab::error::{Error, Result};
use crate::lab::host::Host;
use crate::lab::process::{GLANCE, PATIENCE, Process};
use crate::lab::requirements::is_root;

/// What its one module is called.
pub const MODULE: &str = "lab";

/// An rsync daemon on one host.
#[derive(Debug)]
pub struct Rsyncd {
    _process: Process,
}

impl Rsyncd {
    /// Starts it on `host`, with its files in `directory`; it serves `data`.
    pub fn start(host: &Host, directory: &Path, data: &Path) -> Result<Self> {
        let settings = directory.join("rsyncd.conf");
        fs::write(&settings, config(data, is_root())).map_err(Error::file(&settings))?;
        let mut command = host.command("rsync");
        command
            .args(["--daemon", "--no-detach", "--config"])
            .arg(&settings)
            .arg("--log-file")
            .arg(directory.join("rsyncd.log"));
        let output = directory.join("rsyncd.out");
        let mut process = Process::start("rsync --daemon", &mut command, &output)?;
        // It tells that it listens before it does.
        let deadline = Instant::now() + PATIENCE;
        while host.run("ss", &["-Htln", "sport = :873"])?.lines().count() < 2 {
            let (name, log) = ("rsync --daemon".to_owned(), process.log());
            if process.ended()?.is_some() {
                return Err(Error::Died { name, log });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady { name, log });
            }
            std::thread::sleep(GLANCE);
        }
        Ok(Self { _process: process })
    }
}

fn config(data: &Path, root: bool) -> String {
    // Started by root it would become nobody, who may not write here.
    let user = if root { "uid = 0\ngid = 0\n" } else { "" };
    format!(
        "port = 873\nuse chroot = no\nreverse lookup = no\n{user}[{MODULE}]\npath = {}\nread only = no\n",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_the_labs_data_and_stays_who_it_is() {
        let text = config(Path::new("/lab/data"), true);
        assert!(text.contains("[lab]\npath = /lab/data\nread only = no\n"));
        assert!(text.contains("uid = 0\n"));
        assert!(!config(Path::new("/lab/data"), false).contains("uid"));
    }
}
