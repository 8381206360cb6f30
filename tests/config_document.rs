//! docs/config.md has every key there is, and no other, and its examples are accepted.

use std::collections::BTreeSet;

use unmangle::config::file;

const DOCUMENT: &str = include_str!("../docs/config.md");

/// Keys, and their examples, of the table under a heading.
fn documented(heading: &str) -> Vec<(&'static str, &'static str)> {
    let part = DOCUMENT.split(heading).nth(1).expect("the heading");
    let part = part.split("\n## ").next().unwrap();
    let rows = part.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.map(|row| {
        let (key, rest) = row.split_once('`').unwrap();
        let example = rest.rsplit(" | `").next().unwrap();
        (key, example.strip_suffix("` |").unwrap())
    })
    .collect()
}

/// The settings, each key with its example, are read without complaint.
fn expect_accepted(table: &str, examples: &[&str]) {
    let text = format!("{table}\n{}\n", examples.join("\n"));
    file::parse("unmangle.toml".as_ref(), &text).unwrap_or_else(|error| panic!("{error}: {text}"));
}

#[test]
fn the_document_has_every_key_and_no_other() {
    for (heading, table, known) in [
        ("\n## The process\n", "", file::PROCESS),
        ("\n## Listeners\n", "[[listener]]", file::LISTENER),
        ("\n## Profiles\n", "[profile.own]", file::PROFILE),
    ] {
        let rows = documented(heading);
        let keys: BTreeSet<_> = rows.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, known.iter().copied().collect(), "{heading}");
        assert_eq!(keys.len(), rows.len(), "each stands once under {heading}");
        for (key, example) in &rows {
            assert!(example.starts_with(&format!("{key} = ")), "{example}");
        }
        let examples: Vec<_> = rows.iter().map(|(_, example)| *example).collect();
        expect_accepted(table, &examples);
    }
}

#[test]
fn the_first_example_of_the_document_is_a_file_that_works() {
    let example = DOCUMENT.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unmangle.toml");
    std::fs::write(&path, example).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args(["run", "--check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}

#[test]
fn every_example_of_the_process_is_a_value_that_its_key_takes() {
    for (_, example) in documented("\n## The process\n") {
        let listener = match example.starts_with("strangers") {
            true => "\n[[listener]]\nintercept = 22\nmangled-side = \"eth1\"\nprofile = \"asa\"\n",
            false => "\n[[listener]]\nlisten = \"127.0.0.1:2222\"\nto = \"backup.example:22\"\n",
        };
        // Some say more about another.
        let needed = match example.starts_with("hdr-log-") {
            true => "hdr-log = \"relay.hlog\"\n",
            false => "",
        };
        let text = format!("{needed}{example}{listener}");
        let contents = file::parse("unmangle.toml".as_ref(), &text).unwrap();
        let settings = unmangle::config::Settings::resolve(
            contents,
            unmangle::config::Keys::default(),
            unmangle::config::Keys::default(),
        );
        settings.unwrap_or_else(|error| panic!("{error}"));
    }
}
