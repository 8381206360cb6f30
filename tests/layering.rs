//! The house keeps its floors: a room imports only from lower ones, and neighbours do not import
//! each other. `docs/architecture.md` draws the picture; this reads the source.

use std::fs;
use std::path::{Path, PathBuf};

/// Every room and its floor. A new room is entered here, in `src/lib.rs` and in
/// `docs/architecture.md`.
const FLOORS: [(&str, u8); 13] = [
    ("chart", 1),
    ("packet", 1),
    ("sys", 1),
    ("config", 2),
    ("metrics", 2),
    ("relay", 3),
    ("rules", 3),
    ("lab", 3),
    ("diagnose", 3),
    ("admin", 4),
    ("bench", 4),
    ("takeover", 4),
    ("cli", 5),
];

/// The only room in which `unsafe` may appear.
const UNSAFE_ROOM: &str = "sys";

/// A file of more lines than this does more than one job.
const LONGEST: usize = 500;

/// One source file below `src`.
struct Source {
    /// Its path, seen from `src`.
    path: String,
    text: String,
}

#[test]
fn a_room_imports_only_from_lower_floors() {
    let complaints: Vec<String> = sources()
        .iter()
        .flat_map(|source| floor_complaints(&source.path, &source.text))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn unsafe_appears_in_sys_alone() {
    let offenders: Vec<String> = sources()
        .iter()
        .filter(|source| room_of(&source.path) != Some(UNSAFE_ROOM))
        .filter(|source| uses_unsafe(&source.text))
        .map(|source| source.path.clone())
        .collect();
    assert!(offenders.is_empty(), "unsafe in {offenders:?}");
}

#[test]
fn a_file_has_at_most_500_lines() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (&source.path, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_map_in_lib_rs_has_one_line_for_every_room() {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let mut rooms: Vec<String> = sources()
        .iter()
        .filter_map(|source| room_of(&source.path).map(str::to_owned))
        .collect();
    rooms.sort();
    rooms.dedup();
    assert!(rooms.len() >= 8, "{rooms:?}");
    assert_eq!(map_complaints(&lib, &rooms), Vec::<String>::new());
}

// === the checks, on text ===

/// The room a file belongs to: the first part of its path. `lib.rs` and `main.rs` are in none.
fn room_of(path: &str) -> Option<&str> {
    match path.split_once('/') {
        Some((room, _)) => Some(room),
        None => path
            .strip_suffix(".rs")
            .filter(|name| !["lib", "main"].contains(name)),
    }
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

fn floor_complaints(path: &str, text: &str) -> Vec<String> {
    let Some(room) = room_of(path) else {
        return Vec::new();
    };
    let Some(floor) = floor_of(room) else {
        return vec![format!("{path}: {room} is no room with a floor")];
    };
    imports(text)
        .into_iter()
        .filter(|other| *other != room)
        .filter(|other| floor_of(other).is_none_or(|below| below >= floor))
        .map(|other| format!("{path}: {room} (floor {floor}) imports {other}"))
        .collect()
}

/// The rooms that a file names after `crate::`, in or out of a brace, sorted.
fn imports(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `some_crate::` is another crate.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.extend(leading_name(rest)),
        }
    }
    rooms.sort();
    rooms.dedup();
    rooms
}

/// The first name of every entry of a group, whose opening brace is already taken.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut entry = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(leading_name(&std::mem::take(&mut entry))),
            _ => {}
        }
        if !(c == ',' && depth == 0) {
            entry.push(c);
        }
    }
    names.extend(leading_name(&entry));
    names
}

/// The identifier a path begins with, unless it is an item of the crate's root.
fn leading_name(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The text without what follows `//` on a line: documentation may name any room.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether the keyword stands in the code: not in a comment, and not in `unsafe_code`.
fn uses_unsafe(text: &str) -> bool {
    without_comments(text)
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "unsafe")
}

