//! What the relay and a service manager have to say to each other, with a manager that the test plays: the watchdog, and
//! sockets that are passed in. `tests/systemd.rs` has the real one.

mod site;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use site::hanging::Hanging;
use site::web::{exchange, unix};
use site::{Here, PATIENCE, Pair, UNMANGLE, accept, talk, until};

/// A service manager that listens to what it is told.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    /// What its children find in their environment.
    fn environment(&self) -> String {
        let path = self.directory.path().join("notify");
        format!("NOTIFY_SOCKET={}", path.display())
    }

    fn told(&self) -> String {
        let mut bytes = [0; 256];
        let read = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// Reads until it is told something.
    fn told_at_last(&self, what: &str) {
        until(what, PATIENCE, || self.told() == what);
    }

    /// Forgets what was said, and sees whether nothing more is, for so long.
    fn hears_nothing_for(&self, time: Duration) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 256];
        while self.socket.recv(&mut bytes).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        self.socket.set_read_timeout(Some(time)).unwrap();
        let nothing = self.socket.recv(&mut bytes).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }
}

const ALIVE: &str = "WATCHDOG=1\n";
/// The manager's interval, in microseconds: long enough for a busy machine to answer within half of it.
const INTERVAL: &str = "WATCHDOG_USEC=1500000";

#[test]
fn the_watchdog_hears_of_a_relay_until_a_thread_hangs_and_again_when_it_does_not() {
    let manager = Manager::new();
    let environment = manager.environment();
    let here = Here::started_by(&["env", &environment, INTERVAL], &[]);
    manager.told_at_last("READY=1\n");
    manager.told_at_last(ALIVE);
    manager.told_at_last(ALIVE);
    let hanging = Hanging::thread(here.relay.id(), "worker-1");
    until("it is named", PATIENCE, || {
        !here.relay.events("threads do not answer: the service manager, which is told nothing now, will end the relay")
            .is_empty()
    });
    let log = here.relay.log();
    let line = log
        .lines()
        .find(|line| line.contains("do not answer"))
        .unwrap();
    assert!(
        line.contains("\"ERROR\"") && line.contains("\"worker-1\""),
        "{line}"
    );
    assert!(
        manager.hears_nothing_for(Duration::from_millis(1500)),
        "a whole interval"
    );
    drop(hanging);
    manager.told_at_last(ALIVE);
    talk(&here.connect(1));
}

#[test]
fn the_watchdog_hears_of_a_relay_that_drains() {
    let manager = Manager::new();
    let environment = manager.environment();
    let mut here = Here::started_by(&["env", &environment, INTERVAL], &[]);
    let pair = here.connect(1);
    talk(&pair);
    here.relay.signal(Signal::TERM);
    manager.told_at_last("STOPPING=1\n");
    for _ in 0..3 {
        assert_eq!(manager.told(), ALIVE);
    }
    talk(&pair);
    drop(pair);
    assert_eq!(here.relay.exit_code(), Some(0));
}

#[test]
fn a_watchdog_that_waits_for_another_process_hears_nothing() {
    let manager = Manager::new();
    let environment = manager.environment();
    let starter = [
        "env",
        &environment,
        "WATCHDOG_USEC=300000",
        "WATCHDOG_PID=1",
    ];
    let _here = Here::started_by(&starter, &[]);
    assert_eq!(manager.told(), "READY=1\n");
    assert!(manager.hears_nothing_for(Duration::from_millis(600)));
}

