//! `unmangle status`: what it says of a relay, whom it finds, and its exit code.

mod site;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use site::asked::Asked;
use site::{Here, PATIENCE, UNMANGLE, talk, until};

impl Asked {
    /// In a runtime directory in which nobody else's sockets are.
    fn status(&self, more: &[&str]) -> Output {
        let at = ["--admin", self.socket.to_str().unwrap()];
        status(self.directory.path(), &[&at, more].concat())
    }
}

/// In a runtime directory of the test's own; those of root's relays are found all the same.
fn status(runtime: &Path, flags: &[&str]) -> Output {
    Command::new(UNMANGLE)
        .arg("status")
        .args(flags)
        .env("XDG_RUNTIME_DIR", runtime)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line on stderr of one that cannot ask.
fn refusal(output: &Output) -> String {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(output.stdout.is_empty());
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

#[test]
fn a_relay_that_is_ready_is_told_and_ends_with_0() {
    let relay = Asked::start();
    let pair = relay.here.connect(1);
    talk(&pair);
    let output = relay.status(&[]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let pid = relay.here.relay.id();
    let begins = format!("unmangle {}, process {pid}, up ", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&begins), "{text}");
    assert!(text.lines().next().unwrap().ends_with(": ready"), "{text}");
    for line in [
        "rules     none needed",
        "sessions  1",
        "workers   2, engine splice",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}: {text}");
    }
    assert!(text.contains("added     p50 "), "{text}");
    let way = format!("{} to ", relay.here.door);
    assert!(
        text.contains("listener 1  forward  clean ") && text.contains(&way),
        "{text}"
    );
}

#[test]
fn json_is_the_status_as_the_relay_tells_it_by_either_kind_of_socket() {
    let relay = Asked::start();
    let port = relay.here.relay.admin().to_string();
    for output in [
        relay.status(&["--json"]),
        status(relay.directory.path(), &["--json", "--admin", &port]),
    ] {
        assert_eq!(output.status.code(), Some(0));
        let json: Value = serde_json::from_str(&told(&output)).unwrap();
        let schema = unmangle::admin::schema::<unmangle::admin::Status>();
        assert!(jsonschema::is_valid(schema.as_value(), &json), "{json:#}");
        assert_eq!(json["pid"], relay.here.relay.id());
    }
}

#[test]
fn one_that_answers_and_is_not_ready_ends_with_1_and_says_why() {
    let relay = Asked::start();
    let pair = relay.here.connect(1);
    talk(&pair);
    relay.ask("POST /drain");
    until("it drains", PATIENCE, || {
        relay.status(&[]).status.code() == Some(1)
    });
    let output = relay.status(&[]);
    let line = told(&output).lines().next().unwrap().to_owned();
    assert!(
        line.ends_with(": draining: new connections are not taken"),
        "{line}"
    );
    assert_eq!(relay.status(&["--json"]).status.code(), Some(1));
}

#[test]
fn one_that_cannot_be_asked_ends_with_2_and_a_line_that_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("x.sock");
    let name = nowhere.to_str().unwrap();
    assert_eq!(
        refusal(&status(directory.path(), &["--admin", name])),
        format!("unmangle: {name}: No such file or directory (os error 2)")
    );
    // Somebody else, who speaks of other things.
    let here = Here::with(&["--admin", "off"]);
    let port = here.server.local_addr().unwrap().to_string();
    let server = here.server.try_clone().unwrap();
    let other = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = server.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .unwrap();
    });
    let line = refusal(&status(directory.path(), &["--admin", &port]));
    other.join().unwrap();
    let begins = format!("unmangle: {port}: /api/status is answered by something else: ");
    assert!(line.starts_with(&begins), "{line}");
    // And what is no address at all.
    let output = status(directory.path(), &["--admin", "localhost:1"]);
    assert_eq!(output.status.code(), Some(2));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.contains("is neither the path of a socket nor ADDRESS:PORT"),
        "{line}"
    );
}

/// Whether `/run/unmangle` is another test's, which runs at the same time: only a namespace keeps them apart.
fn apart(flags: &str, script: &str) -> Option<Output> {
    let mounted = format!("mount -t tmpfs none /run && export XDG_RUNTIME_DIR=$PWD && {script}");
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", flags, "sh", "-c", &mounted, UNMANGLE])
        .current_dir(directory.path())
        .output()
        .unwrap();
    Some(output)
}

#[test]
fn the_one_relay_that_runs_is_found_and_of_several_each_is_named() {
    if !site::possible() {
        return;
    }
    let start = "$0 run --listen 127.0.0.1:0 --to 127.0.0.1:9 >log 2>&1 & one=$!; \
                 until [ -S /run/unmangle/$one.sock ] && $0 status >/dev/null 2>&1; do sleep 0.02; done; ";
    let none = apart("--fork", "$0 status").unwrap();
    let line = refusal(&none);
    assert!(
        line.starts_with("unmangle: no relay answers in /run/unmangle or /"),
        "{line}"
    );
    assert!(
        line.ends_with("if one runs, give its --admin PATH|ADDR:PORT"),
        "{line}"
    );

    let one = apart(
        "--fork",
        &format!("{start} $0 status; code=$?; kill $one; wait $one; exit $code"),
    );
    let one = one.unwrap();
    assert_eq!(one.status.code(), Some(0), "{one:?}");
    assert!(told(&one).contains(": ready\n"), "{one:?}");

    let second = "$0 run --listen 127.0.0.1:0 --to 127.0.0.1:9 >log2 2>&1 & two=$!; \
                  until grep -qs relaying log2; do sleep 0.02; done; ";
    let script = format!(
        "{start} {second} $0 status; code=$?; echo $one $two >&2; kill $one $two; wait; exit $code"
    );
    let two = apart("--fork", &script).unwrap();
    assert_eq!(two.status.code(), Some(2), "{two:?}");
    let stderr = String::from_utf8(two.stderr).unwrap();
    let (line, pids) = stderr.trim_end().split_once('\n').unwrap();
    let begins = "unmangle: 2 relays run, give --admin or --pid for one of them: ";
    assert!(line.starts_with(begins), "{line}");
    for pid in pids.split(' ') {
        let named = format!("/run/unmangle/{pid}.sock (process {pid})");
        assert!(line.contains(&named), "{stderr}");
    }
}