/// What is wrong with the table of rooms at the head of `lib.rs`.
fn map_complaints(lib: &str, rooms: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for room in rooms {
        let row = format!("//! | [`{room}`] |");
        let rows: Vec<&str> = lib.lines().filter(|line| line.starts_with(&row)).collect();
        let floor = floor_of(room).map(|floor| format!("| {floor} |"));
        match (rows.as_slice(), floor) {
            ([one], Some(floor)) if one.trim_end().ends_with(&floor) => {}
            ([one], _) => complaints.push(format!("{room}: wrong floor in {one:?}")),
            (several, _) => complaints.push(format!("{room}: {} lines", several.len())),
        }
        let module = format!("mod {room};");
        if lib.matches(&module).count() != 1 {
            complaints.push(format!("{room}: `{module}` is not there once"));
        }
    }
    complaints
}

// === the files ===

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut directories = vec![src()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source {
                    text: fs::read_to_string(&path).unwrap(),
                    path: path.strip_prefix(src()).unwrap().display().to_string(),
                });
            }
        }
    }
    assert!(sources.len() > 20, "{} files", sources.len());
    sources
}

// === the checks can fail ===

#[test]
fn an_import_from_a_higher_floor_or_from_a_neighbour_is_a_complaint() {
    let complaints = floor_complaints("relay/half.rs", "use crate::cli::Usage;\n");
    assert_eq!(complaints, ["relay/half.rs: relay (floor 3) imports cli"]);
    let complaints = floor_complaints("relay/half.rs", "let x = crate::rules::nft::TABLE;\n");
    assert_eq!(complaints, ["relay/half.rs: relay (floor 3) imports rules"]);
    let complaints = floor_complaints("packet.rs", "pub(crate) use crate::sys::tun;");
    assert_eq!(complaints, ["packet.rs: packet (floor 1) imports sys"]);
}

#[test]
fn an_import_from_a_lower_floor_or_from_the_room_itself_is_none() {
    let text = "use crate::config::Side;\nuse crate::relay::leg::Leg;\n// crate::cli::x\n";
    assert_eq!(floor_complaints("relay/half.rs", text), [""; 0]);
    assert_eq!(floor_complaints("lib.rs", "use crate::cli;"), [""; 0]);
}

#[test]
fn imports_in_a_group_are_seen_and_nested_names_are_not() {
    let text = "use crate::{\n    config::{Side, lab},\n    rules,\n};";
    assert_eq!(imports(text), ["config", "rules"]);
    let complaints = floor_complaints("relay/mod.rs", text);
    assert_eq!(complaints, ["relay/mod.rs: relay (floor 3) imports rules"]);
}

#[test]
fn a_room_without_a_floor_is_a_complaint() {
    let complaints = floor_complaints("helpers/mod.rs", "");
    assert_eq!(
        complaints,
        ["helpers/mod.rs: helpers is no room with a floor"]
    );
    let complaints = floor_complaints("cli/mod.rs", "use crate::helpers::all;");
    assert_eq!(complaints, ["cli/mod.rs: cli (floor 5) imports helpers"]);
}

#[test]
fn unsafe_is_seen_in_code_and_not_in_comments_or_in_the_name_of_the_lint() {
    assert!(uses_unsafe("let x = unsafe { y() };"));
    assert!(uses_unsafe("pub unsafe fn y() {}"));
    assert!(!uses_unsafe("// unsafe: not here\n#![deny(unsafe_code)]"));
}

#[test]
fn a_room_that_is_missing_or_misplaced_on_the_map_is_a_complaint() {
    let rooms = ["packet".to_owned(), "sys".to_owned()];
    let lib = "//! | [`packet`] | bytes | 1 |\n//! | [`sys`] | unsafe | 1 |\npub mod packet;\npub mod sys;\n";
    assert_eq!(map_complaints(lib, &rooms), [""; 0]);
    let without = lib.replace("//! | [`sys`] | unsafe | 1 |\n", "");
    assert_eq!(map_complaints(&without, &rooms), ["sys: 0 lines"]);
    let misplaced = lib.replace("bytes | 1 |", "bytes | 2 |");
    assert_eq!(map_complaints(&misplaced, &rooms).len(), 1);
    let undeclared = lib.replace("pub mod sys;\n", "");
    assert_eq!(
        map_complaints(&undeclared, &rooms),
        ["sys: `mod sys;` is not there once"]
    );
}
