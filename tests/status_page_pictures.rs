//! Takes the pictures that the documents show: the status page and `unmangle top`, of a gateway in the lab under load, and
//! a report of the lab. `make screenshots` runs it; as a test it is ignored, for it looks for five minutes, as far as the
//! status page's chart goes back.

mod site;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use unmangle::lab::{Family, OpenedFrom};

use site::browser::Browser;
use site::lead::lead_to;
use site::terminal::Terminal;
use site::{Pair, Relay, Site, UNMANGLE, possible};

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
/// How wide the terminal is.
const COLUMNS: u16 = 110;
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

/// Where the pictures go.
fn images() -> PathBuf {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img");
    std::fs::create_dir_all(&images).unwrap();
    images
}

/// What a terminal shows, as a page, in the colours of one whose owner can read it: ground, ink, and the first colours of
/// ANSI, each by its name and by its number.
fn terminal_page(shown: &str, light: bool) -> String {
    let (ground, ink, colors) = match light {
        true => (
            "#ffffff",
            "#15191d",
            ["#b3161b", "#14713a", "#b04a00", "#0b5fb8"],
        ),
        false => (
            "#14171a",
            "#e4e8ec",
            ["#ff8f8a", "#6fd692", "#ffa45c", "#66b0ff"],
        ),
    };
    let colors: String = (1..)
        .zip(["red", "green", "yellow", "blue"])
        .zip(colors)
        .map(|((number, name), color)| {
            format!(".fg-{name}, .fg-ansi256-00{number} {{ fill: {color} }}")
        })
        .collect();
    // The letters are as high as a line: blocks and borders meet.
    format!(
        "<!doctype html><meta charset=\"utf-8\">{}<style>body {{ margin: 0; background: {ground} }} \
         svg {{ display: block; width: {}px }} svg tspan {{ font-size: 15.46px; font-family: \"DejaVu Sans Mono\", monospace }} \
         .fg, .bg-white {{ fill: {ink}; stroke: none }} .bg, .fg-black {{ fill: {ground} }} \
         .dimmed {{ opacity: 0.72 }} {colors}</style>",
        anstyle_svg::Term::new().render_svg(shown.trim_end()),
        u32::from(COLUMNS) * 931 / 100 + 24,
    )
}

/// Takes a picture of what a terminal shows.
fn picture_of(terminal: &Terminal, browser: &mut Browser, light: bool, file: &Path) {
    let page = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
    let page_text = terminal_page(&terminal.shows_in_colour(), light);
    std::fs::write(page.path(), page_text).unwrap();
    browser.open(&format!("file://{}", page.path().display()));
    let mut side = |side: &str| {
        let box_of = "document.querySelector('svg').getBoundingClientRect()";
        let size = browser.eval(&format!("Math.ceil({box_of}.{side})"));
        size.as_u64().unwrap() as u32
    };
    let (width, height) = (side("width"), side("height"));
    browser.size(width, height, 1.5);
    browser.picture(file, height.into());
}

#[test]
#[ignore = "it writes docs/img: make screenshots"]
fn a_picture_of_a_report_of_the_lab() {
    if !possible() {
        return;
    }
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    // What the story tells, and what came of it: the exit code is not asked for.
    let mut command = Command::new(UNMANGLE);
    command.args(["lab", "run", "pix", "isn-rewrite", "wscale-strip", "clean"]);
    command.args(["--timeout", "15s", "--report"]);
    assert!(command.arg(&report).status().unwrap().code().is_some());
    browser.size(1280, 900, 1.0);
    browser.scheme("light");
    browser.open(&format!("file://{}/index.html", report.display()));
    browser.picture(&images().join("lab-report.png"), 1720.0);
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
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
        browser.open(&format!("http://{}/", lead_to(socket.clone())));
        let watched = format!("{UNMANGLE} top --admin {}", socket.display());
        let terminal = Terminal::run(&watched, COLUMNS, 26);
        thread::sleep(Duration::from_secs(seconds));
        let images = images();
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
        if let Some(terminal) = terminal {
            for (name, light) in [("light", true), ("dark", false)] {
                let file = images.join(format!("top-{name}.png"));
                picture_of(&terminal, &mut browser, light, &file);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(browser);
    relay.stop();
}
