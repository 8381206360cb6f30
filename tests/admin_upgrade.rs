//! Who may take a relay's place, how that is asked for, and how the sockets at which it is asked go over: with the
//! main thread played by the test. And what `unmangle upgrade` says, with the relay played by the test.

mod site;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use unmangle::admin::{
    About, Ask, Doors, HandedDoor, Phase, Rules, Server, Source, Standing, Upgraded,
};
use unmangle::config::{Contents, InvalidReasons, Keys, Settings};
use unmangle::relay::{self, Listeners};
use unmangle::sys::passed::Passed;

use site::asked::ask;
use site::web::{Answer, Stream, tcp, unix};
use site::{PATIENCE, UNMANGLE, until};

/// A relay without a main thread, and the thread that answers for it.
struct Played {
    relay: Option<relay::Server>,
    server: Option<Server>,
    asks: mpsc::Receiver<Ask>,
    standing: watch::Sender<Standing>,
}

/// Where such a relay is asked.
struct Place {
    socket: PathBuf,
    directory: TempDir,
}

type Answers = oneshot::Sender<Result<Upgraded, String>>;

const UPGRADED: Upgraded = Upgraded {
    pid: 1234,
    sessions: 5100,
    left: 2,
    took_ms: 412,
};
const SWITCH: &str = "Connection: Upgrade\r\nUpgrade: unmangle-takeover\r\n";

