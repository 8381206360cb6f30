//! Rules for somebody else to load: their text, and at its head the command that printed it, what else has to be
//! typed, and how all of it is taken away again.
//!
//! Nobody owns such rules. What takes them away is read from the text itself, so that it cannot lag behind.

use std::fmt::Write;

use crate::config::Strangers;

use super::nft::{self, Ownership};
use super::normalise::{self, Normalising};
use super::plan::Plan;
use super::queue_rule;
use super::routes::{self, FAMILIES, Family};
use super::{iptables, normalise_iptables};

/// The language rules are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// For `nft -f`, both families at once.
    Nft,
    /// For `iptables-restore --noflush` or `ip6tables-restore --noflush`.
    Iptables(Family),
}

/// Why rules cannot be printed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unwritten {
    /// There is no text of iptables for sidecars.
    #[error("a sidecar has rules for nftables only; leave --format out")]
    Sidecar,
    /// There is no text of iptables for what answers strangers.
    #[error("strangers = \"reset\" has rules for nftables only; leave --format out")]
    Strangers,
}

/// The rules of a relay that `unmangle run --rules none` runs. `command` is what printed them.
///
/// # Errors
/// [`Unwritten`] says what there is no text for.
pub fn relay(plan: &Plan, language: Language, command: &str) -> Result<String, Unwritten> {
    let mut head = Head::new(
        command,
        "Load this while `unmangle run --rules none` relays with the same arguments, and take it away before that ends:\n\
         # without the relay new connections to these ports end in nothing, an ssh to this host that is among them, too.\n\
         #\n\
         # Put in place:",
    );
    let leads = |family: &Family| match language {
        Language::Nft => true,
        Language::Iptables(only) => only == *family,
    };
    let (rules, taken_away) = match language {
        Language::Nft => {
            let text = nft::table(plan, Ownership::Nobody);
            let away = format!("nft delete table inet {}\n", nft::TABLE);
            (replacing(nft::TABLE, &text), away)
        }
        Language::Iptables(_) if plan.has_sidecars() => return Err(Unwritten::Sidecar),
        Language::Iptables(_) if plan.strangers == Strangers::Reset => {
            return Err(Unwritten::Strangers);
        }
        Language::Iptables(family) => {
            let text = iptables::restore(plan, family);
            let away = removal(&text, family);
            (text, away)
        }
    };
    let families = || FAMILIES.into_iter().filter(leads);
    for family in families() {
        head.commands(&routes::of_family(plan, family));
    }
    head.commands(load(language));
    if let (Some(holding), Language::Nft) = (plan.hold, language) {
        head.part("Where nft has no `queue`, leave out the chain `hold`, and have iptables do it:");
        head.commands(&queue_rule::commands(holding));
    }
    if let Some(line) = admitting(plan, language) {
        head.part("A host whose INPUT drops by default needs one line there:");
        head.commands(&line);
    }
    head.part("Taken away:");
    head.commands(&taken_away);
    for family in families() {
        head.commands(&routes::removal(plan, family));
    }
    Ok(head.over(&rules))
}

/// The rules of `unmangle normalise`, which needs no process then. `command` is what printed them.
pub fn normaliser(plan: &Normalising, language: Language, command: &str) -> String {
    let mut head = Head::new(command, "Put in place:");
    head.commands(load(language));
    let (rules, taken_away) = match language {
        Language::Nft => {
            let text = normalise::table(plan, Ownership::Nobody);
            let away = format!("nft delete table inet {}\n", normalise::TABLE);
            (replacing(normalise::TABLE, &text), away)
        }
        Language::Iptables(family) => {
            let text = normalise_iptables::restore(plan, family);
            let away = removal(&text, family);
            (text, away)
        }
    };
    head.part("Taken away:");
    head.commands(&taken_away);
    head.over(&rules)
}

