//! `unmangle status`: how a relay does, asked once at its admin socket.

pub(super) mod ask;
pub(super) mod summary;

use std::process::ExitCode;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::Usage;
use super::output::print;
use super::whom::Whom;
use crate::admin::{Sessions, Status};
use crate::config::AdminAddress;

/// Say how a relay does: whether it is ready, its rules, its listeners, its sessions and those that are stuck.
///
/// Exit code 0 if it is ready, 1 if it answers and is not, 2 if it cannot be asked.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    whom: Whom,

    /// Print the status in JSON, as docs/api-status.schema.json describes.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unmangle status
  unmangle status --admin /run/unmangle/4711.sock
  unmangle status --admin 127.0.0.1:9184 --json | jq .sessions
  curl --unix-socket /run/unmangle/4711.sock http://localhost/api/sessions?stuck=true
  curl --unix-socket /run/unmangle/4711.sock -X POST http://localhost/drain";

/// Sessions that are stuck, as many as there is room for.
const STUCK: &str = "/api/sessions?stuck=true&limit=10";

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let address = args.whom.address()?;
    let (text, status) = asked::<Status>(&address, "/api/status")?;
    if args.json {
        let text = String::from_utf8_lossy(&text);
        print(format_args!("{}\n", text.trim_end())).map_err(cannot_print)?;
    } else {
        let (_, stuck) = asked::<Sessions>(&address, STUCK)?;
        print(summary::render(&status, &stuck)).map_err(cannot_print)?;
    }
    Ok(ExitCode::from(if status.ready { 0 } else { 1 }))
}

/// Not to be taken for a relay that is not ready.
fn cannot_print(error: impl std::fmt::Display) -> Usage {
    Usage(format!("cannot print the answer: {error}"))
}

/// What is answered, as it is and as what it says.
pub(super) fn asked<T: DeserializeOwned>(
    address: &AdminAddress,
    path: &str,
) -> Result<(Bytes, T), Usage> {
    let cannot = |why: String| Usage(format!("{address}: {why}"));
    let (status, text) = ask::get(address, path).map_err(|error| cannot(format!("{error:#}")))?;
    if status != StatusCode::OK {
        return Err(cannot(format!("{path} is answered by {status}")));
    }
    let value = serde_json::from_slice(&text);
    let value =
        value.map_err(|error| cannot(format!("{path} is answered by something else: {error}")))?;
    Ok((text, value))
}