// === impl Place ===

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        Self { socket, directory }
    }

    fn settings(&self) -> Settings {
        let path = self.socket.to_str().unwrap();
        settings(&[path, "127.0.0.1:0"])
    }

    fn start(&self) -> Played {
        let settings = self.settings();
        Played::start(
            &settings,
            Doors::bind(&settings.process.admin, &mut Passed::default()).unwrap(),
        )
    }

    fn ask(&self, request: &str, headers: &str) -> Answer {
        ask(unix(&self.socket), request, headers)
    }

    /// Asks in another thread.
    fn asks(&self, request: &'static str) -> JoinHandle<Answer> {
        let stream = unix(&self.socket);
        thread::spawn(move || ask(stream, request, ""))
    }

    /// Asks to take over, and says more at once.
    fn take_over(&self, more: &str) -> UnixStream {
        let mut stream = unix(&self.socket);
        let request = format!("POST /takeover HTTP/1.1\r\nHost: x\r\n{SWITCH}\r\n{more}");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

// === impl Played ===

impl Played {
    fn start(settings: &Settings, doors: Doors) -> Self {
        let listeners = Listeners::bind(&settings.listeners, 1, &mut Passed::default()).unwrap();
        let relay = relay::Server::start(&settings.process, listeners, None, relay::Begins::AtOnce)
            .unwrap();
        let standing = watch::Sender::new(Standing {
            phase: Phase::Running,
            rules: Rules::NotNeeded,
            rules_lost: 0,
            parts: vec![],
            settings: Arc::new(settings.clone()),
            text: "".into(),
        });
        let (asked, asks) = mpsc::channel(1);
        let source = Source {
            relay: relay.handle().clone(),
            about: About {
                started: SystemTime::now(),
                began: Instant::now(),
                workers: 1,
                ways: vec![],
                lines_lost: || 0,
            },
            standing: standing.subscribe(),
            asks: asked,
        };
        let server = Server::start(doors, source, InvalidReasons::Off).unwrap();
        Self {
            relay: Some(relay),
            server: Some(server),
            asks,
            standing,
        }
    }

    /// What another process would be given.
    fn doors(&self) -> Vec<HandedDoor> {
        let doors = self.server.as_ref().unwrap().doors();
        let each = doors.into_iter();
        each.map(|(address, socket, lasts)| HandedDoor {
            address,
            lasts,
            socket: socket.try_clone_to_owned().unwrap(),
        })
        .collect()
    }

    fn upgrade(&mut self) -> (Option<PathBuf>, Answers) {
        match self.asks.blocking_recv() {
            Some(Ask::Upgrade { program, answer }) => (program, answer),
            other => panic!("{other:?}"),
        }
    }

    fn let_go(&mut self) {
        let server = self.server.take().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(server.let_go());
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        drop(self.server.take());
        if let Some(relay) = self.relay.take() {
            relay.stop().unwrap();
        }
    }
}

fn settings(admin: &[&str]) -> Settings {
    let (mut process, mut listener) = (Keys::default(), Keys::default());
    process.set_flag("admin", admin);
    listener.set_flag("listen", ["127.0.0.1:0"]);
    listener.set_flag("to", ["127.0.0.1:9"]);
    Settings::resolve(Contents::default(), process, listener).unwrap()
}

/// The head of an answer, and nothing behind it.
fn head(stream: &mut impl Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Where a relay answers by TCP.
fn port(doors: &[HandedDoor]) -> std::net::SocketAddr {
    let mut ports = doors.iter().filter_map(|door| door.address.parse().ok());
    ports.next().unwrap()
}

fn refused(answer: &Answer) -> (u16, String) {
    (
        answer.status,
        answer.json()["error"].as_str().unwrap().to_owned(),
    )
}

// === /takeover ===

#[test]
fn a_successor_speaks_by_the_connection_that_it_has_asked_by() {
    let place = Place::new();
    let mut played = place.start();
    let mut successor = place.take_over("");
    let head = head(&mut successor);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lines = head.to_lowercase();
    for line in ["connection: upgrade", "upgrade: unmangle-takeover"] {
        assert!(lines.lines().any(|each| each == line), "{head}");
    }
    let Some(Ask::Takeover(socket)) = played.asks.blocking_recv() else {
        panic!("nobody was told");
    };
    let mut old = UnixStream::from(socket);
    old.set_nonblocking(false).unwrap();
    let mut said = [0; 5];
    successor.write_all(b"hello").unwrap();
    old.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    old.write_all(b"world").unwrap();
    successor.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"world");
    // And who asks goes on being answered.
    assert_eq!(place.ask("GET /healthz", "").status, 200);
}

#[test]
fn who_speaks_before_the_switch_is_answered_takes_nothing_over() {
    let place = Place::new();
    let mut played = place.start();
    let mut early = place.take_over("hello");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(played.asks.try_recv().is_err());
    assert_eq!(place.ask("GET /healthz", "").status, 200);
}

#[test]
fn a_takeover_without_its_headers_is_told_which_and_one_with_a_body_is_refused() {
    let place = Place::new();
    let mut played = place.start();
    for headers in [
        "",
        "Upgrade: unmangle-takeover\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ] {
        let answer = place.ask("POST /takeover", headers);
        assert_eq!(answer.status, 426, "{headers}: {answer:?}");
        assert_eq!(answer.header("upgrade"), Some("unmangle-takeover"));
        assert_eq!(
            answer.body,
            "ask with the headers Connection: Upgrade and Upgrade: unmangle-takeover\n"
        );
    }
    let body = format!("{SWITCH}Content-Length: 3\r\n");
    assert_eq!(place.ask("POST /takeover", &body).status, 400);
    let answer = place.ask("GET /takeover", SWITCH);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert!(played.asks.try_recv().is_err());
}

// === who may ===

#[test]
fn nobody_takes_over_or_upgrades_by_a_port() {
    let place = Place::new();
    let mut played = place.start();
    let why = "whoever reaches this port could take the relay's place: ask over a Unix socket";
    let stream = || tcp(port(&played.doors())).unwrap();
    let upgrade = ask(stream(), "POST /upgrade", "");
    assert_eq!(refused(&upgrade), (403, why.to_owned()));
    let takeover = ask(stream(), "POST /takeover", SWITCH);
    assert_eq!((takeover.status, takeover.body), (403, format!("{why}\n")));
    assert!(played.asks.try_recv().is_err());
}

#[test]
fn another_user_who_may_open_the_socket_may_ask_and_takes_nothing_over() {
    // Only root can become somebody else.
    if !site::possible() {
        return;
    }
    let place = Place::new();
    let mut played = place.start();
    // The socket is open to its group, root's, which this thread stays in.
    let open = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(place.directory.path(), open).unwrap();
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let nobody = Uid::from_raw(54399);
                set_thread_res_uid(None::<Uid>, nobody, None::<Uid>).unwrap();
                let why = "user 54399 may not take the place of a relay of user 0: that user may, and root";
                assert_eq!(place.ask("GET /healthz", "").status, 200);
                let upgrade = place.ask("POST /upgrade", "");
                assert_eq!(refused(&upgrade), (403, why.to_owned()));
                let takeover = place.ask("POST /takeover", SWITCH);
                assert_eq!((takeover.status, takeover.body), (403, format!("{why}\n")));
            })
            .join()
            .unwrap();
    });
    assert!(played.asks.try_recv().is_err());
}

