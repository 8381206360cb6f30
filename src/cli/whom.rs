//! Which relay is asked: the one that runs, the one that is named by its address, or the one of a process.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::Usage;
use super::status::asked;
use crate::admin::{self, Status};
use crate::config::AdminAddress;

/// The flags that say so.
#[derive(clap::Args)]
pub struct Whom {
    /// Where to ask: what `unmangle run` was given by --admin [default: the one socket of a relay in /run/unmangle or
    /// $XDG_RUNTIME_DIR/unmangle]
    #[arg(long, value_name = "PATH|ADDR:PORT")]
    admin: Option<AdminAddress>,

    /// Ask the relay that is this process, at the Unix socket that it listens at.
    #[arg(long, value_name = "PID", conflicts_with = "admin", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
}

// === impl Whom ===

impl Whom {
    /// Where it can be asked.
    ///
    /// # Errors
    /// [`Usage`] says why there is none, or that there are several.
    pub fn address(self) -> Result<AdminAddress, Usage> {
        match (self.admin, self.pid) {
            (Some(address), _) => Ok(address),
            (None, Some(pid)) => of_process(pid),
            (None, None) => the_only_one(),
        }
    }
}

/// The socket of the relay that runs, if it is one.
fn the_only_one() -> Result<AdminAddress, Usage> {
    let mut found = admin::found();
    match found.len() {
        1 => Ok(AdminAddress::Unix(found.remove(0).1)),
        0 => {
            let directories = admin::directories();
            let directories: Vec<_> = directories
                .iter()
                .map(|each| each.display().to_string())
                .collect();
            Err(Usage(format!(
                "no relay answers in {}: if one runs, give its --admin PATH|ADDR:PORT",
                directories.join(" or ")
            )))
        }
        several => {
            let each = |(pid, path): (u32, PathBuf)| format!("{} (process {pid})", path.display());
            let all: Vec<_> = found.into_iter().map(each).collect();
            Err(Usage(format!(
                "{several} relays run, give --admin or --pid for one of them: {}",
                all.join(", ")
            )))
        }
    }
}

/// The socket of a relay that is this process: where its name says so, or wherever it listens.
fn of_process(pid: u32) -> Result<AdminAddress, Usage> {
    let named = admin::found().into_iter().find(|(of, _)| *of == pid);
    if let Some((_, path)) = named {
        return Ok(AdminAddress::Unix(path));
    }
    let wrong = |why: &str| Usage(format!("--pid {pid}: {why}"));
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_err(|_| wrong("there is no such process"))?;
    let paths = admin::listening(pid).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            wrong("where it listens is for root to see: run this as root, or give --admin PATH")
        }
        _ => wrong(&error.to_string()),
    })?;
    let addresses = paths.into_iter().map(AdminAddress::Unix);
    // Whoever else listens at a socket is asked nothing but that.
    let mut relays = addresses.filter(|address| asked::<Status>(address, "/api/status").is_ok());
    relays.next().ok_or_else(|| match name.trim_end() {
        "unmangle" => wrong(
            "it answers at no Unix socket: it does not relay, or its `admin` is \"off\" or TCP alone",
        ),
        other => wrong(&format!("that is {other}, and no relay")),
    })
}
