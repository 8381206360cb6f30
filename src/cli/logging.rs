//! The log on stderr: for people or as JSON, in colour only on a terminal and never with NO_COLOR.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Usage;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging.
///
/// # Errors
/// [`Usage`] if the filter cannot be read.
pub fn start(format: Format, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Usage(format!("--log {filter:?}: {error}; try info or debug")))?;
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Human => log.with_ansi(colour).init(),
        Format::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
    Ok(())
}
