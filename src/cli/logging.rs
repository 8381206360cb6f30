//! The log on stderr: for people or as JSON, in colour only on a terminal and never with NO_COLOR.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Usage;
use crate::config::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// [`Usage`] if the filter cannot be read.
pub fn start(log: &Log) -> Result<(), Usage> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Usage(format!(
            "--log {:?}: {error}; try info or debug",
            log.filter
        ))
    })?;
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Human => subscriber.with_ansi(colour).init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
    Ok(())
}
