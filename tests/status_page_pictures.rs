//! Takes the pictures of the status page that the documents show, of a gateway in the lab under load. `make screenshots`
//! runs it; as a test it is ignored, for it looks for five minutes, as far as its chart goes back.

mod site;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use unmangle::lab::{Family, OpenedFrom};

use site::browser::Browser;
use site::lead::lead_to;
use site::{Pair, Relay, Site};

/// Bytes a second, and whether they go to the client.
const LOADS: [(f64, bool); 7] = [
    (9e6, false),
    (16e6, true),
    (3e6, true),
    (2e6, false),
    (60e3, true),
    (900.0, false),
    (300.0, true),
];
const STEP: Duration = Duration::from_millis(50);

/// Moves bytes in waves, and sees how many arrive, until it is over.
fn load(pair: Pair, number: usize, over: &AtomicBool) {
    let (rate, to_client) = LOADS[number];
    let (mut from, mut to): (TcpStream, TcpStream) = match to_client {
        true => (pair.server, pair.client),
        false => (pair.client, pair.server),
    };
    let reader = thread::spawn(move || {
        let mut piece = vec![0; 1 << 18];
        while to.read(&mut piece).is_ok_and(|bytes| bytes > 0) {}
    });
    let (began, length) = (Instant::now(), 20.0 + 9.0 * number as f64);
    let mut owed = 0.0;
    while !over.load(Ordering::Relaxed) {
        let wave = 1.0 + 0.6 * (began.elapsed().as_secs_f64() / length * 6.3).sin();
        owed += rate * wave * STEP.as_secs_f64();
        from.write_all(&vec![7; owed as usize]).unwrap();
        owed = owed.fract();
        thread::sleep(STEP);
    }
    drop(from);
    reader.join().unwrap();
}

#[test]
#[ignore = "it writes docs/img, and takes five minutes: make screenshots"]
fn pictures_of_a_gateway_under_load() {
    let (Some(site), Some(mut browser)) = (Site::put_up(), Browser::start()) else {
        return;
    };
    let seconds = std::env::var("SECONDS_OF_LOAD").map_or(300, |text| text.parse().unwrap());
    let socket = site.lab.directory().join("page.sock");
    let admin = [
        "--admin",
        socket.to_str().unwrap(),
        "--max-connections",
        "50",
    ];
    let relay = Relay::start(&site.lab, &admin);
    let listeners =
        [Family::V4, Family::V6].map(|family| site.listen(OpenedFrom::Client.listener(), family));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..LOADS.len() {
            let listener = &listeners[usize::from(number % 3 == 2)];
            let pair = site.connect_to(listener, OpenedFrom::Client);
            let over = &over;
            scope.spawn(move || load(pair, number, over));
        }
        browser.size(1280, 900, 1.0);
        browser.open(&format!("http://{}/", lead_to(socket)));
        thread::sleep(Duration::from_secs(seconds));
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
        std::fs::create_dir_all(&images).unwrap();
        let shots = [
            ("light", "light", 1280, 1.0, f64::MAX),
            ("dark", "dark", 1280, 1.0, f64::MAX),
            ("narrow", "light", 360, 2.0, 2400.0),
        ];
        for (name, scheme, width, scale, most) in shots {
            browser.scheme(scheme);
            browser.size(width, 900, scale);
            let asked = browser.requests().len();
            browser.eval("drawAll()");
            site::until("it is drawn anew", site::PATIENCE, || {
                browser.requests().len() > asked + 3
            });
            browser.picture(&images.join(format!("status-{name}.png")), most);
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(browser);
    relay.stop();
}
