//! `unmangle generate`: manual pages and completions, from the definitions of the arguments.

mod page;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Usage;
use super::output::print;

/// Write manual pages, or completions for a shell.
///
/// What comes with a package (`deploy/man`, `deploy/completions`) is made by this.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  unmangle generate man /usr/local/share/man/man1
  unmangle generate completions bash >/usr/local/share/bash-completion/completions/unmangle
  unmangle generate completions zsh >/usr/local/share/zsh/site-functions/_unmangle
  unmangle generate completions fish >/usr/local/share/fish/vendor_completions.d/unmangle.fish";

#[derive(clap::Subcommand)]
enum What {
    /// Write the manual pages, one for the program and one for each subcommand.
    Man {
        /// A directory that is there; pages in it are replaced.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print what completes the arguments in a shell.
    Completions {
        /// Whose.
        #[arg(value_enum)]
        shell: Completed,
    },
}

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Completed {
    Bash,
    Zsh,
    Fish,
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Man { directory } => man(&directory)?,
        What::Completions { shell } => completions(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn man(directory: &Path) -> anyhow::Result<()> {
    if !directory.is_dir() {
        let directory = directory.display();
        return Err(Usage(format!(
            "{directory}: there is no such directory; make it first"
        ))
        .into());
    }
    for (name, text) in page::all(super::Args::command())? {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn completions(shell: Completed) -> anyhow::Result<()> {
    let mut command = super::Args::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(Shell::from(shell), &mut command, name, &mut text);
    print(String::from_utf8(text)?).context("cannot print them")
}

// === impl Completed ===

impl From<Completed> for Shell {
    fn from(shell: Completed) -> Self {
        match shell {
            Completed::Bash => Self::Bash,
            Completed::Zsh => Self::Zsh,
            Completed::Fish => Self::Fish,
        }
    }
}
