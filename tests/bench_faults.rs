//! What goes wrong in a load is counted by its kind, told in one line, and ends by itself.

mod site;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

use site::bench::{Ended, Running, Serve, bench, bench_after, number, part, parts, run};
use site::faulty::{echo, greet, greet_only, keep_silent, reset, server};

const SHORT: &str = "--duration 300ms --warmup 50ms --grace 300ms";

/// Every mode that begins with a hello.
const MODES: [&str; 5] = ["stream", "rr", "crr", "idle", "mix --connections 8"];

fn load(to: impl std::fmt::Display, words: &str) -> Ended {
    run(&format!("--to {to} {SHORT} {words}"))
}

#[test]
fn where_nobody_listens_connections_are_refused() {
    // Bound, but not listening.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    let to = socket.local_addr().unwrap().as_socket().unwrap();
    for mode in MODES {
        let ended = load(to, &format!("--mode {mode}"));
        let words = "direct: refused, ";
        ended.faults(&[("refused", words)]);
        assert!(
            ended
                .stderr
                .contains("is `unmangle bench serve` running there?")
        );
    }
    let ended = load(to, "--mode rr --connections 3");
    assert_eq!(ended.faults(&[("refused", "refused, 3 times")]), [3]);
    // Of two paths, the one that fails is named.
    let serve = Serve::start_one("");
    let ended = load(serve.address(), &format!("--via {to} --mode rr"));
    ended.faults(&[("refused", "unmangle: via: refused, once")]);
}

#[test]
fn where_no_connection_is_made_in_time_it_is_given_up() {
    // A listener whose queue is full drops what comes.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let to = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = std::net::TcpStream::connect(to).unwrap();
    let ended = load(to, "--mode rr --connect-timeout 400ms");
    ended.faults(&[("timed_out", "no connection within 400ms")]);
}

#[test]
fn a_server_that_never_answers_a_hello_is_not_waited_for() {
    let to = server(keep_silent);
    for mode in MODES {
        let ended = load(to, &format!("--mode {mode} --connect-timeout 300ms"));
        ended.faults(&[("timed_out", "no answer to its hello within 300ms")]);
    }
}

#[test]
fn requests_that_are_never_answered_are_counted_at_the_end() {
    let to = server(greet_only);
    for (words, times) in [
        ("rr", 1),
        ("rr --connections 3", 3),
        ("idle --connections 3", 3),
    ] {
        let ended = load(to, &format!("--mode {words}"));
        assert_eq!(
            ended.faults(&[("unanswered", "no response before the end")]),
            [times]
        );
    }
    // It closes at the end as it should, but does not say how much it has received.
    let ended = load(to, "--mode stream");
    assert_eq!(ended.faults(&[("closed_early", "closed early")]), [1]);
    // In an open loop those that were behind the first are counted, too, and the rates are told.
    let ended = load(to, "--mode rr --rate 100");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!((ended.code(), lines.len()), (Some(1), 3), "{ended:?}");
    assert!(number(part(&ended.report()), "/errors/unsent") >= 30);
}

