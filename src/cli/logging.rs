//! The log, for people or as JSON: on stderr, in colour only on a terminal and never with NO_COLOR; or in a
//! file, which can be opened anew after somebody has moved it away.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::Usage;
use crate::config::{Log, LogFormat};

/// Where the log goes.
#[derive(Debug, Clone)]
pub struct Logging(Option<Arc<LogFile>>);

/// A file that lines are appended to, one write each.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// The file as it is now.
struct Appending(Arc<LogFile>);

/// Writes what can be written. A line that cannot be is lost and counted, and nobody ends because of it: the log may
/// go to a pipe whose reader has gone, a terminal that was closed, or a disk that is full.
struct Losing<W>(W);

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log could not be written.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Starts logging.
///
/// # Errors
/// [`Usage`] if the filter cannot be read, or the file not be written.
pub fn start(log: &Log) -> Result<Logging, Usage> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Usage(format!(
            "--log {:?}: {error}; try info or debug",
            log.filter
        ))
    })?;
    let (logging, writer) = match &log.file {
        Some(path) => {
            let file = LogFile::open(path)
                .map_err(|error| Usage(format!("--log-file {}: {error}", path.display())))?;
            let file = Arc::new(file);
            let appending = file.clone();
            let writer = BoxMakeWriter::new(move || Losing(Appending(appending.clone())));
            (Logging(Some(file)), writer)
        }
        None => (Logging(None), BoxMakeWriter::new(|| Losing(io::stderr()))),
    };
    let colour = log.file.is_none()
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match log.format {
        LogFormat::Human => subscriber.with_ansi(colour).init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
    Ok(logging)
}

// === impl Logging ===

impl Logging {
    /// Opens the file anew, if the log goes to one. If it cannot be opened the log goes on where it went, and
    /// says so.
    pub fn reopen(&self) {
        let Some(log) = &self.0 else {
            return;
        };
        match append(&log.path) {
            Ok(file) => {
                *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
                tracing::info!(file = %log.path.display(), "the log was opened anew");
            }
            Err(error) => {
                tracing::error!(file = %log.path.display(), %error, "the log cannot be opened anew");
            }
        }
    }
}

// === impl LogFile ===

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(append(path)?),
        })
    }
}

/// Opens a file to append to. Who may read it are its owner and the group: it names clients and servers.
///
/// # Errors
/// What the file system says, or if it is no regular file.
pub(super) fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    // Whoever opens a FIFO waits for its reader, and this thread has more to do.
    options.custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("this is not a regular file"))
    }
}

// === impl Appending ===

impl Write for Appending {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Losing ===

impl<W: Write> Write for Losing<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.write(line) {
            Ok(written) if written > 0 || line.is_empty() => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            _ => {
                LOST.fetch_add(1, Ordering::Relaxed);
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What was lost was counted when it was written.
        let _ = self.0.flush();
        Ok(())
    }
}
