//! One candidate and its hosts: put up, started, looked at once, and from then on ready for its turns.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::compare::candidate::{Candidate, Kind, NGINX_STREAM, OTHER_DESCRIPTORS};
use crate::bench::compare::generator::{Failed, last_words};
use crate::bench::compare::plan::{Offload, Plan, Shape};
use crate::lab::topology::FIREWALL_DEVICE;
use crate::lab::{self, Chain, Host, Process, chain};

const HAPROXY_FORWARD: &str = include_str!("../../../benches/peers/haproxy-forward.cfg");
const HAPROXY_GATEWAY: &str = include_str!("../../../benches/peers/haproxy.cfg");
const NGINX: &str = include_str!("../../../benches/peers/nginx.conf");

/// The server's port, and that of a relay that clients come to.
const PORT: u16 = 5201;
/// Where the printed rules deliver to unless told otherwise.
const MANGLED_PORT: u16 = 21069;
const CLEAN_PORT: u16 = 21070;
/// As large as a pipe may get without privilege.
const PIPE_SIZE: usize = 1 << 20;
/// What socat moves at a time.
const SOCAT_BLOCK: usize = 1 << 17;

/// More than any work needs; whoever may have a million makes tables for as many.
const MOST_DESCRIPTORS: u64 = 65_000;

const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(5);

/// A candidate that stands.
#[derive(Debug)]
pub struct Standing {
    /// Who it is.
    pub candidate: Candidate,
    /// Where its clients connect to.
    pub to: SocketAddr,
    // In the order in which they have to go.
    relay: Option<Process>,
    server: Process,
    chain: Chain,
    unmangle: PathBuf,
    /// How many a relay may have.
    descriptors: u64,
}

// === impl Standing ===

impl Standing {
    /// Puts up hosts for a candidate, starts it and waits until it listens.
    ///
    /// # Errors
    /// If hosts or server cannot be put up: nothing can be measured then.
    ///
    /// A candidate that does not start is told as [`Failed`], inside.
    pub fn put_up(
        candidate: &Candidate,
        plan: &Plan,
        offload: Offload,
        unmangle: &Path,
    ) -> lab::Result<Result<Self, Failed>> {
        let chain = Chain::put_up(offload == Offload::On)?;
        if candidate.kind != Kind::Direct {
            // What it does not carry itself must not arrive.
            chain.relay().set(&[("net/ipv4/ip_forward", "0")])?;
        }
        let server = SocketAddr::from((chain::SERVER, PORT));
        let mut serve = chain.server().command(unmangle);
        serve.args(["bench", "serve", "--listen", &server.to_string()]);
        let log = chain.directory().join("serve.log");
        let mut process = Process::start("bench serve", &mut serve, &log)?;
        process.ready("listening", PATIENCE)?;
        let mut standing = Self {
            candidate: candidate.clone(),
            to: match (candidate.kind, plan.shape) {
                (Kind::Direct, _) | (_, Shape::Gateway) => server,
                (_, Shape::Forward) => (chain::RELAY, PORT).into(),
            },
            relay: None,
            server: process,
            chain,
            unmangle: unmangle.to_owned(),
            descriptors: plan.descriptors.min(MOST_DESCRIPTORS),
        };
        Ok(match standing.start(plan.shape, server) {
            Ok(relay) => {
                standing.relay = relay;
                Ok(standing)
            }
            Err(error) => Err(Failed(error.to_string())),
        })
    }

    /// The process that is compared, if it is one; its descendants belong to it.
    pub fn process(&self) -> Option<u32> {
        self.relay.as_ref().map(Process::id)
    }

    /// The processes of the candidate and of its server.
    pub fn processes(&self) -> Vec<u32> {
        let server = self.server.id();
        self.process().into_iter().chain([server]).collect()
    }

    /// A command on the client's host that runs `unmangle bench run` against it.
    pub fn bench_run(&self) -> Command {
        let mut command = self.chain.client().command(&self.unmangle);
        command.args(["bench", "run", "--json", "--to", &self.to.to_string()]);
        command
    }

    /// Where what it prints is kept.
    pub fn directory(&self) -> PathBuf {
        self.chain.directory()
    }

    /// What the candidate or, if that is silent, its server said last.
    pub fn last_words(&self) -> String {
        let logs = self.relay.iter().chain([&self.server]).map(Process::log);
        let words = logs.map(|log| last_words(&log));
        words
            .into_iter()
            .find(|words| !words.is_empty())
            .unwrap_or_default()
    }