#[test]
fn a_request_that_is_taken_slowly_does_not_outlast_the_run() {
    let to = server(|mut stream| {
        let mut buffer = vec![0; 1 << 12];
        if greet(&mut stream) {
            while stream.read(&mut buffer).is_ok_and(|got| got > 0) {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
    });
    for connections in [1, 2] {
        let words = format!("--mode rr --request 4G --connections {connections}");
        load(to, &words).faults(&[("unanswered", "unanswered")]);
    }
}

#[test]
fn a_server_that_sends_for_ever_is_not_listened_to_for_ever() {
    let to = server(|mut stream| {
        let zeros = vec![0; 1 << 20];
        if greet(&mut stream) {
            while stream.write_all(&zeros).is_ok() {}
        }
    });
    for connections in [1, 2] {
        let words = format!("--mode stream --direction download --connections {connections}");
        load(to, &words).faults(&[("unanswered", "unanswered")]);
    }
}

#[test]
fn connections_that_are_reset_at_once_are_counted() {
    let to = server(reset);
    for mode in MODES {
        load(to, &format!("--mode {mode}")).faults(&[("reset", "reset, ")]);
    }
}

#[test]
fn connections_that_are_reset_in_mid_run_are_counted_and_made_anew() {
    // Some requests are answered, then the connection is reset.
    let to = server(|mut stream| {
        let mut request = [0; 64];
        if !greet(&mut stream) {
            return;
        }
        for _ in 0..5 {
            if stream.read_exact(&mut request).is_err() || stream.write_all(&request).is_err() {
                return;
            }
        }
        reset(stream);
    });
    for words in ["rr", "rr --connections 3"] {
        let ended = load(to, &format!("--mode {words}"));
        let times = ended.faults(&[("reset", "reset, ")])[0];
        assert!(times >= 2, "{ended:?}");
        assert!(number(part(&ended.report()), "/operations") > 0);
    }
    // In an open loop requests that were due meanwhile are late, and may be too late.
    let report = load(to, "--mode rr --rate 200").report();
    assert!(number(part(&report), "/errors/reset") >= 2, "{report}");
    let to = server(|mut stream| {
        let _ = greet(&mut stream) && stream.read_exact(&mut [0; 10_000]).is_ok();
        reset(stream);
    });
    for direction in ["upload", "both"] {
        let ended = load(to, &format!("--mode stream --direction {direction}"));
        ended.faults(&[("reset", "reset, ")]);
    }
}

#[test]
fn a_server_that_closes_early_is_told_from_one_that_resets() {
    let closes_first = server(|mut stream| drop(stream.read_exact(&mut [0; 32])));
    for mode in ["stream", "rr", "idle"] {
        let ended = load(closes_first, &format!("--mode {mode}"));
        ended.faults(&[("closed_early", "closed early, once")]);
    }
    let closes_later = server(|mut stream| {
        let _ = greet(&mut stream) && stream.read_exact(&mut [0; 64]).is_ok();
    });
    for mode in ["rr", "crr"] {
        let ended = load(closes_later, &format!("--mode {mode}"));
        let times = ended.faults(&[("closed_early", "closed early, ")])[0];
        assert!(times >= 2, "{ended:?}");
    }
    // While nothing is asked of it.
    let closes_at_rest = server(|mut stream| {
        greet(&mut stream);
    });
    load(closes_at_rest, "--mode idle").faults(&[("closed_early", "closed early, once")]);
}

#[test]
fn what_is_no_bench_serve_is_told_with_what_it_says() {
    let ssh = server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        keep_silent(stream);
    });
    for mode in MODES {
        let ended = load(ssh, &format!("--mode {mode}"));
        ended.faults(&[("not_serve", "the other end says \"SSH-2.0-\"")]);
        let ended = load(server(echo), &format!("--mode {mode}"));
        ended.faults(&[("not_serve", "use --bare for an echo server")]);
    }
}

#[test]
fn a_server_for_another_mode_says_so() {
    let serve = Serve::start_one("--mode rr");
    for mode in ["stream", "crr", "idle"] {
        let ended = load(serve.address(), &format!("--mode {mode}"));
        ended.faults(&[("wrong_mode", "started for another mode")]);
    }
    load(serve.address(), "--mode rr").faultless();
    assert_eq!(serve.stop(), "");
}

// === limits ===

#[test]
fn a_rate_that_cannot_be_reached_is_told_with_the_one_that_was() {
    let serve = Serve::start_one("");
    let ended = load(serve.address(), "--mode rr --rate 5M");
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(number(part(&ended.report()), "/errors/unsent") > 0);
    let asked = "direct: 5000000 requests a second were asked for, ";
    let line = ended.stderr.lines().find(|line| line.contains(asked));
    assert!(
        line.is_some_and(|line| line.ends_with(" were answered")),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains("lower --rate, or raise --connections")
    );
}

#[test]
fn a_client_without_descriptors_says_so() {
    let serve = Serve::start_one("");
    for mode in ["rr", "stream", "idle"] {
        let words = format!(
            "run --json --to {} {SHORT} --mode {mode} --connections 100",
            serve.address()
        );
        let ended = Running::start(bench_after("ulimit -n 40", &words)).end();
        let times = ended.faults(&[("no_descriptors", "raise `ulimit -n`")])[0];
        assert!((60..100).contains(&times), "{ended:?}");
    }
    load(serve.address(), "--mode rr").faultless();
    assert_eq!(serve.stop(), "");
}

#[test]
fn a_server_without_descriptors_serves_those_it_has_and_later_ones() {
    let words = "serve --listen 127.0.0.1:0 --threads 2 --log info";
    let serve = Serve::start(bench_after("ulimit -n 40", words), 1);
    let words = "--mode rr --connections 100 --connect-timeout 500ms";
    let times = load(serve.address(), words).faults(&[("timed_out", "no answer to its hello")])[0];
    assert!((60..100).contains(&times), "{times}");
    // Those that were waiting have left; that has to be found out first.
    load(
        serve.address(),
        "--mode rr --connections 10 --connect-timeout 20s",
    )
    .faultless();
    let said = serve.stop();
    assert!(said.contains("raise `ulimit -n`"), "{said}");
    assert!(said.contains(" refused="), "{said}");
}

#[test]
fn a_server_that_refused_nobody_does_not_speak_of_it() {
    let serve = Serve::start_one("--log info");
    load(serve.address(), "--mode rr").faultless();
    let said = serve.stop();
    assert!(said.contains("served connections=1 "), "{said}");
    assert!(!said.contains("refused"), "{said}");
}

