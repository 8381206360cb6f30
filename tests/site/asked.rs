//! A relay that can be asked how it does, at a Unix socket and at a port.

use std::path::PathBuf;

use tempfile::TempDir;

use super::Here;
use super::web::{self, Answer, Stream};

pub struct Asked {
    pub here: Here,
    pub socket: PathBuf,
    /// Where the socket is, and nobody else's.
    pub directory: TempDir,
}

// === impl Asked ===

impl Asked {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let path = socket.to_str().unwrap();
        let both = ["--admin", path, "--admin", "127.0.0.1:0"];
        Self {
            here: Here::with(&[&both, more].concat()),
            socket,
            directory,
        }
    }

    pub fn ask(&self, request: &str) -> Answer {
        self.ask_with(request, "")
    }

    /// With more lines of header.
    pub fn ask_with(&self, request: &str, headers: &str) -> Answer {
        ask(web::unix(&self.socket), request, headers)
    }

    pub fn ask_by_tcp(&self, request: &str) -> Answer {
        let stream = web::tcp(self.here.relay.admin()).unwrap();
        ask(stream, request, "")
    }
}

/// Sends a request, such as `GET /healthz`, with more lines of header.
pub fn ask(stream: impl Stream, request: &str, headers: &str) -> Answer {
    web::exchange(stream, &format!("{request} HTTP/1.1"), headers).unwrap()
}
