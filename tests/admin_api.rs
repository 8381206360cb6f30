//! What a relay tells of itself and of its sessions, as its schemas promise, and its metrics in the format that was
//! asked for. No test here needs a privilege: the relay forwards on this host's own loopback addresses.

mod checked_in;
mod site;

use std::net::TcpStream;

use rustix::process::Signal;
use schemars::Schema;
use serde_json::Value;
use unmangle::admin::{self, Sessions, Status};

use site::asked::Asked;
use site::series::{Figures, Labels};
use site::web::{Answer, unix};
use site::{PATIENCE, Pair, talk, until};

impl Asked {
    fn get(&self, path: &str, headers: &str) -> Answer {
        let answer = self.ask_with(&format!("GET {path}"), headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// An answer that its schema promises.
    fn json(&self, path: &str, schema: &Schema) -> Value {
        let json = self.get(path, "").json();
        let schema = schema.as_value();
        assert!(jsonschema::is_valid(schema, &json), "{json:#}");
        json
    }

    fn status(&self) -> Value {
        self.json("/api/status", &admin::schema::<Status>())
    }

    fn sessions(&self, query: &str) -> Vec<Value> {
        self.all_sessions(query)["sessions"]
            .as_array()
            .unwrap()
            .clone()
    }

    fn all_sessions(&self, query: &str) -> Value {
        let path = format!("/api/sessions{query}");
        self.json(&path, &admin::schema::<Sessions>())
    }
}

fn client(pair: &Pair) -> String {
    pair.client.local_addr().unwrap().to_string()
}

// === schemas ===

#[test]
fn the_schemas_that_are_checked_in_are_those_of_the_answers() {
    for (file, schema) in [
        ("docs/api-status.schema.json", admin::schema::<Status>()),
        ("docs/api-sessions.schema.json", admin::schema::<Sessions>()),
        (
            "docs/api-figures.schema.json",
            admin::schema::<admin::Figures>(),
        ),
    ] {
        let current = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        checked_in::is_current(file, &current, "admin_api");
        // Every field is there, if only as null, and has a sentence that says what it is.
        let text: Value = serde_json::from_str(&current).unwrap();
        let objects = text["$defs"].as_object().unwrap().values();
        for object in objects
            .chain([&text])
            .filter(|each| each["type"] == "object")
        {
            let fields = object["properties"].as_object().unwrap();
            let required = object["required"].as_array().unwrap();
            assert_eq!(required.len(), fields.len(), "{object}");
            for (name, field) in fields {
                assert!(field["description"].is_string(), "{file}: {name}");
            }
        }
    }
}

// === status ===

#[test]
fn the_status_says_who_it_is_how_it_is_set_and_how_it_does() {
    let relay = Asked::with(&[
        "--max-connections",
        "50",
        "--profile",
        "blackhole",
        "--mangled-leg",
        "upstream",
    ]);
    let status = relay.status();
    assert_eq!(status["pid"], relay.here.relay.id());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["ready"], true);
    assert_eq!(status["not_ready"], Value::Null);
    assert_eq!(status["draining"], false);
    assert_eq!(status["rules"]["standing"], "not_needed");
    assert_eq!(status["workers"], 2);
    assert_eq!(status["engine"], "splice");
    assert_eq!(status["limits"]["max_connections"], 50);
    assert_eq!(status["sessions"], 0);
    assert_eq!(status["added_latency"], Value::Null);
    let settings = status["settings"].as_str().unwrap();
    assert!(
        settings.contains("[[listener]]\nname = \"listener 1\"\n"),
        "{settings}"
    );
    let [listener] = &status["listeners"].as_array().unwrap()[..] else {
        panic!("{status:#}");
    };
    assert_eq!(listener["name"], "listener 1");
    assert_eq!(listener["mode"], "forward");
    assert_eq!(listener["profile"], "blackhole");
    let way = listener["way"].as_str().unwrap();
    assert!(way.starts_with(&relay.here.door.to_string()), "{way}");

    let pairs = [relay.here.connect(1), relay.here.connect(2)];
    pairs.iter().for_each(talk);
    let status = relay.status();
    assert_eq!(status["sessions"], 2);
    assert_eq!(status["listeners"][0]["sessions"], 2);
    let added = &status["added_latency"];
    assert!(added["p50_seconds"].as_f64().unwrap() > 0.0, "{added}");
    assert!(added["p99_seconds"].as_f64() >= added["p50_seconds"].as_f64());
    drop(pairs);
    relay.here.relay.ended(2);
    until("they are gone", PATIENCE, || {
        relay.status()["sessions"] == 0
    });
}

#[test]
fn the_settings_that_are_told_are_those_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("unmangle.toml");
    let write = |drain: &str| {
        let text = format!("drain = \"{drain}\"\n");
        std::fs::write(&config, text).unwrap();
    };
    write("7s");
    let relay = Asked::with(&["--config", config.to_str().unwrap()]);
    let told = |text: &str| relay.status()["settings"].as_str().unwrap().contains(text);
    assert!(told("drain = \"7s\"\n"));
    write("9s");
    relay.here.relay.signal(Signal::HUP);
    until("they are taken on", PATIENCE, || told("drain = \"9s\"\n"));
    assert_eq!(relay.status()["reloads"], 1);
    write("never");
    relay.here.relay.signal(Signal::HUP);
    until("they are refused", PATIENCE, || {
        relay.status()["reloads_refused"] == 1
    });
    assert!(told("drain = \"9s\"\n"));
}

