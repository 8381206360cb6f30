//! The status page, in headless Chromium: what it shows is what the API tells, it fetches nothing from elsewhere, and it
//! works for those who have no mouse, a narrow screen, or a relay that is gone for a while.
//!
//! Without Chromium these tests are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use unmangle::lab::matrix::{Case, Strict};
use unmangle::lab::scenario;
use unmangle::lab::{Joined, Lab, Role};

use site::asked::{Asked, ask};
use site::browser::Browser;
use site::lead::lead_to;
use site::web::unix;
use site::{PATIENCE, Pair, Relay, UNMANGLE, expect_end, possible, talk, until};

/// A relay and a page of it that has had its first answer.
fn shown(more: &[&str]) -> Option<(Asked, Browser, String)> {
    let mut browser = Browser::start()?;
    let relay = Asked::with(more);
    let page = format!("http://{}/", relay.here.relay.admin());
    browser.size(1280, 900, 1.0);
    browser.open(&page);
    browser.until("document.querySelector('#state').className === 'good'");
    Some((relay, browser, page))
}

impl Asked {
    fn told(&self, path: &str) -> Value {
        self.ask(&format!("GET {path}")).json()
    }
}

/// Bytes with their exact number, as the page has them to be read on a closer look.
fn exact(bytes: &Value) -> String {
    let digits = bytes.as_u64().unwrap().to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    let groups = groups.iter().map(|group| str::from_utf8(group).unwrap());
    format!("{} bytes", groups.collect::<Vec<_>>().join(","))
}

/// A time as the page shows it.
fn time(seconds: &Value) -> String {
    let seconds = seconds.as_f64().unwrap();
    let (value, unit) = match seconds {
        ..0.9995e-3 => (seconds * 1e6, "µs"),
        ..0.9995 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2}{unit}"),
        ..99.95 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

fn tab(browser: &mut Browser) {
    browser.press("Tab", 9, "");
}

fn enter(browser: &mut Browser) {
    browser.press("Enter", 13, "\r");
}

/// The clients of the table, from top to bottom.
fn clients(browser: &mut Browser) -> Vec<String> {
    let rows = "Array.from(byId('table').tBodies[0].rows, (row) => row.cells[0].textContent)";
    let rows = browser.eval(rows);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row.as_str().unwrap().to_owned()).collect()
}

fn address(pair: &Pair) -> String {
    pair.client.local_addr().unwrap().to_string()
}

// === without a browser ===

#[test]
fn the_page_is_one_answer_that_runs_nothing_but_its_own() {
    let relay = Asked::start();
    let page = relay.ask("GET /");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("{{"), "a place was left open");
    assert_eq!(relay.ask("HEAD /").status, 200);
    assert_eq!(relay.ask("POST /").status, 405);
}

#[test]
fn what_a_page_in_a_browser_posts_is_not_done() {
    let relay = Asked::start();
    for post in ["POST /drain", "POST /upgrade"] {
        let refused = relay.ask_with(post, "Origin: http://localhost:9184\r\n");
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.body.contains("a page in a browser"), "{refused:?}");
    }
    assert_eq!(relay.told("/api/status")["draining"], false);
    talk(&relay.here.connect(1));
}

// === what it shows ===

