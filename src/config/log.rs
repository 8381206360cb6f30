//! How, what and where is logged.

use std::path::PathBuf;

use super::choice::LogFormat;
use super::keys::{ConfigError, Given, Keys};

/// How, what and where is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or a filter as `tracing-subscriber` reads it.
    pub filter: String,
    /// Where it goes; to stderr if `None`.
    pub file: Option<PathBuf>,
}

// === impl Log ===

impl Log {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub(super) fn read(keys: &Keys) -> Result<Self, ConfigError> {
        Ok(Self {
            format: keys.parse("log-format", str::parse)?.unwrap_or_default(),
            filter: keys
                .given("log")
                .map_or_else(|| "info".to_owned(), Given::text),
            file: keys.parse("log-file", path)?,
        })
    }
}

/// Reads a file's name.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("{text:?} is not a file's name"));
    }
    Ok(PathBuf::from(text))
}
