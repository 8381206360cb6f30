//! `unmangle rules`: prints the plan and touches nothing, or removes what a killed relay left.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Usage, listener, output, settings};
use crate::config::Keys;
use crate::relay::WayIn;
use crate::rules::by_hand::{self, Language};
use crate::rules::leftovers;
use crate::rules::preflight::PreflightError;
use crate::rules::routes::Family;

/// Print the rules and routes that `unmangle run` would put in place, and touch nothing.
///
/// The printed rules have no owner: whoever loads them has to remove them. Their head says how, what else is to be
/// typed, and what printed them. Load them and run `unmangle run --rules none` with the same arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read settings and listeners from this file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    listener: listener::Flags,

    /// Remove what a killed relay may have left: the table that fails closed, ip rules, routes, host tuning.
    #[arg(long, exclusive = true)]
    remove: bool,

    /// The language to print them in.
    #[arg(long, value_enum, default_value_t = Format::Nft)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix
  unmangle rules --intercept 22 --mangled-side eth1 --profile cisco-pix --format ip6tables
  unmangle rules --remove   # after a relay was killed";

/// The language rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore --noflush`: IPv4.
    Iptables,
    /// For `ip6tables-restore --noflush`: IPv6.
    Ip6tables,
}

/// Prints the plan.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    if args.remove {
        return remove();
    }
    // A printed plan is for somebody else to load, so its ports are fixed.
    let mut process = Keys::default();
    process.set_flag("rules", ["print"]);
    let settings = settings::read(args.config.as_deref(), process, &args.listener)?;
    let fixed = settings
        .listeners
        .iter()
        .map(|listener| listener.fixed_ports.unwrap_or_default());
    let ways_in: Vec<WayIn> = fixed
        .map(|(mangled, clean)| WayIn::Intercepted { mangled, clean })
        .collect();
    let plan = settings::plan(&settings, &ways_in)
        .ok_or_else(|| Usage("no listener intercepts anything: there are no rules".to_owned()))?;
    let text = by_hand::relay(&plan, args.format.into(), &command());
    output::print(text.map_err(|error| Usage(format!("--format: {error}")))?)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes what a killed relay has left, and says what it was.
fn remove() -> anyhow::Result<ExitCode> {
    let removed = leftovers::remove().map_err(|error| match error {
        PreflightError::Tool(_) => anyhow::Error::from(error),
        _ => Usage(error.to_string()).into(),
    })?;
    let mut told: String = removed
        .iter()
        .map(|what| format!("removed {what}\n"))
        .collect();
    if removed.is_empty() {
        told.push_str("nothing was left\n");
    }
    output::print(told)?;
    Ok(ExitCode::SUCCESS)
}

/// The command that this program was started by, as a shell takes it.
pub fn command() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| in_a_shell(&word.to_string_lossy()));
    let all: Vec<String> = std::iter::once("unmangle".to_owned())
        .chain(words)
        .collect();
    all.join(" ")
}

/// A word as it has to be written. A comment is one line, so a line break in it is a blank.
fn in_a_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\n', " ").replace('\'', r"'\''")),
    }
}

// === impl Format ===

impl From<Format> for Language {
    fn from(format: Format) -> Self {
        match format {
            Format::Nft => Self::Nft,
            Format::Iptables => Self::Iptables(Family::V4),
            Format::Ip6tables => Self::Iptables(Family::V6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_read_otherwise_is_in_quotes_and_stays_on_its_line() {
        let words = ["22,873", "[2001:db8::1]:22", "", "it's", "a\nrm -rf"];
        let written = [
            "22,873",
            "'[2001:db8::1]:22'",
            "''",
            r"'it'\''s'",
            "'a rm -rf'",
        ];
        assert_eq!(words.map(in_a_shell), written);
    }
}
