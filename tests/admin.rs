//! Who may ask a relay how it does gets an answer, and nobody who does not ask keeps others from it.
//!
//! The relay forwards on this host's own loopback addresses, which needs no privilege. Those tests that say so need
//! root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use site::asked::{Asked, ask};
use site::web::{tcp, unix};
use site::{Here, PATIENCE, UNMANGLE, talk, until};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A forward relay that must refuse to start: the one line that it says.
fn refusal(flags: &[&str]) -> String {
    let usual = ["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    let output = Command::new(UNMANGLE)
        .args(usual)
        .args(flags)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    told.trim_end().to_owned()
}

// === endpoints ===

#[test]
fn a_relay_that_runs_is_healthy_and_ready_whoever_asks() {
    let relay = Asked::start();
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let get = format!("GET {path}");
        for answer in [relay.ask(&get), relay.ask_by_tcp(&get)] {
            assert_eq!((answer.status, answer.body.as_str()), (200, body));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let head = relay.ask(&format!("HEAD {path}"));
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(
            head.header("content-length"),
            Some(body.len().to_string().as_str())
        );
    }
}

#[test]
fn who_asks_for_what_there_is_not_is_told_what_there_is() {
    let relay = Asked::start();
    for path in ["/index.html", "/metric", "/healthz/"] {
        let answer = relay.ask(&format!("GET {path}"));
        assert_eq!(answer.status, 404, "{path}");
        for endpoint in [
            "/metrics",
            "/api/status",
            "/api/sessions",
            "/api/figures",
            "/healthz",
            "/readyz",
            "/drain",
        ] {
            assert!(answer.body.contains(endpoint), "{}", answer.body);
        }
    }
    let answer = relay.ask("GET /api/stats");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["error"],
        "there are /api/status, /api/sessions and /api/figures"
    );
    for (request, allow) in [
        ("POST /metrics", "GET,HEAD"),
        ("DELETE /api/sessions", "GET,HEAD"),
        ("GET /drain", "POST"),
    ] {
        let answer = relay.ask(request);
        assert_eq!(answer.status, 405, "{request}");
        assert_eq!(answer.header("allow"), Some(allow), "{request}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_query_that_is_wrong_is_answered_with_what_would_be_right() {
    let relay = Asked::start();
    for (query, message) in [
        (
            "limits=3",
            "there is no parameter \"limits\"; there are: limit, order, listener, client, server, stuck, older_than",
        ),
        (
            "limit=10001",
            "limit=\"10001\": give a number from 1 to 10000",
        ),
        ("stuck=maybe", "stuck=\"maybe\": give true or false"),
    ] {
        let answer = relay.ask(&format!("GET /api/sessions?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["error"], message);
    }
    assert_eq!(relay.ask("GET /api/sessions?limit=10000").status, 200);
}

#[test]
fn a_body_that_nobody_needs_is_not_read() {
    let relay = Asked::start();
    for headers in ["Content-Length: 4097\r\n", "Transfer-Encoding: chunked\r\n"] {
        let answer = relay.ask_with("POST /drain", headers);
        assert_eq!(answer.status, 413, "{headers}");
    }
    assert_eq!(relay.ask("GET /readyz").status, 200);
}

// === the life of the socket ===

#[test]
fn the_socket_is_for_owner_and_group_alone_and_is_gone_after_an_orderly_end() {
    let relay = Asked::start();
    assert!(fs::metadata(&relay.socket).unwrap().file_type().is_socket());
    assert_eq!(mode(&relay.socket), 0o660);
    let Asked { here, socket, .. } = relay;
    here.relay.stop();
    assert!(!socket.exists());
}

#[test]
fn a_mask_of_the_umask_neither_opens_the_socket_nor_closes_it_to_the_group() {
    for umask in ["000", "077"] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let script = format!("umask {umask}; exec \"$@\"");
        let starter = ["sh", "-c", &script, "sh"];
        let flags = ["--admin", socket.to_str().unwrap()];
        let _here = Here::started_by(&starter, &flags);
        assert_eq!(mode(&socket), 0o660, "{umask}");
    }
}

#[test]
fn what_a_killed_relay_has_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let flags = ["--admin", socket.to_str().unwrap()];
    let mut killed = Here::with(&flags);
    killed.relay.signal(Signal::KILL);
    assert_eq!(killed.relay.exit_code(), None);
    assert!(socket.exists());
    let _next = Here::with(&flags);
    assert_eq!(ask(unix(&socket), "GET /healthz", "").status, 200);
}

#[test]
fn a_place_that_is_taken_is_refused_at_the_start_and_left_as_it_is() {
    let relay = Asked::start();
    let socket = relay.socket.to_str().unwrap();
    assert_eq!(
        refusal(&["--admin", socket]),
        format!("unmangle: --admin: {socket}: another process answers there")
    );
    assert_eq!(relay.ask("GET /healthz").status, 200);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes");
    fs::write(&file, "mine").unwrap();
    let name = file.to_str().unwrap();
    assert_eq!(
        refusal(&["--admin", name]),
        format!(
            "unmangle: --admin: {name}: there is something that is no socket, and it is left alone"
        )
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

    let port = relay.here.relay.admin().to_string();
    assert_eq!(
        refusal(&["--admin", &port]),
        format!("unmangle: --admin: {port}: Address already in use (os error 98)")
    );
    let config = directory.path().join("unmangle.toml");
    fs::write(&config, "\nadmin = \"/no/such/directory/x.sock\"\n").unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(
        refusal(&["--config", config]),
        format!(
            "unmangle: {config}:2: admin: /no/such/directory/x.sock: No such file or directory (os error 2)"
        )
    );
}

#[test]
fn a_start_that_is_refused_leaves_no_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let taken = Asked::start();
    let port = taken.here.relay.admin().to_string();
    refusal(&["--admin", socket.to_str().unwrap(), "--admin", &port]);
    assert!(!socket.exists());
}

#[test]
fn nobody_listens_for_questions_at_a_port_unless_that_was_asked_for() {
    let own = |here: &Here| {
        let lines = here.relay.events("answering");
        let admin = |line: &serde_json::Value| line["admin"].as_str().unwrap().to_owned();
        lines.iter().map(admin).collect::<Vec<_>>()
    };
    let runtime = tempfile::tempdir().unwrap();
    let directory = format!("XDG_RUNTIME_DIR={}", runtime.path().display());
    let here = Here::started_by(&["env", &directory], &[]);
    let [socket] = &own(&here)[..] else {
        panic!("{}", here.relay.log());
    };
    assert!(
        socket.ends_with(&format!("/unmangle/{}.sock", here.relay.id())),
        "{socket}"
    );
    assert_eq!(mode(Path::new(socket)), 0o660);
    let socket = PathBuf::from(socket);
    here.relay.stop();
    assert!(!socket.exists());

    let off = Here::with(&["--admin", "off"]);
    assert_eq!(own(&off), Vec::<String>::new());
}

#[test]
fn a_relay_runs_without_a_socket_that_nobody_asked_for_and_says_so() {
    // Root makes a user that may write neither directory.
    if !site::possible() {
        return;
    }
    let (_directory, program) = site::program_for_everybody();
    let instead = format!("shift; exec {program} \"$@\"");
    let starter = [
        "setpriv",
        "--reuid=54399",
        "--regid=54399",
        "--clear-groups",
        "env",
        "XDG_RUNTIME_DIR=/proc/nowhere",
        "sh",
        "-c",
        &instead,
        "sh",
    ];
    let here = Here::started_by(&starter, &[]);
    let log = here.relay.log();
    assert!(
        log.contains("nobody can ask how the relay does: /run/unmangle: "),
        "{log}"
    );
    let pair = here.connect(1);
    talk(&pair);
}

#[test]
fn the_socket_is_run_as_s_and_is_gone_after_an_orderly_end() {
    // Only root runs as somebody else.
    if !site::possible() {
        return;
    }
    let here = Here::with(&["--run-as", "54301:54302"]);
    let socket = PathBuf::from(format!("/run/unmangle/54301/{}.sock", here.relay.id()));
    let found = fs::metadata(&socket).unwrap();
    assert_eq!((found.uid(), found.gid()), (54301, 54302));
    assert_eq!(mode(&socket), 0o660);
    // Root's own directory stays root's.
    for (directory, owner) in [("/run/unmangle", 0), ("/run/unmangle/54301", 54301)] {
        assert_eq!(mode(Path::new(directory)), 0o755);
        assert_eq!(fs::metadata(directory).unwrap().uid(), owner);
    }
    assert_eq!(ask(unix(&socket), "GET /readyz", "").status, 200);
    here.relay.stop();
    assert!(!socket.exists());
    assert_eq!(
        refusal(&["--run-as", "54301:54302", "--admin", "/run/unmangle/x.sock"]),
        "unmangle: --admin: /run/unmangle/x.sock: Permission denied (os error 13); whoever the relay runs as must \
         own its directory"
    );
}

#[test]
fn nobody_is_passed_on_to_the_port_at_which_the_relay_is_asked() {
    // Nobody else is at that address.
    let free = TcpListener::bind("127.0.0.77:0").unwrap();
    let port = free.local_addr().unwrap().to_string();
    drop(free);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = Here::before(nobody, &[], &["--admin", &port, "--to", &port]);
    assert_eq!(here.relay.admin().to_string(), port);
    here.expect_refused(1);
    assert_eq!(here.count("refused_own"), 1);
}

// === drain ===

#[test]
fn the_drain_begins_over_the_unix_socket_and_only_there() {
    let relay = Asked::start();
    let refused = relay.ask_by_tcp("POST /drain");
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body,
        "whoever reaches this port could end the relay: ask over a Unix socket\n"
    );
    assert_eq!(relay.ask("GET /readyz").status, 200);

    let pair = relay.here.connect(1);
    talk(&pair);
    let drain = relay.ask("POST /drain");
    assert_eq!((drain.status, drain.body.as_str()), (202, "draining\n"));
    until("it is not ready any more", PATIENCE, || {
        relay.ask("GET /readyz").status == 503
    });
    let why = relay.ask_by_tcp("GET /readyz").body;
    assert_eq!(why, "draining: new connections are not taken\n");
    assert_eq!(relay.ask("GET /healthz").status, 200);
    assert_eq!(relay.ask("POST /drain").status, 202);
    assert_eq!(relay.ask("GET /api/status").json()["draining"], true);
    // The session that runs goes on, and the relay ends with it.
    talk(&pair);
    drop(pair);
    let mut relay = relay;
    assert_eq!(relay.here.relay.exit_code(), Some(0));
    assert!(relay.here.relay.log().contains("the drain was asked for"));
}

// === who does not ask ===

#[test]
fn two_hundred_who_send_half_a_request_keep_nobody_from_an_answer() {
    let relay = Asked::start();
    let port = relay.here.relay.admin();
    let mut silent: Vec<Box<dyn Write>> = Vec::new();
    for n in 0..200 {
        let mut stream: Box<dyn Write> = match n % 2 {
            0 => Box::new(unix(&relay.socket)),
            _ => Box::new(tcp(port).unwrap()),
        };
        // The first ones may have been shown out.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ");
        silent.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(relay.ask("GET /healthz").status, 200);
        assert_eq!(relay.ask_by_tcp("GET /healthz").status, 200);
    }
    // And the relay relays.
    talk(&relay.here.connect(1));
    let open = fs::read_dir(format!("/proc/{}/fd", relay.here.relay.id())).unwrap();
    assert!(
        open.count() < 80,
        "those who are silent hold no descriptors"
    );
}

#[test]
fn several_requests_may_come_over_one_connection() {
    let relay = Asked::start();
    let mut stream = unix(&relay.socket);
    for _ in 0..3 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
}
