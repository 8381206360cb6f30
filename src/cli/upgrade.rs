//! `unmangle upgrade`: a relay is replaced by a new one, and what it relays goes on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use hyper::StatusCode;
use serde::Deserialize;

use super::Usage;
use super::output::print;
use super::status::ask;
use super::whom::Whom;
use crate::admin::Upgraded;
use crate::config::AdminAddress;

/// Replace a relay by a new process, of a new version as well: its listeners, rules and running sessions go over.
///
/// The relay starts the new process itself, with its own arguments, from the path that it was started from, and ends
/// once everything has gone over. If the new one does not come up, the old one goes on as before.
///
/// Exit code 0 if it was upgraded, 1 if not, 2 if it cannot be asked.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    whom: Whom,

    /// Start this program instead of the one that the relay was started from.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,

    /// Print what is answered in JSON: pid, sessions, left, took_ms; or error.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  install -m 755 target/release/unmangle /usr/local/bin/ && unmangle upgrade
  unmangle upgrade --admin /run/unmangle/4711.sock
  unmangle upgrade --pid 4711
  unmangle upgrade --program /opt/unmangle-0.2/bin/unmangle --json

Only the user that the relay runs as may do it, and root.";

/// The relay gives up after 120 s itself.
const WITHIN: Duration = Duration::from_secs(130);
const PATH: &str = "/upgrade";

/// Why it was not upgraded.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// What people read of it.
struct Line(Upgraded);

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let program = args.program.as_deref().map(whole).transpose()?;
    let address = args.whom.address()?;
    let AdminAddress::Unix(socket) = &address else {
        let why = "nobody can upgrade a relay over TCP: give the path of its Unix socket";
        return Err(Usage(format!("{address}: {why}")).into());
    };
    let path = program.map_or_else(|| PATH.to_owned(), |program| path(&program));
    let (status, text) = match ask::post(socket, &path, WITHIN) {
        Ok(answer) => answer,
        // Where nobody answers nothing was begun.
        Err(error) if error.is::<io::Error>() => {
            return Err(Usage(format!("{address}: {error:#}")).into());
        }
        Err(error) => bail!(
            "{address}: {error:#}; whether it was upgraded is not known, `unmangle status` tells who relays now"
        ),
    };
    if status == StatusCode::NOT_FOUND {
        bail!(
            "not upgraded: this relay is of a version that cannot hand over what it has; it goes on as before"
        );
    }
    let read = |error| anyhow::anyhow!("{address}: {PATH} is answered by something else: {error}");
    if status != StatusCode::OK {
        let Refused { error } = serde_json::from_slice(&text).map_err(read)?;
        tell(args.json, &text, String::new)?;
        bail!("not upgraded: {error}; the relay has not been replaced");
    }
    let upgraded: Upgraded = serde_json::from_slice(&text).map_err(read)?;
    tell(args.json, &text, || format!("{}\n", Line(upgraded)))?;
    Ok(ExitCode::SUCCESS)
}

/// As it is answered, or in a line for people.
fn tell(json: bool, text: &[u8], line: impl FnOnce() -> String) -> io::Result<()> {
    match json {
        true => print(format_args!(
            "{}\n",
            String::from_utf8_lossy(text).trim_end()
        )),
        false => print(line()),
    }
}

/// The whole path of a program: the relay's directory is another one.
fn whole(program: &Path) -> Result<String, Usage> {
    let wrong = |why: &dyn fmt::Display| Usage(format!("--program {}: {why}", program.display()));
    let path = std::path::absolute(program).map_err(|error| wrong(&error))?;
    let found = path.metadata().map_err(|error| wrong(&error))?;
    if !found.is_file() {
        return Err(wrong(&"it is no file"));
    }
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| wrong(&"its path is not UTF-8"))
}

fn path(program: &str) -> String {
    let before = format!("{PATH}?");
    let length = before.len();
    let mut query = form_urlencoded::Serializer::for_suffix(before, length);
    query.append_pair("program", program);
    query.finish()
}

// === impl Line ===

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Upgraded {
            pid,
            sessions,
            left,
            took_ms,
        } = self.0;
        let seconds = Duration::from_millis(took_ms).as_secs_f64();
        let each = if sessions == 1 { "session" } else { "sessions" };
        write!(
            f,
            "moved {sessions} {each} to process {pid} in {seconds:.2} s"
        )?;
        match left {
            0 => Ok(()),
            1 => write!(f, "; 1 is still with the old one"),
            more => write!(f, "; {more} are still with the old one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_many_moved_where_and_how_many_did_not() {
        let line = |sessions, left| {
            Line(Upgraded {
                pid: 1234,
                sessions,
                left,
                took_ms: 412,
            })
            .to_string()
        };
        let moved = "moved 5100 sessions to process 1234 in 0.41 s";
        assert_eq!(line(5100, 0), moved);
        assert_eq!(
            line(5100, 2),
            format!("{moved}; 2 are still with the old one")
        );
        assert_eq!(
            line(1, 1),
            "moved 1 session to process 1234 in 0.41 s; 1 is still with the old one"
        );
    }

    #[test]
    fn a_path_is_asked_for_whole_and_escaped() {
        assert_eq!(path("/a b&c"), "/upgrade?program=%2Fa+b%26c");
        let shell = whole(Path::new("/bin/../bin/sh")).unwrap();
        assert!(shell.ends_with("/bin/sh"), "{shell}");
        let wrong = |path: &str| whole(Path::new(path)).unwrap_err().to_string();
        assert_eq!(
            wrong("/no/such"),
            "--program /no/such: No such file or directory (os error 2)"
        );
        assert_eq!(wrong("/"), "--program /: it is no file");
    }
}
