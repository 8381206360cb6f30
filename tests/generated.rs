//! Manual pages and completions that are checked in are those of the arguments, and others can read them.

mod checked_in;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const PAGES: &str = "deploy/man";
/// Each with what makes its completions, and where they are.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "deploy/completions/unmangle.bash"),
    ("zsh", "deploy/completions/_unmangle"),
    ("fish", "deploy/completions/unmangle.fish"),
];

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the program prints on a terminal that is narrow, in another language, for somebody who has set a log level.
fn generate(args: &[&str]) -> String {
    let output = Command::new(UNMANGLE)
        .arg("generate")
        .args(args)
        .envs([("COLUMNS", "40"), ("LC_ALL", "de_DE.UTF-8")])
        .env("UNMANGLE_LOG", "debug")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What a shell prints; none if it is not here, which in CI it must be.
fn shell(shell: &str, args: &[&str]) -> Option<String> {
    let output = match Command::new(shell).args(args).output() {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{shell}: {error}");
            eprintln!("skipped: {shell}: {error}");
            return None;
        }
    };
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.is_empty(),
        "{shell}: {told}"
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_pages_that_are_checked_in_are_those_of_the_arguments_and_no_others() {
    let made = tempfile::tempdir().unwrap();
    generate(&["man", made.path().to_str().unwrap()]);
    let made_names = names(made.path());
    assert!(
        made_names.contains("unmangle-bench-run.1"),
        "{made_names:?}"
    );
    for name in &made_names {
        let text = fs::read_to_string(made.path().join(name)).unwrap();
        assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{name}");
        checked_in::is_current(&format!("{PAGES}/{name}"), &text, "generated");
    }
    assert_eq!(
        names(&repository(PAGES)),
        made_names,
        "a page that no subcommand has any more is to be deleted"
    );
}

#[test]
fn the_completions_that_are_checked_in_are_those_of_the_arguments() {
    for (shell, file) in SHELLS {
        checked_in::is_current(file, &generate(&["completions", shell]), "generated");
    }
    assert_eq!(names(&repository("deploy/completions")).len(), SHELLS.len());
}

#[test]
fn a_page_is_read_without_a_complaint() {
    for name in names(&repository(PAGES)) {
        let page = repository(PAGES).join(&name);
        let page = page.to_str().unwrap();
        // Its own linter wants a date, and says so of dashes in options.
        let Some(text) = shell("mandoc", &["-T", "utf8", "-W", "error", page]) else {
            return;
        };
        assert!(!text.is_empty(), "{name}");
    }
}

#[test]
fn a_directory_for_pages_that_is_not_there_is_refused() {
    let output = Command::new(UNMANGLE)
        .args(["generate", "man", "/no/such"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        told,
        "unmangle: /no/such: there is no such directory; make it first\n"
    );
}

#[test]
fn bash_completes_subcommands_flags_and_values() {
    const ASK: &str = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _unmangle unmangle "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let file = repository(SHELLS[0].1);
    let complete = |words: &[&str]| {
        let fixed = [
            "--norc",
            "-c",
            ASK,
            "bash",
            file.to_str().unwrap(),
            "unmangle",
        ];
        let told = shell("bash", &[&fixed, words].concat()).unwrap();
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["ru"]), ["run", "rules"]);
    assert_eq!(complete(&["run", "--take"]), ["--takeover"]);
    assert_eq!(complete(&["bench", "m"]), ["merge"]);
    assert_eq!(complete(&["generate", "completions", "z"]), ["zsh"]);
    let registered = [
        "--norc",
        "-c",
        r#"source "$1"; complete -p unmangle"#,
        "bash",
        file.to_str().unwrap(),
    ];
    let registered = shell("bash", &registered).unwrap();
    assert!(registered.contains("-F _unmangle "), "{registered}");
}

#[test]
fn zsh_reads_its_completions() {
    let file = repository(SHELLS[1].1);
    shell("zsh", &["-f", "-n", file.to_str().unwrap()]);
}

#[test]
fn fish_completes_subcommands_and_flags() {
    let file = repository(SHELLS[2].1);
    let complete = |line: &str| {
        let ask = format!("source {}; complete -C '{line}'", file.display());
        shell("fish", &["--no-config", "-c", &ask])
    };
    let Some(subcommands) = complete("unmangle ru") else {
        return;
    };
    assert!(subcommands.lines().any(|line| line.starts_with("run\t")));
    let flags = complete("unmangle run --take").unwrap();
    assert!(flags.starts_with("--takeover\t"), "{flags}");
}