// === sessions ===

#[test]
fn a_session_is_told_with_its_peers_its_bytes_and_both_its_legs() {
    let relay = Asked::with(&[]);
    assert_eq!(relay.sessions(""), Vec::<Value>::new());
    let pair = relay.here.connect(3);
    site::carry(&pair.client, &pair.server, &site::pattern(1, 100_000));
    site::carry(&pair.server, &pair.client, &site::pattern(2, 1_000));
    let all = relay.all_sessions("");
    assert_eq!((&all["live"], &all["more"]), (&1.into(), &false.into()));
    let session = &all["sessions"][0];
    assert_eq!(session["client"], client(&pair));
    assert_eq!(
        session["server"],
        relay.here.server.local_addr().unwrap().to_string()
    );
    for (name, value) in [
        ("listener", Value::from("listener 1")),
        ("mode", "forward".into()),
        ("engine", "splice".into()),
        ("via", Value::Null),
        ("client_offer", Value::Null),
    ] {
        assert_eq!(session[name], value, "{name}");
    }
    assert_eq!(session["client_to_server"]["bytes"], 100_000);
    assert_eq!(session["server_to_client"]["bytes"], 1_000);
    assert_eq!(session["stuck"], Value::Array(vec![]));
    assert!(session["age_seconds"].as_f64().unwrap() > 0.0);
    for leg in ["downstream", "upstream"] {
        let leg = &session[leg];
        assert!(leg["agreed"].as_str().unwrap().starts_with("mss "), "{leg}");
        assert!(leg["rtt_seconds"].as_f64().unwrap() > 0.0, "{leg}");
        assert_eq!(leg["profile"], "clean");
    }
    drop(pair);
    relay.here.relay.ended(1);
    until("it is gone", PATIENCE, || relay.sessions("").is_empty());
}

