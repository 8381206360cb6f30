//! The rules of iptables that put opening packets into the queue, for kernels without nftables' own
//! statement, one for each family. Nobody owns them: they outlive a killed relay. They are harmless then,
//! because nothing sets their mark and the queue is bypassed, and the next start finds them by their
//! comment.

use std::fs;

use super::own::OwnError;
use super::plan::{Holding, Plan, Queueing};
use super::routes::{FAMILIES, Family};
use super::tool::{self, ToolError};

/// By which our rules are known again.
const COMMENT: &str = "unmangle";
const TABLE: &str = "raw";
const CHAIN: &str = "PREROUTING";
/// How many seconds iptables waits for another iptables.
const WAIT: &str = "-w5";

/// Asks the kernel what can put packets into a queue; changes nothing.
///
/// # Errors
/// If neither nftables nor iptables can.
pub fn probe() -> Result<Queueing, OwnError> {
    let table = "table inet unmangle_probe { chain probe { \
                 type filter hook prerouting priority raw; queue flags bypass to 0; }; }";
    if tool::feed("nft", &["--check", "-f", "-"], table).is_ok() {
        return Ok(Queueing::Nft);
    }
    for family in FAMILIES {
        tool::run(program(family), &["-V"])
            .map_err(|error| OwnError::NoQueue(error.to_string()))?;
    }
    Ok(Queueing::Iptables)
}

/// The words of the rule, after `-A PREROUTING` or the like.
pub fn rule(holding: Holding) -> String {
    format!(
        "-p tcp -m mark --mark {0:#x}/{0:#x} -m comment --comment {COMMENT} -j NFQUEUE --queue-num {1} \
         --queue-bypass",
        holding.mark.hold(),
        holding.queue
    )
}

/// What a person would type to have the same.
pub fn commands(holding: Holding) -> String {
    let command = |family| {
        let rule = rule(holding);
        format!("{} -t {TABLE} -A {CHAIN} {rule}\n", program(family))
    };
    FAMILIES.into_iter().map(command).collect()
}

/// Whether a plan needs such rules.
pub(super) fn wanted(plan: &Plan) -> Option<Holding> {
    plan.hold.filter(|holding| holding.by == Queueing::Iptables)
}

/// Whether the rule of a family is in place.
pub(super) async fn is_there(family: Family) -> Result<bool, ToolError> {
    let shown = tool::ask(program(family), &[WAIT, "-t", TABLE, "-S", CHAIN]).await?;
    Ok(own(&shown).next().is_some())
}

/// Puts the rule of a family in place.
pub(super) async fn put(holding: Holding, family: Family) -> Result<(), ToolError> {
    let rule = rule(holding);
    let mut words = vec![WAIT, "-t", TABLE, "-A", CHAIN];
    words.extend(rule.split(' '));
    tool::ask(program(family), &words).await.map(drop)
}

/// Removes what is ours of a family, of this relay or of one that was killed, and the table with it if
/// nothing else is in it; returns the rules.
pub fn remove(family: Family) -> Result<Vec<String>, ToolError> {
    if !may_have_rules(family)? {
        return Ok(Vec::new());
    }
    let program = program(family);
    let shown = tool::run(program, &[WAIT, "-t", TABLE, "-S", CHAIN])?;
    let mut removed = Vec::new();
    for rule in own(&shown) {
        let mut words = vec![WAIT, "-t", TABLE, "-D", CHAIN];
        words.extend(rule.split_whitespace());
        tool::if_there(tool::run(program, &words))?;
        removed.push(format!("{program} -t {TABLE} {CHAIN} {rule}"));
    }
    if !removed.is_empty() {
        remove_empty_table(family)?;
    }
    Ok(removed)
}

/// The program for a family.
pub fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Whether a rule of ours can be there at all: iptables need not be installed where none is, and to list those of
/// iptables-legacy would make its table.
fn may_have_rules(family: Family) -> Result<bool, ToolError> {
    let legacy = match family {
        Family::V4 => "/proc/net/ip_tables_names",
        Family::V6 => "/proc/net/ip6_tables_names",
    };
    let legacy = fs::read_to_string(legacy).unwrap_or_default();
    if legacy.lines().any(|name| name == TABLE) {
        return Ok(true);
    }
    Ok(nft_table(family)?.is_some_and(|table| may_queue(&table)))
}

