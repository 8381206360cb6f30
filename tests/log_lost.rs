//! A log that cannot be written ends nobody. No privilege is needed.

mod site;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use site::web;
use site::{PATIENCE, Pair, UNMANGLE, talk, until};

/// A relay in front of a server, whose log goes to a pipe.
struct Piped {
    child: Child,
    server: TcpListener,
    listens: String,
    admin: std::path::PathBuf,
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It may have ended, which a test has told by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Piped {
    /// One that relays; its log has been read up to there, and the reader is gone.
    fn start(directory: &Path) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().to_string();
        let admin = directory.join("admin.sock");
        let mut child = Command::new(UNMANGLE)
            .args(["run", "--listen", "127.0.0.1:0", "--to", &to, "--admin"])
            .arg(&admin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let listens = log.lines().map_while(Result::ok).find_map(|line| {
            let (_, way) = line.split_once("way=\"")?;
            way.split_whitespace().next().map(str::to_owned)
        });
        Self {
            child,
            server,
            listens: listens.expect("it says where it listens"),
            admin,
        }
    }

    fn session(&self) {
        let client = TcpStream::connect(&self.listens).unwrap();
        let (server, _) = self.server.accept().unwrap();
        talk(&Pair { client, server });
    }

    fn lines_lost(&self) -> f64 {
        let answer = web::exchange(web::unix(&self.admin), "GET /metrics HTTP/1.1", "").unwrap();
        let line = answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix("unmangle_log_lines_lost_total "));
        line.unwrap().parse().unwrap()
    }
}

#[test]
fn a_relay_whose_log_nobody_reads_any_more_goes_on_and_counts_the_lines() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = Piped::start(directory.path());
    for _ in 0..3 {
        relay.session();
    }
    until(
        "the lines of three sessions are lost and counted",
        PATIENCE,
        || relay.lines_lost() >= 3.0,
    );
    relay.session();
    assert!(relay.child.try_wait().unwrap().is_none(), "it runs");
}