// === /upgrade ===

#[test]
fn one_upgrade_at_a_time_is_under_way_and_whoever_asked_hears_how_it_ends() {
    let place = Place::new();
    let mut played = place.start();
    let first = place.asks("POST /upgrade?program=/opt/un%20mangle");
    let (program, answer) = played.upgrade();
    assert_eq!(program, Some(PathBuf::from("/opt/un mangle")));
    let second = place.ask("POST /upgrade", "");
    assert_eq!(
        refused(&second),
        (409, "another upgrade is under way".to_owned())
    );
    answer.send(Ok(UPGRADED)).unwrap();
    let first = first.join().unwrap();
    let told = serde_json::json!({"pid": 1234, "sessions": 5100, "left": 2, "took_ms": 412});
    assert_eq!((first.status, first.json()), (200, told));

    let third = place.asks("POST /upgrade");
    let (program, answer) = played.upgrade();
    assert_eq!(program, None);
    answer.send(Err("it did not come up".to_owned())).unwrap();
    let third = third.join().unwrap();
    assert_eq!(refused(&third), (409, "it did not come up".to_owned()));
}

#[test]
fn an_upgrade_is_under_way_even_if_whoever_asked_for_it_is_gone() {
    let place = Place::new();
    let mut played = place.start();
    let mut gone = unix(&place.socket);
    gone.write_all(b"POST /upgrade HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (_, answer) = played.upgrade();
    drop(gone);
    // Several looks: the first could come before that has been seen.
    for _ in 0..20 {
        assert_eq!(place.ask("POST /upgrade", "").status, 409);
    }
    answer.send(Ok(UPGRADED)).unwrap();
    let mut next = None;
    until("another one may ask", PATIENCE, || {
        let asked = place.asks("POST /upgrade");
        let asks = &mut played.asks;
        until("it is answered or asks", PATIENCE, || {
            next = asks.try_recv().ok();
            next.is_some() || asked.is_finished()
        });
        next.is_some()
    });
    // Dropped without an answer, as by a relay that ends.
    drop(next);
}

#[test]
fn what_is_no_question_is_told_what_would_be_right() {
    let place = Place::new();
    let mut played = place.start();
    for (query, why) in [
        (
            "programme=/x",
            "there is no parameter \"programme\"; there is: program",
        ),
        (
            "program=./x",
            "program=\"./x\": give the whole path of a program, such as /usr/local/bin/unmangle",
        ),
    ] {
        let answer = place.ask(&format!("POST /upgrade?{query}"), "");
        assert_eq!(refused(&answer), (400, why.to_owned()));
    }
    assert!(played.asks.try_recv().is_err());
}

#[test]
fn a_relay_that_has_only_begun_or_is_about_to_end_hands_nothing_over() {
    let place = Place::new();
    let mut played = place.start();
    for (phase, why) in [
        (
            Phase::Starting,
            "starting: there is nothing to hand over yet",
        ),
        (Phase::Draining, "draining: what is left ends here"),
    ] {
        played
            .standing
            .send_modify(|standing| standing.phase = phase);
        let upgrade = place.ask("POST /upgrade", "");
        assert_eq!(refused(&upgrade), (409, why.to_owned()));
        let takeover = place.ask("POST /takeover", SWITCH);
        assert_eq!((takeover.status, takeover.body), (409, format!("{why}\n")));
    }
    assert!(played.asks.try_recv().is_err());
}

#[test]
fn what_the_main_thread_has_no_room_for_is_refused_and_the_drain_is_never_forgotten() {
    let place = Place::new();
    let mut played = place.start();
    let asked = place.asks("POST /upgrade");
    until("it waits to be heard", PATIENCE, || !played.asks.is_empty());
    let busy = "the relay is busy with others who asked";
    let drain = place.ask("POST /drain", "");
    assert_eq!((drain.status, drain.body), (503, format!("{busy}\n")));
    let takeover = place.ask("POST /takeover", SWITCH);
    assert_eq!((takeover.status, takeover.body), (503, format!("{busy}\n")));
    let (_, answer) = played.upgrade();
    // Asked for twice it is heard once.
    for _ in 0..2 {
        assert_eq!(place.ask("POST /drain", "").status, 202);
    }
    assert!(matches!(played.asks.blocking_recv(), Some(Ask::Drain)));
    assert!(played.asks.try_recv().is_err());
    answer.send(Ok(UPGRADED)).unwrap();
    assert_eq!(asked.join().unwrap().status, 200);
}

// === sockets go over ===

#[test]
fn sockets_that_go_over_keep_nobody_waiting_and_whoever_had_asked_is_answered() {
    let place = Place::new();
    let mut old = place.start();
    let upgrade = place.asks("POST /upgrade");
    let (_, answer) = old.upgrade();
    let doors = old.doors();
    assert_eq!(doors.len(), 2);
    let port = port(&doors);
    let adopted = Doors::adopt(&place.settings().process.admin, doors).unwrap();
    assert_eq!(
        adopted.ports(),
        [port],
        "a port left to the kernel stays the one that it was"
    );
    answer.send(Ok(UPGRADED)).unwrap();
    old.let_go();
    assert_eq!(upgrade.join().unwrap().status, 200);
    assert!(place.socket.exists());
    // Nobody answers now, and nobody is refused.
    let (by_socket, by_port) = (unix(&place.socket), tcp(port).unwrap());
    let new = Played::start(&place.settings(), adopted);
    assert_eq!(ask(by_socket, "GET /readyz", "").status, 200);
    assert_eq!(ask(by_port, "GET /readyz", "").status, 200);
    // And once more: what was adopted can be handed over.
    assert_eq!(new.doors().len(), 2);
    drop(new);
    assert!(!place.socket.exists());
}

#[test]
fn sockets_of_a_successor_that_never_began_stay_the_old_one_s() {
    let place = Place::new();
    let old = place.start();
    drop(Doors::adopt(&place.settings().process.admin, old.doors()).unwrap());
    assert_eq!(place.ask("GET /readyz", "").status, 200);
    drop(old);
    assert!(!place.socket.exists());
}

#[test]
fn a_socket_that_nobody_asks_for_any_more_goes_when_the_successor_begins() {
    let place = Place::new();
    let mut old = place.start();
    let other = place.directory.path().join("other.sock");
    let settings = settings(&[other.to_str().unwrap()]);
    let adopted = Doors::adopt(&settings.process.admin, old.doors()).unwrap();
    assert_eq!(place.ask("GET /readyz", "").status, 200);
    old.let_go();
    assert!(place.socket.exists());
    let _new = Played::start(&settings, adopted);
    assert!(!place.socket.exists());
    assert_eq!(ask(unix(&other), "GET /readyz", "").status, 200);
}

#[test]
fn what_does_not_listen_there_is_not_taken_for_a_socket_that_does() {
    let place = Place::new();
    let path = place.socket.to_str().unwrap();
    let old = place.start();
    let (connected, _) = UnixStream::pair().unwrap();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port(&old.doors()).to_string();
    for (address, socket) in [
        (path, OwnedFd::from(connected)),
        (path, OwnedFd::from(elsewhere.try_clone().unwrap())),
        (port.as_str(), OwnedFd::from(elsewhere)),
    ] {
        let handed = vec![HandedDoor {
            address: address.to_owned(),
            lasts: false,
            socket,
        }];
        let error = Doors::adopt(&settings(&[address]).process.admin, handed).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("--admin: {address}: handed over: it is not a socket that listens there")
        );
    }
    assert!(place.socket.exists());
}

