//! The README's table of faults says what the tests say.

mod site;

use std::fs;
use std::path::Path;

use site::faults::{self, Fault};

const BEGIN: &str = "<!-- faults: `make fault-table` -->\n";
const END: &str = "<!-- end of faults -->";
const HEAD: &str = "\
| fault | what was done | carried | measured | lost | what the peers saw, and after | shown by |
|---|---|---|---|---|---|---|
";

#[test]
fn the_table_in_the_readme_says_what_the_tests_say() {
    let readme = fs::read_to_string(readme()).unwrap();
    let table = between(&readme).strip_prefix(HEAD).expect("its head");
    let rows: Vec<Vec<&str>> = table.lines().map(cells).collect();
    let said: Vec<[String; 5]> = faults::ALL.map(Fault::said).into();
    let stands: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            assert_eq!(row.len(), 7, "{row:?}");
            assert!(!row[2].is_empty() && !row[3].is_empty(), "{row:?}");
            [row[0], row[1], row[4], row[5], row[6]].map(str::to_owned)
        })
        .collect();
    assert_eq!(stands, said, "`make fault-table` writes it anew");
}

#[test]
fn every_fault_of_the_table_has_the_test_it_names() {
    for fault in faults::ALL {
        let (file, name) = fault.test;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{file}.rs"));
        let source = fs::read_to_string(path).unwrap();
        let begin = source
            .find(&format!("fn {name}()"))
            .unwrap_or_else(|| panic!("there is no {name} in {file}"));
        let body = &source[begin..];
        let body = &body[..body.find("\n}\n").unwrap()];
        assert!(body.contains(".record("), "{name} records nothing");
    }
}

/// `make fault-table` runs it, after the tests whose rows it needs.
#[test]
#[ignore = "writes the README"]
fn write_the_table() {
    let mut table = HEAD.to_owned();
    for fault in faults::ALL {
        let row = fault
            .recorded()
            .unwrap_or_else(|| panic!("{} has not run", fault.test.1));
        let [name, done, lost, seen, test] = fault.said();
        assert_eq!(
            [&row.fault, &row.done, &row.lost, &row.seen],
            [&name, &done, &lost, &seen]
        );
        let (carried, measured) = (row.carried, row.measured);
        table +=
            &format!("| {name} | {done} | {carried} | {measured} | {lost} | {seen} | {test} |\n");
    }
    let old = fs::read_to_string(readme()).unwrap();
    let (before, rest) = old.split_once(BEGIN).expect("the begin of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    let new = [before, BEGIN, &table, END, after].concat();
    fs::write(readme(), new).unwrap();
}

fn readme() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn between(readme: &str) -> &str {
    let (_, rest) = readme.split_once(BEGIN).expect("the begin of the table");
    rest.split_once(END).expect("the end of the table").0
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}