#[test]
fn a_watchdog_without_a_time_is_refused() {
    let mut command = Command::new(UNMANGLE);
    command.args(["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]);
    let output = command.env("WATCHDOG_USEC", "soon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "unmangle: WATCHDOG_USEC=\"soon\" of the environment is no time in microseconds\n"
    );
}

/// A relay that was passed a socket; dropped, it is killed.
struct Activated {
    child: Child,
    log: PathBuf,
}

/// A relay that will be passed this socket, by the protocol of systemd.
fn activated(socket: OwnedFd, arguments: &[&str]) -> Command {
    // The shell becomes the relay: its number is the relay's.
    let become_it =
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x.socket exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", become_it, "sh", UNMANGLE, "run", "--workers", "2"]);
    command.args(["--log-format", "json"]).args(arguments);
    command.stdin(Stdio::from(socket));
    command
}

impl Activated {
    fn start(directory: &Path, socket: OwnedFd, arguments: &[&str]) -> Self {
        let log = directory.join(format!("relay-{:08x}.log", rand::random::<u32>()));
        let file = File::create(&log).unwrap();
        let mut command = activated(socket, arguments);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let relay = Self {
            child: command.spawn().unwrap(),
            log,
        };
        until("it relays", PATIENCE, || {
            relay.log().contains("\"relaying\"")
        });
        relay
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of a relay at this address, for a server.
fn forward(at: SocketAddr, server: &TcpListener) -> [String; 4] {
    let to = server.local_addr().unwrap().to_string();
    ["--listen".to_owned(), at.to_string(), "--to".to_owned(), to]
}

fn refusal(socket: impl Into<OwnedFd>, arguments: &[&str]) -> String {
    let output: Output = activated(socket.into(), arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn who_connects_while_no_relay_runs_is_served_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap();
    let arguments = forward(at, &server);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let client = TcpStream::connect(at).unwrap();
        let door = door.try_clone().unwrap();
        let relay = Activated::start(directory.path(), door.into(), &arguments);
        let waited = Pair {
            client,
            server: accept(&server),
        };
        talk(&waited);
        // Each worker accepts there.
        for _ in 0..8 {
            let pair = Pair {
                client: TcpStream::connect(at).unwrap(),
                server: accept(&server),
            };
            talk(&pair);
        }
        drop(waited);
        relay.stop();
    }
}

#[test]
fn a_connection_that_waited_is_relayed_with_the_options_of_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap();
    let client = TcpStream::connect(at).unwrap();
    let arguments = forward(at, &server);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--keepalive", "77s"]);
    let relay = Activated::start(directory.path(), door.into(), &arguments);
    let pair = Pair {
        server: accept(&server),
        client,
    };
    talk(&pair);
    // A timer that runs is seen from outside: the kernel's default would be two hours.
    let ours = pair.client.local_addr().unwrap().port();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (door, client) = (format!(":{:04X}", at.port()), format!(":{ours:04X}"));
    let leg = table
        .lines()
        .find(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words[1].ends_with(&door) && words[2].ends_with(&client)
        })
        .expect("the relay's leg");
    let timer = leg.split_whitespace().nth(5).unwrap();
    let (kind, left) = timer.split_once(':').unwrap();
    let left = u64::from_str_radix(left, 16).unwrap();
    assert_eq!(kind, "02", "keepalive: {leg}");
    assert!(left <= 77_00, "{leg}");
    drop(pair);
    relay.stop();
}

#[test]
fn a_relay_that_was_passed_its_socket_is_upgraded_and_its_successor_serves_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap();
    let admin = directory.path().join("admin.sock");
    let admin = admin.to_str().unwrap();
    let arguments = forward(at, &server);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--admin", admin]);
    let mut relay = Activated::start(directory.path(), door.into(), &arguments);
    let first = Pair {
        client: TcpStream::connect(at).unwrap(),
        server: accept(&server),
    };
    talk(&first);
    for _ in 0..2 {
        let mut upgrade = Command::new(UNMANGLE);
        let output = upgrade
            .args(["upgrade", "--admin", admin])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}\n{}", relay.log());
        talk(&first);
        let next = Pair {
            client: TcpStream::connect(at).unwrap(),
            server: accept(&server),
        };
        talk(&next);
    }
    relay.child.wait().unwrap();
    drop(first);
    let ended = exchange(
        unix(Path::new(admin)),
        "POST /drain HTTP/1.1",
        "Content-Length: 0\r\n",
    );
    assert_eq!(ended.unwrap().status / 100, 2);
    until("the last one ends", PATIENCE, || !Path::new(admin).exists());
}

#[test]
fn an_admin_socket_that_was_passed_in_is_answered_at_and_outlives_the_relay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let admin = path.to_str().unwrap();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:9",
        "--admin",
        admin,
    ];
    let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o666);
    let said = refusal(listener.try_clone().unwrap(), &arguments);
    assert!(
        said.ends_with("(mode 0666): write SocketMode=0660 in its socket unit\n"),
        "{said}"
    );
    mode(0o660);
    let mut relay = Activated::start(directory.path(), listener.into(), &arguments);
    let ask = || {
        exchange(unix(&path), "GET /readyz HTTP/1.1", "")
            .unwrap()
            .status
    };
    assert_eq!(ask(), 200);
    let mut upgrade = Command::new(UNMANGLE);
    let output = upgrade
        .args(["upgrade", "--admin", admin])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}\n{}", relay.log());
    relay.child.wait().unwrap();
    assert_eq!(ask(), 200);
    let drained = exchange(unix(&path), "POST /drain HTTP/1.1", "Content-Length: 0\r\n");
    assert_eq!(drained.unwrap().status / 100, 2);
    until("the successor ends", PATIENCE, || {
        relay.log().contains("\"drained\"")
    });
    // It lets go of what it answers at before it ends.
    until("nobody answers", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(&path).is_err()
    });
    assert!(path.exists());
}

#[test]
fn a_socket_that_the_settings_do_not_want_is_refused_with_where_to_write_it() {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    assert_eq!(
        refusal(door, &arguments),
        format!(
            "unmangle: x.socket was passed in for {at}, and nothing in the settings listens there: write listen = \
             \"{at}\" for a listener, or admin = [\"{at}\"], or take it out of the socket unit\n"
        )
    );
}

#[test]
fn what_is_no_stream_socket_that_listens_is_refused() {
    let arguments = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = refusal(udp, &arguments);
    assert!(
        said.ends_with("; in a socket unit, write ListenStream=, and Accept=no\n"),
        "{said}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let said = refusal(stream, &arguments);
    assert!(said.contains("that does not listen"), "{said}");
    // Closed with the relay: nothing was kept.
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
}

#[test]
fn children_and_successors_hear_nothing_of_what_was_passed_in() {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap();
    let admin = directory.path().join("admin.sock");
    let admin = admin.to_str().unwrap();
    // A successor that tells what it finds, and does not take over.
    let spy = directory.path().join("spy");
    let told = directory.path().join("told");
    let text = format!(
        "#!/bin/sh\n{{ env; ls -l /proc/self/fd; }} >{}\nexit 1\n",
        told.display()
    );
    std::fs::write(&spy, text).unwrap();
    std::fs::set_permissions(&spy, PermissionsExt::from_mode(0o755)).unwrap();
    let arguments = forward(at, &server);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--admin", admin]);
    let relay = Activated::start(directory.path(), door.into(), &arguments);
    let mut upgrade = Command::new(UNMANGLE);
    let spy = spy.to_str().unwrap();
    let output = upgrade
        .args(["upgrade", "--admin", admin, "--program", spy])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = std::fs::read_to_string(told).unwrap();
    assert!(told.contains("PATH="), "{told}");
    assert!(
        !told.contains("LISTEN_") && !told.contains("socket:"),
        "{told}"
    );
    relay.stop();
}