#[test]
fn a_query_chooses_sessions_and_says_when_there_are_more() {
    let relay = Asked::with(&[]);
    // Each is served before the next comes: two workers need not accept in the order of arrival.
    let served = |host| {
        let pair = relay.here.connect(host);
        talk(&pair);
        pair
    };
    let pairs: Vec<Pair> = [1, 2, 2, 3].map(served).into();
    let clients = |query: &str| -> Vec<String> {
        let sessions = relay.sessions(query);
        let client = |session: &Value| session["client"].as_str().unwrap().to_owned();
        sessions.iter().map(client).collect()
    };
    let oldest: Vec<String> = pairs.iter().map(client).collect();
    assert_eq!(clients("?order=oldest"), oldest);
    assert_eq!(clients("?client=127.0.0.2"), oldest[1..3]);
    assert_eq!(clients("?client=127.0.0.9"), Vec::<String>::new());
    assert_eq!(clients("?listener=listener%201").len(), 4);
    assert_eq!(clients("?listener=other").len(), 0);
    assert_eq!(clients("?server=127.0.0.1").len(), 4);
    assert_eq!(clients("?older_than=1h").len(), 0);
    assert_eq!(clients("?stuck=false").len(), 4);
    assert_eq!(clients("?stuck=true").len(), 0);
    for (limit, shown, more) in [(3, 3, true), (4, 4, false)] {
        let all = relay.all_sessions(&format!("?limit={limit}"));
        assert_eq!(all["sessions"].as_array().unwrap().len(), shown);
        assert_eq!((&all["more"], &all["live"]), (&more.into(), &4.into()));
    }
    // Every one has another name.
    let mut ids: Vec<_> = relay
        .sessions("")
        .iter()
        .map(|s| s["id"].to_string())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn who_does_not_read_is_told_as_stuck() {
    let relay = Asked::with(&["--stall-after", "200ms"]);
    let pair = relay.here.connect(1);
    talk(&pair);
    site::write_until_stalled(&pair.client, &vec![0; 64 << 20]);
    until("it is stuck", PATIENCE, || {
        relay.sessions("?stuck=true").len() == 1
    });
    let session = relay.sessions("?stuck=true").remove(0);
    let stuck = &session["stuck"][0];
    assert_eq!(stuck["direction"], "client_to_server");
    assert_eq!(
        (&stuck["side"], &stuck["why"]),
        (&"server".into(), &"window".into())
    );
    assert!(stuck["waiting_bytes"].as_u64().unwrap() > 0);
    assert!(stuck["for_seconds"].as_f64().unwrap() >= 0.2);
}

// === metrics ===

const OPEN: &str = "application/openmetrics-text;version=1.0.0";

#[test]
fn metrics_come_in_the_format_that_is_preferred() {
    let relay = Asked::with(&[]);
    for (accept, content_type, ends) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "Accept: */*\r\n",
            "text/plain; version=0.0.4; charset=utf-8",
            false,
        ),
        (
            &format!("Accept: {OPEN},text/plain;version=0.0.4;q=0.5\r\n"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
        (
            &format!("Accept: {OPEN};q=0.4\r\nAccept: text/plain;q=0.5\r\n"),
            "text/plain; version=0.0.4; charset=utf-8",
            false,
        ),
    ] {
        let answer = relay.get("/metrics", accept);
        assert_eq!(
            answer.header("content-type"),
            Some(content_type),
            "{accept}"
        );
        assert_eq!(answer.body.ends_with("# EOF\n"), ends, "{accept}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // And say the same.
    let names = |accept: &str| -> Vec<(String, Labels)> {
        let text = relay.get("/metrics", accept).body;
        Figures::read(&text).0.into_keys().collect()
    };
    assert_eq!(names(&format!("Accept: {OPEN}\r\n")), names(""));
}

#[test]
fn metrics_have_what_the_relay_and_its_process_have_done() {
    let relay = Asked::with(&[]);
    let pair = relay.here.connect(1);
    talk(&pair);
    let figures = Figures::read(&relay.get("/metrics", "").body);
    for (name, labels, expected) in [
        (
            "unmangle_sessions_active",
            &[("listener", "listener 1")][..],
            1.0,
        ),
        ("unmangle_ready", &[], 1.0),
        ("unmangle_draining", &[], 0.0),
        ("unmangle_workers", &[], 2.0),
        (
            "unmangle_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        ),
    ] {
        assert_eq!(figures.sum(name, labels), Some(expected), "{name}");
    }
    assert!(figures.expect("process_resident_memory_bytes", &[]) > 1e6);
    assert!(figures.expect("process_open_fds", &[]) > 10.0);
    assert!(figures.expect("process_start_time_seconds", &[]) > 1.6e9);
    // It has no rules.
    assert_eq!(figures.sum("unmangle_rules_in_place", &[]), None);
    drop(pair);
}

/// So many that an answer does not fit into the socket's buffers.
#[test]
fn who_does_not_read_the_answer_keeps_nobody_from_theirs() {
    use std::io::Write;
    let relay = Asked::with(&[]);
    let pairs: Vec<Pair> = (0..50).map(|_| relay.here.connect(1)).collect();
    let request = b"GET /api/sessions HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let mut stream = unix(&relay.socket);
        // It may be shown out before all of it is written.
        let _ = stream.write_all(&request);
        lazy.push(stream);
    }
    assert_eq!(relay.sessions("").len(), 50);
    let at_work: Vec<&TcpStream> = pairs.iter().map(|pair| &pair.client).collect();
    assert_eq!(at_work.len(), 50);
    pairs.iter().for_each(talk);
}
