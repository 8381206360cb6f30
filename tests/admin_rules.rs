//! Whether a gateway is ready is whether its rules are in place now.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use unmangle::lab::{Family, OpenedFrom};

use site::asked::ask;
use site::web::{Answer, unix};
use site::{PATIENCE, Relay, Site, talk, until};

/// An `nft` that can be taken away from a relay that runs.
struct Nft<'a>(&'a Path);

impl Nft<'_> {
    fn put(&self, script: &str) {
        let new = self.0.join("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, self.0.join("nft")).unwrap();
    }

    fn works(&self) {
        self.put("PATH=${PATH#*:}; exec nft \"$@\"");
    }

    fn fails(&self) {
        self.put("echo gone for lunch >&2; exit 1");
    }
}

fn kill(process: u32) {
    let process = Pid::from_raw(process as i32).unwrap();
    kill_process(process, Signal::KILL).unwrap();
}

#[test]
fn a_gateway_is_ready_only_while_its_rules_are_in_place() {
    let Some(site) = Site::put_up() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let nft = Nft(directory.path());
    nft.works();
    let path = format!(
        "PATH={}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    let starter = ["env", &path];
    let relay = Relay::start_by(&site.lab, &starter, &["--admin", socket.to_str().unwrap()]);
    let get = |path: &str| -> Answer { ask(unix(&socket), &format!("GET {path}"), "") };
    assert_eq!(get("/readyz").status, 200);
    let rules = get("/api/status").json()["rules"].clone();
    assert_eq!(rules["standing"], "in_place");
    assert!(rules["since_seconds"].as_f64().unwrap() >= 0.0);
    let told = |line: &str| get("/metrics").body.contains(&format!("\n{line}\n"));
    assert!(told("unmangle_rules_in_place 1") && told("unmangle_rules_lost_total 0"));
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);

    nft.fails();
    kill(relay.rule_owner().expect("nft runs"));
    until("it is not ready", PATIENCE, || {
        get("/readyz").body.contains("gone for lunch")
    });
    let answer = get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.starts_with("the rules are missing for "),
        "{}",
        answer.body
    );
    let status = get("/api/status").json();
    assert_eq!(status["ready"], false);
    assert_eq!(status["rules"]["standing"], "missing");
    // Chains went with their owner; routes are nobody's, and stay.
    for part in status["rules"]["parts"].as_array().unwrap() {
        let is_chain = part["rule"].as_str().unwrap().starts_with("chain ");
        assert_eq!(part["in_place"], !is_chain, "{part}");
    }
    assert!(told("unmangle_rules_in_place 0") && told("unmangle_rules_lost_total 1"));
    assert_eq!(get("/healthz").status, 200);

    nft.works();
    until("it is ready again", PATIENCE, || {
        get("/readyz").status == 200
    });
    let rules = get("/api/status").json()["rules"].clone();
    assert_eq!(rules["standing"], "in_place");
    let parts = rules["parts"].as_array().unwrap();
    assert!(
        parts.len() > 4 && parts.iter().all(|part| part["in_place"] == true),
        "{parts:?}"
    );
    talk(&site.connect(OpenedFrom::Client, Family::V4));

    // Rules that are going are none that are missing.
    relay.signal(Signal::TERM);
    until("it drains", PATIENCE, || {
        get("/readyz").body == "draining: new connections are not taken\n"
    });
    talk(&pair);
}

#[test]
fn what_the_rules_show_of_a_client_and_the_leg_that_is_mangled_are_told_of_its_session() {
    let Some(site) = Site::put_up() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let relay = site.relay(&["--admin", socket.to_str().unwrap()]);
    for (opened, mangled) in [
        (OpenedFrom::Client, "downstream"),
        (OpenedFrom::Server, "upstream"),
    ] {
        let pair = site.connect(opened, Family::V4);
        talk(&pair);
        let client = pair.client.local_addr().unwrap();
        let path = format!("GET /api/sessions?client={}", client.ip());
        let find = || ask(unix(&socket), &path, "").json()["sessions"][0].clone();
        until("the offer was read", PATIENCE, || {
            find()["client_offer"].is_string()
        });
        let session = find();
        assert_eq!(session["client"], client.to_string());
        assert_eq!(session["mode"], "gateway");
        assert_eq!(session["mangled_leg"], mangled);
        assert_eq!(session[mangled]["profile"], "cisco-pix");
        assert_eq!(session[mangled]["agreed"], "mss 940, timestamps");
        let offer = session["client_offer"].as_str().unwrap();
        assert!(offer.starts_with("mss 1460, wscale "), "{offer}");
    }
    drop(relay);
}