/// Whether a listed table can have a rule that queues: nft shows it as its own `queue`, or as iptables' NFQUEUE.
fn may_queue(table: &str) -> bool {
    table.to_ascii_lowercase().contains("queue")
}

/// iptables leaves an empty table behind, which does nothing; nor does it miss it.
fn remove_empty_table(family: Family) -> Result<(), ToolError> {
    if nft_table(family)?.is_some_and(|table| is_empty(&table)) {
        tool::if_there(tool::run("nft", &["delete", "table", ip(family), TABLE]))?;
    }
    Ok(())
}

fn nft_table(family: Family) -> Result<Option<String>, ToolError> {
    tool::if_there(tool::run("nft", &["list", "table", ip(family), TABLE]))
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Whether a listed table is as iptables makes it: the chains of its hooks, and no rule in them.
fn is_empty(table: &str) -> bool {
    let is_hook = |line: &str| line.starts_with("type ") && line.ends_with("policy accept;");
    let (mut chains, mut hooks) = (0, 0);
    let plain = table.lines().map(str::trim).all(|line| {
        chains += usize::from(line.starts_with("chain "));
        hooks += usize::from(is_hook(line));
        line.is_empty()
            || line.starts_with(['#', '}'])
            || line.starts_with("table ")
            || line.starts_with("chain ")
            || is_hook(line)
    });
    plain && chains == hooks
}

/// Our rules in what `-S` printed, as the words after `-D PREROUTING`.
fn own(shown: &str) -> impl Iterator<Item = &str> {
    shown.lines().filter_map(|line| {
        let rule = line.strip_prefix("-A PREROUTING ")?;
        let words: Vec<_> = rule.split_whitespace().collect();
        words
            .windows(2)
            .any(|pair| pair == ["--comment", COMMENT])
            .then_some(rule)
    })
}

/// Whether iptables is the old one, which wants CAP_NET_RAW, and root for its lock file.
///
/// # Errors
/// If it cannot be asked.
pub fn is_legacy() -> Result<bool, ToolError> {
    Ok(tool::run("iptables", &["-V"])?.contains("legacy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_rule_is_found_among_others_by_its_comment() {
        let shown = "-P PREROUTING ACCEPT\n\
             -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP\n\
             -A PREROUTING -p tcp -m comment --comment \"not unmangle\" -j ACCEPT\n\
             -A PREROUTING -p tcp -m mark --mark 0x8000000/0x8000000 -m comment --comment unmangle \
             -j NFQUEUE --queue-num 21837 --queue-bypass\n";
        let found: Vec<_> = own(shown).collect();
        assert_eq!(
            found,
            [
                "-p tcp -m mark --mark 0x8000000/0x8000000 -m comment --comment unmangle \
              -j NFQUEUE --queue-num 21837 --queue-bypass"
            ]
        );
    }

    #[test]
    fn iptables_is_asked_only_where_a_rule_of_ours_can_be() {
        let shown =
            |rule: &str| format!("table ip raw {{\n\tchain PREROUTING {{\n\t\t{rule}\n\t}}\n}}\n");
        assert!(may_queue(&shown("counter queue num 21837 bypass")));
        assert!(may_queue(&shown("xt target \"NFQUEUE\"")));
        assert!(!may_queue(&shown("ip daddr 172.17.0.2 drop")));
    }

    #[test]
    fn a_table_with_anything_in_it_is_not_empty() {
        let empty = "table ip raw {\n\tchain PREROUTING {\n\t\ttype filter hook prerouting priority raw; \
                     policy accept;\n\t}\n}\n";
        assert!(is_empty(empty));
        assert!(!is_empty(&empty.replace("policy accept", "policy drop")));
        let by_hand = "\t}\n\tchain blocked {\n\t}\n}\n";
        assert!(!is_empty(&empty.replace("\t}\n}\n", by_hand)));
        assert!(!is_empty(
            &empty.replace("\t}\n", "\t\tip daddr 172.17.0.2 drop\n\t}\n")
        ));
    }
}
