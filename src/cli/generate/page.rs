//! A command's manual page. The same everywhere: neither a version nor a date is in it.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Files and their texts: the command's own and those of its subcommands.
pub fn all(command: Command) -> io::Result<Vec<(String, String)>> {
    let mut command = in_full(command.disable_help_subcommand(true));
    // Only then a subcommand knows what it is called in full.
    command.build();
    let mut pages = Vec::new();
    add(&command, None, &mut pages)?;
    Ok(pages)
}

/// What the short help leaves out has no long one of its own: a page would have neither.
fn in_full(command: Command) -> Command {
    let told = |arg: Arg| match (arg.get_long_help(), arg.get_help().cloned()) {
        (None, Some(help)) => arg.long_help(help),
        _ => arg,
    };
    command.mut_args(told).mut_subcommands(in_full)
}

fn add(
    command: &Command,
    above: Option<&Command>,
    pages: &mut Vec<(String, String)>,
) -> io::Result<()> {
    pages.push((format!("{}.1", title(command)), page(command, above)?));
    for below in command.get_subcommands() {
        add(below, Some(command), pages)?;
    }
    Ok(())
}

fn page(command: &Command, above: Option<&Command>) -> io::Result<String> {
    // What follows the arguments is set by [`sections`], and a version would make every page stale.
    let bare = command
        .clone()
        .after_help(None::<&str>)
        .version(None::<&str>);
    let man = Man::new(bare)
        .title(title(command))
        // An empty one would not be there, and the next in its place.
        .date(" ")
        .source("unmangle")
        .manual("unmangle");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut rest = Roff::new();
    if let Some(more) = command.get_after_help() {
        sections(&mut rest, &more.to_string());
    }
    see_also(&mut rest, command, above);
    rest.to_writer(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

fn title(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// What follows the arguments in a help text: a heading with its lines as they stand, or a paragraph.
fn sections(page: &mut Roff, text: &str) {
    for part in text.split("\n\n") {
        let (first, lines) = part.split_once('\n').unwrap_or((part, ""));
        let Some(heading) = first.strip_suffix(':') else {
            page.control("PP", []);
            page.text([roman(part)]);
            continue;
        };
        page.control("SH", [heading.to_uppercase().as_str()]);
        page.control("nf", []);
        for line in lines.lines() {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        page.control("fi", []);
    }
}

fn see_also(page: &mut Roff, command: &Command, above: Option<&Command>) {
    let near = above.into_iter().chain(command.get_subcommands());
    let mut words = Vec::new();
    for other in near {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.extend([bold(title(other)), roman("(1)")]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_what_follows_is_a_paragraph() {
        let mut page = Roff::new();
        sections(&mut page, "Examples:\n  a b\n  .c\n\nOnly root may.");
        let text = page.render();
        let at = |line: &str| {
            let found = text.lines().position(|each| each == line);
            found.unwrap_or_else(|| panic!("no {line:?} in {text}"))
        };
        assert!(at(".SH EXAMPLES") < at(".nf"), "{text}");
        assert!(at(".nf") < at("a b") && at("a b") < at(".fi"), "{text}");
        assert!(at(r"\&.c") < at(".fi"), "{text}");
        assert!(at(".PP") < at("Only root may."), "{text}");
    }
}