#[test]
fn a_server_whose_threads_cannot_be_had_ends() {
    let words = "serve --listen 127.0.0.1:0 --threads 30";
    let ended = Running::start(bench_after("ulimit -n 50", words)).end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let told = "unmangle: the server cannot go on: Too many open files (os error 24)\n";
    assert_eq!(ended.stderr, told);
}

#[test]
fn what_comes_to_a_server_and_is_no_hello_disturbs_nobody() {
    let serve = Serve::start_one("");
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for words in [
            &b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"[..],
            &[0; 200],
            b"",
        ] {
            let (refused, to) = (&refused, serve.address());
            scope.spawn(move || {
                let mut stream = std::net::TcpStream::connect(to).unwrap();
                stream.set_read_timeout(Some(site::PATIENCE)).unwrap();
                stream.write_all(words).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                assert_eq!(answer, b"");
                refused.fetch_add(1, Ordering::Relaxed);
            });
        }
        load(serve.address(), "--mode rr --verify").faultless();
    });
    assert_eq!(refused.into_inner(), 3);
    assert_eq!(serve.stop(), "");
}

// === requests that make no sense ===

#[test]
fn arguments_of_a_load_that_make_no_sense_are_refused_by_name() {
    let to = "--to 127.0.0.1:7";
    for (words, name) in [
        ("--mode rr --rate 0", "--rate"),
        ("--mode rr --rate=-1", "--rate"),
        ("--mode rr --rate NaN", "--rate"),
        ("--mode rr --rate inf", "--rate"),
        ("--mode stream --rate 5", "--rate"),
        ("--mode idle --rate 5", "--rate"),
        ("--mode fast", "--mode"),
        ("", "--mode"),
        ("--mode mix --connections 3", "--connections 8"),
        ("--mode rr --connections 0", "--connections"),
        ("--mode rr --connections 4294967295", "--connections"),
        ("--mode rr --request 0", "--request"),
        ("--mode rr --response 4Gi", "--response"),
        ("--mode rr --duration 0s", "--duration"),
        ("--mode rr --turns 3", "--via"),
        ("--mode rr --via 127.0.0.1:8 --turns 4000000000", "--turns"),
        ("--mode rr --via 127.0.0.1", "--via"),
        ("--mode mix --bare", "--bare"),
        ("--mode stream --direction download --bare", "--bare"),
        ("--mode rr --request 5 --bare", "--bare"),
        ("--mode rr --hdr-log /nowhere/at/all", "--hdr-log"),
        ("--mode rr --plot /nowhere/at/all", "--plot"),
        ("--mode rr --threads 0", "--threads"),
    ] {
        let ended = run(&format!("{to} {words}"));
        let refusal = ended.refusal();
        assert!(refusal.contains(name), "{words}: {refusal}");
    }
    for to in ["", "nowhere", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000"] {
        let mut command = bench("run --mode rr --json --to");
        command.arg(to);
        let ended = Running::start(command).end();
        assert!(ended.refusal().contains("--to"), "{to}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn arguments_of_a_server_that_make_no_sense_are_refused_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (words, name) in [
        ("".to_owned(), "--listen"),
        (format!("--listen {taken}"), "in use"),
        ("--listen 127.0.0.1".to_owned(), "--listen"),
        ("--listen 192.0.2.77:0".to_owned(), "192.0.2.77"),
        ("--listen 127.0.0.1:0 --mode mix".to_owned(), "--mode mix"),
        ("--listen 127.0.0.1:0 --mode fast".to_owned(), "--mode"),
        ("--listen 127.0.0.1:0 --stall 2s/1s".to_owned(), "--stall"),
        ("--listen 127.0.0.1:0 --stall 1s".to_owned(), "--stall"),
        ("--listen 127.0.0.1:0 --threads 0".to_owned(), "--threads"),
    ] {
        let ended = Running::start(bench(&format!("serve {words}"))).end();
        assert!(ended.refusal().contains(name), "{words}: {ended:?}");
    }
}

#[test]
fn a_failure_does_not_keep_the_report_from_being_whole() {
    let to = server(reset);
    let report = load(to, "--mode mix --connections 8").report();
    assert_eq!(parts(&report).len(), 4);
    assert_eq!(report["difference"], serde_json::Value::Null);
}

#[test]
fn a_plot_of_nothing_does_not_hide_why_there_is_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("load.svg");
    let log = directory.path().join("load.hlog");
    let files = format!("--plot {} --hdr-log {}", plot.display(), log.display());
    // A port that was free a moment ago, and of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = load(gone, &format!("--mode rr {files}"));
    ended.faults(&[("refused", "direct: refused, once")]);
}

#[test]
fn where_nobody_answers_not_every_connection_is_tried() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = load(gone, "--mode idle --connections 8000");
    let refused = ended.faults(&[("refused", "refused, ")])[0];
    assert!((128..8000).contains(&refused), "{refused}");
}
