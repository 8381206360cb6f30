//! SIGHUP changes what may change for sessions that begin from now on, all of it or nothing, and nothing for those that
//! run.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::tap::{Seen, Tap};
use site::{PATIENCE, Pair, Relay, Site, Way, accept, carry, pattern, talk, until};

/// A gateway behind a PIX, whose profile is a file's.
const GATEWAY: &str = "[[listener]]
name = \"backups\"
intercept = 22
mangled-side = \"fw0\"
profile = \"narrow\"

[profile.narrow]
base = \"cisco-pix\"
";

/// A relay whose settings are in a file.
struct Reloaded {
    relay: Relay,
    file: PathBuf,
}

impl Reloaded {
    fn start(site: &Site, text: &str, more: &[&str]) -> Self {
        let file = site.lab.directory().join("reloaded.toml");
        fs::write(&file, text).unwrap();
        let arguments = [&["--config", file.to_str().unwrap()], more].concat();
        let relay = Relay::start(&site.lab, &arguments);
        Self { relay, file }
    }

    /// Has it read this, and waits for what it says.
    fn reload(&self, text: &str) -> Value {
        fs::write(&self.file, text).unwrap();
        let before = self.answers().len();
        self.relay.signal(Signal::HUP);
        until("it has read the file", PATIENCE, || {
            self.answers().len() > before
        });
        self.answers().pop().unwrap()
    }

    /// Everything that it has said of its settings.
    fn answers(&self) -> Vec<Value> {
        let log = self.relay.log();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_settings = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            message == "reloaded"
                || message == "no setting has changed"
                || message.starts_with("not reloaded, every setting stays as it was: ")
        };
        events.filter(of_settings).collect()
    }

    fn counted(&self) -> [u64; 2] {
        let table = self.relay.table();
        [table["reloads"], table["reloads_refused"]]
    }
}

/// Why the settings stay.
fn refusal(answer: &Value) -> &str {
    let message = answer["message"].as_str().unwrap();
    message
        .strip_prefix("not reloaded, every setting stays as it was: ")
        .unwrap_or_else(|| panic!("{answer}"))
}

/// Opens a connection and returns what the server's host saw of its SYN, and the connection.
fn opened(site: &Site, tap: &mut Tap, from: OpenedFrom, family: Family) -> (Seen, Pair) {
    let _ = tap.openings();
    let pair = site.connect(from, family);
    talk(&pair);
    let end = from.opener().address(family);
    let seen = tap.openings().into_iter().find(|seen| seen.from == end);
    (seen.expect("a SYN"), pair)
}

