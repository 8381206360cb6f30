//! Printing on stdout, where the reader may have left.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints; a reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Whatever else stdout says, such as a full disk.
pub fn print(text: impl Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