#[test]
fn it_shows_a_running_transfer_and_its_numbers_are_those_of_the_api() {
    let Some((relay, mut browser, page)) = shown(&["--max-connections", "50"]) else {
        return;
    };
    let (busy, idle) = (relay.here.connect(1), relay.here.connect(2));
    talk(&idle);
    let Pair { client, mut server } = busy;
    let sends = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        // Until the other half of the test has seen enough of it.
        while (&sends).write_all(&[7; 8192]).is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    let reader = thread::spawn(move || {
        let mut piece = [0; 65536];
        while server.read(&mut piece).is_ok_and(|bytes| bytes > 0) {}
        server
    });
    browser.until("byId('live').textContent === '2'");
    browser.until("/^[1-9].*[kMG]B\\/s$/.test(byId('rate-to-server').textContent)");
    browser.until("document.querySelector('#throughput path.to-server') !== null");
    let seen = browser.eval("byId('total-to-server').title");
    browser.until(&format!("byId('total-to-server').title !== {seen}"));
    client.shutdown(Shutdown::Write).unwrap();
    sender.join().unwrap();
    let server = reader.join().unwrap();

    // What is at rest can be compared.
    let same = |browser: &mut Browser, selector: &str, expected: &str| {
        let element = format!("document.querySelector(\"{selector}\")");
        until(&format!("{selector} is {expected}"), PATIENCE, || {
            let shown = browser.eval(&format!("{element}.title || {element}.textContent"));
            shown.as_str().unwrap() == expected
        });
    };
    let figures = relay.told("/api/figures");
    let passed = &figures["passed_bytes"];
    assert!(passed["client_to_server"].as_u64().unwrap() > 8192);
    let both = [
        ("#total-to-server", "client_to_server", 1),
        ("#total-to-client", "server_to_client", 2),
    ];
    for (total, direction, row) in both {
        same(&mut browser, total, &exact(&passed[direction]));
        let points = figures["added"][direction]["points"].as_array().unwrap();
        for (percent, column) in [(50.0, 2), (90.0, 3), (99.0, 4), (99.9, 5), (100.0, 6)] {
            let point = points.iter().find(|point| point["percent"] == percent);
            let cell = format!("#percentiles tbody tr:nth-child({row}) > :nth-child({column})");
            same(&mut browser, &cell, &time(&point.unwrap()["seconds"]));
        }
    }
    let status = relay.told("/api/status");
    let limits = format!("2 of {}", status["limits"]["max_connections"]);
    same(&mut browser, "#limits div dd", &limits);
    let invalid = &status["conntrack"]["invalid"];
    let shown_invalid = browser.eval("byId('invalid').firstElementChild.textContent");
    match invalid.as_u64() {
        Some(packets) => assert_eq!(
            exact(invalid),
            format!("{} bytes", shown_invalid.as_str().unwrap()),
            "{packets}"
        ),
        None => assert_eq!(shown_invalid, "–"),
    }
    for session in relay.told("/api/sessions")["sessions"].as_array().unwrap() {
        let row = format!("tr[data-id='{}']", session["id"].as_str().unwrap());
        for (direction, column) in [("client_to_server", 7), ("server_to_client", 8)] {
            let cell = format!("{row} td:nth-child({column})");
            same(&mut browser, &cell, &exact(&session[direction]["bytes"]));
        }
    }
    assert_eq!(browser.complaints(), Vec::<Value>::new());
    let requests = browser.requests();
    assert!(requests.len() > 4, "{requests:?}");
    let elsewhere = |url: &&String| !url.starts_with(&page) && !url.starts_with("data:");
    assert_eq!(requests.iter().find(elsewhere), None);
    drop((client, server, idle));
    browser.until("byId('ended').textContent.startsWith('2 ended')");
}

/// A gigabyte lasts for as long as the test looks; it is cut when the test has seen enough.
const GIGABYTE: u64 = 1_000_000_000;

#[test]
fn a_gateway_s_page_shows_a_running_scp_and_each_rule_with_its_mark() {
    if !possible() {
        return;
    }
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let pix = scenario::find("pix").unwrap();
    let lab = Lab::builder()
        .unmangle(UNMANGLE)
        .firewall(Joined::wire(pix.firewall.clone()))
        .strict(Strict::Both)
        .sshd_on(Role::Server)
        .payload(GIGABYTE)
        .start()
        .unwrap();
    let socket = lab.directory().join("page.sock");
    let relay = Relay::start(&lab, &["--admin", socket.to_str().unwrap()]);
    let told = |path: &str| ask(unix(&socket), &format!("GET {path}"), "").json();
    browser.size(1280, 900, 1.0);
    browser.open(&format!("http://{}/", lead_to(socket.clone())));
    browser.until("document.querySelector('#state').className === 'good'");
    assert!(
        browser
            .text("#sentence")
            .ends_with("Conntrack has rejected nothing.")
    );

    let mut scp = lab.errand(&Case::relayed(pix)).spawn().unwrap();
    browser.until("byId('table').tBodies[0].rows.length === 1");
    browser.until("/^[1-9].*MB\\/s$/.test(byId('rate-to-server').textContent)");
    let sessions = told("/api/sessions");
    let session = &sessions["sessions"][0];
    let id = session["id"].as_str().unwrap();
    let cell = |nth| {
        format!("document.querySelector(\"tr[data-id='{id}'] td:nth-child({nth})\").textContent")
    };
    for (nth, end) in [(1, "client"), (2, "server")] {
        assert_eq!(browser.eval(&cell(nth)), session[end], "{end}");
    }
    assert!(
        session["server"].as_str().unwrap().ends_with(":22"),
        "{session}"
    );

    let parts = told("/api/status")["rules"]["parts"].clone();
    let parts = parts.as_array().unwrap();
    assert!(parts.len() > 4, "{parts:?}");
    let shown = browser.eval("Array.from(byId('parts').querySelectorAll('li'), (part) => Array.from(part.children, (each) => each.textContent))");
    let expected = parts.iter().map(|part| {
        assert_eq!(part["in_place"], true, "{part}");
        json!(["✓ verified", part["rule"]])
    });
    assert_eq!(shown, Value::from_iter(expected));
    assert_eq!(browser.complaints(), Vec::<Value>::new());
    scp.kill().unwrap();
    scp.wait().unwrap();
    browser.until("byId('live').textContent === '0'");
    relay.stop();
}

#[test]
fn a_session_that_is_stuck_is_named_with_its_reason() {
    let Some((relay, mut browser, _)) = shown(&["--stall-after", "1s"]) else {
        return;
    };
    let stuck = relay.here.connect(1);
    site::write_until_stalled(&stuck.client, &vec![1; 1 << 26]);
    browser.until("byId('state').className === 'warn'");
    browser.until(
        "document.querySelector('td.state strong')?.textContent.includes('server does not read')",
    );
    assert!(browser.text("#sentence").contains("1 direction is stuck"));
}