/// Transfers without a pause over a connection, while something else is done; every byte must arrive.
fn busy<T>(pair: &Pair, act: impl FnOnce() -> T) -> T {
    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = pattern(3, 300_000);
            while !over.load(Ordering::Relaxed) {
                carry(&pair.client, &pair.server, &bytes);
                carry(&pair.server, &pair.client, &bytes);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let more_rounds = || {
            let so_far = rounds.load(Ordering::Relaxed);
            until("data flows", PATIENCE, || {
                rounds.load(Ordering::Relaxed) > so_far + 1
            });
        };
        more_rounds();
        let done = act();
        more_rounds();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a_profile_that_changes_is_the_next_connections_and_the_running_ones_lose_nothing() {
    let Some(site) = Site::put_up() else { return };
    let relay = Reloaded::start(&site, GATEWAY, &[]);
    // What is opened from the server's side comes to the client's host by the firewall.
    let mut tap = Tap::on(&site, Role::Client);
    for family in [Family::V4, Family::V6] {
        relay.reload(GATEWAY);
        let (before, old) = opened(&site, &mut tap, OpenedFrom::Server, family);
        assert!(before.is_plain() && before.mss <= Some(940), "{before:?}");
        // Other segments, and everything may be negotiated again.
        let wide = GATEWAY.replace("cisco-pix", "clean");
        let wide = wide + "mss = 1200\n";
        let answer = busy(&old, || relay.reload(&wide));
        assert_eq!(answer["message"], "reloaded", "{answer}");
        let (after, new) = opened(&site, &mut tap, OpenedFrom::Server, family);
        assert!(
            after.mss <= Some(1200) && after.mss > Some(1100),
            "{after:?}"
        );
        assert!(
            after.sack_permitted && after.window_scale && after.timestamps,
            "{after:?}"
        );
        // Back to what it was, to see that what a profile sets is taken away with it.
        let answer = busy(&old, || relay.reload(GATEWAY));
        assert_eq!(answer["message"], "reloaded", "{answer}");
        let (again, third) = opened(&site, &mut tap, OpenedFrom::Server, family);
        assert!(again.is_plain() && again.mss == before.mss, "{again:?}");
        for pair in [&old, &new, &third] {
            carry(&pair.client, &pair.server, &pattern(1, 1_000_000));
            carry(&pair.server, &pair.client, &pattern(2, 1_000_000));
        }
    }
    assert_eq!(relay.counted(), [4, 0]);
    relay.relay.stop();
    assert!(!site.has_table());
}

#[test]
fn rules_that_were_changed_are_put_back_as_they_were_changed() {
    let Some(site) = Site::put_up() else { return };
    let relay = Reloaded::start(&site, GATEWAY, &["--run-as", "54301:54302"]);
    // What the next one may read is the new user's.
    relay.reload(&GATEWAY.replace("cisco-pix", "clean"));
    assert_eq!(relay.counted(), [1, 0], "{}", relay.relay.log());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(relay.relay.rule_owner().unwrap() as i32).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    until("the rules are in place again", PATIENCE, || {
        relay.relay.events("it is in place again").len() == 1
    });
    let mut tap = Tap::on(&site, Role::Client);
    let (seen, _pair) = opened(&site, &mut tap, OpenedFrom::Server, Family::V4);
    assert!(seen.sack_permitted && seen.window_scale, "{seen:?}");
    // And changed once more, after they came back.
    let answer = relay.reload(GATEWAY);
    assert_eq!(answer["message"], "reloaded", "{answer}");
    let (seen, _pair) = opened(&site, &mut tap, OpenedFrom::Server, Family::V4);
    assert!(seen.is_plain(), "{seen:?}");
}

#[test]
fn a_sidecars_rules_change_with_its_profile_and_a_taken_session_goes_on() {
    let Some(site) = Site::put_up() else { return };
    let sidecar = "[[listener]]
name = \"service\"
mode = \"server-sidecar\"
service-leg = \"transparent\"
to = [\"198.51.100.2\", \"2001:db8:2::2\"]
intercept = 22
mangled-side = \"long0\"
profile = \"cisco-pix\"
";
    let device = Role::Server.interfaces()[0].device;
    let sidecar = sidecar.replace("long0", device);
    let file = site.lab.directory().join("sidecar.toml");
    fs::write(&file, &sidecar).unwrap();
    let more = ["--config", file.to_str().unwrap()];
    let relay = Relay::start_on(&site.lab, Role::Server, &more);
    let relay = Reloaded { relay, file };
    let service = site.listen_at(Role::Server, (std::net::Ipv4Addr::UNSPECIFIED, 22).into());
    let connect = || {
        let to = (Role::Server.address(Family::V4), 22).into();
        let client = site.dial(Role::Client, to).unwrap();
        let server = accept(&service);
        Pair { client, server }
    };
    let mut tap = Tap::on(&site, Role::Client);
    let old = connect();
    talk(&old);
    let answers = |tap: &mut Tap| tap.openings_not_from(Role::Client.address(Family::V4));
    let seen = answers(&mut tap);
    assert!(
        !seen.is_empty() && seen.iter().all(Seen::is_plain),
        "{seen:?}"
    );
    // Its packets are known by a set, which must not be emptied.
    let answer = busy(&old, || {
        relay.reload(&sidecar.replace("cisco-pix", "clean"))
    });
    assert_eq!(answer["message"], "reloaded", "{answer}");
    // Of the bulk it may have lost some.
    let _ = tap.openings();
    let new = connect();
    talk(&new);
    let seen = answers(&mut tap);
    assert!(seen.iter().any(|seen| seen.sack_permitted), "{seen:?}");
    carry(&old.client, &old.server, &pattern(1, 1_000_000));
    carry(&old.server, &old.client, &pattern(2, 1_000_000));
    drop((old, new));
    relay.relay.stop();
}

#[test]
fn a_bad_file_is_named_in_one_line_and_changes_nothing() {
    let Some(site) = Site::put_up() else { return };
    let relay = Reloaded::start(&site, GATEWAY, &[]);
    let rules = || {
        let list = ["list", "table", "inet", "unmangle"];
        site.lab.relay().run("nft", &list).unwrap()
    };
    let before = rules();
    let path = relay.file.display().to_string();
    for (text, why) in [
        ("mss = 900\n", ":1: mss: there is no such key; "),
        (
            &GATEWAY.replace("22", "0"),
            ":3: listener 1: intercept: \"0\" is not a port",
        ),
        (
            &GATEWAY.replace("cisco-pix", "cisco"),
            ":8: profile.narrow: base: no profile is called \"cisco\"",
        ),
        ("[[listener\n", ":1: "),
    ] {
        let answer = relay.reload(text);
        assert!(
            refusal(&answer).starts_with(&(path.clone() + why)),
            "{answer}"
        );
    }
    // What the kernel would not take is refused, too.
    let unknown = GATEWAY.to_owned() + "mss = 1000\ncongestion-control = \"nosuch\"\n";
    let answer = relay.reload(&unknown);
    assert!(
        refusal(&answer).contains("congestion control nosuch"),
        "{answer}"
    );
    fs::remove_file(&relay.file).unwrap();
    let before_last = relay.answers().len();
    relay.relay.signal(Signal::HUP);
    until("it has looked", PATIENCE, || {
        relay.answers().len() > before_last
    });
    let answer = relay.answers().pop().unwrap();
    assert!(refusal(&answer).contains("No such file"), "{answer}");
    assert_eq!(relay.counted(), [0, 6]);
    assert_eq!(rules(), before);
    let mut tap = Tap::on(&site, Role::Client);
    let (seen, _pair) = opened(&site, &mut tap, OpenedFrom::Server, Family::V4);
    assert!(seen.is_plain() && seen.mss <= Some(940), "{seen:?}");
}

#[test]
fn what_needs_a_restart_is_refused_by_name_and_nothing_of_the_file_is_taken_on() {
    let Some(site) = Site::put_up() else { return };
    let relay = Reloaded::start(&site, GATEWAY, &[]);
    let wide = GATEWAY.replace("cisco-pix", "clean");
    for (file, key) in [
        (
            wide.replace("intercept = 22", "intercept = [22, 873]"),
            "backups: intercept",
        ),
        (wide.replace("[[", "mark = 0x01000000\n[["), "mark"),
        (wide.replace("[[", "log = \"debug\"\n[["), "log"),
    ] {
        let answer = relay.reload(&file);
        assert_eq!(
            refusal(&answer),
            format!("{key} cannot change while the relay runs; restart it")
        );
    }
    assert_eq!(relay.counted(), [0, 3]);
    let mut tap = Tap::on(&site, Role::Client);
    let (seen, _pair) = opened(&site, &mut tap, OpenedFrom::Server, Family::V4);
    assert!(seen.is_plain() && seen.mss <= Some(940), "{seen:?}");
}

/// The congestion control and the segment size of the relay's legs with the client.
fn legs(site: &Site) -> Vec<(String, String)> {
    let list = ["-Htni", "state", "established", "sport", "= :2222"];
    let told = site.lab.relay().run("ss", &list).unwrap();
    let infos = told.lines().filter(|line| line.contains("mss:"));
    infos
        .map(|info| {
            let words: Vec<_> = info.split_whitespace().collect();
            let mss = words.iter().find_map(|word| word.strip_prefix("advmss:"));
            (words[0].to_owned(), mss.unwrap().to_owned())
        })
        .collect()
}

#[test]
fn each_leg_of_a_forward_relay_takes_on_the_new_profile_and_loses_the_old_one() {
    let Some(site) = Site::put_up_for(Way::Forward) else {
        return;
    };
    site.open_the_door();
    let forward = "[[listener]]
listen = \"192.0.2.1:2222\"
to = \"198.51.100.2:22\"
mangled-leg = \"downstream\"
profile = \"own\"
[profile.own]
";
    let narrow = forward.to_owned()
        + "mss = 900\nwindow-clamp = 20000\ncongestion-control = \"reno\"\nuser-timeout = \"9s\"\n";
    let relay = Reloaded::start(&site, forward, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let connect = || {
        let client = site
            .dial(Role::Client, "192.0.2.1:2222".parse().unwrap())
            .unwrap();
        let server = accept(&listener);
        let pair = Pair { client, server };
        talk(&pair);
        pair
    };
    let mut tap = Tap::on(&site, Role::Client);
    let mut scaled = || {
        let answers = tap.openings_not_from(Role::Client.address(Family::V4));
        answers.last().unwrap().clone()
    };
    let first = connect();
    let usual = legs(&site);
    assert_eq!(usual.len(), 1, "{usual:?}");
    let plain = scaled();
    assert_eq!(relay.reload(&narrow)["message"], "reloaded");
    let second = connect();
    // Timestamps take 12 bytes of each segment.
    let narrowed = ("reno".to_owned(), "888".to_owned());
    let both = legs(&site);
    assert!(both.contains(&narrowed), "{both:?}");
    assert!(
        both.contains(&usual[0]),
        "a running session has changed: {both:?}"
    );
    assert_eq!(scaled().mss, Some(900));
    drop((first, second));
    relay.relay.ended(2);
    // Back: nothing of the narrow one stays on the sockets that listen.
    assert_eq!(relay.reload(forward)["message"], "reloaded");
    let third = connect();
    assert_eq!(legs(&site), usual);
    assert_eq!(
        scaled(),
        Seen {
            source_port: 2222,
            ..plain
        }
    );
    drop(third);
    relay.relay.stop();
}

#[test]
fn a_drain_ends_what_listens_though_its_settings_could_have_changed() {
    let Some(site) = Site::put_up_for(Way::Forward) else {
        return;
    };
    let mut relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    relay.signal(Signal::HUP);
    until("it has looked", PATIENCE, || {
        relay.events("no setting has changed").len() == 1
    });
    relay.signal(Signal::TERM);
    until("nothing new is taken", PATIENCE, || !site.takes_new_ones());
    // By then a reload is too late, and does not end the relay either.
    relay.signal(Signal::HUP);
    talk(&pair);
    drop(pair);
    assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
}

#[test]
fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
    let Some(site) = Site::put_up() else { return };
    let directory = site.lab.directory().join("log");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(54_301), Some(54_302)).unwrap();
    let (now, moved) = (directory.join("relay.log"), directory.join("relay.log.1"));
    let log = now.to_str().unwrap();
    let arguments = ["--log-file", log, "--run-as", "54301:54302"];
    let relay = Relay::launch(&site.lab, &[], &arguments);
    let says = |file: &PathBuf, what: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().filter(|line| line.contains(what)).count()
    };
    until("it relays", PATIENCE, || says(&now, "\"relaying\"") == 1);
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    until("the session is logged", PATIENCE, || {
        says(&now, "session ended") == 1
    });
    fs::rename(&now, &moved).unwrap();
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    until("it goes on where it went", PATIENCE, || {
        says(&moved, "session ended") == 2
    });
    relay.signal(Signal::HUP);
    until("there is a new one", PATIENCE, || {
        says(&now, "the log was opened anew") == 1
    });
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    until("the session is logged", PATIENCE, || {
        says(&now, "session ended") == 1
    });
    assert_eq!(says(&moved, "session ended"), 2);
    // One that cannot be opened leaves the old one, which says so.
    fs::rename(&now, &moved).unwrap();
    std::os::unix::fs::chown(&directory, Some(0), Some(0)).unwrap();
    relay.signal(Signal::HUP);
    until("it says so", PATIENCE, || {
        says(&moved, "cannot be opened anew") == 1
    });
    assert!(!now.exists());
    relay.signal(Signal::TERM);
    until("it ends", PATIENCE, || says(&moved, "\"drained\"") == 1);
    assert_eq!(
        relay
            .log()
            .lines()
            .filter(|line| line.starts_with('{'))
            .count(),
        0
    );
}

#[test]
fn lists_and_limits_change_for_those_who_come_and_no_running_session_is_touched() {
    let Some(site) = Site::put_up() else { return };
    let relay = Reloaded::start(&site, GATEWAY, &[]);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    let connect = || {
        let client = site.dial(Role::Client, to).unwrap();
        let server = accept(&listener);
        Pair { client, server }
    };
    let running = connect();
    talk(&running);
    let with = |lines: &str| {
        GATEWAY.replace(
            "profile = \"narrow\"",
            &format!("profile = \"narrow\"\n{lines}"),
        )
    };
    let count = |name: &str| relay.relay.table()[name];
    for (lines, refused) in [
        ("deny = \"192.0.2.0/24\"", "refused_by_lists"),
        ("allow = \"198.51.100.0/24\"", "refused_by_lists"),
        ("rate-per-source = \"1/1h\"", "refused_too_fast"),
        ("max-per-source = 1", "refused_too_many"),
    ] {
        let before = count(refused);
        assert_eq!(relay.reload(&with(lines))["message"], "reloaded", "{lines}");
        // A limit lets one in, and not the next.
        let first = lines.contains("source").then(connect);
        match site.dial(Role::Client, to) {
            Ok(last) => site::until_reset(&last),
            // The reset was there before the test had looked whether it is connected.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        until("it is counted", PATIENCE, || count(refused) == before + 1);
        if let Some(first) = &first {
            talk(first);
        }
        talk(&running);
    }
    // With room for one more session than runs, who comes next waits, and is served when the limit goes.
    assert_eq!(
        relay.reload(&with("max-connections = 1"))["message"],
        "reloaded"
    );
    let waiting = site.dial(Role::Client, to).unwrap();
    until("it waits", PATIENCE, || count("accept_waits") > 0);
    assert_eq!(relay.reload(GATEWAY)["message"], "reloaded");
    let server = accept(&listener);
    talk(&Pair {
        client: waiting,
        server,
    });
    talk(&running);
    // A watch of the running session's listener is for new sessions only.
    assert_eq!(
        relay.reload(&with("idle-timeout = \"300ms\""))["message"],
        "reloaded"
    );
    let idle = connect();
    let address = idle.client.local_addr().unwrap();
    assert_eq!(relay.relay.ended_for(address)["how"], "idle");
    talk(&running);
}