#[test]
fn an_answer_that_never_comes_does_not_keep_one_that_lets_go() {
    let place = Place::new();
    let mut old = place.start();
    let mut waits = unix(&place.socket);
    waits
        .write_all(b"POST /upgrade HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (_, answer) = old.upgrade();
    old.let_go();
    let mut nothing = Vec::new();
    waits.read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
    drop(answer);
}

// === unmangle upgrade ===

/// Somebody at a socket who gives one answer, such as `409 Conflict`; nothing at all if it is empty. Returns the request's
/// first line.
fn answers(socket: &Path, status: &'static str, body: &'static str) -> JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = head(&mut stream);
        if !status.is_empty() {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        request.lines().next().unwrap().to_owned()
    })
}

fn upgrade(flags: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(UNMANGLE).arg("upgrade").args(flags).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn an_upgrade_is_told_in_a_line_and_ends_with_0() {
    let body = r#"{"pid":1234,"sessions":5100,"left":2,"took_ms":412}"#;
    let place = Place::new();
    let at = place.socket.to_str().unwrap();
    let relay = answers(&place.socket, "200 OK", body);
    let line = "moved 5100 sessions to process 1234 in 0.41 s; 2 are still with the old one\n";
    let told = upgrade(&["--admin", at, "--program", "/bin/sh"]);
    assert_eq!(told, (Some(0), line.to_owned(), String::new()));
    let request = relay.join().unwrap();
    assert_eq!(request, "POST /upgrade?program=%2Fbin%2Fsh HTTP/1.1");

    std::fs::remove_file(&place.socket).unwrap();
    let relay = answers(&place.socket, "200 OK", body);
    let told = upgrade(&["--admin", at, "--json"]);
    assert_eq!(told, (Some(0), format!("{body}\n"), String::new()));
    assert_eq!(relay.join().unwrap(), "POST /upgrade HTTP/1.1");
}

#[test]
fn an_upgrade_that_is_refused_ends_with_1_and_says_who_relays() {
    let body = r#"{"error":"it did not come up"}"#;
    let refused = "unmangle: not upgraded: it did not come up; the relay has not been replaced\n";
    let cases = [
        ("409 Conflict", body, refused.to_owned()),
        ("403 Forbidden", body, refused.to_owned()),
        (
            "404 Not Found",
            "there is nothing at /upgrade. There are:\n",
            "unmangle: not upgraded: this relay is of a version that cannot hand over what it has; it goes on as before\n"
                .to_owned(),
        ),
    ];
    for (status, body, line) in cases {
        let place = Place::new();
        let relay = answers(&place.socket, status, body);
        let told = upgrade(&["--admin", place.socket.to_str().unwrap()]);
        assert_eq!(told, (Some(1), String::new(), line));
        relay.join().unwrap();
    }
    let place = Place::new();
    let relay = answers(&place.socket, "409 Conflict", body);
    let told = upgrade(&["--json", "--admin", place.socket.to_str().unwrap()]);
    assert_eq!(told, (Some(1), format!("{body}\n"), refused.to_owned()));
    relay.join().unwrap();
}

#[test]
fn an_upgrade_whose_end_nobody_has_heard_is_not_called_refused() {
    let place = Place::new();
    let relay = answers(&place.socket, "", "");
    let (code, out, line) = upgrade(&["--admin", place.socket.to_str().unwrap()]);
    relay.join().unwrap();
    assert_eq!((code, out.as_str()), (Some(1), ""), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let ends = "; whether it was upgraded is not known, `unmangle status` tells who relays now\n";
    assert!(line.ends_with(ends), "{line}");
}

#[test]
fn who_cannot_be_asked_ends_with_2_and_a_line_that_says_why() {
    let place = Place::new();
    let at = place.socket.to_str().unwrap();
    for (flags, line) in [
        (
            ["--admin", at, "--program", "/bin/sh"],
            format!("unmangle: {at}: No such file or directory (os error 2)\n"),
        ),
        (
            ["--admin", "127.0.0.1:9", "--program", "/bin/sh"],
            "unmangle: 127.0.0.1:9: nobody can upgrade a relay over TCP: give the path of its Unix socket\n"
                .to_owned(),
        ),
        (
            ["--admin", at, "--program", "/no/such"],
            "unmangle: --program /no/such: No such file or directory (os error 2)\n".to_owned(),
        ),
    ] {
        assert_eq!(upgrade(&flags), (Some(2), String::new(), line));
    }
}
