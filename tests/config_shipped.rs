//! deploy/unmangle.toml, the configuration that a package brings: it says nothing, and everything that could be said.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use unmangle::config::{Keys, Settings, file};

const SHIPPED: &str = include_str!("../deploy/unmangle.toml");
const PROCESS: &str = "\n# === The process";
const GATEWAY: &str = "\n# === A gateway";
const FORWARD: &str = "\n# === A forward relay";
const PROFILES: &str = "\n# === Profiles of your own";

/// The lines from this heading to the next one.
fn part(heading: &str) -> &'static str {
    let (_, rest) = SHIPPED.split_once(heading).expect("the heading");
    rest.split("\n# === ").next().unwrap()
}

/// Settings, with the sign taken away that makes them comments.
fn settings(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect()
}

/// What somebody gets who uncomments the example under a heading: its first lines that belong together.
fn example(heading: &str) -> String {
    let after = part(heading).trim_start_matches(|c| c != '\n');
    let lines = after.trim_start().split("\n\n").next().unwrap();
    settings(lines).join("\n") + "\n"
}

fn key(line: &str) -> Option<&str> {
    line.split_once(" = ").map(|(key, _)| key)
}

fn check(text: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unmangle.toml");
    std::fs::write(&path, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args(["run", "--check", "--config", "unmangle.toml"])
        .current_dir(directory.path())
        .output()
        .unwrap()
}

#[test]
fn as_it_is_nothing_is_configured_and_that_is_said() {
    for line in SHIPPED.lines() {
        assert!(line.is_empty() || line.starts_with('#'), "{line}");
        assert!(line.len() <= 120, "{line}");
    }
    let output = check(SHIPPED);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(
        told,
        "unmangle: unmangle.toml: nothing is configured yet: write a [[listener]], or take the # away from the \
         lines of an example that is there\n"
    );
}

#[test]
fn an_example_need_only_be_uncommented() {
    for (heading, name) in [(GATEWAY, "gateway"), (FORWARD, "forward")] {
        let output = check(&example(heading));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{heading}: {told}");
        let effective = String::from_utf8(output.stdout).unwrap();
        assert!(
            effective.contains(&format!("name = \"{name}\"")),
            "{effective}"
        );
    }
}

#[test]
fn every_key_is_there_and_each_once_in_its_part() {
    let keys = |heading| {
        let all: Vec<_> = settings(part(heading))
            .into_iter()
            .filter_map(key)
            .collect();
        let each: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(all.len(), each.len(), "{heading}: {all:?}");
        each
    };
    let known = |keys: &[&'static str]| keys.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(keys(PROCESS), known(file::PROCESS));
    assert_eq!(keys(PROFILES), known(file::PROFILE));
    // What the process can be told, too, is only named there.
    let mut paragraphs = part(GATEWAY).split("\n\n");
    let named = paragraphs
        .find(|text| text.contains("may stand in a listener"))
        .unwrap();
    let words = named.split(|c: char| !c.is_ascii_lowercase() && c != '-');
    let mut of_listeners = &keys(GATEWAY) | &keys(FORWARD);
    of_listeners.extend(words.filter(|word| file::PROCESS.contains(word)));
    assert_eq!(of_listeners, known(file::LISTENER));
}

#[test]
fn every_value_is_one_that_its_key_takes() {
    for line in settings(part(PROCESS)) {
        // Some say more about another.
        let more = match line.starts_with("hdr-log-") {
            true => "hdr-log = \"relay.hlog\"\n",
            false => "",
        };
        let text = format!("{more}{line}\n{}", example(FORWARD));
        let contents = file::parse("unmangle.toml".as_ref(), &text).unwrap();
        Settings::resolve(contents, Keys::default(), Keys::default())
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for heading in [GATEWAY, FORWARD, PROFILES] {
        let text = settings(part(heading)).join("\n");
        file::parse("unmangle.toml".as_ref(), &text).unwrap_or_else(|error| panic!("{error}"));
    }
    let own = settings(part(PROFILES)).join("\n");
    let text = example(FORWARD) + &own;
    let contents = file::parse("unmangle.toml".as_ref(), &text).unwrap();
    Settings::resolve(contents, Keys::default(), Keys::default())
        .unwrap_or_else(|error| panic!("{error}"));
}