    fn start(&self, shape: Shape, server: SocketAddr) -> lab::Result<Option<Process>> {
        let (host, directory) = (self.chain.relay(), self.chain.directory());
        let listen = self.to.to_string();
        let listening = match shape {
            Shape::Forward => PORT,
            Shape::Gateway => MANGLED_PORT,
        };
        let mut command = match self.candidate.kind {
            Kind::Direct => return Ok(None),
            Kind::Unmangle(engine) => {
                let mut command = host.command(&self.unmangle);
                command.args(["run", "--engine", &engine.to_string()]);
                // A line for each session would be a cost that no peer has.
                command.args([
                    "--log",
                    "info,unmangle::session=warn",
                    "--log-format",
                    "json",
                ]);
                match shape {
                    Shape::Forward => {
                        command.args(["--listen", &listen, "--to", &server.to_string()])
                    }
                    Shape::Gateway => command.args(interception()),
                };
                let log = directory.join("relay.log");
                let mut relay = Process::start("unmangle run", &mut command, &log)?;
                relay.ready("\"relaying\"", PATIENCE)?;
                return Ok(Some(relay));
            }
            Kind::HAProxy => {
                let text = match shape {
                    Shape::Forward => HAPROXY_FORWARD,
                    Shape::Gateway => HAPROXY_GATEWAY,
                };
                if shape == Shape::Gateway {
                    self.put_rules_in_place()?;
                }
                let file = directory.join("haproxy.cfg");
                self.write(&file, text, &listen, server)?;
                let mut command = host.command("haproxy");
                command.arg("-db").arg("-f").arg(&file);
                command
            }
            Kind::Nginx => {
                let file = directory.join("nginx.conf");
                self.write(&file, NGINX, &listen, server)?;
                let mut command = host.command("nginx");
                command.arg("-p").arg(&directory).arg("-e").arg("stderr");
                command.arg("-c").arg(&file);
                command
            }
            Kind::Socat => {
                let mut command = host.command("socat");
                command.args(["-b", &SOCAT_BLOCK.to_string()]);
                command.arg(format!(
                    "TCP4-LISTEN:{PORT},bind={},fork,reuseaddr,nodelay,keepalive,backlog=16384",
                    self.to.ip()
                ));
                command.arg(format!("TCP4:{server},nodelay,keepalive"));
                command
            }
        };
        let name = self.candidate.kind.to_string();
        let mut relay = Process::start(&name, &mut command, &directory.join("relay.log"))?;
        await_listener(&name, &mut relay, host, listening)?;
        Ok(Some(relay))
    }

    /// Writes settings with what has to be put in.
    fn write(&self, file: &Path, text: &str, listen: &str, server: SocketAddr) -> lab::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sockets = self.descriptors.saturating_sub(OTHER_DESCRIPTORS);
        let text = [
            ("@CORES@", cores.to_string()),
            ("@PIPESIZE@", PIPE_SIZE.to_string()),
            ("@DESCRIPTORS@", self.descriptors.to_string()),
            ("@SOCKETS@", sockets.to_string()),
            ("@SESSIONS@", (sockets / 2).to_string()),
            ("@LISTEN@", listen.to_owned()),
            ("@SERVER@", server.to_string()),
            ("@MODULE@", NGINX_STREAM.to_owned()),
            ("@DIRECTORY@", self.chain.directory().display().to_string()),
            ("@MANGLED@", MANGLED_PORT.to_string()),
            ("@CLEAN@", CLEAN_PORT.to_string()),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (mark, value)| {
            text.replace(mark, &value)
        });
        fs::write(file, text).map_err(lab::Error::file(file))
    }

    /// For a peer that takes what passes by: the same rules and routes as ours, as `unmangle rules` prints them.
    fn put_rules_in_place(&self) -> lab::Result<()> {
        let host = self.chain.relay();
        let unmangle = self.unmangle.display().to_string();
        let ports = [MANGLED_PORT, CLEAN_PORT].map(|port| port.to_string());
        let mut print = vec!["rules"];
        let interception = interception();
        print.extend(interception.iter().map(String::as_str));
        print.extend(["--mangled-port", &ports[0], "--clean-port", &ports[1]]);
        let printed = host.run(&unmangle, &print)?;
        host.feed("nft", &["-f", "-"], &printed)?;
        for line in printed
            .lines()
            .take_while(|line| *line != "# Taken away:")
            .filter_map(|line| line.strip_prefix("#   ip "))
        {
            host.run("ip", &line.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// What `unmangle` is told to take.
fn interception() -> Vec<String> {
    let port = PORT.to_string();
    let words = [
        "--intercept",
        &port,
        "--mangled-side",
        FIREWALL_DEVICE,
        "--profile",
        "clean",
    ];
    words.map(str::to_owned).to_vec()
}

/// Waits until something on the host listens on this port.
fn await_listener(name: &str, process: &mut Process, host: &Host, port: u16) -> lab::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let port = port.to_string();
    while host.run("ss", &["-Hltn", "sport", "=", &port])?.is_empty() {
        let (name, log) = (name.to_owned(), last_words(&process.log()));
        if process.ended()?.is_some() {
            return Err(lab::Error::Died { name, log });
        }
        if Instant::now() > deadline {
            return Err(lab::Error::NotReady { name, log });
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_put_into_settings_that_is_not_put_in() {
        let known = [
            "@CORES@",
            "@PIPESIZE@",
            "@DESCRIPTORS@",
            "@SOCKETS@",
            "@SESSIONS@",
            "@LISTEN@",
            "@SERVER@",
            "@MODULE@",
            "@DIRECTORY@",
            "@MANGLED@",
            "@CLEAN@",
        ];
        for text in [HAPROXY_FORWARD, HAPROXY_GATEWAY, NGINX] {
            let settings: String = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .collect();
            let left = known
                .iter()
                .fold(settings, |text, mark| text.replace(mark, ""));
            assert!(!left.contains('@'), "{left}");
        }
    }
}
