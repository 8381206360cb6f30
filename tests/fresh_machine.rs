//! What README.md tells to type works where nothing is there yet: in a minimal Debian with the checkout and a Rust
//! toolchain, as root, over the network. `make fresh` runs it; it takes as long as building and testing everything twice.

mod site;

use site::fresh::Fresh;

/// The commands of a part of README.md: the lines of its first indented block, less their comments.
fn commands(title: &str) -> Vec<String> {
    let readme = include_str!("../README.md");
    let (_, part) = readme
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("README.md has no part {title:?}"));
    part.trim_start_matches('\n')
        .lines()
        .take_while(|line| line.starts_with("    "))
        .map(|line| {
            let line = line.split(" #").next().unwrap_or(line);
            // There is nobody but root there, and no sudo.
            line.trim().replace("sudo ", "")
        })
        .collect()
}

/// Everything up to the command that begins with these words.
fn up_to<'a>(commands: &'a [String], words: &str) -> &'a [String] {
    let last = commands.iter().position(|line| line.starts_with(words));
    &commands[..=last.unwrap_or_else(|| panic!("{commands:?} lack {words:?}"))]
}

fn run(fresh: &Fresh, lines: &[String]) {
    for line in lines {
        println!("# {line}");
        let status = fresh.run(line);
        assert!(status.success(), "{line}: {status}");
    }
}

#[test]
fn the_readme_has_commands_to_begin_with() {
    let commands = commands("Two commands");
    assert!(up_to(&commands, "make demo").len() < commands.len());
    assert_eq!(commands.last().unwrap(), "make test");
}

#[test]
#[ignore = "builds for release, and needs a network"]
fn the_demo_runs_on_a_minimal_root() {
    let commands = commands("Two commands");
    run(&Fresh::make(), up_to(&commands, "make demo"));
}

#[test]
#[ignore = "takes as long as make test, and needs a network"]
fn the_tests_pass_on_a_minimal_root() {
    let commands = commands("Two commands");
    let demo = |line: &&String| !line.starts_with("make demo");
    let commands: Vec<String> = commands.iter().filter(demo).cloned().collect();
    run(&Fresh::make(), &commands);
}
