//! `unmangle top` on a terminal: what is drawn, what keys do, and how it ends. The terminal is tmux's.

mod site;

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use site::asked::Asked;
use site::terminal::Terminal;
use site::{PATIENCE, UNMANGLE, until};

/// A relay, and `top` that looks at it.
fn watched(width: u16, height: u16) -> Option<(Asked, Terminal)> {
    let asked = Asked::start();
    let command = format!(
        "{UNMANGLE} top --every 200ms --admin {}",
        asked.socket.display()
    );
    let terminal = Terminal::run(&command, width, height)?;
    terminal.until_it_shows("sessions");
    Some((asked, terminal))
}

#[test]
fn sessions_come_and_go_and_are_ordered_filtered_and_explained_by_keys() {
    let Some((asked, terminal)) = watched(110, 30) else {
        return;
    };
    terminal.until_it_shows("0 of 0 sessions");
    let pairs: Vec<_> = (0..3).map(|_| asked.here.connect(1)).collect();
    for (count, pair) in pairs.iter().enumerate() {
        (&pair.client)
            .write_all(&vec![7; 1000 * (count + 1)])
            .unwrap();
    }
    let shown = terminal.until_it_shows("3.00 kB");
    assert!(
        shown.contains("3 of 3 sessions") && shown.contains("ready"),
        "{shown}"
    );
    let client = |pair: &site::Pair| -> String {
        let stream: &TcpStream = &pair.client;
        stream.local_addr().unwrap().to_string()
    };
    let first = |shown: &str| -> String {
        let row = shown
            .lines()
            .find(|line| line.contains("127.0.0.1:") && line.contains("/s"));
        row.unwrap_or_default().to_owned()
    };
    // From the rate to the bytes.
    terminal.press("Right");
    let shown = terminal.until_it_shows("▼ bytes");
    assert!(first(&shown).contains(&client(&pairs[2])), "{shown}");
    terminal.press("r");
    let shown = terminal.until_it_shows("▲ bytes");
    assert!(first(&shown).contains(&client(&pairs[0])), "{shown}");
    terminal.press("/");
    for letter in client(&pairs[1]).chars() {
        terminal.press(&letter.to_string());
    }
    terminal.press("Enter");
    let shown = terminal.until_it_shows("1 of 3 sessions");
    assert!(first(&shown).contains(&client(&pairs[1])), "{shown}");
    terminal.press("Escape");
    terminal.until_it_shows("3 of 3 sessions");
    terminal.press("?");
    terminal.until_it_shows("hold what is shown");
    terminal.press("?");
    drop(pairs);
    terminal.until_it_shows("0 of 0 sessions");
}

#[test]
fn it_fits_into_another_size_and_ends_with_the_terminal_as_it_was() {
    for quit in ["q", "C-c"] {
        let Some((_asked, terminal)) = watched(100, 30) else {
            return;
        };
        terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
        until("it is drawn in its new size", PATIENCE, || {
            let shown = terminal.shows();
            let lines: Vec<_> = shown.lines().collect();
            lines.len() <= 12 && lines.last().is_some_and(|line| line.contains("q quit"))
        });
        terminal.press(quit);
        let shown = terminal.until_it_shows("ended with 0");
        assert!(!shown.contains("q quit"), "{shown}");
    }
}

#[test]
fn a_relay_that_is_gone_is_told_and_what_was_seen_stays() {
    let Some((asked, terminal)) = watched(110, 30) else {
        return;
    };
    let pair = asked.here.connect(1);
    terminal.until_it_shows("1 of 1 sessions");
    drop((asked, pair));
    let shown = terminal.until_it_shows("NO ANSWER for");
    assert!(shown.contains("1 of 1 sessions"), "{shown}");
    terminal.press("q");
    terminal.until_it_shows("ended with 0");
}

#[test]
fn who_has_no_terminal_or_no_relay_is_told_in_one_line() {
    for (arguments, why) in [
        (["--admin", "/nowhere/x.sock"], "this is no terminal"),
        (["--every", "1ms"], "from 200ms to 1m"),
    ] {
        let output = Command::new(UNMANGLE)
            .arg("top")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let command = format!("{UNMANGLE} top --admin /nowhere/x.sock");
    let Some(terminal) = Terminal::run(&command, 100, 10) else {
        return;
    };
    let shown = terminal.until_it_shows("ended with 2");
    assert!(shown.contains("/nowhere/x.sock"), "{shown}");
}