// === without a mouse ===

#[test]
fn it_is_sorted_and_filtered_by_keys_alone() {
    let Some((relay, mut browser, _)) = shown(&[]) else {
        return;
    };
    let pairs = [1, 2, 3].map(|host| relay.here.connect(host));
    let mut addresses: Vec<String> = pairs.iter().map(address).collect();
    browser.until("byId('table').tBodies[0].rows.length === 3");

    browser.press("/", 191, "/");
    assert_eq!(browser.eval("document.activeElement.id"), "client");
    browser.write("127.0.0.2");
    browser.until("byId('table').tBodies[0].rows.length === 1");
    assert_eq!(clients(&mut browser), [addresses[1].clone()]);
    // A part of an address, with a dot that would be any character elsewhere.
    browser.press("Escape", 27, "");
    browser.until("byId('table').tBodies[0].rows.length === 3");
    browser.write("0.3:");
    browser.until("byId('table').tBodies[0].rows.length === 1");
    assert_eq!(clients(&mut browser), [addresses[2].clone()]);
    browser.press("Escape", 27, "");

    // From the filter on to the first head: server, listener, stuck, client.
    (0..4).for_each(|_| tab(&mut browser));
    assert_eq!(browser.text("#table th button:focus"), "Client");
    let outline = browser.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid");
    enter(&mut browser);
    assert_eq!(
        browser.eval("document.activeElement.parentElement.ariaSort"),
        "ascending"
    );
    browser.until("byId('table').tBodies[0].rows.length === 3");
    assert_eq!(clients(&mut browser), addresses);
    enter(&mut browser);
    addresses.reverse();
    assert_eq!(clients(&mut browser), addresses);
    let sorted =
        browser.eval("document.querySelectorAll('#table th:not([aria-sort=none])').length");
    assert_eq!(sorted, 1);

    browser.press("?", 191, "?");
    assert_eq!(browser.eval("byId('keys').open"), true);
    browser.press("Escape", 27, "");
    browser.until("!byId('keys').open");
    browser.press("p", 80, "p");
    assert_eq!(browser.eval("byId('pause').ariaPressed"), "true");
}

// === wherever it is looked at ===

#[test]
fn it_fits_a_phone_in_light_and_in_dark() {
    let Some((relay, mut browser, _)) = shown(&[]) else {
        return;
    };
    let _pairs = [1, 2].map(|host| relay.here.connect(host));
    browser.until("byId('table').tBodies[0].rows.length === 2");
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [320, 360, 700, 1000, 1280] {
            browser.size(width, 740, 1.0);
            browser.eval("new Promise(requestAnimationFrame)");
            let wide = browser.eval("document.documentElement.scrollWidth");
            assert!(
                wide.as_u64() <= Some(width.into()),
                "{scheme}: {wide} of {width}"
            );
        }
        let ground = "getComputedStyle(document.body).backgroundColor";
        grounds.push(browser.eval(ground).as_str().unwrap().to_owned());
    }
    assert_ne!(grounds[0], grounds[1]);
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

#[test]
fn nothing_is_asked_while_nobody_looks() {
    let Some((_relay, mut browser, _)) = shown(&[]) else {
        return;
    };
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    browser.eval(&hide(true));
    browser.until("!asking.busy");
    // As its timer would.
    browser.eval("poll()");
    let asked = browser.requests().len();
    browser.eval("poll()");
    assert_eq!(browser.requests().len(), asked);
    browser.eval(&hide(false));
    until("it asks again", PATIENCE, || {
        browser.requests().len() > asked
    });
}

#[test]
fn a_relay_that_is_silent_is_said_to_be_and_seen_again() {
    let Some((relay, mut browser, _)) = shown(&[]) else {
        return;
    };
    relay.here.relay.signal(Signal::STOP);
    browser.until("byId('sentence').textContent === 'The relay does not answer.'");
    let heard = browser.text("#heard");
    assert!(heard.starts_with("No answer since "), "{heard}");
    relay.here.relay.signal(Signal::CONT);
    browser.until("byId('state').className === 'good'");
}

#[test]
fn after_an_upgrade_the_page_goes_on_with_the_new_process() {
    let Some((relay, mut browser, _)) = shown(&[]) else {
        return;
    };
    let pair = relay.here.connect(1);
    talk(&pair);
    let passed = exact(&relay.told("/api/figures")["passed_bytes"]["client_to_server"]);
    assert_ne!(passed, "0 bytes");
    let upgraded = relay.ask("POST /upgrade");
    assert_eq!(upgraded.status, 200, "{upgraded:?}");
    let pid = upgraded.json()["pid"].clone();
    let _ended_at_last = Ended(pid.as_u64().unwrap() as i32);
    browser.until(&format!(
        "byId('about').textContent.includes('process {pid},')"
    ));
    assert_eq!(browser.eval("byId('state').className"), "good");
    assert_eq!(
        browser.eval("byId('total-to-server').title"),
        passed.as_str()
    );
    drop(pair.client);
    expect_end(&pair.server);
}

/// A process that is not our child, and ends with the test.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}
