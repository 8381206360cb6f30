//! Links within the documents lead to files and headings that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents: those of the root and of docs.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = [root.to_owned(), root.join("docs")]
        .into_iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// Targets of all links that do not leave the repository: a path, and a heading if there is one.
fn links(text: &str) -> Vec<(&str, Option<&str>)> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets
        .filter(|target| !target.contains("://"))
        .map(|target| match target.split_once('#') {
            Some((path, heading)) => (path, Some(heading)),
            None => (target, None),
        })
        .collect()
}

/// The names by which headings are linked to: small letters, `-` for a space, no other marks.
fn headings(text: &str) -> BTreeSet<String> {
    // What stands between fences is no text.
    let text: String = text
        .split("\n```")
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| -> String {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let kept = words.chars().filter(kept);
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut dead = Vec::new();
    let mut followed = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (path, heading) in links(&text) {
            let target = match path {
                "" => document.clone(),
                path => document.with_file_name(path),
            };
            let is_there = match heading {
                None => target.exists(),
                Some(heading) => {
                    fs::read_to_string(&target).is_ok_and(|text| headings(&text).contains(heading))
                }
            };
            followed += 1;
            if !is_there {
                let document = document.file_name().unwrap().display();
                dead.push(format!(
                    "{document}: {path}#{}",
                    heading.unwrap_or_default()
                ));
            }
        }
    }
    assert_eq!(dead, [""; 0]);
    assert!(followed > 50, "{followed}");
}

#[test]
fn a_heading_is_known_by_its_name_and_what_is_bold_is_none() {
    let text = "# One\n**Two** (`x`)\n```sh\n# Three\n```\n## The relay's own 2 `figures`\n";
    let expected = ["one", "the-relays-own-2-figures"].map(str::to_owned);
    assert_eq!(headings(text), expected.into());
}