/// What loads them.
fn load(language: Language) -> &'static str {
    match language {
        Language::Nft => "nft -f FILE",
        Language::Iptables(Family::V4) => "iptables-restore --noflush FILE",
        Language::Iptables(Family::V6) => "ip6tables-restore --noflush FILE",
    }
}

/// What lets the intercepted packets in; nothing is taken where the relay only forwards.
fn admitting(plan: &Plan, language: Language) -> Option<String> {
    if plan.interceptions.is_empty() {
        return None;
    }
    Some(match language {
        Language::Nft if plan.has_sidecars() => "iifname lo accept".to_owned(),
        Language::Nft => format!("{} accept", nft::input_match(plan)),
        Language::Iptables(_) => format!("-A INPUT -m mark --mark {0}/{0} -j ACCEPT", plan.mark),
    })
}

/// A table that, loaded again, does not add its rules to those that are there.
fn replacing(name: &str, table: &str) -> String {
    format!(
        "# Loaded again, it replaces itself.\ntable inet {name}\ndelete table inet {name}\n{table}"
    )
}

/// The commands that undo what iptables-restore was told: first what leads to the chains, then these.
fn removal(restore: &str, family: Family) -> String {
    let program = iptables::program(family);
    let (mut table, mut jumps, mut chains) = ("", String::new(), [String::new(), String::new()]);
    for line in restore.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((chain, _)) =
            line.strip_prefix(':').and_then(|rest| rest.split_once(' '))
        {
            for (commands, switch) in chains.iter_mut().zip(["-F", "-X"]) {
                told(commands, &format!("{program} -t {table} {switch} {chain}"));
            }
        } else if let Some(rule) = line.strip_prefix("-A ")
            && !rule.starts_with(iptables::PREFIX)
        {
            told(&mut jumps, &format!("{program} -t {table} -D {rule}"));
        }
    }
    jumps + &chains.concat()
}

fn told(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes every write");
}

/// Comments that say what is to be typed.
struct Head(String);

// === impl Head ===

impl Head {
    fn new(command: &str, first: &str) -> Self {
        Self(format!("# {command}\n#\n# {first}\n"))
    }

    fn part(&mut self, what: &str) {
        write!(self.0, "#\n# {what}\n").expect("a String takes every write");
    }

    fn commands(&mut self, commands: &str) {
        for command in commands.lines() {
            told(&mut self.0, &format!("#   {command}"));
        }
    }

    fn over(self, rules: &str) -> String {
        format!("{}\n{rules}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::tests::plan;

    const COMMAND: &str = "unmangle rules --mangled-side fw0";

    #[test]
    fn the_head_says_what_made_it_what_else_is_needed_and_how_it_goes_away() {
        let text = relay(&plan(), Language::Nft, COMMAND).unwrap();
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        assert_eq!(head[0], "# unmangle rules --mangled-side fw0");
        for line in [
            "#   nft -f FILE",
            "#   ip -6 route replace local default dev lo table 21837 proto 85",
            "#   meta mark and 0x02000000 == 0x02000000 accept",
            "#   nft delete table inet unmangle",
            "#   ip -4 rule del pref 21069 fwmark 0x02000000/0x02000000 lookup 21837 protocol 85",
        ] {
            assert!(head.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn rules_of_iptables_name_one_family_and_lead_to_their_own_removal() {
        let text = relay(&plan(), Language::Iptables(Family::V6), COMMAND).unwrap();
        assert!(!text.contains("ip -4 "), "{text}");
        let at = |line: &str| {
            let found = text.find(line);
            found.unwrap_or_else(|| panic!("{line} in {text}"))
        };
        let jump = at("#   ip6tables -t mangle -D PREROUTING -m mark --mark");
        let flush = at("#   ip6tables -t mangle -F UNMANGLE_HAND\n");
        let gone = at("#   ip6tables -t mangle -X UNMANGLE_HAND\n");
        assert!(jump < flush && flush < gone);
    }
}
