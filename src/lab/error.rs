//! What can go wrong with a lab itself, as opposed to what goes wrong inside it on purpose.

use std::path::PathBuf;

/// Shorthand for results of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A lab that could not be put up, used or taken down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab makes network namespaces.
    #[error("this needs root: run it as root, or with sudo")]
    NotRoot,
    /// Without root it needs a user namespace.
    #[error("without root the lab needs what this machine forbids: {0} (or run it as root)")]
    Forbidden(String),
    /// A program the lab calls is not installed.
    #[error("{tool} is not installed: apt install {package}")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// No scenario has this name.
    #[error("unknown scenario {name:?}: known are {known}")]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// What is there already would be mixed with what is new.
    #[error("{} is no empty directory: name one that is empty or does not exist yet", .0.display())]
    ReportTaken(PathBuf),
    /// The payload would fill the place where bulk data is, or the memory.
    #[error(
        "a payload of {bytes} bytes is too large: {} and the memory have room for {most}, sent and \
         received",
        .place.display()
    )]
    TooLarge {
        /// What was asked for.
        bytes: u64,
        /// The largest that has room.
        most: u64,
        /// Where it would be.
        place: &'static std::path::Path,
    },
    /// A command that had to succeed did not.
    #[error("{command}: {status}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Its last words.
        stderr: String,
    },
    /// A process that had to keep running did not.
    #[error("{name} ended before it was ready: {log}")]
    Died {
        /// Which one.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// A process did not get ready in time.
    #[error("{name} was not ready in time: {log}")]
    NotReady {
        /// Which one.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// A program answered in a form that is not understood.
    #[error("{what}: unexpected answer: {answer}")]
    Answer {
        /// Who was asked.
        what: &'static str,
        /// What it said.
        answer: String,
    },
    /// A file or a system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// SIGINT, SIGTERM or SIGHUP arrived.
    #[error("interrupted")]
    Interrupted {
        /// Its number.
        signal: u8,
    },
}

impl Error {
    /// Whether it was asked for something that cannot be done here, and nothing was changed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NotRoot
                | Self::Forbidden(_)
                | Self::MissingTool { .. }
                | Self::UnknownScenario { .. }
                | Self::ReportTaken(_)
                | Self::TooLarge { .. }
        )
    }

    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` where the file is what matters.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(PathBuf::from(path).display().to_string())
    }
}
