//! What `--json` writes says of which format it is, and is read as that one alone.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A kind of text that a subcommand writes with `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// What it is called, with its article.
    pub name: &'static str,
    /// The same, with the command that writes it.
    pub origin: &'static str,
    /// The version of its format.
    pub format: u32,
}

/// A text that this program does not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON, or not the right one.
    #[error("not {origin}: {error}")]
    Other {
        /// What it is not.
        origin: &'static str,
        /// Why not.
        error: serde_json::Error,
    },
    /// It is one of another version.
    #[error("{} of format {format}; this version of unmangle reads format {}", .known.name, .known.format)]
    Format {
        /// The version it is of.
        format: u64,
        /// What is read.
        known: Written,
    },
}

/// Not deserialized whole: another format may have other fields.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// Reads a text of this kind.
///
/// # Errors
/// A text that is none, that lacks a field or has one too many, or that is of another format.
pub fn read<T: DeserializeOwned>(text: &[u8], known: Written) -> Result<T, Unreadable> {
    let other = |error| Unreadable::Other {
        origin: known.origin,
        error,
    };
    let Versioned { format } = serde_json::from_slice(text).map_err(other)?;
    if format != u64::from(known.format) {
        return Err(Unreadable::Format { format, known });
    }
    serde_json::from_slice(text).map_err(other)
}
